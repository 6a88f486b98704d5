"""The figure of a solved game: payoffs among its best actions, beside the winner's probabilities.

Drawn like :mod:`rebel_pref.cli.figures` on :class:`matplotlib.figure.Figure`, never on pyplot, and in inches: cells
are squares of one size whatever the labels are, and the page is cut to what is drawn.
"""

from __future__ import annotations

import os
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from rebel_pref.atomic import new_file
from rebel_pref.bootstrap import WinnerIntervals
from rebel_pref.cli.figures import COLOURS
from rebel_pref.cli.games import ranked_actions
from rebel_pref.games import Game
from rebel_pref.preferences import FloatArray
from rebel_pref.solution import Solution

__all__ = ["FIGURE_SUFFIXES", "check_figure_path", "draw_solution", "save_figure"]

FIGURE_SUFFIXES = (".pdf", ".png", ".svg")
"""Kinds of files that can be written."""

_QUIET = "#5f5f5f"
_FAINT = "#e4e4e4"
_TEXT = 9.0
_SMALL = 8.0
_STEPS = [1, 2, 2.5, 5, 10]

# Above _ALL actions only the support and the next best are drawn: a label of 6.5 points needs .13 inches.
_ALL = 60
_NEXT_BEST = 40
_BARS = 1.8
_RATES = 1.6
_GAP = 0.3
# RdBu without its ends, which are nearly black: row lines and numbers stay readable on them.
_MAP = ListedColormap(colormaps["RdBu"](np.linspace(0.12, 0.88, 257)), name="payoff")


@dataclass(frozen=True)
class _Scale:
    """How payoffs are shown: as win rates in percent if they are ones, else as they are.

    Attributes
    ----------
    middle : what a payoff of 0 is shown as.
    factor : units shown for a unit of payoff.
    largest : the largest payoff of the game, in units shown.
    quantity, unit : what is shown.
    """

    middle: float
    factor: float
    largest: float
    quantity: str
    unit: str

    @classmethod
    def of(cls, game: Game) -> _Scale:
        if game.holds_win_rates:
            return cls(50.0, 50.0, 50.0, "win rate", " (%)")
        return cls(0.0, 1.0, game.scale, "payoff", "")

    def __call__(self, payoffs: FloatArray) -> FloatArray:
        return self.middle + self.factor * payoffs

    def text(self, value: float) -> str:
        """A number short enough for a cell."""
        return _minus(f"{value:.0f}" if self.unit else f"{value + 0.0:.2g}")

    def ticks(self, reach: float, most: int) -> FloatArray:
        """At most 2 `most` + 1 round numbers about the middle, the middle among them, up to `reach` from it."""
        steps = np.asarray(MaxNLocator(most, steps=_STEPS).tick_values(0.0, reach))
        steps = steps[(steps >= 0) & (steps <= reach * (1 + 1e-9))]
        return np.unique(np.concatenate([self.middle - steps, self.middle + steps]))


def check_figure_path(path: str | os.PathLike[str]) -> Path:
    """`path`, if a figure can be written there.

    Raises
    ------
    ValueError
        For a suffix that names no known kind of file.
    FileNotFoundError
        For a folder that does not exist.
    """
    target = Path(path)
    if target.suffix.lower() not in FIGURE_SUFFIXES:
        raise ValueError(f"a figure's name ends in {', '.join(FIGURE_SUFFIXES)}, got {target.name!r}")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {target.parent}; make it before the figure {target.name}")
    return target


