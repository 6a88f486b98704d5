"""The trainer: it learns, every row is the NumPy dynamics, a killed run resumes to the bit, processes agree."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import CONFIG, GAME, tiny_policy, tiny_trainer

from rebel_pref.algorithms import ALGORITHMS
from rebel_pref.games import rock_paper_scissors_text
from rebel_pref.policies import TabularPolicy
from rebel_pref.selfplay import (
    AlgorithmConfig,
    OptimizationConfig,
    PoolConfig,
    SamplingConfig,
    SelfPlayConfig,
    SelfPlayTrainer,
    TextGameEvaluator,
)
from rebel_pref.selfplay import trainer as trainer_module
from rebel_pref.solvers.dynamics import initial_state, step

SCRIPT = Path(__file__).with_name("tiny_runs.py")
WORDS = rock_paper_scissors_text(0.1, 0.3, 0.6)


class Flipped:
    """The same judge with the payoff's sign turned round: the loser is said to win."""

    def __init__(self, oracle):
        self.oracle = oracle

    def prefer(self, prompts, responses, opponents=None):
        return 1.0 - self.oracle.prefer(prompts, responses, opponents)


class Silent:
    """A judge that has no answer for about every fifth pair, the same ones always."""

    def prefer(self, prompts, responses, opponents=None):
        answer = GAME.prefer(prompts, responses, opponents).copy()
        for i, first in enumerate(responses[0]):
            for j, second in enumerate((opponents or responses)[0]):
                if first != second and sum(map(ord, first + second)) % 5 == 0:
                    answer[0, i, j] = np.nan
        return answer


# 1. It learns.


def tabular_start():
    """Paper-heavy, with one illegal word, which loses to everything."""
    logits = torch.log(torch.tensor([[0.08, 0.8, 0.08, 0.04]], dtype=torch.float64))
    return TabularPolicy(WORDS.prompts, [["rock", "paper", "scissors", "lizard"]], logits=logits)


def language_model_start():
    """Supervised on a paper-heavy mixture; what is illegal it finds by itself."""
    responses = [["rock", *8 * ["paper"], "scissors"]]
    return tiny_policy(WORDS, steps=200, responses=responses, max_new_tokens=10, width=32)


STARTS = {
    "tabular": (tabular_start, 8, OptimizationConfig(inner_steps=10, learning_rate=0.05)),
    "language model": (language_model_start, 24, OptimizationConfig(inner_steps=8, learning_rate=1e-3)),
}


def learned(kind, oracle):
    """Exploitability by the true judge before and after 40 rounds of proximal_rebel with a pool."""
    make, draws, optimization = STARTS[kind]
    config = SelfPlayConfig(
        rounds=40,
        algorithm=AlgorithmConfig("proximal_rebel", step_size=2.0, regularization=0.02),
        sampling=SamplingConfig(prompts_per_round=1, completions_per_prompt=draws),
        pool=PoolConfig(weights="exact", regressed=48, base="mixture", capacity=512),
        optimization=optimization,
    )
    history = []
    trainer = SelfPlayTrainer(
        make(), oracle, WORDS.prompts, config, seed=0, evaluator=TextGameEvaluator(WORDS), progress=history.append
    )
    trainer.train()
    return history[0]["exploitability"], history[-1]["exploitability"]


@pytest.mark.parametrize("kind", STARTS)
def test_exploitability_falls(kind):
    """Paper .8 on wins of (.1, .3, .6) gives scissors about .6 * .8 = .48 - .03; at the end at most .12 is left."""
    start, end = learned(kind, WORDS)
    assert 0.4 < start < 0.55
    assert end < 0.12


@pytest.mark.parametrize("kind", STARTS)
def test_exploitability_grows_if_the_payoff_is_flipped(kind):
    """The test above can fail: with the sign turned round illegal text wins, and its share goes to 1.

    On the three words alone the flip would go unnoticed: -A has the same minimax winner as A where every
    action is in the support, since there A p = 0.
    """
    start, end = learned(kind, Flipped(WORDS))
    assert end > 0.9 > start


