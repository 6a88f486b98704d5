"""Seconds to a given accuracy against the number of actions, every solver, both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks import suite
from benchmarks.peers import OURS, Solver, ours, solver_named
from benchmarks.timing import Limits, measure

__all__ = ["draw", "time_to_accuracy"]

PANELS: Mapping[float, tuple[str, ...]] = {
    1e-9: (
        "HiGHS simplex",
        "HiGHS interior point",
        "quantecon minmax",
        "quantecon Lemke-Howson",
        "cvxpy Clarabel",
        "nashpy linear program",
        "pref_voting lp",
    ),
    1e-3: ("ortools PDLP", "open_spiel regret matching"),
}
"""Accuracy -> peers that reach it."""

# Okabe and Ito's hues, darkened until they read on white; ours is black and thick.
_LOOKS: Mapping[str, tuple[str, str]] = {
    "HiGHS simplex": ("#0072b2", "o"),
    "HiGHS interior point": ("#3a9bd6", "s"),
    "quantecon minmax": ("#00805e", "^"),
    "quantecon Lemke-Howson": ("#5fb58f", "v"),
    "cvxpy Clarabel": ("#b0568a", "D"),
    "nashpy linear program": ("#c24e00", "P"),
    "pref_voting lp": ("#a07800", "X"),
    "ortools PDLP": ("#0072b2", "o"),
    "open_spiel regret matching": ("#c24e00", "s"),
}
_QUIET = "#5f5f5f"
_FAINT = "#e4e4e4"


def time_to_accuracy(out: Path, limits: Limits, *, quick: bool, clock: str) -> list[dict[str, Any]]:
    """Measure random dense games of growing n and draw ``time_to_accuracy.png`` and ``.svg`` in `out`.

    A solver that answered and then fails or runs out of time at a larger n is not asked again.
    """
    sizes = (5, 10) if quick else (10, 30, 100, 300, 1000, 2000)
    points: list[dict[str, Any]] = []
    for accuracy, names in PANELS.items():
        own = replace(OURS, solve=ours(min(accuracy, 1e-12) if accuracy < 1e-6 else accuracy))
        for solver in (own, *(solver_named(name) for name in names)):
            points += _curve(solver, accuracy, sizes, limits)
    out.mkdir(parents=True, exist_ok=True)
    figure = draw(points, clock)
    for suffix in ("png", "svg"):
        figure.savefig(out / f"time_to_accuracy.{suffix}", dpi=150)
    return points


def _curve(solver: Solver, accuracy: float, sizes: Sequence[int], limits: Limits) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = []
    for size in sizes:
        cell = measure(partial(suite.random_dense, size, 0), solver, accuracy, limits)
        points.append({"accuracy": accuracy, "n": size, **asdict(cell)})
        if not cell.ok and any(point["status"] == "ok" for point in points):
            break
    return points


def draw(points: Sequence[Mapping[str, Any]], clock: str) -> Figure:
    """Two panels, exact and approximate; each curve carries its name at its end.

    Parameters
    ----------
    points : mappings with accuracy, n, solver, status and the seconds under `clock`.
    """
    accuracies = list(dict.fromkeys(point["accuracy"] for point in points))
    figure = Figure(figsize=(5.4 * len(accuracies), 4.6), layout="constrained")
    panels = figure.subplots(1, len(accuracies), sharey=True, squeeze=False)[0]
    for panel, accuracy in zip(panels, accuracies, strict=True):
        _draw_panel(panel, [point for point in points if point["accuracy"] == accuracy], clock)
        panel.set_title(f"to exploitability $10^{{{math.log10(accuracy):.0f}}}$ max|A|", loc="left", fontsize=10)
    panels[0].set_ylabel(f"seconds ({'CPU' if clock == 'cpu' else 'wall'}, one thread)", fontsize=9)
    figure.suptitle(
        "Random dense games: time to an answer, exploitability rechecked", x=0.01, ha="left", fontsize=11, weight="bold"
    )
    return figure


def _draw_panel(panel: Axes, points: Sequence[Mapping[str, Any]], clock: str) -> None:
    panel.set_xscale("log")
    panel.xaxis.set_minor_formatter(NullFormatter())  # Within one decade they would lie on one another.
    panel.set_yscale("log")
    right = [point for point in points if point["status"] == "ok"]
    last = {point["solver"]: point[clock] for point in right}
    # From slow to fast, as the curves end, so that the legend reads down as the picture does.
    for name in sorted(last, key=lambda name: -float(last[name])):
        own = [point for point in right if point["solver"] == name]
        colour, marker = _LOOKS.get(name, ("#000000", "o"))
        ours_here = name == OURS.name
        panel.plot(
            [point["n"] for point in own],
            [point[clock] for point in own],
            color=colour,
            marker=marker,
            markersize=5.5 if ours_here else 4.5,
            linewidth=2.6 if ours_here else 1.3,
            zorder=3 if ours_here else 2,
            label=name,
        )
    panel.set_xlabel("actions n", fontsize=9)
    panel.grid(True, which="major", color=_FAINT, linewidth=0.7)
    panel.tick_params(labelsize=8.5, colors=_QUIET)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    panel.legend(fontsize=8.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
