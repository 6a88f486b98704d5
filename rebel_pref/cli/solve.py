"""``rebel-pref solve FILE|NAME``: the minimax winner of a matrix game."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import numpy as np
from jsonargparse import ArgumentParser

from rebel_pref.games import GAMES, PreferenceGame, named_game
from rebel_pref.games.files import load_game
from rebel_pref.solution import Solution
from rebel_pref.solvers import METHODS, solve

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Parse, solve, print; 0 solved, 1 fell short."""
    parser = ArgumentParser(
        prog="rebel-pref solve",
        description="Compute the minimax winner of a matrix game, with its certificate.",
        exit_on_error=False,
        default_env=False,
        allow_abbrev=False,
    )
    parser.add_argument(
        "game",
        type=str,
        help=f"CSV file with a square matrix of win rates or payoffs, or a name: {', '.join(sorted(GAMES))}",
    )
    parser.add_argument("--method", type=str, default="auto", help=f"one of {', '.join(METHODS)}")
    parser.add_argument("--tol", type=float, default=1e-9, help="exploitability allowed, as a share of max|A|")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    arguments = parser.parse_args(list(argv))
    game = _game(arguments.game)
    solution = solve(game, method=arguments.method, tol=arguments.tol)
    if arguments.json:
        print(json.dumps(as_json(game, solution)))
    else:
        _print_table(game, solution, arguments.game)
    return 0 if solution.solved else 1


def as_json(game: PreferenceGame, solution: Solution) -> dict[str, object]:
    """The object that ``--json`` prints."""
    return {
        "policy": dict(zip(game.labels, solution.policy.tolist(), strict=True)),
        "support": list(solution.support),
        "exploitability": solution.certificate.exploitability,
        "duality_gap": solution.certificate.duality_gap,
        "method": solution.method,
        "status": solution.status,
    }


def _game(name: str) -> PreferenceGame:
    if os.path.exists(name):
        return load_game(name)
    if name not in GAMES and (os.sep in name or "." in name):
        raise FileNotFoundError(f"no such file: {name}")
    try:
        return named_game(name)
    except ValueError as error:
        raise ValueError(f"no file and {error}") from None


def _print_table(game: PreferenceGame, solution: Solution, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    payoffs = np.round(game.payoff @ solution.policy, 12) + 0.0  # rounding must not print as -0.000000
    of_preferences = solution.certificate.best_response_win_rate is not None
    table = Table(title=f"Minimax winner of {title}", title_justify="left")
    for column in ("action", "probability", "payoff against the winner", "win rate"):
        table.add_column(column, justify="left" if column == "action" else "right")
    place = {label: i for i, label in enumerate(game.labels)}
    others = [label for label in game.labels if label not in solution.support]
    shown = [*solution.support, *others][: max(20, len(solution.support))]
    for label in shown:
        i = place[label]
        table.add_row(
            label,
            f"{solution.policy[i]:.6f}",
            f"{payoffs[i]:+.6f}",
            f"{50 + 50 * payoffs[i]:.2f} %" if of_preferences else "-",
        )
    console = Console()
    console.print(table)
    if len(shown) < len(game):
        console.print(f"  and {len(game) - len(shown)} more actions with probability 0")
    console.print(f"certificate: {solution.certificate}", highlight=False, soft_wrap=True)
    console.print(
        f"method: {solution.method}, {solution.steps} steps; status: {solution.status}", highlight=False, soft_wrap=True
    )