# 2. Every row.


def row_config(name, **changes):
    regularization = {"rebel": 0.0, "optimistic_rebel": 0.0, "sppo": 0.0, "online_ipo": 0.5}.get(name, 0.2)
    algorithm = AlgorithmConfig(name, step_size=0.0 if name == "online_ipo" else 1.0, regularization=regularization)
    return replace(CONFIG, rounds=3, algorithm=algorithm, **changes)


def ran(config, oracle=GAME, rounds=3):
    history = []
    trainer = tiny_trainer(None, config, oracle=oracle, progress=history.append)
    before = [parameter.detach().clone() for parameter in trainer.policy.module.parameters()]
    trainer.train()
    assert [metrics["round"] for metrics in history] == list(range(rounds + 1))
    for metrics in history:
        assert all(math.isfinite(value) for value in metrics.values()), metrics
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.policy.module.parameters(), strict=True))
    return trainer, history


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_row_runs(name):
    """Three rounds of a language model: finite metrics, parameters that moved, counters that add up."""
    trainer, history = ran(row_config(name))
    assert trainer.counts["completions"] == history[-1]["completions"] == 3 * 3 * 4
    assert trainer.counts["missing"] == 0
    assert 0 < history[-1]["coverage"] <= 1 + 1e-6


@pytest.mark.parametrize("weights", ["group", "fresh", "exact", "horvitz_thompson"])
@pytest.mark.parametrize("magnet", ["fixed", "ema", "reset"])
def test_every_way_of_weighing_runs(weights, magnet):
    """With every magnet rule; "fresh" draws twice as many; without a pool each round starts from nothing."""
    algorithm = replace(CONFIG.algorithm, magnet=magnet, magnet_every=2)
    config = replace(CONFIG, rounds=3, algorithm=algorithm, pool=replace(CONFIG.pool, weights=weights))
    trainer, _ = ran(config)
    assert trainer.counts["completions"] == 36 * (2 if weights == "fresh" else 1)
    if not config.pool.keeps:
        drawn = 4 * (2 if weights == "fresh" else 1)
        assert all(int(pool.draws.sum()) == drawn and pool.draws.min() > 0 for pool in trainer.pools.values())


@pytest.mark.parametrize("weights", ["group", "exact", "horvitz_thompson"])
def test_missing_judgements_in_training(weights):
    """They are counted, left out, never a tie, and the run goes on."""
    config = replace(CONFIG, pool=replace(CONFIG.pool, weights=weights))
    trainer, history = ran(config, Silent(), rounds=6)
    assert 0 < trainer.counts["missing"] < trainer.counts["queries"]
    assert sum(metrics.get("left_out", 0) for metrics in history) > 0
    for index, pool in trainer.pools.items():
        for i, first in enumerate(pool.texts):
            for j, second in enumerate(pool.texts):
                silent = first != second and sum(map(ord, first + second)) % 5 == 0
                assert np.isnan(pool.payoffs[i, j]) == silent, (GAME.prompts[index], first, second)


class Mute:
    """Answers nothing at all, or nothing about one prompt."""

    def __init__(self, *prompts):
        self.prompts = prompts

    def prefer(self, prompts, responses, opponents=None):
        answer = GAME.prefer(prompts, responses, opponents)
        for b, prompt in enumerate(prompts):
            if not self.prompts or prompt in self.prompts:
                answer[b] = np.nan
        return answer


def test_an_oracle_that_answers_nothing_stops_the_run():
    """No relative reward at all is no training: an error, rather than rounds that look perfect."""
    with pytest.raises(ValueError, match=r"the oracle judged none of a process's 3 prompts .* check that it is up"):
        ran(CONFIG, Mute(), rounds=2)


