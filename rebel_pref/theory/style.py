"""How the figures look: one colour an algorithm everywhere, quiet axes, PNG and SVG.

Drawn on :class:`matplotlib.figure.Figure`, never on pyplot: no window opens and no global state changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["BOUND", "COLOURS", "NAMES", "SMALL", "TEXT", "colour", "panels", "save", "tidy"]

# Okabe and Ito's hues, darkened until they read on white.
COLOURS: Mapping[str, str] = {
    "rebel": "#c24e00",
    "optimistic_rebel": "#a07800",
    "magnetic_rebel": "#0072b2",
    "optimistic_magnetic_rebel": "#3a9bd6",
    "proximal_rebel": "#00805e",
    "inpo": "#5b4fa2",
    "nash_md": "#b0568a",
    "egpo": "#7a4a21",
    "sppo": "#8a8a00",
    "online_ipo": "#c0392b",
    "comal": "#2f6f6f",
    "fictitious_play": "#6e6e6e",
    "regret_matching": "#4d4d4d",
    "double_oracle": "#8c6bb1",
}
NAMES: Mapping[str, str] = {
    "rebel": "REBEL (Hedge)",
    "optimistic_rebel": "optimistic REBEL",
    "magnetic_rebel": "magnetic REBEL",
    "optimistic_magnetic_rebel": "optimistic magnetic REBEL",
    "proximal_rebel": "proximal REBEL",
    "inpo": "INPO",
    "nash_md": "Nash-MD",
    "egpo": "EGPO (extragradient)",
    "sppo": "SPPO",
    "online_ipo": "online IPO",
    "comal": "COMAL",
    "fictitious_play": "fictitious play",
    "regret_matching": "regret matching",
    "double_oracle": "double oracle (PSRO)",
}
BOUND = "#111111"
"""Bounds and predictions: thin and dark; what was measured: in the colour of its algorithm."""
TEXT = 9.0
SMALL = 8.0
_QUIET, _FAINT = "#5f5f5f", "#e4e4e4"


def colour(name: str) -> str:
    """The colour of an algorithm by the name of its row; dark grey for anything else."""
    return COLOURS.get(name, "#4d4d4d")


def panels(
    rows: int, columns: int, *, title: str, width: float = 3.6, height: float = 3.0
) -> tuple[Figure, list[Axes]]:
    """A figure with a left-aligned title and rows x columns tidy axes, in reading order; sizes in inches a panel."""
    figure = Figure(figsize=(width * columns, height * rows + 0.35), layout="constrained")
    axes = [axis for row in figure.subplots(rows, columns, squeeze=False) for axis in row]
    for axis in axes:
        tidy(axis)
    figure.suptitle(title, x=0.01, ha="left", fontsize=TEXT + 2, weight="bold")
    return figure, axes


def tidy(axis: Axes) -> None:
    """Faint grid, no box, small grey ticks."""
    axis.grid(True, which="major", color=_FAINT, linewidth=0.7)
    axis.set_axisbelow(True)
    axis.tick_params(which="both", labelsize=SMALL, colors=_QUIET)
    axis.xaxis.label.set_fontsize(TEXT)
    axis.yaxis.label.set_fontsize(TEXT)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write ``NAME.png`` and ``NAME.svg``; the same numbers give the same SVG, byte for byte."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=150)
    figure.set_layout_engine("none")  # Laid out once: the second file looks as the first.
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
