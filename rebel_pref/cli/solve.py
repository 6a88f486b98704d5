"""``rebel-pref solve FILE|NAME``: the minimax winner of a game, its certificate, how sure it is, and a figure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import NonNegativeInt, PositiveInt

from rebel_pref.bootstrap import WinnerIntervals, bootstrap_winner
from rebel_pref.cli.console import progress_bar
from rebel_pref.cli.games import GAME_HELP, open_game
from rebel_pref.cli.options import parsed
from rebel_pref.cli.solve_table import print_solution
from rebel_pref.games import Comparisons, Game, PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.solution import Solution
from rebel_pref.solvers import METHODS, solve
from rebel_pref.solvers.answer import Progress
from rebel_pref.solvers.selection import SELECTIONS

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Parse, solve, print; 0 solved, 1 fell short."""
    arguments = parsed(_parser(), argv)
    draw = _figure_writer(arguments) if arguments.figure else None
    game = open_game(arguments.game)
    comparisons = _comparisons(game, arguments) if arguments.bootstrap is not None else None
    # Replicates can only be compared if one rule chose every winner.
    by_rule = comparisons is not None and arguments.method == "auto"
    selection = arguments.selection or ("max_entropy" if by_rule else "any")

    def winner(game: Game, *, exact: bool = False, progress: Progress | None = None) -> Solution:
        return solve(
            game,
            method=arguments.method,
            tol=arguments.tol,
            selection=selection,
            exact=exact,
            max_steps=arguments.max_steps,
            seed=arguments.seed,
            progress=progress,
        )

    with progress_bar("solving") as update:
        solution = winner(
            game,
            exact=arguments.exact,
            progress=lambda steps, reached: update(completed=steps, note=f"exploitability {reached:.2g}"),
        )
    intervals = None
    if comparisons is not None:
        with progress_bar("bootstrap", arguments.bootstrap) as update:
            intervals = bootstrap_winner(
                comparisons,
                replicates=arguments.bootstrap,
                seed=arguments.seed,
                level=arguments.level,
                solve=winner,
                progress=lambda done: update(completed=done),
            )
    if draw is not None:
        draw(game, solution, intervals)
    if arguments.json:
        print(json.dumps(as_json(game, solution, intervals)))
    else:
        print_solution(game, solution, intervals, title=arguments.game)
        if arguments.figure:
            print(f"figure: {arguments.figure}")
    return 0 if solution.solved else 1


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="rebel-pref solve",
        description="Compute the minimax winner of a game: the mixture of actions that no other mixture beats. "
        "Prints it with the payoff of every action against it, and a certificate of how far it is from unbeatable.",
        exit_on_error=False,
        default_env=False,
        allow_abbrev=False,
    )
    parser.add_argument("game", type=str, help=GAME_HELP)
    parser.add_argument("--method", type=str, default="auto", metavar="NAME", help=f"one of {', '.join(METHODS)}")
    parser.add_argument(
        "--tol", type=float, default=1e-9, metavar="X", help="exploitability allowed, as a share of the largest payoff"
    )
    parser.add_argument(
        "--selection",
        type=str,
        metavar="RULE",
        help=f"which winner if there are several, one of {', '.join(SELECTIONS)}; any, or max_entropy with --bootstrap",
    )
    parser.add_argument("--exact", action="store_true", help="prove the winner over the rationals, print fractions")
    parser.add_argument(
        "--bootstrap", type=int, metavar="N", help="intervals from N replicates of the comparisons; needs counts"
    )
    parser.add_argument(
        "--max-steps",
        type=PositiveInt,
        default=100_000,
        metavar="N",
        help="allowed to methods that approach the winner step by step: matvecs, plays, or rounds",
    )
    parser.add_argument("--level", type=float, default=0.95, metavar="X", help="what share the intervals enclose")
    parser.add_argument(
        "--seed", type=NonNegativeInt, default=0, metavar="N", help="of replicates, and of solvers that draw"
    )
    parser.add_argument("--figure", type=str, metavar="FILE", help="draw the game and its winner: .png, .svg or .pdf")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    return parser


def as_json(game: Game, solution: Solution, intervals: WinnerIntervals | None = None) -> dict[str, object]:
    """The object that ``--json`` prints; fractions and intervals only where they were asked for."""
    certificate = solution.certificate
    result: dict[str, object] = {
        "policy": dict(zip(game.labels, (solution.policy + 0.0).tolist(), strict=True)),
        "support": list(solution.support),
        "exploitability": certificate.exploitability + 0.0,
        "duality_gap": certificate.duality_gap + 0.0,
        "rounding": _finite(certificate.rounding),
        "upper_bound": _finite(certificate.upper_bound),
        "best_response": certificate.best_response,
        "method": solution.method,
        "steps": solution.steps,
        "status": solution.status,
    }
    if certificate.exact_policy is not None:
        result["exact_policy"] = {label: str(share) for label, share in certificate.exact_policy.items()}
    selection = solution.settings.get("selection", "any")
    if selection != "any":
        result["selection"] = selection
    if intervals is not None:
        result["intervals"] = {
            "level": intervals.level,
            "replicates": intervals.replicates,
            "unsolved": intervals.unsolved,
            "one_sided": intervals.one_sided,
            "probability": _bounds(intervals.labels, intervals.lower, intervals.upper),
            "in_support": dict(zip(intervals.labels, intervals.probability_in_support.tolist(), strict=True)),
            "win_rate": _bounds(intervals.labels, intervals.win_rate_lower, intervals.win_rate_upper),
        }
    return result


def _finite(bound: float) -> float | None:
    """JSON has no infinity: a bound that is not known is null."""
    return bound + 0.0 if math.isfinite(bound) else None


def _bounds(labels: Sequence[str], lower: FloatArray, upper: FloatArray) -> dict[str, list[float]]:
    return {label: [low, high] for label, low, high in zip(labels, lower.tolist(), upper.tolist(), strict=True)}


def _comparisons(game: Game, arguments: Namespace) -> Comparisons:
    if isinstance(game, PreferenceGame) and game.comparisons is not None:
        return game.comparisons
    raise ValueError(
        f"--bootstrap draws comparisons again, but {arguments.game} holds payoffs and not how often they were "
        "observed; give a file with counts of wins, or with a comparison in each row"
    )


def _figure_writer(arguments: Namespace) -> Callable[[Game, Solution, WinnerIntervals | None], None]:
    """Draws to the file asked for, which is refused before anything is solved."""
    try:
        from rebel_pref.cli.solve_figure import check_figure_path, draw_solution, save_figure
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "matplotlib":
            raise
        raise ValueError("--figure needs matplotlib: pip install 'rebel_pref[figures]'") from None
    path = check_figure_path(arguments.figure)
    title = Path(arguments.game).name

    def draw(game: Game, solution: Solution, intervals: WinnerIntervals | None) -> None:
        save_figure(draw_solution(game, solution, title=title, intervals=intervals), path)

    return draw