@pytest.mark.parametrize("weights", ["group", "fresh", "exact", "horvitz_thompson"])
def test_a_prompt_without_judgements_is_left_out(weights):
    """The other prompts train; the silent one keeps its draws, all of them unjudged."""
    config = replace(CONFIG, pool=replace(CONFIG.pool, weights=weights))
    trainer, history = ran(replace(config, rounds=3), Mute(GAME.prompts[0]), rounds=3)
    assert all(np.isfinite(metrics["loss"]) for metrics in history[1:])
    off_diagonal = ~np.eye(len(trainer.pools[0]), dtype=bool)
    assert len(trainer.pools[0]) > 1 and np.isnan(trainer.pools[0].payoffs[off_diagonal]).all()
    assert not np.isnan(trainer.pools[1].payoffs).any()


def exact_tabular(name, logits, **algorithm):
    """All three words in the pool from the first round, uniform base, 400 inner steps: the target is met."""
    row = row_config(name)
    config = replace(
        row,
        algorithm=replace(row.algorithm, step_size=3.0 * row.algorithm.step_size, **algorithm),
        sampling=SamplingConfig(prompts_per_round=1, completions_per_prompt=64),
        pool=PoolConfig(weights="exact", regressed=64, base="uniform", capacity=64),
        optimization=OptimizationConfig(inner_steps=400, learning_rate=0.005, final_share=1.0),
    )
    policy = TabularPolicy(WORDS.prompts, [one.labels for one in WORDS.games], logits=logits)
    return SelfPlayTrainer(policy, WORDS, WORDS.prompts, config, seed=0)


def test_an_annealed_row_follows_the_numpy_dynamics():
    """Step sizes 3, 3 / sqrt 2, 3 / sqrt 3 of magnetic_rebel: the trainer takes the row of its round.

    A trainer that kept the first row would be off by .02 in the third round.
    """
    row = row_config("magnetic_rebel").algorithm
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64))
    trainer = exact_tabular("magnetic_rebel", logits, anneal_after=1.0)
    assert trainer.algorithm.at(2).step_size == pytest.approx(3.0 * row.step_size / np.sqrt(3.0), rel=1e-12)
    falling = constant = initial_state([0.5, 0.3, 0.2])
    for number in range(3):
        trainer.round(number)
        falling = step(trainer.algorithm, WORDS.games[0].payoff, falling)
        constant = step(trainer.algorithm.at(0), WORDS.games[0].payoff, constant)
    ours = torch.softmax(trainer.policy.logits.detach()[0], 0).numpy()
    np.testing.assert_allclose(ours, np.exp(falling.current), atol=3e-3)
    assert np.abs(ours - np.exp(constant.current)).max() > 0.01


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_table_follows_the_numpy_dynamics(name):
    """Three rounds from (.5, .3, .2): within .003 of :func:`step` in every probability, while it moves over .03.

    The tolerance is AdamW's noise. sppo (.006): no normalised policy meets its target, log Z being dropped, and
    the uniform base spreads what is missed otherwise than the weights pi_t of the NumPy solver.
    """
    trainer = exact_tabular(name, torch.log(torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)))
    state, moved = initial_state([0.5, 0.3, 0.2]), 0.0
    for number in range(3):
        trainer.round(number)
        state, before = step(trainer.algorithm, WORDS.games[0].payoff, state), state
        moved = max(moved, np.abs(np.exp(state.current) - np.exp(before.current)).max())
        ours = torch.softmax(trainer.policy.logits.detach()[0], 0).numpy()
        np.testing.assert_allclose(ours, np.exp(state.current), atol=6e-3 if name == "sppo" else 3e-3)
    assert moved > 0.03


