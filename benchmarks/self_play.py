"""Which row, which pool: self-play on the text game at equal completions, true judge, exact exploitability.

    python -m benchmarks.self_play [--quick] [--seeds 0 1 2] [--out DIR] [--only NAME ...]

Every row has the same start, completions and inner steps; queries and CPU seconds differ and are printed. Exits 1 if
the default does not meet its bar: a best responder wins at most 60 % against the last iterate at 10,048 completions.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preference_models import character_tokenizer
from rebel_pref.cli.config import TrainConfig
from rebel_pref.cli.console import Display
from rebel_pref.cli.train import parse
from rebel_pref.games import TextGame
from rebel_pref.policies import LanguageModelPolicy, SupervisedConfig, fit_supervised, tiny_language_model
from rebel_pref.record import save_table
from rebel_pref.selfplay import SelfPlayConfig, SelfPlayTrainer, TextGameEvaluator

__all__ = ["main"]

BAR = 60.0


def variants(default: SelfPlayConfig) -> dict[str, SelfPlayConfig]:
    """The default and what it is measured against; each differs in what its name says."""
    algorithm, pool = default.algorithm, default.pool
    group = replace(pool, weights="group")
    magnetic = replace(algorithm, name="magnetic_rebel")
    plain = replace(algorithm, name="rebel", regularization=0.0)
    return {
        "proximal_rebel, Horvitz-Thompson pool": default,
        "proximal_rebel, Horvitz-Thompson pool, equilibrium base": replace(
            default, pool=replace(pool, base="equilibrium")
        ),
        "proximal_rebel, exact pool": replace(default, pool=replace(pool, weights="exact")),
        "proximal_rebel, exact pool, uniform base": replace(
            default, pool=replace(pool, weights="exact", base="uniform")
        ),
        "magnetic_rebel, Horvitz-Thompson pool": replace(default, algorithm=magnetic),
        "proximal_rebel, group only": replace(default, pool=group),
        "magnetic_rebel, group only": replace(default, algorithm=magnetic, pool=group),
        "rebel, group only": replace(default, algorithm=plain, pool=group),
    }


def make_start(config: TrainConfig, game: TextGame, seed: int) -> LanguageModelPolicy:
    """The supervised model that every row starts from."""
    legal = [one.labels for one in game.games]
    alphabet = sorted({c for text in (*game.prompts, *(t for group in legal for t in group)) for c in text})
    policy = tiny_language_model(
        character_tokenizer("".join(alphabet)),
        max_new_tokens=max(len(text) for group in legal for text in group) + 3,
        hidden_size=config.start.hidden_size,
        layers=config.start.layers,
        heads=config.start.heads,
        seed=seed,
    )
    fit_supervised(policy, game.prompts, legal, config.start.supervised, seed=seed)
    return policy


def measure(start: LanguageModelPolicy, game: TextGame, config: SelfPlayConfig, seed: int) -> dict[str, Any]:
    """One run from a copy of the start."""
    policy = start.frozen_copy()
    policy.model.requires_grad_(True)
    evaluator = TextGameEvaluator(game)
    trainer = SelfPlayTrainer(policy, game, game.prompts, config, seed=seed, evaluator=evaluator)
    began = time.process_time()
    counts = trainer.train()
    return {
        "last": 50 + 50 * game.exploitability(evaluator.last),
        "average": 50 + 50 * game.exploitability(evaluator.average),
        "legal": 100 * float(np.mean([row.sum() for row in evaluator.last])),
        "completions": counts["completions"],
        "queries": counts["queries"],
        "cpu_seconds": time.process_time() - began,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, save; 1 if the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="two rounds from a barely supervised start: checks that everything runs"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--only", nargs="+", default=None, help="run the rows whose name contains one of these")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    config = parse(["blotto"])[1]
    game = config.game.build()
    default = config.self_play
    if arguments.quick:
        default = replace(default, rounds=2)
        config = replace(config, start=replace(config.start, supervised=SupervisedConfig(steps=20)))
    rows: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        start = make_start(config, game, seed)
        for name, settings in variants(default).items():
            if arguments.only and not any(part in name for part in arguments.only):
                continue
            rows.append({"row": name, "seed": seed, **measure(start, game, settings, seed)})
            print({key: round(value, 2) if isinstance(value, float) else value for key, value in rows[-1].items()})
    if not rows:
        parser.error(f"--only {' '.join(arguments.only)} matches none of: {'; '.join(variants(default))}")
    names = list(dict.fromkeys(row["row"] for row in rows))
    numbers = ("last", "average", "legal", "completions", "queries", "cpu_seconds")
    table = []
    for name in names:
        own = [row for row in rows if row["row"] == name]
        table.append((name, *(f"{np.mean([row[column] for row in own]):,.1f}" for column in numbers), str(len(own))))
    Display().table(
        "A best responder's win rate (%) against the last and the average iterate, true judge",
        ("row", *numbers, "seeds"),
        table,
    )
    save_table(arguments.out, "self_play", rows, {"seeds": arguments.seeds, "quick": arguments.quick})
    default_name = next(name for name, settings in variants(default).items() if settings == default)
    reached = [row["last"] for row in rows if row["row"] == default_name]
    if reached and not arguments.quick and float(np.mean(reached)) > BAR:
        print(f"missed: {default_name} reached {np.mean(reached):.1f} %, the bar is {BAR} %")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
