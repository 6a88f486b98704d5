"""Run the sections, print the table, save it; 1 where a statement does not hold."""

from __future__ import annotations

import argparse
import importlib
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from rebel_pref.record import save_table
from rebel_pref.theory.checks import Check, Scale

__all__ = ["SECTIONS", "main"]

SECTIONS = {
    "hedge": "Hedge and optimistic Hedge: averages converge, last iterates circle (figures 1, 2)",
    "magnets": "magnets fixed, moving and nested: rates, step sizes, bias (figures 3, 4, 9, 10)",
    "implicit": "the implicit step, the pool's coverage, conversions of every paper's symbols",
    "regression": "regression error, REBEL = natural policy gradient, scalar rewards, offline data (figures 5, 6)",
    "estimators": "payoffs from samples: groups, duels, fresh opponents, budgets (figure 7)",
    "population": "regret matching, fictitious play, double oracle",
    "bridge": "one definition: the NumPy target is the torch target, for every row",
    "defaults": "what has no proof: the default's numbers, the implicit step on samples, a moving magnet (figure 11)",
    "last_iterate": "which last iterate, exact and under noise: the default against every other row (figure 8)",
}
"""Module of this package -> what it checks."""

_PACKAGES = ("numpy", "scipy", "torch", "matplotlib")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, print, save; 0 if every statement holds."""
    parser = argparse.ArgumentParser(
        prog="rebel-pref theory",
        description="Check every theorem that the library stands on, each on games named in the table, and draw it.",
        epilog="sections:\n" + "\n".join(f"  {name:<13} {text}" for name, text in SECTIONS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="the same statements on fewer seeds and smaller sizes")
    parser.add_argument("--out", type=Path, default=Path("runs/theory"), metavar="DIR", help="tables and figures")
    parser.add_argument("--only", nargs="+", metavar="SECTION", help="run these sections")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="first seed of everything that is drawn")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), metavar="N", help="processes")
    arguments = parser.parse_args(argv)
    names = arguments.only or list(SECTIONS)
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        parser.error(f"no section is called {unknown[0]!r}; sections: {', '.join(SECTIONS)}")
    if arguments.seed < 0 or arguments.workers < 1:
        parser.error(f"--seed must not be negative and --workers at least 1: {arguments.seed}, {arguments.workers}")
    scale = Scale(quick=arguments.quick, seed=arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    found = _run(names, scale, arguments.out, arguments.workers)
    rows = [{"section": name, **check.as_row()} for name in names for check in found[name]]
    settings: dict[str, Any] = {"seed": scale.seed, "quick": scale.quick, "seconds": time.perf_counter() - began}
    save_table(arguments.out, "theory", rows, settings, _PACKAGES)
    failed = _print(found, names)
    total = sum(check.kind != "note" for checks in found.values() for check in checks)
    seconds = time.perf_counter() - began
    print(f"{total - failed} of {total} statements hold, {seconds:.0f} s; table and figures: {arguments.out}")
    return 1 if failed else 0


def _run(names: Sequence[str], scale: Scale, out: Path, workers: int) -> dict[str, list[Check]]:
    """Checks by section, in processes if there are several of both."""
    if workers == 1 or len(names) == 1:
        return {name: _section(name, scale, out) for name in names}
    # A forked process would inherit the threads of whatever was imported; one thread each is set before NumPy loads.
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in threads}
    os.environ.update(dict.fromkeys(threads, "1"))
    found: dict[str, list[Check]] = {}
    try:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            # The longest section first: it is the last of the list.
            jobs = {pool.submit(_section, name, scale, out): name for name in reversed(names)}
            for job in as_completed(jobs):
                found[jobs[job]] = job.result()
                print(f"{jobs[job]}: done", file=sys.stderr)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return found


def _section(name: str, scale: Scale, out: Path) -> list[Check]:
    module = importlib.import_module(f"rebel_pref.theory.{name}")
    checks: list[Check] = module.section(scale, out)
    return checks


def _print(found: dict[str, list[Check]], names: Sequence[str]) -> int:
    """The table; returns how many statements do not hold."""
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 170)
    failed = 0
    # Long lists of games come up many times: each is written once, below the tables.
    lists: dict[str, str] = {}
    for name in names:
        for check in found[name]:
            if len(check.games) > 60 and check.games not in lists:
                lists[check.games] = f"[{len(lists) + 1}]"
    for name in names:
        table = Table(title=SECTIONS[name], title_justify="left")
        for column in ("theorem", "quantity", "games"):
            table.add_column(column, overflow="fold")
        for column in ("observed", "bound or prediction", "ratio"):
            table.add_column(column, justify="right")
        table.add_column("verdict")
        for check in found[name]:
            verdict = "VIOLATED"
            if check.holds:
                verdict = "fails, as it must" if check.negative else "holds"
            if check.kind == "note":
                verdict = "noted"
            failed += not check.holds
            sign = "<= " if check.low == -math.inf else ">= " if check.high == math.inf else ""
            ratio = "" if check.ratio != check.ratio else f"{check.ratio:.3g}"
            reference = f"{sign}{check.reference:.4g}" if check.kind != "note" else ""
            table.add_row(
                check.theorem,
                check.quantity,
                lists.get(check.games, check.games),
                f"{check.observed:.4g}",
                reference,
                ratio,
                verdict,
            )
        console.print(table)
    for games, short in lists.items():
        console.print(f"{short}: {games}")
    return failed
