"""Settings of a self-play run: frozen dataclasses, read from YAML or flags, saved beside the results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rebel_pref.algorithms import ALGORITHMS, Algorithm, EMAMagnet, FixedMagnet, MagnetRule, ResetMagnet, make_algorithm
from rebel_pref.schedules import Schedule

__all__ = ["AlgorithmConfig", "OptimizationConfig", "PoolConfig", "SamplingConfig", "SelfPlayConfig"]


@dataclass(frozen=True)
class AlgorithmConfig:
    """Which row of weights, and its two numbers.

    Attributes
    ----------
    name
        a row of rebel_pref.algorithms.
    step_size
        eta, nats per unit payoff.
    regularization
        tau, payoff per nat.
    magnet
        "fixed" (the reference), "ema" (follows the policy) or "reset" (replaced now and then).
    magnet_rate
        of "ema", share of the policy taken in a round.
    magnet_every
        of "reset", rounds between two resets.
    anneal_after
        rounds over which the step size stays about what it is, before it falls as
        step_size / sqrt(1 + round / anneal_after) and the rate of an "ema" magnet with it; 0 keeps both constant.
    """

    name: str = "proximal_rebel"
    step_size: float = 2.0
    regularization: float = 0.05
    magnet: Literal["fixed", "ema", "reset"] = "fixed"
    magnet_rate: float = 0.02
    magnet_every: int = 50
    anneal_after: float = 0.0

    def build(self) -> Algorithm | Schedule:
        """The row that these settings name, or its schedule."""
        if not self.anneal_after:
            return self._row(1.0)
        if not self.anneal_after > 0.0:
            raise ValueError(f"algorithm.anneal_after must not be negative, got {self.anneal_after}")
        if self.name == "online_ipo":
            raise ValueError(
                "algorithm.anneal_after has nothing to lower: the step of online_ipo is 1 / regularization"
            )
        return Schedule(f"annealed {self.name}", lambda number: self._row((1.0 + number / self.anneal_after) ** -0.5))

    def _row(self, share: float) -> Algorithm:
        rule: MagnetRule = FixedMagnet()
        if self.magnet == "ema":
            rule = EMAMagnet(share * self.magnet_rate)
        elif self.magnet == "reset":
            rule = ResetMagnet(self.magnet_every)
        return make_algorithm(
            self.name, step_size=share * self.step_size, regularization=self.regularization, magnet=rule
        )


@dataclass(frozen=True)
class SamplingConfig:
    """What is drawn in a round.

    Attributes
    ----------
    prompts_per_round
        B, prompts drawn without replacement; all of them if there are fewer.
    completions_per_prompt
        K, i.i.d. responses to each prompt; all pairs of a group are judged.
    """

    prompts_per_round: int = 8
    completions_per_prompt: int = 8


@dataclass(frozen=True)
class PoolConfig:
    """Which judged responses stand for the policies, and which are regressed.

    Attributes
    ----------
    weights
        "group" (no pool: the round's own draws, weighted by 1/K), "fresh" (no pool: opponents are a
        second draw of K responses that is not regressed), "exact" (distinct past responses, weighted by
        the current policy) or "horvitz_thompson" (those over the probability of ever having drawn them).
    regressed
        pooled responses of a prompt regressed in a round; the fresh ones come first, the rest is
        drawn from the pool. Ignored without a pool.
    base
        weights of the regressed pairs: "mixture" (half current policy, half reference), "equilibrium" (a third
        each of these and of the pool's own regularised equilibrium; for oracles that can be trusted, since it
        leans on their judgements more) or "uniform".
    capacity
        most responses kept for a prompt; the least likely under the current policy go first.
    """

    weights: Literal["group", "fresh", "exact", "horvitz_thompson"] = "horvitz_thompson"
    regressed: int = 64
    base: Literal["mixture", "equilibrium", "uniform"] = "mixture"
    capacity: int = 512

    @property
    def keeps(self) -> bool:
        """Whether past responses are kept."""
        return self.weights in ("exact", "horvitz_thompson")


@dataclass(frozen=True)
class OptimizationConfig:
    """How the learner is moved towards a round's target.

    Attributes
    ----------
    inner_steps
        AdamW steps a round, all on the round's whole regression set.
    learning_rate
        AdamW's rate in the first round.
    final_share
        The rate falls linearly to this share of `learning_rate` in the last round.
    weight_decay
        AdamW's.
    max_grad_norm
        Norm at which gradients are clipped.
    betas
        AdamW's.
    microbatch_tokens
        padded response tokens in one forward and backward pass of a process.
    """

    inner_steps: int = 8
    learning_rate: float = 1e-5
    final_share: float = 0.02
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    betas: tuple[float, float] = (0.9, 0.95)
    microbatch_tokens: int = 16384


@dataclass(frozen=True)
class SelfPlayConfig:
    """The trainer: rounds of sampling, judging and regression.

    Attributes
    ----------
    rounds
        T, rounds of sampling, judging and regression.
    algorithm
        Which row of weights.
    sampling
        What is drawn.
    pool
        What stands for the policies.
    optimization
        How the learner is moved.
    checkpoint_every
        rounds between checkpoints; 0 writes only the last.
    keep_checkpoints
        how many are kept.
    evaluate_every
        rounds between evaluations; the average iterate is the mean of the evaluated ones.
    samples_every
        rounds between entries in samples.jsonl.
    trackers
        names of accelerate trackers ("tensorboard", "wandb") beside metrics.jsonl.
    """

    rounds: int = 150
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    pool: PoolConfig = field(default_factory=PoolConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    checkpoint_every: int = 50
    keep_checkpoints: int = 2
    evaluate_every: int = 1
    samples_every: int = 10
    trackers: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise a ValueError that names the first setting that cannot be run."""
        positive = {
            "rounds": self.rounds,
            "sampling.prompts_per_round": self.sampling.prompts_per_round,
            "optimization.inner_steps": self.optimization.inner_steps,
            "optimization.learning_rate": self.optimization.learning_rate,
            "optimization.microbatch_tokens": self.optimization.microbatch_tokens,
            "evaluate_every": self.evaluate_every,
            "samples_every": self.samples_every,
            "keep_checkpoints": self.keep_checkpoints,
        }
        for name, value in positive.items():
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.sampling.completions_per_prompt < 2:
            raise ValueError(
                "sampling.completions_per_prompt must be at least 2: a relative reward needs two responses to "
                f"compare, got {self.sampling.completions_per_prompt}"
            )
        if self.pool.keeps and self.pool.regressed < self.sampling.completions_per_prompt:
            raise ValueError(
                f"pool.regressed = {self.pool.regressed} leaves out some of the "
                f"{self.sampling.completions_per_prompt} fresh responses; only fresh ones tell how much mass lies "
                "outside the pool, so raise it"
            )
        if self.pool.keeps and self.pool.capacity < self.pool.regressed:
            raise ValueError(f"pool.capacity = {self.pool.capacity} is below pool.regressed = {self.pool.regressed}")
        not_negative = {
            "checkpoint_every": self.checkpoint_every,
            "optimization.final_share": self.optimization.final_share,
        }
        for name, value in not_negative.items():
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if self.algorithm.name not in ALGORITHMS:
            raise ValueError(f"algorithm.name is {self.algorithm.name!r}; known algorithms: {', '.join(ALGORITHMS)}")
        self.algorithm.build()
