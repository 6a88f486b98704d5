"""The figures of a training run, each as PNG and SVG: how exploitable, which completions, who beats whom.

Drawn on :class:`matplotlib.figure.Figure`, never on pyplot, so that no window opens and no global state of the
caller changes. Everything is a win rate in percent or a probability; payoffs do not appear.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression

from rebel_pref.atomic import new_file
from rebel_pref.preferences import FloatArray

__all__ = ["COLOURS", "colour_of", "exploitability_curve", "policy_against_winner", "who_beats_whom"]

# Okabe and Ito's hues, which stay apart for colour-blind readers, darkened until text in them reads on white.
COLOURS: Mapping[str, str] = {
    "start": "#6e6e6e",
    "bradley_terry": "#c24e00",
    "last": "#00805e",
    "magnet": "#b0568a",
    "average": "#0072b2",
    "winner": "#000000",
}
_OTHER = "#4d4d4d"
_FAINT = "#e4e4e4"
_QUIET = "#5f5f5f"

# An 8 inch figure shown 800 pixels wide turns 9 points into 12.5 pixels; nothing is set smaller than 8 points.
_WIDTH = 8.0
_TEXT = 9.0
_SMALL = 8.0
_MONO = "DejaVu Sans Mono"
_STEPS = [1, 2, 2.5, 5, 10]


def colour_of(name: str) -> str:
    """The colour of what `name` speaks of: "self-play, average" and "average" agree; unknown names are dark grey.

    The words are tried in the order winner, Bradley-Terry, average, magnet, start, last.
    """
    lowered = name.lower().replace("_", "-")
    for key in ("winner", "bradley_terry", "average", "magnet", "start", "last"):
        if key.replace("_", "-") in lowered:
            return COLOURS[key]
    return _OTHER


def exploitability_curve(
    folder: str | os.PathLike[str],
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    start: float,
) -> Path:
    """Draw the best responder's win rate over training: ``exploitability.png`` and ``.svg``.

    Parameters
    ----------
    folder : where to write; made if missing.
    curves : name -> (completions sampled [T], best responder's win rate in percent [T]), such as
        "self-play, last iterate", "self-play, average", "Bradley-Terry, last iterate".
    start : best responder's win rate against the starting policy, in percent.

    Returns
    -------
    Path
        Of the PNG.

    Raises
    ------
    ValueError
        If there is no curve, a curve's two arrays differ in length or are empty, or a win rate lies outside
        [50, 100]: a best responder never wins less than half, so that would be another scale.
    """
    if not curves:
        raise ValueError("expected at least one curve, got none")
    start = float(_best_responder("start", [start])[0])
    lines = {}
    for name, (completions, rates) in curves.items():
        x, y = np.asarray(completions, dtype=np.float64), _best_responder(name, rates)
        if x.shape != y.shape:
            raise ValueError(f"curve {name!r}: got {x.shape} completions but {y.shape} win rates")
        if not np.isfinite(x).all():
            raise ValueError(f"curve {name!r}: completions must be finite")
        lines[name] = (x, y)

    figure = Figure(figsize=(_WIDTH, 4.4), layout="constrained")
    axes = figure.add_subplot()
    highest = max(start, *(float(y.max()) for _, y in lines.values()))
    right = max(float(x.max()) for x, _ in lines.values()) or 1.0
    axes.set_xlim(0, right)
    axes.set_ylim(50, min(100.0, 50 + 1.08 * max(highest - 50, 2.0)))
    axes.set_title("best responder's win rate (%)", loc="left", fontsize=_TEXT + 1, pad=10)
    axes.set_xlabel("completions sampled", fontsize=_TEXT)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=_STEPS))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
    axes.tick_params(labelsize=_TEXT, length=0, colors=_QUIET)
    axes.grid(axis="y", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)

    ends = [(50.0, "minimax winner 50 %", COLOURS["winner"]), (start, f"start {start:.1f} %", COLOURS["start"])]
    axes.axhline(50, color=COLOURS["winner"], linewidth=2.2, clip_on=False, zorder=3)
    axes.axhline(start, color=COLOURS["start"], linewidth=1.6, linestyle=(0, (1, 1.6)), zorder=2)
    for name, (x, y) in lines.items():
        colour = colour_of(name)
        # What is certified as a mixture is drawn heavier than an iterate, so that a grey print tells them apart.
        axes.plot(x, y, color=colour, linewidth=2.6 if "average" in name else 1.7, zorder=4, clip_on=False)
        axes.plot(x[-1:], y[-1:], "o", color=colour, markersize=5, zorder=5, clip_on=False)
        ends.append((float(y[-1]), f"{name} {y[-1]:.1f} %", colour))
    _label_ends(figure, axes, ends)
    return _save(figure, folder, "exploitability")


def policy_against_winner(
    folder: str | os.PathLike[str],
    prompts: Sequence[str],
    labels: Sequence[Sequence[str]],
    policies: Sequence[ArrayLike],
    winners: Sequence[ArrayLike],
    *,
    top: int = 12,
    policy_name: str = "self-play, average",
) -> Path:
    """Draw a policy next to a minimax winner, one panel a prompt: ``policy_against_winner.png`` and ``.svg``.

    Each panel shows the `top` completions whose larger probability of the two is largest, the winner's favourites
    first, and in words what is left. A winner need not be unique, which the figure says.

    Parameters
    ----------
    folder : where to write; made if missing.
    prompts : B names of panels.
    labels : B lists of completions.
    policies : B arrays [n_b] of probabilities in the order of `labels`; what is missing to 1 is illegal text.
    winners : B arrays [n_b], a minimax winner of each prompt's game.
    top : completions a panel, at least 1.
    policy_name : which iterate `policies` is, for the legend and the colour.

    Returns
    -------
    Path
        Of the PNG.

    Raises
    ------
    ValueError
        If the four sequences differ in length, are empty, or a policy's shape or values are no distribution.
    """
    count = len(prompts)
    if not count or not count == len(labels) == len(policies) == len(winners):
        raise ValueError(
            "expected one entry a prompt, at least one, got "
            f"{count} prompts, {len(labels)} label lists, {len(policies)} policies, {len(winners)} winners"
        )
    if top < 1:
        raise ValueError(f"top is the number of completions shown, expected at least 1, got {top}")
    pairs = [
        (_probabilities(prompt, policy_name, one, names), _probabilities(prompt, "winner", other, names))
        for prompt, names, one, other in zip(prompts, labels, policies, winners, strict=True)
    ]
    columns = min(4, count)
    rows = -(-count // columns)
    bars = max(min(top, len(names)) for names in labels) + 1
    figure = Figure(figsize=(_WIDTH, rows * (0.62 + 0.165 * bars) + 1.0), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr,call-arg]
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    colour = colour_of(policy_name)
    for axes, prompt, names, (policy, winner) in zip(panels, prompts, labels, pairs, strict=False):
        _panel(axes, prompt, names, policy, winner, top=top, rows=bars, colour=colour)
    for axes in panels[count:]:
        axes.set_visible(False)
    keys = [Patch(color=colour, label=policy_name), Patch(color=COLOURS["winner"], label="minimax winner")]
    figure.legend(handles=keys, loc="outside upper left", ncols=2, frameon=False, fontsize=_TEXT, handlelength=1.2)
    figure.supxlabel(
        "Probability of each completion; every panel has its own scale. The winner drawn is one solution of the\n"
        "linear program: another winner may exist, and a policy that differs from this one may do as well.",
        fontsize=_SMALL,
        color=_QUIET,
        x=0.01,
        ha="left",
    )
    return _save(figure, folder, "policy_against_winner")


def who_beats_whom(folder: str | os.PathLike[str], names: Sequence[str], win_rates: ArrayLike) -> Path:
    """Draw the win rates among checkpoints as a heat map: ``who_beats_whom.png`` and ``.svg``.

    Parameters
    ----------
    folder : where to write; made if missing.
    names : m policies, such as "start", "round 25", "Bradley-Terry", "average", "minimax winner".
    win_rates : [m, m], percent of comparisons that the row wins against the column, ties counted half.

    Returns
    -------
    Path
        Of the PNG.

    Raises
    ------
    ValueError
        If the matrix is not [m, m], leaves [0, 100], or a pair's two win rates do not add up to 100.
    """
    rates = np.asarray(win_rates, dtype=np.float64)
    size = len(names)
    if not size or rates.shape != (size, size):
        raise ValueError(f"expected win rates of shape ({size}, {size}), one row and column a name, got {rates.shape}")
    if not ((rates >= 0) & (rates <= 100)).all():
        raise ValueError("win rates are percentages, expected finite values in [0, 100]")
    excess = np.abs(rates + rates.T - 100)
    if excess.max() > 1:
        i, j = np.unravel_index(int(excess.argmax()), excess.shape)
        raise ValueError(
            f"win_rates[{i}, {j}] + win_rates[{j}, {i}] = {rates[i, j] + rates[j, i]:.4g}, expected 100 (tolerance 1); "
            "win rates are percentages, not fractions or payoffs"
        )
    figure = Figure(figsize=(_WIDTH, 0.44 * size + 1.1), layout="constrained")
    axes = figure.add_subplot()
    # Symmetric about 50, so that white is a draw; never so narrow that rounding looks like a rout, and a little
    # wider than the data, because the ends of the map are nearly black.
    reach = max(1.3 * float(np.abs(rates - 50).max()), 6.0)
    norm = Normalize(50 - reach, 50 + reach)
    mesh = axes.pcolormesh(rates, cmap="RdBu", norm=norm, edgecolors="white", linewidth=1.5)
    axes.invert_yaxis()
    shades = mesh.to_rgba(rates)
    for i, j in np.ndindex(size, size):
        luminance = float(np.dot(shades[i, j, :3], (0.2126, 0.7152, 0.0722)))
        ink = "white" if luminance < 0.45 else (_QUIET if i == j else "black")
        axes.text(j + 0.5, i + 0.5, f"{rates[i, j]:.0f}", ha="center", va="center", color=ink, fontsize=_TEXT)
    middles = np.arange(size) + 0.5
    shown = [_plain(name, 28) for name in names]
    axes.set_yticks(middles, shown, fontsize=_TEXT)
    if size <= 9:
        axes.set_xticks(middles, [textwrap.fill(name, 11) for name in shown], fontsize=_TEXT)
    else:
        axes.set_xticks(middles, shown, fontsize=_TEXT, rotation=40, ha="left", rotation_mode="anchor")
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False, pad=4)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(
        "% of comparisons that the row wins against the column; 50 is a draw", fontsize=_TEXT, color=_QUIET, labelpad=8
    )
    return _save(figure, folder, "who_beats_whom")


def _best_responder(name: str, rates: ArrayLike) -> FloatArray:
    """Win rates [T] of a best responder, in percent, refused on any other scale."""
    array = np.asarray(rates, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"curve {name!r}: expected win rates of shape (T,), T at least 1, got {array.shape}")
    # Exploitability is >= 0 up to rounding, so a hair below 50 is 50; NaN fails the comparison.
    if not ((array >= 50 - 1e-6) & (array <= 100 + 1e-6)).all():
        worst = array[~((array >= 50 - 1e-6) & (array <= 100 + 1e-6))][0]
        raise ValueError(
            f"curve {name!r}: a best responder wins between 50 and 100 %, got {worst:.4g}; "
            "from an exploitability e on the payoff scale it is 50 + 50 e"
        )
    return np.asarray(np.clip(array, 50, 100))


def _probabilities(prompt: str, name: str, policy: ArrayLike, labels: Sequence[str]) -> FloatArray:
    array = np.asarray(policy, dtype=np.float64)
    if array.shape != (len(labels),):
        raise ValueError(f"prompt {prompt!r}, {name}: expected shape ({len(labels)},), one a label, got {array.shape}")
    if not np.isfinite(array).all() or array.min() < -1e-6 or array.sum() > 1 + 1e-4:
        raise ValueError(
            f"prompt {prompt!r}, {name}: expected probabilities, got entries from {array.min():.3g} and sum "
            f"{array.sum():.6g}"
        )
    return np.asarray(np.maximum(array, 0.0))


def _panel(
    axes: Axes,
    prompt: str,
    labels: Sequence[str],
    policy: FloatArray,
    winner: FloatArray,
    *,
    top: int,
    rows: int,
    colour: str,
) -> None:
    """Paired bars of one prompt; `rows` is the height in bars, the same for all panels."""
    chosen = np.argsort(-np.maximum(policy, winner), kind="stable")[:top]
    chosen = chosen[np.lexsort((-policy[chosen], -winner[chosen]))]
    at = np.arange(len(chosen))
    axes.barh(at - 0.2, policy[chosen], height=0.36, color=colour)
    axes.barh(at + 0.2, winner[chosen], height=0.36, color=COLOURS["winner"])
    ticks, names = [float(i) for i in at], [_plain(labels[i], 14) for i in chosen]
    hidden = [1 - float(policy[chosen].sum()), 1 - float(winner[chosen].sum())]
    if max(hidden) > 0.005:
        ticks.append(len(chosen))
        names.append("others")
        for share, ink, shift in zip(hidden, (colour, COLOURS["winner"]), (2, 32), strict=True):
            axes.annotate(
                f"{100 * max(share, 0.0):.0f} %",
                (0, len(chosen)),
                xytext=(shift, 0),
                textcoords="offset points",
                va="center",
                fontsize=_SMALL,
                color=ink,
            )
    axes.set_yticks(ticks, names, fontsize=_SMALL, family=_MONO, va="center")
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_xlim(0, None)
    axes.xaxis.set_major_locator(MaxNLocator(3, steps=_STEPS))
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.tick_params(axis="x", labelsize=_SMALL, length=0, colors=_QUIET)
    axes.tick_params(axis="y", length=0, pad=2)
    axes.grid(axis="x", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.set_title(_plain(prompt, 24), loc="left", fontsize=_TEXT + 0.5, family=_MONO, fontweight="bold", pad=4)


def _label_ends(figure: Figure, axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Name each line (height at its end, text, colour) at the right edge, moved apart where names would overlap."""
    labels = [
        axes.annotate(
            _plain(text, 44),
            (1.0, y),
            xycoords=axes.get_yaxis_transform(),
            xytext=(1.03, y),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            color=colour,
            fontsize=_TEXT,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "relpos": (0, 0.5), "shrinkB": 4},
        )
        for y, text, colour in ends
    ]
    # The layout must be settled before a text height means anything on the y axis.
    figure.draw_without_rendering()
    low, high = axes.get_ylim()
    gap = 1.35 * _TEXT / 72 * figure.dpi / axes.get_window_extent().height * (high - low)
    order = np.argsort([y for y, _, _ in ends], kind="stable")
    steps = gap * np.arange(len(ends))
    # Closest heights with neighbours at least `gap` apart: isotonic regression of the heights less their steps.
    shifted = isotonic_regression(np.array([ends[i][0] for i in order]) - steps).x
    heights = np.clip(shifted, low, high - steps[-1]) + steps
    for i, height in zip(order, heights, strict=True):
        labels[i].set_position((1.03, float(height)))


def _plain(text: str, limit: int) -> str:
    """Text on one line, cut to `limit` characters, with dollar signs that matplotlib would read as mathematics."""
    line = " ".join(text.split("\n"))
    cut = line if len(line) <= limit else line[: limit - 1] + "…"
    return cut.replace("$", r"\$")


def _save(figure: Figure, folder: str | os.PathLike[str], name: str) -> Path:
    """Write ``name.png`` and ``name.svg`` whole or not at all; return the PNG's path."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for kind in ("svg", "png"):
        # Without a date the same run gives the same PNG.
        metadata = {"Date": None} if kind == "svg" else None
        with new_file(target / f"{name}.{kind}") as staging:
            figure.savefig(staging, dpi=150, format=kind, facecolor="white", metadata=metadata)
    return target / f"{name}.png"
