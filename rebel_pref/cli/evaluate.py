"""``rebel-pref evaluate MODEL...``: exact exploitability of saved models on a text game."""

from __future__ import annotations

import json
from collections.abc import Sequence

import jsonargparse

from rebel_pref.cli.config import GameConfig, recipes
from rebel_pref.cli.console import Display

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Parse, enumerate, certify, print."""
    parser = jsonargparse.ArgumentParser(
        prog="rebel-pref evaluate",
        description="Measure how exploitable saved language models are on a text game, against its true judge.",
        exit_on_error=False,
        default_env=False,
        allow_abbrev=False,
    )
    parser.add_argument("models", nargs="+", type=str, help="folders or hub ids of causal language models")
    parser.add_argument(
        "--recipe", type=str, default="blotto", help=f"game of this recipe or YAML file: {', '.join(recipes())}"
    )
    parser.add_argument("--temperature", type=float, default=1.0, help="sampling temperature of the policies")
    parser.add_argument("--trust_remote_code", type=bool, default=False, help="run code that comes with a model")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    arguments = parser.parse_args(list(argv))
    game = _game(arguments.recipe).build()

    from pathlib import Path

    from transformers.utils import logging

    from rebel_pref.cli.results import cross_play
    from rebel_pref.policies import LanguageModelPolicy
    from rebel_pref.selfplay import enumerate_policy

    logging.disable_progress_bar()
    for name in arguments.models:
        if (name.startswith((".", "/")) or Path(name).parts[0] == "runs") and not Path(name).is_dir():
            raise FileNotFoundError(f"no such folder: {name}; expected a model saved by save_pretrained")
    policies = []
    for name in arguments.models:
        policy = LanguageModelPolicy.from_pretrained(
            name, max_new_tokens=1, temperature=arguments.temperature, trust_remote_code=arguments.trust_remote_code
        )
        policies.append(enumerate_policy(policy, game))
    measured = [game.exploitability(policy) for policy in policies]
    legal = [float(sum(row.sum() for row in policy)) / len(game.prompts) for policy in policies]
    win_rates = 0.5 + 0.5 * cross_play(game, policies)
    if arguments.json:
        result = {
            name: {"exploitability": value, "duality_gap": 2.0 * value, "legal": share, "win_rates": row.tolist()}
            for name, value, share, row in zip(arguments.models, measured, legal, win_rates, strict=True)
        }
        print(json.dumps(result))
        return 0
    display = Display()
    display.table(
        "Against the true judge",
        ("model", "exploitability", "a best responder wins", "legal"),
        [
            (name, f"{value:.4f}", f"{50 + 50 * value:.1f} %", f"{100 * share:.1f} %")
            for name, value, share in zip(arguments.models, measured, legal, strict=True)
        ],
    )
    if len(policies) > 1:
        display.table(
            "Win rate of the row against the column",
            ("model", *(str(i + 1) for i in range(len(policies)))),
            [
                (f"{i + 1}: {name}", *(f"{100 * rate:.1f} %" for rate in win_rates[i]))
                for i, name in enumerate(arguments.models)
            ],
        )
    return 0


def _game(recipe: str) -> GameConfig:
    from rebel_pref.cli.train import parse

    return parse([recipe])[1].game