def test_the_entropy_that_is_logged_is_the_policys():
    """Mean of -log pi over 400 of its own draws, standard deviation .5 / sqrt(400) = .025: (.8, .15, .05) has .613.

    The mean over the distinct responses would be (-log .8 - log .15 - log .05) / 3 = 1.705.
    """
    logits = torch.tensor([[0.8, 0.15, 0.05]]).log()
    policy = TabularPolicy(WORDS.prompts, [one.labels for one in WORDS.games], logits=logits)
    config = replace(CONFIG, sampling=SamplingConfig(1, 400), pool=replace(CONFIG.pool, regressed=400, capacity=400))
    metrics = SelfPlayTrainer(policy, WORDS, WORDS.prompts, config, seed=0).round(0)
    assert metrics["entropy"] == pytest.approx(0.613, abs=0.1)


def test_extragradient_starts_both_stages_from_the_same_parameters(monkeypatch):
    """egpo: the lookahead is thrown away, weights and AdamW's moments alike; only the second stage remains."""
    seen = []
    original = trainer_module.regress

    def noting(policy, optimizer, *args, **kwargs):
        start = [parameter.detach().clone() for parameter in policy.module.parameters()]
        moments = {key: value.clone() for key, value in trainer_module.optimizer_tensors(optimizer).items()}
        result = original(policy, optimizer, *args, **kwargs)
        seen.append((start, moments, args[1].target, [p.detach().clone() for p in policy.module.parameters()]))
        return result

    monkeypatch.setattr(trainer_module, "regress", noting)
    trainer = tiny_trainer(None, row_config("egpo"))
    trainer.round(0)
    trainer.round(1)
    assert len(seen) == 4
    for first, second in ((seen[0], seen[1]), (seen[2], seen[3])):
        assert all(torch.equal(a, b) for a, b in zip(first[0], second[0], strict=True))
        assert first[1].keys() == second[1].keys()
        assert all(torch.equal(first[1][key], second[1][key]) for key in first[1])
        assert not torch.equal(first[2], second[2])
    assert not seen[0][1] and seen[2][1]  # AdamW has moments from the second round on.
    assert any(not torch.equal(a, b) for a, b in zip(seen[0][3], seen[1][0], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(seen[1][3], seen[2][0], strict=True))


def test_the_previous_policy_is_one_round_old():
    """optimistic_rebel: none in the first round, then the parameters that the round before started from."""
    trainer = tiny_trainer(None, row_config("optimistic_rebel"))
    assert trainer.previous is None
    for number in range(3):
        before = [parameter.detach().clone() for parameter in trainer.policy.module.parameters()]
        trainer.round(number)
        kept = list(trainer.previous.module.parameters())
        assert all(torch.equal(a, b) for a, b in zip(before, kept, strict=True))


def test_magnets_move_by_their_rule():
    """EMA at .25 from m_0 to pi_1: .75 m_0 + .25 pi_1. Reset every 2: the start, then pi_2."""
    weights = {"fixed": [], "ema": [], "reset": []}
    for rule, seen in weights.items():
        config = replace(CONFIG, algorithm=replace(CONFIG.algorithm, magnet=rule, magnet_rate=0.25, magnet_every=2))
        trainer = tiny_trainer(None, config)
        start = [parameter.detach().clone() for parameter in trainer.policy.module.parameters()]
        for number in range(2):
            trainer.round(number)
            policy = [parameter.detach().clone() for parameter in trainer.policy.module.parameters()]
            seen.append((policy, [parameter.detach().clone() for parameter in trainer.magnet.module.parameters()]))
        for a, b in zip(trainer.reference.module.parameters(), start, strict=True):
            assert torch.equal(a, b)

    def same(left, right):
        return all(torch.allclose(a, b, atol=1e-7) for a, b in zip(left, right, strict=True))

    assert same(weights["fixed"][1][1], start)
    policy, magnet = weights["ema"][0]
    assert same(magnet, [0.75 * a + 0.25 * b for a, b in zip(start, policy, strict=True)]) and not same(magnet, start)
    assert same(weights["reset"][0][1], start)
    assert same(weights["reset"][1][1], weights["reset"][1][0]) and not same(weights["reset"][1][1], start)


@pytest.mark.parametrize("weights", ["group", "exact"])
def test_samples_say_who_beat_whom(weights, tmp_path):
    """Every line is a pair drawn in its round, with the judge's own verdict; with and without a pool.

    3 of 4 prompts are visited a round: what the fourth drew the round before is not shown again.
    """
    config = replace(CONFIG, rounds=2, pool=replace(CONFIG.pool, weights=weights))
    trainer, drawn = tiny_trainer(tmp_path, config), []
    sample = trainer.policy.sample
    trainer.policy.sample = lambda *arguments: drawn.append(sample(*arguments)) or drawn[-1]
    trainer.train()
    lines = read_lines(tmp_path / "samples.jsonl")
    assert {line["round"] for line in lines} == {1, 2}
    for line in lines:
        rollouts = drawn[line["round"] - 1]
        pairs = {(rollouts.prompts[b], text) for b, text in zip(rollouts.prompt_index, rollouts.texts, strict=True)}
        assert {(line["prompt"], line["response"]), (line["prompt"], line["opponent"])} <= pairs
        assert line["response"] != line["opponent"]
        truth = GAME.prefer([line["prompt"]], [[line["response"]]], [[line["opponent"]]])
        assert line["preference"] == pytest.approx(float(truth[0, 0, 0]), abs=1e-12)


# 3. Exact resume.


class Stop(Exception):
    pass


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def stop_after(rounds):
    def progress(metrics):
        if metrics["round"] == rounds:
            raise Stop

    return progress


def assert_same_run(one, two, round_number):
    """The last checkpoint to the bit, metrics without seconds, samples."""
    first, second = (out / "checkpoints" / f"round-{round_number:06d}" for out in (one, two))
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert {"module.safetensors", "magnet.safetensors", "optimizer.safetensors", "pools.npz"} < set(names)
    for name in names:
        if name.endswith(".safetensors"):
            left, right = load_file(first / name), load_file(second / name)
            assert left.keys() == right.keys()
            assert all(torch.equal(left[key], right[key]) for key in left), name
        elif name.endswith(".npz"):
            with np.load(first / name) as left, np.load(second / name) as right:
                assert left.files == right.files
                assert all(left[key].tobytes() == right[key].tobytes() for key in left.files), name
        else:
            assert (first / name).read_text() == (second / name).read_text()
    left, right = (read_lines(out / "metrics.jsonl") for out in (one, two))
    for line in (*left, *right):
        line.pop("seconds", None)
    assert left == right and len(left) == round_number + 1
    assert (one / "samples.jsonl").read_text() == (two / "samples.jsonl").read_text()


@pytest.mark.parametrize("name", ["magnetic_rebel", "optimistic_rebel", "egpo"])
def test_a_stopped_run_resumes_to_the_bit(name, tmp_path):
    """6 rounds with a checkpoint every 2; stopped after the log of round 5, so that round is done again.

    A checkpoint that was being written (temporary name) and the cut line of a log are ignored.
    """
    config = CONFIG if name == "magnetic_rebel" else replace(row_config(name), rounds=6)
    if name != "optimistic_rebel":
        config = replace(config, algorithm=replace(config.algorithm, magnet="ema", magnet_rate=0.1))
    else:
        # Without a magnet of its own the checkpoint has the previous policy in its place.
        config = replace(config, pool=replace(config.pool, weights="exact"))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    tiny_trainer(whole, config).train()
    with pytest.raises(Stop):
        tiny_trainer(cut, config, progress=stop_after(5)).train()
    assert sorted(path.name for path in (cut / "checkpoints").iterdir()) == ["round-000002", "round-000004"]
    partial = cut / "checkpoints" / ".round-000006.999"
    partial.mkdir()
    (partial / "state.json").write_text("{")
    with (cut / "metrics.jsonl").open("a") as stream:
        stream.write('{"round": 6, "lo')
    again = tiny_trainer(cut, config)
    assert again.train(resume=True)["rounds_done"] == 6
    assert not partial.exists()  # what the kill left is gone with the next checkpoint
    if name == "optimistic_rebel":
        for out in (whole, cut):
            last = out / "checkpoints" / "round-000006"
            (last / "previous.safetensors").rename(last / "magnet.safetensors")
    assert_same_run(whole, cut, 6)


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    """Not a round is trained, and the logs stay as they are."""
    first = tiny_trainer(tmp_path).train()
    logs = [(tmp_path / name).read_text() for name in ("metrics.jsonl", "samples.jsonl")]
    trainer = tiny_trainer(tmp_path, progress=stop_after(1))
    assert trainer.train(resume=True) == first
    assert [(tmp_path / name).read_text() for name in ("metrics.jsonl", "samples.jsonl")] == logs
    last = load_file(tmp_path / "checkpoints" / "round-000006" / "module.safetensors")
    for name, value in trainer.policy.module.state_dict().items():
        assert torch.equal(value, last[name])


def test_nothing_to_resume_from_is_a_new_run(tmp_path):
    assert tiny_trainer(tmp_path, replace(CONFIG, rounds=1)).train(resume=True)["rounds_done"] == 1


def test_a_new_run_does_not_mix_with_an_old_one(tmp_path):
    """A folder with checkpoints is resumed or refused; nothing in it is touched."""
    tiny_trainer(tmp_path, replace(CONFIG, rounds=2)).train()
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(
        ValueError, match=r"round-000002 is another run's checkpoint: resume it, or give another folder"
    ):
        tiny_trainer(tmp_path, replace(CONFIG, rounds=3)).train()
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_run_goes_on_with_smaller_microbatches(tmp_path):
    """After running out of memory: what does not change the mathematics may change."""
    with pytest.raises(Stop):
        tiny_trainer(tmp_path, progress=stop_after(3)).train()
    smaller = replace(CONFIG, checkpoint_every=1, optimization=replace(CONFIG.optimization, microbatch_tokens=8))
    assert tiny_trainer(tmp_path, smaller).train(resume=True)["rounds_done"] == 6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_learner_is_refused(dtype):
    """At small learning rates most of its weights would never move."""
    policy = tiny_policy(steps=1)
    policy.model.to(dtype)
    with pytest.raises(ValueError, match=r"the learner's weights are torch\..*float16, .* load it as float32"):
        SelfPlayTrainer(policy, GAME, GAME.prompts, CONFIG, seed=0)


def test_mixed_precision_is_refused():
    class Mixed:
        num_processes, process_index, mixed_precision = 1, 0, "bf16"

    with pytest.raises(ValueError, match="mixed precision 'bf16' would bias log-ratios"):
        SelfPlayTrainer(tiny_policy(steps=1), GAME, GAME.prompts, CONFIG, seed=0, accelerator=Mixed())


def test_other_settings_are_not_resumed(tmp_path):
    """The message names the setting, what it was and what it is."""
    tiny_trainer(tmp_path, replace(CONFIG, rounds=2)).train()
    other = replace(CONFIG, rounds=2, optimization=replace(CONFIG.optimization, inner_steps=3))
    with pytest.raises(ValueError, match=r"another config \(optimization.inner_steps = 2, now 3\); resume"):
        tiny_trainer(tmp_path, other).train(resume=True)
    with pytest.raises(ValueError, match=r"another seed \(5, now 6\)"):
        tiny_trainer(tmp_path, replace(CONFIG, rounds=2), seed=6).train(resume=True)


@pytest.mark.parametrize("name", ["state.json", "module.safetensors", "optimizer.safetensors", "pools.npz"])
@pytest.mark.parametrize("left", [None, 0, 20])
def test_damaged_checkpoints(name, left, tmp_path):
    """A file that is gone, empty or cut after 20 bytes: one clear message that names the checkpoint."""
    tiny_trainer(tmp_path, replace(CONFIG, rounds=2)).train()
    path = tmp_path / "checkpoints" / "round-000002" / name
    if left is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match=r"round-000002 is not a whole checkpoint .*delete it to resume"):
        tiny_trainer(tmp_path, replace(CONFIG, rounds=2)).train(resume=True)


