"""``rebel-pref rank DATA``: a leaderboard that does not assume an order, with intervals, a page and a figure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import NonNegativeInt

from rebel_pref.cli.console import progress_bar
from rebel_pref.cli.games import GAME_HELP, add_column_options, open_game
from rebel_pref.cli.options import parsed
from rebel_pref.cli.rank_table import print_ranking
from rebel_pref.ranking import Ranking, rank

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Parse, rank, print; 0 done, 1 where the minimax winner fell short."""
    arguments = parsed(_parser(), argv)
    writers = _writers(arguments)
    game = open_game(arguments.game, arguments)
    with progress_bar("replicates") as update:
        ranking = rank(
            game,
            bootstrap=arguments.bootstrap,
            seed=arguments.seed,
            level=arguments.level,
            progress=lambda done, total: update(completed=done, total=total),
        )
    for _, write in writers:
        write(ranking)
    if arguments.json:
        print(json.dumps(ranking.as_dict()))
    else:
        print_ranking(ranking, title=arguments.game)
        for line, _ in writers:
            print(line)
    return 0 if ranking.solution.solved else 1


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="rebel-pref rank",
        description="Rank items by the comparisons between them, without assuming that an order exists: the minimax "
        "winner and everyone's win rate against it, beside Borda, Copeland and Bradley-Terry; what each of these would "
        "cost; and whether the comparisons say that an order is safe.",
        exit_on_error=False,
        default_env=False,
        allow_abbrev=False,
    )
    parser.add_argument("game", type=str, metavar="DATA", help=GAME_HELP)
    add_column_options(parser)
    parser.add_argument(
        "--bootstrap",
        type=NonNegativeInt,
        default=200,
        metavar="N",
        help="replicates of intervals and tests; 0 for neither",
    )
    parser.add_argument("--seed", type=NonNegativeInt, default=0, metavar="N", help="of the replicates")
    parser.add_argument(
        "--level", type=float, default=0.95, metavar="X", help="of the intervals; tests reject at 1 - level"
    )
    parser.add_argument("--html", type=str, metavar="FILE", help="write the leaderboard as a page that opens anywhere")
    parser.add_argument("--figure", type=str, metavar="FILE", help="draw who beats whom: .png, .svg or .pdf")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    return parser


def _writers(arguments: Namespace) -> list[tuple[str, Callable[[Ranking], object]]]:
    """What is said of each file asked for, and what writes it; refused before anything is computed."""
    title = Path(arguments.game).name
    found: list[tuple[str, Callable[[Ranking], object]]] = []
    if arguments.html:
        try:
            from rebel_pref.cli.rank_page import check_page_path, write_page
        except ModuleNotFoundError as error:
            raise _needs(error, "--html", "jinja2") from None
        page = check_page_path(arguments.html)
        found.append((f"page: {page}", lambda ranking: write_page(page, ranking, title=title)))
    if arguments.figure:
        try:
            from rebel_pref.cli.solve_figure import check_figure_path, draw_solution, save_figure
        except ModuleNotFoundError as error:
            raise _needs(error, "--figure", "matplotlib") from None
        path = check_figure_path(arguments.figure)

        def draw(ranking: Ranking) -> None:
            intervals = ranking.winner_intervals
            save_figure(draw_solution(ranking.game, ranking.solution, title=title, intervals=intervals), path)

        found.append((f"figure: {path}", draw))
    return found


def _needs(error: ModuleNotFoundError, option: str, package: str) -> Exception:
    """The error to raise where `package` is missing; any other missing module is our own fault."""
    if error.name is None or error.name.split(".")[0] != package:
        return error
    return ValueError(f"{option} needs {package}: pip install 'rebel_pref[figures]'")
