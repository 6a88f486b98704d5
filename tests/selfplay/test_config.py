"""Settings that cannot be run are refused before anything is, by name."""

from dataclasses import replace

import pytest

from rebel_pref.algorithms import ALGORITHMS, EMAMagnet, FixedMagnet, ResetMagnet
from rebel_pref.games import rock_paper_scissors_text
from rebel_pref.policies import TabularPolicy
from rebel_pref.selfplay import (
    AlgorithmConfig,
    OptimizationConfig,
    PoolConfig,
    SamplingConfig,
    SelfPlayConfig,
    SelfPlayTrainer,
)

GOOD = SelfPlayConfig(
    algorithm=AlgorithmConfig("proximal_rebel", step_size=1.0, regularization=0.1),
    sampling=SamplingConfig(prompts_per_round=8, completions_per_prompt=8),
    pool=PoolConfig(weights="exact", regressed=48, capacity=512),
)


def algorithm(name, **kwargs):
    return replace(GOOD, algorithm=replace(GOOD.algorithm, name=name, **kwargs))


def test_defaults_are_good():
    GOOD.check()
    SelfPlayConfig().check()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(GOOD, sampling=SamplingConfig(completions_per_prompt=1)), "must be at least 2.*two responses.*got 1"),
        (replace(GOOD, pool=replace(GOOD.pool, regressed=7)), "regressed = 7 leaves out some of the 8 fresh responses"),
        (replace(GOOD, pool=replace(GOOD.pool, capacity=47)), "pool.capacity = 47 is below pool.regressed = 48"),
        (algorithm("rebbel"), "algorithm.name is 'rebbel'; known algorithms: rebel, .*proximal_rebel"),
        (replace(GOOD, rounds=0), "rounds must be positive, got 0"),
        (replace(GOOD, sampling=SamplingConfig(prompts_per_round=0)), "sampling.prompts_per_round must be positive"),
        (replace(GOOD, optimization=OptimizationConfig(inner_steps=0)), "inner_steps must be positive, got 0"),
        (replace(GOOD, optimization=OptimizationConfig(learning_rate=float("nan"))), "learning_rate must be positive"),
        (replace(GOOD, optimization=OptimizationConfig(microbatch_tokens=-1)), "microbatch_tokens must be positive"),
        (replace(GOOD, evaluate_every=0), "evaluate_every must be positive"),
        (replace(GOOD, samples_every=0), "samples_every must be positive"),
        (replace(GOOD, keep_checkpoints=0), "keep_checkpoints must be positive"),
        (replace(GOOD, checkpoint_every=-1), "checkpoint_every must not be negative, got -1"),
        (algorithm("proximal_rebel", step_size=0.0), "step_size must be positive and finite, got 0.0"),
        (algorithm("rebel", regularization=0.1), "rebel takes no regularization, got 0.1"),
        (algorithm("sppo", regularization=0.0, magnet="ema"), "sppo has no magnet in its row"),
        (algorithm("inpo", step_size=3.0, regularization=0.5), r"= 1.5 > 1 puts a negative weight"),
        (algorithm("online_ipo", step_size=3.0, regularization=0.5), "online_ipo steps by 1 / regularization = 2"),
        (algorithm("magnetic_rebel", anneal_after=-1.0), "anneal_after must not be negative, got -1.0"),
        (algorithm("online_ipo", step_size=2.0, regularization=0.5, anneal_after=5.0), "has nothing to lower"),
        (algorithm("magnetic_rebel", magnet="ema", magnet_rate=1.5), r"magnet rate must lie in \(0, 1\], got 1.5"),
        (algorithm("magnetic_rebel", magnet="reset", magnet_every=0), "reset every m >= 1 rounds, got 0"),
    ],
)
def test_settings_that_cannot_be_run(config, message):
    """By `check`, and by the trainer, which checks first."""
    with pytest.raises(ValueError, match=message):
        config.check()
    game = rock_paper_scissors_text()
    policy = TabularPolicy(game.prompts, [one.labels for one in game.games])
    with pytest.raises(ValueError, match=message):
        SelfPlayTrainer(policy, game, game.prompts, config, seed=0)


def test_without_a_pool_its_numbers_are_not_checked():
    """Nothing is regressed from a pool that is not there."""
    replace(GOOD, pool=PoolConfig(weights="group", regressed=1, capacity=0)).check()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_row_can_be_built(name):
    regularization = 0.0 if name in ("rebel", "optimistic_rebel", "sppo") else 0.5
    built = AlgorithmConfig(name, step_size=0.0 if name == "online_ipo" else 1.0, regularization=regularization).build()
    assert (built.name, built.regularization) == (name, regularization)


def test_magnets():
    rules = {
        "fixed": FixedMagnet(),
        "ema": EMAMagnet(0.3),
        "reset": ResetMagnet(7),
    }
    for name, rule in rules.items():
        built = AlgorithmConfig("magnetic_rebel", magnet=name, magnet_rate=0.3, magnet_every=7).build()
        assert built.magnet == rule


@pytest.mark.parametrize("prompts", [(), ("throw>", "throw>")])
def test_prompts_must_be_there_and_distinct(prompts):
    game = rock_paper_scissors_text()
    policy = TabularPolicy(game.prompts, [one.labels for one in game.games])
    with pytest.raises(ValueError, match="at least one prompt and no two the same"):
        SelfPlayTrainer(policy, game, prompts, GOOD, seed=0)
