"""Figures 3, 4, 9 and 10: rates, step sizes, the bias of a fixed magnet, Nash-MD against INPO."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.lines import Line2D

import rebel_pref as rp
from rebel_pref.games import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.proximal import regularized_equilibrium
from rebel_pref.solvers.step_size import rotation
from rebel_pref.theory.checks import Scale
from rebel_pref.theory.contraction import distances, equilibrium, growth, nearby
from rebel_pref.theory.divergence import kl
from rebel_pref.theory.games import RPS, leaning_start, random_game, suite, weighted_rps
from rebel_pref.theory.magnets_nash_md import falling_nash_md, floor_of_nash_md
from rebel_pref.theory.style import BOUND, NAMES, SMALL, colour, panels, save

__all__ = ["draw"]

_DASHES: dict[float, Any] = {0.02: "-", 0.1: (0, (5, 1.5)), 0.5: (0, (1.2, 1.2))}


def draw(scale: Scale, out: Path) -> None:
    """All four, to ``out/theory_NN_....png`` and ``.svg``."""
    _rates(scale, out)
    _step_sizes(scale, out)
    _bias(scale, out)
    _nash_md(scale, out)


def _rates(scale: Scale, out: Path) -> None:
    title = "KL from the regularised equilibrium to the last iterate: tau$^2$ against tau, and a tight case"
    figure, axes = panels(1, 3, title=title, width=3.7)
    game, name = random_game(10, 0), "R(10,0)"
    for axis, algorithm in zip(axes, ("magnetic_rebel", "egpo"), strict=False):
        for tau, dashes in _DASHES.items():
            eta = tau / game.scale**2 if algorithm == "magnetic_rebel" else 1.0 / game.scale
            row = rp.magnetic_rebel(eta, tau)
            if algorithm == "egpo":
                row = rp.egpo(eta / (1.0 + eta * tau), tau)
            magnet = leaning_start(len(game), 1.0)
            star = equilibrium(game.payoff, tau, magnet)
            longest = math.ceil(24.0 / math.log1p(eta * tau))
            rounds = min(longest, scale.pick(30_000, 150))
            kls = distances(row, game.payoff, star, leaning_start(len(game), 3.0), magnet, rounds)
            at = np.unique(np.geomspace(1, rounds, 300).round().astype(int))
            axis.plot(at, kls[at], color=colour(algorithm), linestyle=dashes)
            line = np.geomspace(1, longest, 300)
            axis.plot(line, kls[0] * (1.0 + eta * tau) ** -line, color=BOUND, linewidth=0.8, linestyle=dashes)
        step = "tau / L$^2$" if algorithm == "magnetic_rebel" else "1 / L"
        axis.set_title(f"{NAMES[algorithm]}, eta = {step}; {name}", loc="left", fontsize=SMALL + 1)
        axis.set_xscale("log")
        axis.set_xlim(1, 7e4)
        _semilog(axis)
    axis = axes[2]
    game, winner, rounds = weighted_rps(1.0, 1.0, 1.0), np.full(3, 1.0 / 3.0), scale.pick(600, 150)
    mu, tau = rotation(game.payoff, winner), 0.1
    kls = distances(rp.magnetic_rebel(tau / mu**2, tau), game.payoff, np.log(winner), leaning_start(3), winner, rounds)
    time = np.arange(rounds + 1)
    axis.plot(time, kls, color=colour("magnetic_rebel"), linewidth=3.0, alpha=0.6, label="measured, tau = 0.1")
    bound = kls[0] * (1.0 + tau**2 / mu**2) ** -time.astype(float)
    axis.plot(time, bound, color=BOUND, linewidth=0.8, label="KL$_0$ (1 + eta tau)$^{-t}$")
    axis.set_title(f"magnetic REBEL, eta = tau / mu$^2$; {RPS}", loc="left", fontsize=SMALL + 1)
    axis.set_xlim(0, rounds)
    _semilog(axis)
    axis.legend(fontsize=SMALL, frameon=False, loc="upper right")
    axes[0].set_ylabel("KL(p || $\\pi_t$), last iterate (nats)")
    keys = [
        Line2D([], [], color="#4d4d4d", linestyle=dashes, label=f"tau = {tau:g}") for tau, dashes in _DASHES.items()
    ]
    keys.append(Line2D([], [], color=BOUND, linewidth=0.8, label="thin: bound KL$_0$ (1 + eta tau)$^{-t}$"))
    figure.legend(handles=keys, loc="outside lower center", ncols=4, fontsize=SMALL, frameon=False, handlelength=3.0)
    save(figure, out, "theory_03_rates")


def _semilog(axis: Axes) -> None:
    axis.set_yscale("log")
    axis.minorticks_off()
    axis.set_ylim(1e-9, 10.0)
    axis.set_xlabel("round t")


def _step_sizes(scale: Scale, out: Path) -> None:
    cells = scale.pick(36, 5)
    title = "Where magnetic REBEL contracts: log of the factor of KL(p || $\\pi_t$) a round"
    figure, axes = panels(1, 2, title=title, width=4.6, height=3.9)
    taus, etas = np.geomspace(0.02, 1.0, cells), np.geomspace(0.02, 5.0, cells)
    lines = np.geomspace(0.02, 1.0, scale.pick(200, 30))
    games = {RPS: weighted_rps(1.0, 1.0, 1.0), "R(10,1)": random_game(10, 1)}
    for axis, (name, game) in zip(axes, games.items(), strict=True):
        near = name == RPS
        found = np.array([[_factor(game, eta, tau, near=near) for tau in taus] for eta in etas])
        mesh = axis.pcolormesh(
            taus,
            etas,
            found,
            cmap="RdBu_r",
            norm=SymLogNorm(0.01, vmin=-1.0, vmax=1.0),
            shading="nearest",
            rasterized=True,
        )
        spins = np.array([rotation(game.payoff, np.exp(_rest(game, tau))) for tau in lines])
        curves: dict[str, tuple[FloatArray, Any]] = {
            "eta = tau / L$^2$ (proved)": (lines / game.scale**2, "-"),
            "eta = tau / mu$^2$ (factor as promised, near rest)": (lines / spins**2, (0, (5, 2))),
        }
        turning = spins > lines * 1.0001
        limit = np.full(len(lines), np.nan)
        limit[turning] = 2.0 * lines[turning] / (spins[turning] ** 2 - lines[turning] ** 2)
        curves["eta = 2 tau / (mu$^2$ - tau$^2$) (stable below, near rest)"] = (limit, (0, (1.2, 1.5)))
        for label, (curve, dashes) in curves.items():
            axis.plot(lines, curve, color=BOUND, linewidth=1.1, linestyle=dashes, label=label)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(taus[0], taus[-1])
        axis.set_ylim(etas[0], etas[-1])
        axis.set_xlabel("regularization tau (payoff per nat)")
        how = "near rest" if near else "worst of 30 rounds from afar"
        axis.set_title(f"{name}: {how}", loc="left", fontsize=SMALL + 1)
    axes[0].set_ylabel("step size eta (nats per unit payoff)")
    bar = figure.colorbar(mesh, ax=axes, extend="both", pad=0.01)
    bar.set_label("log KL$_{t+1}$ / KL$_t$: blue contracts", fontsize=SMALL + 1)
    bar.ax.tick_params(labelsize=SMALL)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
    save(figure, out, "theory_04_step_sizes")


def _rest(game: PreferenceGame, tau: float) -> FloatArray:
    return equilibrium(game.payoff, float(tau), np.full(len(game), 1.0 / len(game)))


def _factor(game: PreferenceGame, eta: float, tau: float, *, near: bool) -> float:
    """Log of the growth of KL: close to rest over eight rounds, or the worst round of a run from afar."""
    uniform, star = np.full(len(game), 1.0 / len(game)), _rest(game, tau)
    row = rp.magnetic_rebel(float(eta), float(tau))
    if near:
        return math.log(growth(distances(row, game.payoff, star, nearby(star, 1e-4), uniform, 8)))
    kls = distances(row, game.payoff, star, leaning_start(len(game), 3.0), uniform, 30)
    judged = kls[:-1] > 1e-12
    return float(np.log(kls[1:][judged] / kls[:-1][judged]).max())


def _bias(scale: Scale, out: Path) -> None:
    title = "What a fixed uniform magnet leaves: exploitability of the regularised equilibrium"
    figure, axes = panels(1, 2, title=title, width=4.3, height=3.4)
    taus = np.geomspace(3e-3, 3.0, scale.pick(40, 6))
    game = random_game(10, 0)
    ink = colour("magnetic_rebel")
    found = np.array([_left(game, tau) for tau in taus])
    axes[0].plot(taus, taus * math.log(len(game)), color=BOUND, linewidth=0.8, label="bound tau log n")
    axes[0].plot(taus, found[:, 1], color=ink, label="tau (max log p/m - KL(p||m))")
    axes[0].plot(taus, found[:, 0], "o", color=ink, markersize=3.5, markerfacecolor="white", label="certified Expl(p)")
    axes[0].set_title("R(10,0)", loc="left", fontsize=SMALL + 1)
    axes[0].set_ylabel("exploitability (payoff units)")
    axes[0].set_yscale("log")
    axes[0].legend(fontsize=SMALL, frameon=False, loc="lower right")
    games = {**suite(quick=True), "R(50,0)": random_game(50, 0)}
    inks = ("rebel", "optimistic_rebel", "egpo", "nash_md", "magnetic_rebel", "proximal_rebel", "inpo")
    for name in (RPS, "lizard-spock"):
        games.pop(name)  # Uniform winners: a uniform magnet leaves nothing.
    for (name, other), hue in zip(games.items(), inks, strict=False):
        share = [_left(other, tau)[0] / (tau * math.log(len(other))) for tau in taus]
        axes[1].plot(taus, share, color=colour(hue), linewidth=1.3, label=name)
    axes[1].axhline(1.0, color=BOUND, linewidth=0.8)
    axes[1].text(taus[0], 0.985, "bound", fontsize=SMALL, va="top", color=BOUND)
    axes[1].set_ylim(0.0, 1.04)
    axes[1].set_ylabel("exploitability / (tau log n)")
    axes[1].legend(fontsize=SMALL, frameon=False, loc="upper right", bbox_to_anchor=(1.0, 0.96))
    for axis in axes:
        axis.set_xscale("log")
        axis.minorticks_off()
        axis.set_xlabel("regularization tau (payoff per nat)")
    save(figure, out, "theory_09_bias")


def _left(game: PreferenceGame, tau: float) -> tuple[float, float]:
    """Certified exploitability of the regularised equilibrium, and what the identity says it is."""
    uniform = np.full(len(game), 1.0 / len(game))
    policy = regularized_equilibrium(np.log(uniform), game.payoff, float(tau)).policy
    star = _rest(game, tau)
    predicted = tau * float(star.max() + math.log(len(game)) - kl(star, np.log(uniform)))
    return rp.certify(game, policy).exploitability, predicted


def _nash_md(scale: Scale, out: Path) -> None:
    title = "The opponent of Nash-MD moves its point of rest: a floor at a constant step, none for INPO"
    figure, axes = panels(1, 2, title=title, width=4.4, height=3.5)
    game, eta = random_game(10, 0), 0.05
    for axis, tau, longest in zip(axes, (0.5, 0.1), (2000, 6000), strict=True):
        rounds = scale.pick(longest, 120)
        magnet, start = leaning_start(len(game), 1.0), leaning_start(len(game), 3.0)
        star = equilibrium(game.payoff, tau, magnet)
        rows: dict[str, tuple[rp.Algorithm | rp.Schedule, str, Any]] = {
            "Nash-MD, eta = 0.05": (rp.nash_md(eta, tau), "nash_md", "-"),
            "INPO, eta = 0.05": (rp.inpo(eta, tau), "inpo", "-"),
            "Nash-MD, eta$_t$ = 2 / (tau (t + 2))": (falling_nash_md(tau), "nash_md", (0, (4, 1.5))),
        }
        time = np.arange(1, rounds + 1)
        for label, (row, name, dashes) in rows.items():
            kls = distances(row, game.payoff, star, start, magnet, rounds)
            axis.plot(time, kls[1:], color=colour(name), linestyle=dashes, label=label)
        bound = 2.0 * game.scale**2 / (tau**2 * (time + 1.0))
        axis.plot(time, bound, color=BOUND, linewidth=0.8, label="bound 2 / (tau$^2$ (T + 1)) of falling steps")
        floor = floor_of_nash_md(game.payoff, eta, tau, magnet)
        axis.axhline(floor, color=BOUND, linewidth=0.8, linestyle=(0, (1.2, 1.5)), label="predicted floor")
        axis.set_title(f"R(10,0), tau = {tau:g}", loc="left", fontsize=SMALL + 1)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.minorticks_off()
        axis.set_ylim(1e-16, 1e3)
        axis.set_xlim(1, rounds)
        axis.set_xlabel("round t")
    axes[0].set_ylabel("KL(p || $\\pi_t$), last iterate (nats)")
    axes[0].legend(fontsize=SMALL, frameon=False, loc="lower left")
    save(figure, out, "theory_10_nash_md")
