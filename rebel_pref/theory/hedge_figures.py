"""Figures of Hedge: where the iterates of six methods go on a triangle, and how fast averages converge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from rebel_pref.algorithms import Algorithm, EMAMagnet, FixedMagnet, egpo, magnetic_rebel, optimistic_rebel, rebel
from rebel_pref.games import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.proximal import regularized_equilibrium
from rebel_pref.solvers import initial_state, iterates, solve
from rebel_pref.theory.checks import Scale
from rebel_pref.theory.games import RPS, WEIGHTED_RPS, random_game, weighted_rps
from rebel_pref.theory.style import BOUND, NAMES, SMALL, colour, panels, save

__all__ = ["draw_averages", "draw_trajectories"]

_START = np.array([0.7, 0.2, 0.1])
_TAU = 0.1
_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3.0) / 2.0]])
_LABELS = ("rock", "paper", "scissors")

_PANELS: tuple[tuple[str, Algorithm, bool], ...] = (
    ("Hedge, last iterate", rebel(0.1), False),
    ("Hedge, average", rebel(0.1), True),
    ("optimistic Hedge", optimistic_rebel(0.3), False),
    ("fixed magnet", magnetic_rebel(_TAU, _TAU), False),
    ("moving magnet", magnetic_rebel(0.2, 0.2, magnet=EMAMagnet(0.02)), False),
    ("extragradient", egpo(0.3, 0.0), False),
)
"""Title, row, whether its average is drawn instead of the last iterate."""


def draw_trajectories(scale: Scale, out: Path) -> None:
    """``theory_01_trajectories``: two games, six methods, one start."""
    rounds = scale.pick(1500, 250)
    games = {RPS: weighted_rps(1.0, 1.0, 1.0), WEIGHTED_RPS: weighted_rps(1.0, 0.5, 0.2)}
    figure, axes = panels(2, len(_PANELS), title="Six methods from one start", width=2.1, height=2.1)
    for number, (name, game) in enumerate(games.items()):
        winner = solve(game).policy
        for column, (title, row, averaged) in enumerate(_PANELS):
            axis = axes[number * len(_PANELS) + column]
            path = _path(game, row, rounds, averaged=averaged)
            hue = colour(row.name)
            _triangle(axis)
            axis.plot(*(path @ _CORNERS).T, color=hue, linewidth=0.8, solid_joinstyle="round")
            axis.plot(*(_START @ _CORNERS), "o", color="#4d4d4d", markersize=3.5)
            axis.plot(*(path[-1] @ _CORNERS), "o", color=hue, markersize=4.5)
            marked: dict[str, Any] = {"color": BOUND, "markeredgecolor": "white", "markeredgewidth": 0.6}
            axis.plot(*(winner @ _CORNERS), "*", markersize=10.0, zorder=4, **marked)
            if row.uses("magnet") and row.regularization and row.magnet == FixedMagnet():
                rest = regularized_equilibrium(np.log(_START), game.payoff, row.regularization).policy
                axis.plot(*(rest @ _CORNERS), "D", markersize=5.5, zorder=3, **marked)
            if number == 0:
                axis.set_title(title, fontsize=9)
            if column == 0:
                axis.set_ylabel(name, fontsize=9)
    figure.supxlabel(
        f"grey dot: start; coloured dot: after {rounds} rounds, last iterate but for the average of Hedge; star: "
        f"minimax winner; diamond: equilibrium regularised towards the start, tau = {_TAU:g}",
        fontsize=SMALL,
        x=0.01,
        ha="left",
    )
    save(figure, out, "theory_01_trajectories")


def _path(game: PreferenceGame, row: Algorithm, rounds: int, *, averaged: bool) -> FloatArray:
    """Policies [T + 1, 3], or the averages of the first t of them."""
    policies = [_START]
    for state in iterates(row, game.payoff, initial_state(_START)):
        policies.append(np.exp(state.current))
        if state.round == rounds:
            break
    path = np.array(policies)
    return np.cumsum(path, axis=0) / np.arange(1, len(path) + 1)[:, None] if averaged else path


def _triangle(axis: Axes) -> None:
    axis.grid(False)
    axis.set_aspect("equal")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_xlim(-0.08, 1.08)
    axis.set_ylim(-0.13, 0.98)
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)
    axis.plot(*np.vstack([_CORNERS, _CORNERS[:1]]).T, color="#b8b8b8", linewidth=0.8)
    quiet: dict[str, Any] = {"fontsize": 6.5, "color": "#5f5f5f"}
    axis.text(-0.04, -0.11, _LABELS[0], ha="left", **quiet)
    axis.text(1.04, -0.11, _LABELS[1], ha="right", **quiet)
    axis.text(0.5, 0.9, _LABELS[2], ha="center", **quiet)


def draw_averages(scale: Scale, out: Path) -> None:
    """``theory_02_averages``: last iterates and averages of Hedge and optimistic Hedge, with the bounds."""
    horizon = scale.pick(10_000, 500)
    figure, axes = panels(1, 2, title="Averages converge, last iterates need not", width=4.3, height=3.4)
    for axis, (name, game) in zip(
        axes, {"R(10,0)": random_game(10, 0), "R(50,0)": random_game(50, 0)}.items(), strict=True
    ):
        n = len(game)
        eta = float(np.sqrt(2.0 * np.log(n) / horizon))
        marks = np.unique(np.geomspace(1, horizon, 120).round().astype(int))
        for key, row in (("rebel", rebel(eta)), ("optimistic_rebel", optimistic_rebel(0.5 / game.scale))):
            last, average = _curves(game, row, marks)
            axis.plot(marks, last, color=colour(key), linewidth=1.2, label=f"{NAMES[key]}, last iterate")
            axis.plot(marks, average, color=colour(key), linewidth=1.6, linestyle="--", label=f"{NAMES[key]}, average")
        start = np.full(n, 1.0 / n)
        step = 0.5 / game.scale
        hedge = np.log(n) / (eta * marks) + eta / 2.0
        optimistic = (np.log(n) / step + step * np.abs(game.payoff @ start).max() ** 2) / marks
        axis.plot(marks, hedge, color=BOUND, linewidth=0.9, label=r"bound, $\log n/(\eta T)+\eta/2$")
        bound = r"bound, $(\log n/\eta+\eta\|r_1\|_\infty^2)/T$"
        axis.plot(marks, optimistic, color=BOUND, linewidth=0.9, linestyle=":", label=bound)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_ylim(top=3.0, bottom=1e-4)
        axis.minorticks_off()
        axis.set_title(name, loc="left", fontsize=9)
        axis.set_xlabel("payoff evaluations")
    axes[0].set_ylabel("exploitability (payoff units)")
    axes[1].legend(fontsize=SMALL, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save(figure, out, "theory_02_averages")


def _curves(game: PreferenceGame, row: Algorithm, marks: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Exploitability of pi_T and of the mean of pi_1..pi_T at the marks T."""
    wanted = set(marks.tolist())
    state = initial_state(np.full(len(game), 1.0 / len(game)))
    total, last, average = np.zeros(len(game)), [], []
    for after in iterates(row, game.payoff, state):
        policy = np.exp(state.current)
        total += policy
        if after.round in wanted:
            last.append((game.payoff @ policy).max())
            average.append((game.payoff @ total).max() / after.round)
        if after.round == marks[-1]:
            break
        state = after
    return np.array(last), np.array(average)
