"""The loop: sample, judge, target, regress, move the magnet, measure, store. accelerate lives here.

The same program runs on one or several processes: the prompts of a round are dealt out, pools are replicated
(text and numbers are cheap), and a prompt's randomness is its own.
"""

from __future__ import annotations

import dataclasses
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import gather_object

from rebel_pref.policies.policy import Policy, Rollouts
from rebel_pref.preferences import PreferenceOracle, preferences_from_payoffs
from rebel_pref.selfplay.checkpoints import (
    Checkpoint,
    difference,
    latest_checkpoint,
    load_optimizer_tensors,
    optimizer_tensors,
    read_checkpoint,
    trim_log,
    what_matters,
    write_checkpoint,
)
from rebel_pref.selfplay.config import SelfPlayConfig
from rebel_pref.selfplay.evaluation import Evaluator
from rebel_pref.selfplay.judging import judge_new
from rebel_pref.selfplay.magnet import move_magnet
from rebel_pref.selfplay.pool import PromptPool
from rebel_pref.selfplay.rollouts import prompts_of_round, sample_responses, stream
from rebel_pref.selfplay.step import RegressionBatch, regress
from rebel_pref.selfplay.targets import (
    JudgedBatch,
    batch_pools,
    can_be_regressed,
    choose_regressed,
    pad_rows,
    stage_target,
)

__all__ = ["SelfPlayTrainer"]


