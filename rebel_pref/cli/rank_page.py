"""The page of ``rebel-pref rank --html``: one HTML file that opens anywhere, offline, and prints.

Drawings are inline SVG, styles are inline, and a content security policy forbids every request. Labels are untrusted
text: the template escapes all of it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rebel_pref.cli.rank_table import ranged, summary_rows
from rebel_pref.diagnostics import ELO_PER_NAT, Interval
from rebel_pref.games.files.text import replaced
from rebel_pref.ranking import Ranking

__all__ = ["check_page_path", "write_page"]

_LARGEST = 60
"""Items drawn in the matrix: more cells than this cannot be told apart."""
_NUMBERS = 16


@dataclass(frozen=True)
class _Mark:
    """A number on the axis of its column: positions from 0 to 100.

    Attributes
    ----------
    text : the estimate, for reading.
    at, low, high : where it stands and where its interval ends; `low` is None without one.
    spoken : the estimate and its interval, for the tooltip.
    """

    text: str
    at: float
    low: float | None
    high: float | None
    spoken: str


@dataclass(frozen=True)
class _Column:
    """A column of the leaderboard: a mark an item, and where the reference line stands (None: no line)."""

    heading: str
    explanation: str
    bar: bool
    line: float | None
    marks: Sequence[_Mark]


@dataclass(frozen=True)
class _Cell:
    """One square: grid position, side ("win", "loss", "tie", "missing", "self"), strength in [0, 1], text, tooltip."""

    x: int
    y: int
    side: str
    strength: float
    text: str
    spoken: str


def check_page_path(path: str | os.PathLike[str]) -> Path:
    """`path`, if a page can be written there.

    Raises
    ------
    ValueError
        For a suffix that is not .html or .htm.
    FileNotFoundError
        For a folder that does not exist.
    """
    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"a page's name ends in .html, got {target.name!r}")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {target.parent}; make it before the page {target.name}")
    return target


def write_page(path: str | os.PathLike[str], ranking: Ranking, *, title: str) -> Path:
    """Write the page of a ranking, whole or not at all.

    Parameters
    ----------
    title : heading of the page: what the comparisons are called.
    """
    target = check_page_path(path)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = min(len(ranking.items), _LARGEST)
    intervals = ranking.winner_intervals
    page = environment.get_template("rank.html.j2").render(
        title=title,
        ranking=ranking,
        columns=_columns(ranking),
        rules=summary_rows(ranking),
        cells=_cells(ranking, drawn),
        drawn=drawn,
        named=[_shortened(item.label) for item in ranking.items[:drawn]],
        numbers=drawn <= _NUMBERS,
        rates=ranking.unit == "win rate",
        level=None if intervals is None else 100.0 * intervals.level,
        counted=ranking.diagnosis.counted,
        mixed=[item for item in ranking.items if item.probability.estimate > 1e-9],
    )
    with replaced(target) as stream:
        stream.write(page.encode("utf-8"))
    return target


def _columns(ranking: Ranking) -> list[_Column]:
    rates = ranking.unit == "win rate"
    factor, decimals, middle, suffix = (100.0, 1, 50.0, " %") if rates else (1.0, 3, 0.0, "")
    items = ranking.items
    columns = [
        _column("in the winner", "probability in the minimax winner", [i.probability for i in items], 100.0, 1, " %"),
        _column(
            "against it",
            f"{ranking.unit} against the minimax winner, which nobody beats",
            [i.against_winner for i in items],
            factor,
            decimals,
            suffix,
            middle,
        ),
        _column(
            "Borda",
            f"mean {ranking.unit} against the others",
            [i.borda for i in items],
            factor,
            decimals,
            suffix,
            middle,
        ),
        _column("Copeland", "items beaten minus items lost to", [i.copeland for i in items], 1.0, 0, "", 0.0),
    ]
    scores = [item.bradley_terry for item in items if item.bradley_terry is not None]
    if scores:
        columns.append(_column("Bradley-Terry", "score in Elo points, mean 0", scores, ELO_PER_NAT, 0, "", 0.0))
    return columns


def _column(
    heading: str,
    explanation: str,
    values: Sequence[Interval],
    factor: float,
    decimals: int,
    suffix: str,
    line: float | None = None,
) -> _Column:
    """Marks on one axis from the lowest to the highest end of an interval; a bar, from 0, where there is no line."""
    numbers = np.array([[value.estimate, value.low, value.high] for value in values]) * factor
    ends = [0.0 if line is None else line, *numbers[np.isfinite(numbers)].tolist()]
    low, high = min(ends), max(ends)
    reach = high - low or 1.0

    def position(value: float) -> float:
        # A little room at both ends, where dots would be cut.
        return float(4.0 + 92.0 * (value - low) / reach)

    marks = []
    for value, (at, left, right) in zip(values, numbers, strict=True):
        spoken = f"{ranged(value, factor, decimals)}{suffix}"
        known = math.isfinite(left)
        estimate = ranged(Interval(value.estimate, math.nan, math.nan), factor, decimals)
        marks.append(
            _Mark(estimate, position(at), position(left) if known else None, position(right) if known else None, spoken)
        )
    return _Column(heading, explanation, line is None, None if line is None else position(line), marks)


def _cells(ranking: Ranking, drawn: int) -> list[_Cell]:
    """Squares of the matrix, row against column, items in the order of the leaderboard."""
    game, items = ranking.game, ranking.items[:drawn]
    place = {label: number for number, label in enumerate(game.labels)}
    order = [place[item.label] for item in items]
    payoffs = game.payoff[np.ix_(order, order)]
    played = None
    if game.comparisons is not None:
        counts = game.comparisons.counts
        played = (counts + counts.T)[np.ix_(order, order)]
    rates = ranking.unit == "win rate"
    largest = 1.0 if rates else game.scale or 1.0
    cells = []
    for y, x in np.ndindex(drawn, drawn):
        value = float(payoffs[y, x])
        shown = f"{50 + 50 * value:.0f}" if rates else f"{value:.2g}"
        names = f"{items[y].label} against {items[x].label}"
        if x == y:
            cells.append(_Cell(x, y, "self", 0.0, "", items[x].label))
        elif played is not None and played[y, x] == 0:
            cells.append(_Cell(x, y, "missing", 0.0, "", f"{names}: never met"))
        else:
            side = "tie" if value == 0.0 else "win" if value > 0 else "loss"
            times = "" if played is None else f" of {played[y, x]:g}"
            strength = min(abs(value) / largest, 1.0)
            cells.append(_Cell(x, y, side, strength, shown, f"{names}: {shown}{' %' if rates else ''}{times}"))
    return cells


def _shortened(label: str) -> str:
    line = " ".join(label.split())
    return line if len(line) <= 28 else line[:27] + "…"