def draw_solution(game: Game, solution: Solution, *, title: str, intervals: WinnerIntervals | None = None) -> Figure:
    """Draw a solved game.

    A matrix of payoffs with the row's and the column's actions in one order, the winner's likeliest first, then by
    payoff against the winner; beside each row its probability, and its win rate against the winner. Above 60
    actions only the support and the next best are drawn, which the caption says.

    Parameters
    ----------
    title : what the game is called.
    intervals : whiskers for probabilities and win rates, of the same actions in the same order.
    """
    against = game.payoffs_against(solution.policy)
    ranked = ranked_actions(solution.policy, against)
    in_support = int((solution.policy > 1e-9).sum())
    most = len(game) if len(game) <= _ALL else min(max(in_support + 8, _NEXT_BEST), _ALL)
    rows, hidden = ranked[:most], ranked[most:]
    scale = _Scale.of(game)
    # One column at a time: a game of a million actions has no room for more.
    matrix = scale(np.stack([game.columns(rows[k : k + 1])[rows, 0] for k in range(most)], axis=1))

    # Room for the colour bar under the smallest game, for a label beside each row of the largest.
    side = max(most * float(np.clip(5.0 / most, 0.13, 0.7)), 1.7)
    pitch, label_size = side / most, min(_TEXT, 50.0 * side / most)
    labels = [_one_line(game.labels[i], 32) for i in rows]
    whole = side + _BARS + _RATES + 2 * _GAP
    figure = Figure(figsize=(whole, side))

    def panel(left: float, width: float, bottom: float = 0.0, height: float = side) -> Axes:
        return figure.add_axes((left / whole, bottom / side, width / whole, height / side))

    square = panel(0.0, side)
    # Never so narrow that rounding looks like a rout; a game of ties alone still has a scale.
    reach = max(float(np.abs(matrix - scale.middle).max()), 0.1 * scale.largest) or 1.0
    shades = _draw_matrix(square, matrix, reach, labels, scale, label_size=label_size, pitch=pitch)
    bars = panel(side + _GAP, _BARS)
    _draw_probabilities(bars, solution.policy, rows, intervals, label_size=label_size)
    rates = panel(side + _BARS + 2 * _GAP, _RATES)
    _draw_rates(rates, scale, against, rows, in_support, intervals, pitch=pitch)
    for axes in (square, bars, rates):
        axes.set_ylim(most, 0)
        if in_support < most:
            axes.axhline(in_support, color="black", linewidth=0.8, zorder=4)
    if in_support < most:
        square.axvline(in_support, color="black", linewidth=0.8, zorder=4)
    bar = figure.colorbar(
        shades,
        cax=panel(0.0, min(side, 2.6), -0.32, 0.13),
        orientation="horizontal",
        ticks=scale.ticks(reach, 2),
        format=FuncFormatter(_number),
    )
    bar.ax.tick_params(labelsize=_SMALL, length=2, colors=_QUIET)
    bar.outline.set_visible(False)
    words = f"{scale.quantity} of the row against the column{scale.unit}"
    bar.set_label(words, fontsize=_SMALL, color=_QUIET, loc="left")
    _frame(figure, square, title, _caption(game, solution, against, scale, hidden, intervals), side)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write PNG, SVG or PDF, as the suffix says, whole or not at all, into a folder that exists."""
    target = check_figure_path(path)
    kind = target.suffix.lower()[1:]
    # Without a date the same game gives the same file.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with new_file(target) as staging, _boxes_for_strange_letters():
        figure.savefig(
            staging, dpi=150, format=kind, facecolor="white", bbox_inches="tight", pad_inches=0.2, metadata=metadata
        )
    return target


@contextmanager
def _boxes_for_strange_letters() -> Iterator[None]:
    """Letters that the font lacks are drawn as boxes, which says it well enough."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def _draw_matrix(
    axes: Axes, matrix: FloatArray, reach: float, labels: list[str], scale: _Scale, *, label_size: float, pitch: float
) -> ScalarMappable:
    """Squares in colours up to `reach` from the middle, with the numbers where there is room for them."""
    size = len(matrix)
    norm = Normalize(scale.middle - reach, scale.middle + reach)
    mesh = axes.pcolormesh(
        matrix, cmap=_MAP, norm=norm, edgecolors="white", linewidth=min(1.5, 4 * pitch), rasterized=size > _NEXT_BEST
    )
    if pitch >= 0.3:
        shades = mesh.to_rgba(matrix)
        for i, j in np.ndindex(size, size):
            luminance = float(np.dot(shades[i, j, :3], (0.2126, 0.7152, 0.0722)))
            ink = "white" if luminance < 0.45 else (_QUIET if i == j else "black")
            text = scale.text(float(matrix[i, j]))
            axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=ink, fontsize=min(_TEXT, 22 * pitch))
    middles = np.arange(size) + 0.5
    axes.set_yticks(middles, labels, fontsize=label_size, parse_math=False)
    upright = max(map(len, labels)) * 0.58 * label_size / 72 > pitch
    shown = [_one_line(label, 20) for label in labels]
    axes.set_xticks(middles, shown, fontsize=label_size, parse_math=False, rotation=90 if upright else 0)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False, pad=3)
    axes.spines[:].set_visible(False)
    return mesh


def _draw_probabilities(
    axes: Axes, policy: FloatArray, rows: NDArray[np.int64], intervals: WinnerIntervals | None, *, label_size: float
) -> None:
    """A bar an action, and at its end the number."""
    share = 100.0 * policy[rows]
    upper = share if intervals is None else np.maximum(share, 100.0 * intervals.upper[rows])
    at = np.arange(len(rows)) + 0.5
    axes.barh(at, share, height=0.72, color=COLOURS["average"], linewidth=0)
    if intervals is not None:
        seen = upper > 0
        axes.hlines(at[seen], 100.0 * intervals.lower[rows][seen], upper[seen], color="black", linewidth=1.0)
    for y, value, end in zip(at, share, upper, strict=True):
        if value > 1e-7:
            text = f"{value:.1f}" if value >= 0.05 else "< 0.1"
            axes.annotate(text, (end, y), (3, 0), textcoords="offset points", va="center", fontsize=label_size)
    axes.set_xlim(0, 1.28 * float(upper.max()))
    axes.set_title("probability (%)", loc="left", fontsize=_TEXT, pad=6)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=_STEPS))
    _quiet(axes)


