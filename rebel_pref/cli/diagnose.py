"""``rebel-pref diagnose FILE|NAME``: how a game cycles, and whether that is more than chance."""

from __future__ import annotations

import json
from collections.abc import Sequence

from jsonargparse import ArgumentParser
from jsonargparse.typing import NonNegativeInt

from rebel_pref.cli.console import PlainConsole, progress_bar
from rebel_pref.cli.games import GAME_HELP, add_column_options, open_game
from rebel_pref.cli.options import parsed
from rebel_pref.diagnostics import Diagnosis, diagnose
from rebel_pref.diagnostics.diagnosis import FLOWS
from rebel_pref.diagnostics.report import sections
from rebel_pref.solution import SOLVED

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Parse, diagnose, print; 0 done, 1 where the minimax winner fell short."""
    parser = ArgumentParser(
        prog="rebel-pref diagnose",
        description="Say how intransitive a game is: cyclic triads, Hodge energies, discs, sets of winners, stochastic "
        "transitivity, what a ranking costs. Comparisons that were counted are tested: against Bradley-Terry, and "
        "against every transitive model.",
        exit_on_error=False,
        default_env=False,
        allow_abbrev=False,
    )
    parser.add_argument("game", type=str, help=GAME_HELP)
    parser.add_argument(
        "--bootstrap",
        type=NonNegativeInt,
        default=200,
        metavar="N",
        help="replicates of tests and intervals; 0 for neither",
    )
    parser.add_argument("--seed", type=NonNegativeInt, default=0, metavar="N", help="of the replicates")
    parser.add_argument(
        "--level", type=float, default=0.95, metavar="X", help="of the intervals; tests reject at 1 - level"
    )
    parser.add_argument(
        "--flow", type=str, default="auto", metavar="NAME", help=f"what is decomposed, one of {', '.join(FLOWS)}"
    )
    add_column_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    arguments = parsed(parser, argv)
    game = open_game(arguments.game, arguments)
    with progress_bar("replicates") as update:
        diagnosis = diagnose(
            game,
            bootstrap=arguments.bootstrap,
            seed=arguments.seed,
            level=arguments.level,
            flow=arguments.flow,
            progress=lambda done, total: update(completed=done, total=total),
        )
    if arguments.json:
        print(json.dumps(diagnosis.as_dict()))
    else:
        _print(diagnosis, arguments.game)
    return 0 if diagnosis.status == SOLVED else 1


def _print(diagnosis: Diagnosis, title: str) -> None:
    from rich.table import Table

    console = PlainConsole()
    console.print(f"{title}: {len(diagnosis.labels)} actions", style="bold", soft_wrap=True)
    console.print(diagnosis.sentence, soft_wrap=True)
    for heading, rows in sections(diagnosis):
        table = Table(title=heading, title_justify="left", show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows:
            table.add_row(name, " ".join(value.split()))
        console.print()
        console.print(table)
    if diagnosis.intervals:
        settings = diagnosis.settings
        console.print(
            f"[low, high]: {100 * settings['level']:g} % of {settings['bootstrap']} bootstrap replicates. Noise makes "
            "cycles, so replicates may cycle more than the comparisons do.",
            soft_wrap=True,
        )
    if diagnosis.status != SOLVED:
        console.print(f"minimax winner: {diagnosis.status}", soft_wrap=True)