def test_a_killed_run_resumes_to_the_bit(tmp_path, run_environment):
    """SIGKILL in another process, at a round drawn with a fixed seed, in the middle of whatever it does."""
    config = replace(CONFIG, rounds=12)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    tiny_trainer(whole, config).train()
    lines = int(np.random.default_rng(20261122).integers(5, 11))
    command = [sys.executable, str(SCRIPT), str(killed), "--rounds", "12", "--pause", "0.1"]
    with subprocess.Popen(command, env=run_environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        log, deadline = killed / "metrics.jsonl", time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if log.exists() and len(log.read_text().splitlines()) >= lines:
                break
            time.sleep(0.01)
        alive = process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        output = process.communicate()[0].decode()
    assert alive and process.returncode == -signal.SIGKILL, output
    done = len(log.read_text().splitlines()) - 1
    assert lines - 1 <= done < 12
    assert tiny_trainer(killed, config).train(resume=True)["rounds_done"] == 12
    assert_same_run(whole, killed, 12)


# 4. Several processes.


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path, run_environment):
    """Two gloo processes on this machine, 3 prompts a round (two and one), responses split over microbatches.

    Parameters agree to 1e-5 (sums in another order), what is drawn and judged in the first three rounds
    to the letter.
    """
    config = replace(CONFIG, optimization=replace(CONFIG.optimization, microbatch_tokens=8))
    one, two = tmp_path / "one", tmp_path / "two"
    tiny_trainer(one, config).train()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1"]
    command = [sys.executable, *launch, "--master_port", str(port), str(SCRIPT), str(two), "--microbatch_tokens", "8"]
    done = subprocess.run(command, env=run_environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    ranks = [json.loads((two / f"rank-{rank}.json").read_text()) for rank in range(2)]
    assert [rank["world"] for rank in ranks] == [2, 2]
    for first, second in zip(ranks[0]["handled"], ranks[1]["handled"], strict=True):
        assert len(first) == 2 and len(second) == 1 and not set(first) & set(second)
    assert len(ranks[0]["handled"]) == 6

    left, right = (out / "checkpoints" / "round-000006" for out in (one, two))
    for name in ("module", "magnet", "reference"):
        ours, theirs = (load_file(folder / f"{name}.safetensors") for folder in (left, right))
        assert ours.keys() == theirs.keys()
        for key in ours:
            torch.testing.assert_close(ours[key], theirs[key], atol=1e-5, rtol=0)
    samples = [[line for line in read_lines(out / "samples.jsonl") if line["round"] <= 3] for out in (one, two)]
    assert samples[0] == samples[1] and samples[0]
    for mine, other in zip(*(read_lines(out / "metrics.jsonl") for out in (one, two)), strict=True):
        assert mine.keys() == other.keys()
        for key in mine.keys() - {"seconds"}:
            assert mine[key] == pytest.approx(other[key], abs=2e-3, rel=2e-3), key


def test_more_processes_than_prompts():
    """One prompt a round cannot be dealt to two processes: refused at once, not a hang later."""

    class Two:
        num_processes, process_index, mixed_precision = 2, 0, "no"

    config = replace(CONFIG, sampling=replace(CONFIG.sampling, prompts_per_round=1))
    with pytest.raises(ValueError, match="1 prompts a round cannot be dealt to 2 processes: raise sampling"):
        SelfPlayTrainer(tiny_policy(steps=1), GAME, GAME.prompts, config, seed=0, accelerator=Two())
