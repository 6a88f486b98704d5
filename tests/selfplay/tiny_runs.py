"""Tiny self-play runs of a language model, for tests in this process and in others.

``python tiny_runs.py OUT [--rounds T] [--every N] [--pause SECONDS] [--microbatch_tokens N]`` trains, and writes
``OUT/rank-R.json`` with what process R did.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

from preference_models import character_tokenizer
from rebel_pref.games import PreferenceGame, TextGame, rock_paper_scissors
from rebel_pref.policies import SupervisedConfig, fit_supervised, tiny_language_model
from rebel_pref.selfplay import (
    AlgorithmConfig,
    OptimizationConfig,
    PoolConfig,
    SamplingConfig,
    SelfPlayConfig,
    SelfPlayTrainer,
    TextGameEvaluator,
)

WINS = ((1.0, 1.0, 1.0), (0.1, 0.3, 0.6), (0.5, 0.2, 0.9), (0.7, 0.7, 0.1))
GAME = TextGame(
    tuple(f"{b}>" for b in range(4)),
    tuple(PreferenceGame.from_payoffs(rock_paper_scissors(*wins).payoff, labels=("r", "p", "s")) for wins in WINS),
)

CONFIG = SelfPlayConfig(
    rounds=6,
    algorithm=AlgorithmConfig("magnetic_rebel", step_size=1.0, regularization=0.1, magnet="ema", magnet_rate=0.1),
    sampling=SamplingConfig(prompts_per_round=3, completions_per_prompt=4),
    pool=PoolConfig(weights="horvitz_thompson", regressed=8, base="mixture", capacity=16),
    optimization=OptimizationConfig(inner_steps=2, learning_rate=3e-3, final_share=0.1),
    checkpoint_every=2,
    keep_checkpoints=2,
    evaluate_every=1,
    samples_every=1,
)
"""Everything that a resumed run must restore is in it: a moving magnet, pools, a schedule, epochs of prompts."""


def tiny_policy(game=GAME, *, steps=30, responses=None, max_new_tokens=3, width=16):
    """A Llama, briefly supervised on the legal completions."""
    labels = [list(one.labels) for one in game.games]
    alphabet = "".join(
        sorted({c for text in (*game.prompts, *(label for row in labels for label in row)) for c in text})
    )
    policy = tiny_language_model(
        character_tokenizer(alphabet), max_new_tokens=max_new_tokens, hidden_size=width, layers=1, heads=2
    )
    config = SupervisedConfig(steps=steps, batch_size=32, learning_rate=1e-2)
    fit_supervised(policy, game.prompts, responses or labels, config, seed=0)
    return policy


def tiny_trainer(out, config=CONFIG, *, seed=5, progress=None, oracle=GAME):
    """A trainer of :func:`tiny_policy` against the true judge."""
    evaluator = TextGameEvaluator(GAME)
    return SelfPlayTrainer(
        tiny_policy(), oracle, GAME.prompts, config, seed=seed, out=out, evaluator=evaluator, progress=progress
    )


def noted_prompts(policy):
    """The prompts of each call of `policy.sample` from here on."""
    handled, sample = [], policy.sample

    def noting(prompts, *rest):
        handled.append(list(prompts))
        return sample(prompts, *rest)

    policy.sample = noting
    return handled


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=CONFIG.rounds)
    parser.add_argument("--every", type=int, default=CONFIG.checkpoint_every)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--microbatch_tokens", type=int, default=CONFIG.optimization.microbatch_tokens)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = replace(
        CONFIG,
        rounds=arguments.rounds,
        checkpoint_every=arguments.every,
        optimization=replace(CONFIG.optimization, microbatch_tokens=arguments.microbatch_tokens),
    )
    trainer = tiny_trainer(arguments.out, config, progress=lambda metrics: time.sleep(arguments.pause))
    handled = noted_prompts(trainer.policy)
    trainer.train()
    rank, world = trainer.accelerator.process_index, trainer.accelerator.num_processes
    (arguments.out / f"rank-{rank}.json").write_text(json.dumps({"world": world, "handled": handled}))
    accelerator = trainer.accelerator
    accelerator.wait_for_everyone()
    # What holds the process group must go before it does: its threads may not outlive the interpreter.
    accelerator.free_memory()
    del trainer
    gc.collect()
    accelerator.end_training()


if __name__ == "__main__":
    main()