def _draw_rates(
    axes: Axes,
    scale: _Scale,
    against: FloatArray,
    rows: NDArray[np.int64],
    in_support: int,
    intervals: WinnerIntervals | None,
    *,
    pitch: float,
) -> None:
    """A dot an action: what it gets against the winner, never more than the line in the middle."""
    value = scale(against[rows])
    at = np.arange(len(rows)) + 0.5
    low = value
    if intervals is not None:
        low = np.minimum(value, 100.0 * intervals.win_rate_lower[rows])
        axes.hlines(at, low, np.maximum(value, 100.0 * intervals.win_rate_upper[rows]), color=_QUIET, linewidth=1.0)
    inks = np.where(np.arange(len(rows)) < in_support, COLOURS["average"], COLOURS["start"])
    axes.scatter(value, at, s=min(28.0, (40 * pitch) ** 2), c=inks, linewidths=0, zorder=3)
    axes.axvline(scale.middle, color="black", linewidth=1.0, zorder=2)
    # Rounding is no distance: a point of win rate, or a thousandth of the largest payoff, always fits in.
    reach = max(scale.middle - float(low.min()), (0.02 if scale.unit else 0.001) * scale.largest) or 1.0
    axes.set_xlim(scale.middle - 1.08 * reach, scale.middle + 0.12 * reach)
    ticks = scale.ticks(reach, 3)
    axes.set_xticks(ticks[ticks <= scale.middle])
    axes.set_title(f"{scale.quantity} against it{scale.unit}", loc="left", fontsize=_TEXT, pad=6)
    _quiet(axes)


def _quiet(axes: Axes) -> None:
    axes.set_yticks([])
    axes.xaxis.set_major_formatter(_number)
    axes.tick_params(axis="x", labelsize=_SMALL, length=0, colors=_QUIET)
    axes.grid(axis="x", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


def _caption(
    game: Game,
    solution: Solution,
    against: FloatArray,
    scale: _Scale,
    hidden: NDArray[np.int64],
    intervals: WinnerIntervals | None,
) -> str:
    sentences = [
        f"Rows and columns are in one order: the likeliest first, then by {scale.quantity} against the winner."
    ]
    if len(hidden):
        best = scale.text(float(scale(against[hidden]).max())) + (" %" if scale.unit else "")
        mass = float(solution.policy[hidden].sum())
        share = f"a probability of {100 * mass:.1f} % together" if mass > 1e-9 else "no probability"
        sentences.append(
            f"{len(game) - len(hidden)} of {len(game):,} actions are drawn; the others have {share}, and the best of "
            f"them has a {scale.quantity} of {best} against the winner."
        )
    if solution.certificate.best_response_win_rate is not None:
        sentences.append(f"A best responder wins {100 * solution.certificate.best_response_win_rate:.2f} % against it.")
    if intervals is not None:
        sentences.append(f"Lines enclose {100 * intervals.level:g} % of {intervals.replicates} bootstrap replicates.")
    if not solution.solved:
        sentences.append(f"Not solved: {solution.status}.")
    return " ".join(sentences)


def _frame(figure: Figure, square: Axes, title: str, caption: str, side: float) -> None:
    """Title over the column labels, caption under the colour bar, both from the left edge of the row labels."""
    with _boxes_for_strange_letters():
        figure.draw_without_rendering()
        box = square.get_tightbbox()
    assert box is not None
    left, top = figure.transFigure.inverted().transform((box.x0, box.y1))
    figure.text(
        left,
        top + 0.18 / side,
        f"Minimax winner of {_one_line(title, 60)}",
        fontsize=_TEXT + 3,
        va="bottom",
        parse_math=False,
    )
    width = int((figure.get_figwidth() * (1 - left)) * 72 / (0.5 * _SMALL))
    text = textwrap.fill(caption, width)
    figure.text(left, -0.95 / side, text, fontsize=_SMALL, color=_QUIET, va="top", linespacing=1.4, parse_math=False)


def _number(value: float, _position: float | None = None) -> str:
    return _minus(f"{value:g}")


def _minus(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")


def _one_line(text: str, limit: int) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
