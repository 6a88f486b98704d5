"""`rp.solve` against every other way to solve a matrix game, one thread, each measurement in a process of its own.

    python -m benchmarks.solver_speed [--quick] [--only PART ...] [--limit SECONDS] [--out DIR]

From payoff array to policy: building a package's own model counts, for us as for others. Every answer's exploitability
is rechecked in float64. A peer's median is over fewer repeats where one takes long. Ratios are peer / ours, of CPU
seconds unless --clock says wall. Exits 1 when a bar is missed or an answer of ours is wrong.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.peers import OURS, PACKAGES, PEERS, ours, solver_named
from benchmarks.solver_works import Work, small_games, works
from benchmarks.timing import Cell, Limits, measure
from rebel_pref.cli.console import Display
from rebel_pref.record import save_table

__all__ = ["main"]

SAMPLED = "benchmarks.sampled_oracle"


def compare(work: Work, limits: Limits, clock: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Measure one piece of work: a row for each bar, and a row for each solver."""
    solver = replace(OURS, solve=ours(work.accuracy, checked=work.checked))
    own = measure(work.make, solver, work.accuracy, limits)
    names = list(dict.fromkeys(name for bar in work.bars for name in bar.peers))
    cells = {name: measure(work.make, solver_named(name), work.peer_accuracy, limits) for name in names}
    rows = []
    for bar in work.bars:
        best = _best([cells[name] for name in bar.peers], clock)
        cpu, wall = _ratio(best.cpu, own.cpu), _ratio(best.wall, own.wall)
        rows.append(
            {
                "work": work.name,
                "against": bar.name,
                "ours_seconds": getattr(own, clock),
                "peer_seconds": getattr(best, clock),
                "ratio_cpu": cpu,
                "ratio_wall": wall,
                "bar": bar.at_least,
                "verdict": _verdict(own, best, cpu if clock == "cpu" else wall, bar.at_least, limits, clock),
            }
        )
    if not work.bars:
        used = own.extra_mb if work.memory == "extra" else own.peak_mb
        verdict = "met" if own.ok else f"missed: ours {own.status}"
        if own.ok and work.most_memory is not None:
            verdict = f"{'met' if used <= work.most_memory else 'missed'}: {used:.0f} MB {work.memory}"
        rows.append(
            {
                "work": work.name,
                "against": "done" if work.most_memory is None else f"done, {work.most_memory:.0f} MB {work.memory}",
                "ours_seconds": getattr(own, clock),
                "peer_seconds": float("nan"),
                "ratio_cpu": float("nan"),
                "ratio_wall": float("nan"),
                "bar": float("nan"),
                "verdict": verdict,
            }
        )
    return rows, [{"work": work.name, **asdict(cell)} for cell in (own, *cells.values())]


def answers(quick: bool, limits: Limits) -> list[dict[str, Any]]:
    """What exact solvers say of small games, some of them degenerate: right, wrong, failed, or nothing in time."""
    unlike = ("loop", "factored", "PDLP", "regret matching")  # Another kind of problem, or no exact answer meant.
    solvers = [OURS, *(peer for peer in PEERS if not any(word in peer.name for word in unlike))]
    if quick:
        solvers = [solver for solver in solvers if solver.name in ("rebel_pref", "scipy highs-ds")]
    rows: list[dict[str, Any]] = []
    for solver in solvers:
        for name, make in small_games(quick).items():
            cell = measure(make, solver, 1e-6, replace(limits, seconds=min(limits.seconds, 20.0), repeats=1))
            verdict = {"ok": "right", "timeout": "no answer in time"}.get(cell.status, cell.status)
            rows.append({"solver": solver.name, "game": name, "answer": verdict, "exploitability": cell.exploitability})
    return rows


def _best(cells: Sequence[Cell], clock: str) -> Cell:
    """The fastest that is right; else one that at least ran into the limit; else whatever there is."""
    right = [cell for cell in cells if cell.ok]
    if right:
        return min(right, key=lambda cell: float(getattr(cell, clock)))
    # A package that is not there says nothing about the one that is.
    present = [cell for cell in cells if cell.status != "absent"] or list(cells)
    return min(present, key=lambda cell: cell.status != "timeout")


def _ratio(peer: float, own: float) -> float:
    return peer / own if own > 0.0 else float("nan")


def _verdict(own: Cell, peer: Cell, ratio: float, at_least: float, limits: Limits, clock: str) -> str:
    if not own.ok:
        return f"missed: ours {own.status}"
    if peer.status == "timeout":
        least = limits.seconds / float(getattr(own, clock))
        return f"{'met' if least >= at_least else 'not measured'}: over {limits.seconds:.0f} s, ratio > {least:.0f}"
    if not peer.ok:
        return f"not measured: peer {peer.status}"
    return "met" if ratio >= at_least else "missed"


def _number(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}g}"