class SelfPlayTrainer:
    """Self-play fine-tuning of a policy against a preference oracle.

    Parameters
    ----------
    policy : moved in place; a copy of it as it comes is the reference.
    oracle : compares responses to one prompt.
    prompts : all prompts of the run, distinct.
    config : settings; checked here.
    seed : of every random stream of the run.
    out : folder for metrics.jsonl, samples.jsonl and checkpoints/; None writes nothing.
    evaluator : measures the policy on the main process between rounds.
    progress : called after every round with its metrics.
    accelerator : one made elsewhere; by default one for the machine at hand.

    Examples
    --------
    >>> import numpy as np
    >>> from rebel_pref.games import rock_paper_scissors_text
    >>> from rebel_pref.policies import TabularPolicy
    >>> from rebel_pref.selfplay import SelfPlayConfig
    >>> game = rock_paper_scissors_text()
    >>> policy = TabularPolicy(game.prompts, [one.labels for one in game.games])
    >>> trainer = SelfPlayTrainer(policy, game, game.prompts, SelfPlayConfig(rounds=2), seed=0)
    >>> trainer.train()["rounds_done"]
    2
    """

    def __init__(
        self,
        policy: Policy,
        oracle: PreferenceOracle,
        prompts: Sequence[str],
        config: SelfPlayConfig,
        *,
        seed: int,
        out: Path | None = None,
        evaluator: Evaluator | None = None,
        progress: Callable[[Mapping[str, float]], None] | None = None,
        accelerator: Accelerator | None = None,
    ) -> None:
        config.check()
        if not prompts or len(set(prompts)) != len(prompts):
            raise ValueError(f"expected at least one prompt and no two the same, got {len(prompts)} prompts")
        self.policy, self.oracle, self.prompts, self.config = policy, oracle, tuple(prompts), config
        self.seed, self.out, self.evaluator, self.progress = seed, out, evaluator, progress
        self.algorithm = config.algorithm.build()
        self.per_round = min(config.sampling.prompts_per_round, len(self.prompts))
        # Buffers (rotary frequencies) are constants; broadcasting them would need equal numbers of passes.
        # Unless told that there is only a CPU, accelerate starts unconnected processes on such a machine.
        self.accelerator = accelerator or Accelerator(
            cpu=not torch.accelerator.is_available(),
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
            log_with=list(config.trackers) or None,
            project_dir=None if out is None else str(out),
        )
        if self.accelerator.mixed_precision != "no":
            raise ValueError(
                f"mixed precision {self.accelerator.mixed_precision!r} would bias log-ratios: sampled and regressed "
                "log-probabilities must come from the same arithmetic; launch with mixed_precision no"
            )
        narrow = [p.dtype for p in policy.module.parameters() if p.requires_grad and p.dtype.itemsize < 4]
        if narrow:
            raise ValueError(
                f"the learner's weights are {narrow[0]}, in which small steps round away: load it as float32 "
                "(LanguageModelPolicy.from_pretrained does)"
            )
        if self.per_round < self.accelerator.num_processes:
            raise ValueError(
                f"{self.per_round} prompts a round cannot be dealt to {self.accelerator.num_processes} processes: "
                "raise sampling.prompts_per_round or start fewer processes"
            )
        # Moving to the device before the copies are made, so that they are there too.
        policy.module.to(self.accelerator.device)
        self.reference = policy.frozen_copy()
        self.magnet = policy.frozen_copy() if self._magnet_moves else self.reference
        self.previous: Policy | None = None
        tuning = config.optimization
        optimizer = torch.optim.AdamW(
            policy.module.parameters(),
            lr=tuning.learning_rate,
            betas=tuning.betas,
            weight_decay=tuning.weight_decay,
        )
        with warnings.catch_warnings():
            # accelerate hands every DDP wrapper this argument, which newer torch calls by another name.
            warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)
            policy.module, self.optimizer = self.accelerator.prepare(policy.module, optimizer)
        self.pools: dict[int, PromptPool] = {}
        self.counts: dict[str, int] = {"rounds_done": 0, "completions": 0, "queries": 0, "missing": 0}

    @property
    def _magnet_moves(self) -> bool:
        return self.config.algorithm.magnet != "fixed" and self.algorithm.uses("magnet")

    def train(self, *, resume: bool = False) -> dict[str, int]:
        """Run to the last round; with `resume`, from the latest checkpoint in `out` if there is one.

        Returns
        -------
        Counters: rounds_done, completions, queries (unordered pairs judged), missing (judgements).
        """
        found = None if self.out is None else latest_checkpoint(self.out / "checkpoints")
        if found is not None and not resume:
            # Its later rounds would outlive this run's checkpoints, and be resumed from.
            raise ValueError(f"{found} is another run's checkpoint: resume it, or give another folder")
        if found is not None:
            self._restore(read_checkpoint(found))
        elif self.out is not None and self.accelerator.is_main_process:
            self.out.mkdir(parents=True, exist_ok=True)
            for name in ("metrics.jsonl", "samples.jsonl"):
                (self.out / name).unlink(missing_ok=True)
        if self.config.trackers:
            self.accelerator.init_trackers("rebel_pref")
        if self.counts["rounds_done"] == 0:
            self._log({"round": 0, **self._evaluate(0)})
        for number in range(self.counts["rounds_done"], self.config.rounds):
            started = time.perf_counter()
            metrics = self.round(number)
            self.counts["rounds_done"] = number + 1
            last = number + 1 == self.config.rounds
            if (number + 1) % self.config.evaluate_every == 0 or last:
                metrics |= self._evaluate(number + 1)
            self._log({"round": number + 1, **metrics, "seconds": time.perf_counter() - started})
            every = self.config.checkpoint_every
            if last or (every and (number + 1) % every == 0):
                self._store()
        if self.config.trackers:
            for tracker in self.accelerator.trackers:
                tracker.finish()
        return dict(self.counts)

    def round(self, number: int) -> dict[str, float]:
        """One round: every arrow once."""
        config, algorithm = self.config, self.algorithm.at(number)
        visited = prompts_of_round(len(self.prompts), self.per_round, number, self.seed)
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        dealt = visited[rank::world]

        # Sampling from the current policy, and judging what is new.
        count = config.sampling.completions_per_prompt
        fresh = config.pool.weights == "fresh"
        drawn = sample_responses(self.policy, self.prompts, dealt, (1 + fresh) * count, number, self.seed)
        queries, missing, halves = self._enter(dealt, drawn, count)
        pools = [self.pools[index] for index in dealt]
        log_probs = self._log_probs_of(pools, dealt)
        for pool, current in zip(pools, log_probs["current"], strict=True):
            pool.record_visit(current, count)

        # Leaving out the prompts whose judgements did not come.
        kept = self._usable(dealt, halves)
        mine, pools = [dealt[b] for b in kept], [pools[b] for b in kept]
        halves = [halves[b] for b in kept]
        log_probs = {name: [rows[b] for b in kept] for name, rows in log_probs.items()}

        # Turning judgements into targets, stage by stage, each regressed from the current policy.
        batch = batch_pools(pools, log_probs, config.pool, second_half=[h[1] for h in halves] if fresh else None)
        chosen = [
            choose_regressed(
                batch,
                b,
                config.pool,
                halves[b][0],
                pool.log_reference,
                stream(self.seed, "regressed", number, index),
                regularization=algorithm.regularization,
            )
            for b, (pool, index) in enumerate(zip(pools, mine, strict=True))
        ]
        regression = self._regression_batch(mine, pools, batch, chosen)
        extra: dict[str, torch.Tensor] = {}
        if algorithm.uses("previous"):
            upcoming_previous = self.policy.frozen_copy()
        self._set_learning_rate(number)
        for stage_number, stage in enumerate(algorithm.stages):
            target = stage_target(stage, batch, extra)
            regression = dataclasses.replace(
                regression, target=target.log_ratio.to(regression.weights.device, torch.float32)
            )
            final = stage_number + 1 == len(algorithm.stages)
            before = None if final else self._snapshot()
            sums = regress(
                self.policy,
                self.optimizer,
                self.accelerator,
                regression,
                config.optimization,
                residual=algorithm.residual,
                total_prompts=len(visited),
            )
            if before is not None:
                ahead = self._log_probs_of(pools, mine, only_current=True)["current"]
                extra["lookahead"] = pad_rows(ahead, batch.entries, batch.payoffs.shape[-1])
                self._revert(before)

        # Moving what follows the policy, and keeping the pools.
        move_magnet(algorithm.magnet, self.magnet, self.policy, number + 1)
        if algorithm.uses("previous"):
            self.previous = upcoming_previous
        for pool, current in zip(pools, log_probs["current"], strict=True):
            if config.pool.keeps and len(pool) > config.pool.capacity:
                pool.keep(np.sort(np.argsort(-current, kind="stable")[: config.pool.capacity]).tolist())
        self._exchange_pools(dealt)

        certificate = target.kl_certificate
        sums |= {
            "prompts": len(mine),
            "completions": len(drawn),
            "queries": queries,
            "missing": missing,
            "left_out": batch.left_out,
            "coverage": float(batch.weights.coverage.sum()),
            "anchor_coverage": float(self._anchor_mass(stage.anchor, batch).sum()),
            "effective_sample_size": float(batch.weights.effective_sample_size.sum()),
            "pool_size": sum(len(kept) for kept in batch.entries),
            # Of the policy, from its own draws: the mean of -log pi over the K of each prompt.
            "entropy": -sum(float(h[0] @ own) / count for h, own in zip(halves, log_probs["current"], strict=True)),
            "step_certificate": 0.0 if certificate is None else float(certificate.max()),
        }
        return self._total(sums)

    def _usable(self, dealt: Sequence[int], halves: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[int]:
        """Positions of the dealt prompts that can be regressed; all processes stop if one of them has none."""
        usable = [
            b
            for b, (index, own) in enumerate(zip(dealt, halves, strict=True))
            if can_be_regressed(self.pools[index], own[0], own[1], self.config.pool)
        ]
        counts = gather_object([len(usable)]) if self.accelerator.num_processes > 1 else [len(usable)]
        if min(counts) == 0:
            raise ValueError(
                f"the oracle judged none of a process's {len(dealt)} prompts (first {self.prompts[dealt[0]]!r}): "
                "check that it is up; the last checkpoint is intact"
            )
        return usable

    def _enter(
        self, mine: Sequence[int], drawn: Rollouts, count: int
    ) -> tuple[int, int, list[tuple[np.ndarray, np.ndarray]]]:
        """Put draws into the pools and judge the new ones; also how often each was drawn, by half."""
        queries = missing = 0
        halves = []
        for b, index in enumerate(mine):
            rows = [i for i, k in enumerate(drawn.prompt_index) if k == b]
            pool = self.pools.setdefault(index, PromptPool())
            if not self.config.pool.keeps:
                pool.keep([])  # Here rather than after the round, whose draws samples.jsonl still shows.
            new = pool.add([drawn.tokens[i] for i in rows], [drawn.texts[i] for i in rows])
            if new:
                texts = Rollouts(
                    (self.prompts[index],),
                    (0,) * len(new),
                    tuple(pool.texts[i] for i in new),
                    tuple(pool.tokens[i] for i in new),
                )
                with torch.no_grad():
                    pool.log_reference[new] = self.reference.log_probs(texts).double().cpu().numpy()
            asked, unanswered = judge_new(self.oracle, self.prompts[index], pool, new)
            queries, missing = queries + asked, missing + unanswered
            place = {tokens: i for i, tokens in enumerate(pool.tokens)}
            first = np.bincount([place[drawn.tokens[i]] for i in rows[:count]], minlength=len(pool))
            second = np.bincount([place[drawn.tokens[i]] for i in rows[count:]], minlength=len(pool))
            halves.append((first, second))
        return queries, missing, halves

    def _log_probs_of(
        self, pools: Sequence[PromptPool], mine: Sequence[int], *, only_current: bool = False
    ) -> dict[str, list[np.ndarray]]:
        """Log-probabilities of every pooled response under every policy that the row names."""
        rollouts = Rollouts(
            tuple(self.prompts[i] for i in mine),
            tuple(b for b, pool in enumerate(pools) for _ in range(len(pool))),
            tuple(text for pool in pools for text in pool.texts),
            tuple(tokens for pool in pools for tokens in pool.tokens),
        )
        cuts = np.cumsum([len(pool) for pool in pools])[:-1]

        @torch.no_grad()
        def under(policy: Policy) -> list[np.ndarray]:
            return np.split(policy.log_probs(rollouts).double().cpu().numpy(), cuts)

        result = {"current": under(self.policy)}
        if only_current:
            return result
        if self.algorithm.uses("magnet"):
            moving = self._magnet_moves
            result["magnet"] = under(self.magnet) if moving else [pool.log_reference for pool in pools]
        if self.algorithm.uses("previous") and self.previous is not None:
            result["previous"] = under(self.previous)
        return result

    def _regression_batch(
        self,
        mine: Sequence[int],
        pools: Sequence[PromptPool],
        batch: JudgedBatch,
        chosen: Sequence[tuple[list[int], np.ndarray]],
    ) -> RegressionBatch:
        device = self.accelerator.device
        rows = [b for b, (columns, _) in enumerate(chosen) for _ in columns]
        columns = [column for own, _ in chosen for column in own]
        entry = [batch.entries[b][column] for b, column in zip(rows, columns, strict=True)]
        rollouts = Rollouts(
            tuple(self.prompts[i] for i in mine),
            tuple(rows),
            tuple(pools[b].texts[i] for b, i in zip(rows, entry, strict=True)),
            tuple(pools[b].tokens[i] for b, i in zip(rows, entry, strict=True)),
        )
        at = (torch.tensor(rows), torch.tensor(columns))
        current = batch.log_probs["current"]
        weights = torch.zeros_like(current)
        weights[at] = torch.from_numpy(np.concatenate([own for _, own in chosen]).astype(np.float64))
        return RegressionBatch(
            rollouts,
            at[0].to(device),
            at[1].to(device),
            current[at].to(device, torch.float32),
            torch.zeros_like(current).to(device, torch.float32),
            weights.to(device, torch.float32),
        )

    @staticmethod
    def _anchor_mass(anchor: Mapping[Any, float], batch: JudgedBatch) -> torch.Tensor:
        """Mass of the (unnormalised) anchor on the pool [B]: a lower bound of its coverage, by Hoelder."""
        total = sum(weight * batch.log_probs[name] for name, weight in anchor.items())
        assert isinstance(total, torch.Tensor)
        return torch.where(batch.opponents, total.exp(), 0.0).sum(-1)

    def _set_learning_rate(self, number: int) -> None:
        tuning = self.config.optimization
        done = number / max(1, self.config.rounds - 1)
        rate = tuning.learning_rate * (1.0 - (1.0 - tuning.final_share) * done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _snapshot(self) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        parameters = [parameter.detach().clone() for parameter in self.policy.module.parameters()]
        return parameters, {k: v.clone() for k, v in optimizer_tensors(self.optimizer).items()}

    @torch.no_grad()
    def _revert(self, before: tuple[list[torch.Tensor], dict[str, torch.Tensor]]) -> None:
        for parameter, value in zip(self.policy.module.parameters(), before[0], strict=True):
            parameter.copy_(value)
        if before[1]:
            load_optimizer_tensors(self.optimizer, before[1])
        else:
            self.optimizer.state.clear()

    def _exchange_pools(self, mine: Sequence[int]) -> None:
        """Give every process the pools that the others changed."""
        if self.accelerator.num_processes > 1:
            for index, pool in gather_object([(index, self.pools[index]) for index in mine]):
                self.pools[index] = pool

    def _total(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Add up the processes' sums: counters stay totals, everything else becomes a mean over prompts."""
        parts = gather_object([dict(sums)]) if self.accelerator.num_processes > 1 else [dict(sums)]
        prompts = sum(part["prompts"] for part in parts)
        metrics: dict[str, float] = {}
        for name in sums:
            if name in ("prompts", "left"):
                continue
            values = [part[name] for part in parts]
            if name in ("completions", "queries", "missing"):
                self.counts[name] += int(sum(values))
                metrics[name] = self.counts[name]
            elif name in ("left_out", "pool_size"):
                metrics[name] = sum(values)
            elif name in ("step_certificate", "grad_norm"):
                metrics[name] = max(values)
            elif name == "wanted":
                # Of all prompts together: one whose target is nearly constant would swamp a mean of shares.
                left = sum(part["left"] for part in parts)
                metrics["fit"] = 1.0 - left / sum(values) if sum(values) > 0.0 else 0.0
            else:
                metrics[name] = sum(values) / prompts
        metrics["learning_rate"] = float(self.optimizer.param_groups[0]["lr"])
        return metrics

    def _evaluate(self, round_number: int) -> dict[str, float]:
        if self.evaluator is None or not self.accelerator.is_main_process:
            return {}
        return dict(self.evaluator.evaluate(self.policy, round_number))

    def _log(self, metrics: dict[str, Any]) -> None:
        if not self.accelerator.is_main_process:
            return
        if self.out is not None:
            with (self.out / "metrics.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(metrics) + "\n")
            if metrics["round"] % self.config.samples_every == 0:
                self._log_samples(metrics["round"])
        if self.config.trackers:
            self.accelerator.log({k: v for k, v in metrics.items() if k != "round"}, step=metrics["round"])
        if self.progress is not None:
            self.progress(metrics)

    def _log_samples(self, round_number: int) -> None:
        """Who beat whom: for each prompt of the round, its most frequent draws with their verdicts."""
        assert self.out is not None
        visited = (
            prompts_of_round(len(self.prompts), self.per_round, round_number - 1, self.seed) if round_number else ()
        )
        with (self.out / "samples.jsonl").open("a", encoding="utf-8") as stream:
            for index in visited:
                pool = self.pools[index]
                drawn = sorted(np.flatnonzero(pool.draws > 0).tolist(), key=lambda i: -int(pool.draws[i]))[:3]
                for first, second in ((i, j) for a, i in enumerate(drawn) for j in drawn[a + 1 :]):
                    payoff = pool.payoffs[first, second]
                    line = {
                        "round": round_number,
                        "prompt": self.prompts[index],
                        "response": pool.texts[first],
                        "opponent": pool.texts[second],
                        "preference": None if np.isnan(payoff) else float(preferences_from_payoffs(payoff)),
                    }
                    stream.write(json.dumps(line) + "\n")

    def _store(self) -> None:
        self.accelerator.wait_for_everyone()
        if self.out is None or not self.accelerator.is_main_process:
            return
        tensors = {
            "module": self.accelerator.unwrap_model(self.policy.module).state_dict(),
            "reference": self.reference.module.state_dict(),
        }
        if self._magnet_moves:
            tensors["magnet"] = self.magnet.module.state_dict()
        if self.previous is not None:
            tensors["previous"] = self.previous.module.state_dict()
        checkpoint = Checkpoint(
            {**self.counts, **self._identity()},
            tensors,
            optimizer_tensors(self.optimizer),
            self.pools,
            {} if self.evaluator is None else self.evaluator.state(),
        )
        write_checkpoint(self.out / "checkpoints", checkpoint, keep=self.config.keep_checkpoints)

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must share with the run that resumes from it, as JSON gives it back."""
        config = json.loads(json.dumps(dataclasses.asdict(self.config)))
        return {"seed": self.seed, "config": what_matters(config), "prompts": list(self.prompts)}

    def _restore(self, checkpoint: Checkpoint) -> None:
        progress = checkpoint.progress
        for name, value in self._identity().items():
            if progress[name] != value:
                changed = difference(progress[name], value)
                raise ValueError(
                    f"the checkpoint in {self.out} was made with another {name} ({changed}); "
                    "resume with the same settings, or start anew"
                )
        self.accelerator.unwrap_model(self.policy.module).load_state_dict(checkpoint.tensors["module"])
        self.reference.module.load_state_dict(checkpoint.tensors["reference"])
        if self._magnet_moves:
            self.magnet.module.load_state_dict(checkpoint.tensors["magnet"])
        if "previous" in checkpoint.tensors:
            self.previous = self.policy.frozen_copy()
            self.previous.module.load_state_dict(checkpoint.tensors["previous"])
        load_optimizer_tensors(self.optimizer, checkpoint.optimizer)
        self.pools = dict(checkpoint.pools)
        self.counts = {name: int(progress[name]) for name in self.counts}
        if self.evaluator is not None:
            self.evaluator.load_state(checkpoint.evaluator)
        if self.out is not None and self.accelerator.is_main_process:
            for name in ("metrics.jsonl", "samples.jsonl"):
                trim_log(self.out / name, self.counts["rounds_done"])