def _clean(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """NaN is no JSON."""
    missing = {key: None for row in rows for key in row}
    return [
        missing | {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        for row in rows
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, save; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, no bars: checks that everything runs")
    parser.add_argument("--only", nargs="+", default=None, help="parts whose name contains one of these")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for one run, then it is killed")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu", help="seconds that verdicts go by")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args(argv)
    limits = Limits(arguments.limit, 2 if arguments.quick else arguments.repeats, 20.0)
    listed = works(arguments.quick)
    names = [*(work.name for work in listed), "answers", "figure"]
    if find_spec(SAMPLED):
        names.append("sampled oracle")
    chosen = [name for name in names if not arguments.only or any(part in name for part in arguments.only)]
    if not chosen:
        parser.error(f"--only {' '.join(arguments.only)} matches none of: {'; '.join(names)}")
    display = Display()
    display.console.width = max(display.console.width, 150)
    extra = {key: getattr(arguments, key) for key in ("quick", "limit", "repeats", "clock")}
    rows: list[dict[str, Any]] = []
    cells: list[dict[str, Any]] = []
    for work in listed:
        if work.name in chosen:
            new_rows, new_cells = compare(work, limits, arguments.clock)
            rows, cells = rows + new_rows, cells + new_cells
            for cell in new_cells:
                display.line(_cell_line(cell))
    if rows:
        _print_bars(display, rows, arguments.clock)
        save_table(arguments.out, "solver_speed", _clean(rows), extra, PACKAGES)
        save_table(arguments.out, "solver_speed_cells", _clean(cells), extra, PACKAGES)
    if "answers" in chosen:
        found = answers(arguments.quick, limits)
        _print_answers(display, found)
        save_table(arguments.out, "peer_answers", _clean(found), extra, PACKAGES)
        rows += [
            {"verdict": f"missed: ours {row['answer']} on {row['game']}"}
            for row in found
            if row["solver"] == OURS.name and row["answer"] != "right"
        ]
    if "figure" in chosen:
        from benchmarks.solver_figure import time_to_accuracy

        points = time_to_accuracy(arguments.out, limits, quick=arguments.quick, clock=arguments.clock)
        save_table(arguments.out, "time_to_accuracy", _clean(points), extra, PACKAGES)
        display.line(f"figure: {arguments.out / 'time_to_accuracy.png'} (and .svg)")
    if "sampled oracle" in chosen:
        # Its cost is duels, not seconds, and it prints its own table.
        options = ["--out", str(arguments.out), *(["--quick"] if arguments.quick else [])]
        code = int(import_module(SAMPLED).main(options))
        rows.append({"work": "sampled oracle", "verdict": "missed: see its table" if code else "met"})
    missed = [row for row in rows if row["verdict"].startswith("missed")]
    unmeasured = sum(row["verdict"].startswith("not measured") for row in rows)
    if arguments.quick:
        display.line("quick: sizes are smaller than the names say, and no bar counts")
    display.line(f"{len(rows) - len(missed) - unmeasured} met, {len(missed)} missed, {unmeasured} not measured")
    return 1 if missed and not arguments.quick else 0


def _cell_line(cell: dict[str, Any]) -> str:
    setting = "" if cell["setting"] is None else f", set to {cell['setting']:g}"
    return (
        f"{cell['work']}: {cell['solver']} {cell['status']}, "
        f"{_number(cell['cpu'])} s CPU, {_number(cell['wall'])} s wall ({cell['repeats']} runs), "
        f"exploitability {_number(cell['exploitability'], 1)}{setting}, "
        f"{_number(cell['extra_mb'])} MB extra, {_number(cell['peak_mb'])} MB peak"
    )


def _print_bars(display: Display, rows: Sequence[dict[str, Any]], clock: str) -> None:
    display.table(
        f"Seconds ({clock}, median, one thread) and how many times as fast ours is",
        ("work", "ours", "against", "peer", "ratio cpu", "ratio wall", "bar", "verdict"),
        [
            (
                row["work"],
                _number(row["ours_seconds"]),
                row["against"],
                _number(row["peer_seconds"]),
                _number(row["ratio_cpu"]),
                _number(row["ratio_wall"]),
                _number(row["bar"], 4),
                row["verdict"],
            )
            for row in rows
        ],
    )


def _print_answers(display: Display, rows: Sequence[dict[str, Any]]) -> None:
    table = []
    for solver in dict.fromkeys(row["solver"] for row in rows):
        own = [row for row in rows if row["solver"] == solver]
        wrong: dict[str, list[str]] = {}
        for row in own:
            if row["answer"] != "right":
                size = "" if math.isnan(row["exploitability"]) else f" ({row['exploitability']:.1g})"
                wrong.setdefault(row["answer"], []).append(row["game"] + size)
        text = "; ".join(
            f"{answer}: {'every game' if len(games) == len(own) else ', '.join(games)}"
            for answer, games in wrong.items()
        )
        table.append((solver, f"{sum(row['answer'] == 'right' for row in own)} of {len(own)}", text))
    display.table("Exact solvers on small games (exploitability)", ("solver", "right", "what went wrong"), table)


if __name__ == "__main__":
    sys.exit(main())
