"""What has no proof, measured: the numbers of the default, implicit against explicit on samples and pools.

The default of noisy learning dynamics (:func:`rebel_pref.solvers.automatic_algorithm`) moves its magnet and lets its
step fall, and nobody has shown that this converges. So it is held against a grid of constant numbers at every noise
level, the best of which is chosen in hindsight; and the implicit step, exact on a known matrix, against the explicit
one where it only sees draws.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from rebel_pref.algorithms import Algorithm, EMAMagnet, magnetic_rebel, optimistic_rebel, proximal_rebel, rebel
from rebel_pref.games import PreferenceGame
from rebel_pref.schedules import Schedule
from rebel_pref.solvers import Feedback, OpponentPool, SampledGroups, SampledOpponents, automatic_algorithm
from rebel_pref.theory.checks import Check, Scale, at_least, at_most, noted
from rebel_pref.theory.games import suite
from rebel_pref.theory.last_iterate import LEVELS
from rebel_pref.theory.study import FLOOR, geometric_mean, play
from rebel_pref.theory.style import panels, save

__all__ = ["Cell", "section"]

_POOLED = (
    "RPS(1,.5,.2)",
    "lizard-spock",
    "R(10,0)",
    "R(20,3)",
    "disc(20,1)",
    "hybrid(20,0)",
    "Blotto(6;2:3:4)",
    "Lotto(12;3)",
)
_GROUPED = ("RPS(1,.5,.2)", "R(10,0)", "R(10,1)")


@dataclass(frozen=True)
class Cell:
    """One constant setting of a magnet that moves, at one noise level.

    Attributes
    ----------
    step_size, regularization : eta and tau.
    share : rate of the magnet over ``eta tau``.
    by_game : game -> exploitability of the last iterate, mean over seeds.
    """

    step_size: float
    regularization: float
    share: float
    by_game: Mapping[str, float]

    @property
    def score(self) -> float:
        """Geometric mean over games."""
        return geometric_mean(self.by_game)

    def __str__(self) -> str:
        return f"eta {self.step_size:g}, tau {self.regularization:g}, rate {self.share:g} eta tau"


def section(scale: Scale, out: Path) -> list[Check]:
    """The grid, the pool, and groups regressed as a trainer does; draws ``theory_11_defaults``."""
    return [*_grid_checks(scale, out), *_pool_checks(scale), *_group_checks(scale)]


def _grid_checks(scale: Scale, out: Path) -> list[Check]:
    games = suite(quick=scale.quick)
    rounds, seeds = scale.pick(200, 60), scale.pick(20, 6)
    etas = scale.pick((0.05, 0.2, 0.5, 1.0), (0.05, 0.2, 1.0))
    taus = scale.pick((0.05, 0.1, 0.2, 0.4), (0.05, 0.2, 0.4))
    settings = [(eta, tau, 0.5) for eta, tau in itertools.product(etas, taus)]
    settings += [(0.2, 0.2, share) for share in scale.pick((0.1, 0.25, 1.0, 2.0), (0.1, 2.0))]
    settings += [(1.0, 0.1, share) for share in scale.pick((0.1, 0.25, 1.0, 2.0), (0.1,))]
    checks, tables, defaults = [], {}, {}
    for level in scale.pick(tuple(LEVELS), ("K = 8", "exact")):
        feedback = LEVELS[level]

        def score(algorithm: Algorithm | Schedule | None, feedback: Feedback = feedback) -> dict[str, float]:
            return _last(games, algorithm, feedback, rounds, seeds, scale.seed)

        cells = [
            Cell(eta, tau, share, score(magnetic_rebel(eta, tau, magnet=EMAMagnet(min(1.0, share * eta * tau)))))
            for eta, tau, share in settings
        ]
        tables[level], defaults[level] = cells, score(None)
        checks += _against_grid(level, rounds, cells, defaults[level])
    _write(tables, defaults, out / "defaults.csv")
    _draw(tables, defaults, rounds, etas, taus, out)
    return checks


def _last(
    games: Mapping[str, PreferenceGame],
    algorithm: Algorithm | Schedule | None,
    feedback: Feedback,
    rounds: int,
    seeds: int,
    seed: int,
) -> dict[str, float]:
    """Game -> exploitability of the last iterate, mean over seeds; None stands for the default."""
    exact = math.isinf(feedback.opponents)
    found = {}
    for name, game in games.items():
        chosen = algorithm or automatic_algorithm(feedback.opponents, scale=game.scale)
        count = min(seeds, 3) if exact else seeds  # Without noise, seeds only change the start.
        settled = 1e-9 if exact else 0.0
        run = play(game, chosen, feedback, rounds=(rounds,), seeds=count, seed=seed, settled=settled)
        found[name] = float(run.last[-1].mean())
    return found


def _against_grid(level: str, rounds: int, cells: list[Cell], default: Mapping[str, float]) -> list[Check]:
    named = ", ".join(default)
    best = min(cells, key=lambda cell: cell.score)
    slack = 1.0 if level == "exact" else 1.25
    quantity = (
        f"{level}, round {rounds}: geometric mean of the last iterate's exploitability, default; bound: {slack:g} x "
        f"the best of {len(cells)} constant settings in hindsight ({best})"
    )
    worse = {game: default[game] / max(best.by_game[game], FLOOR) for game in default}
    game = max(worse, key=lambda name: worse[name])
    lost = ", ".join(name for name, factor in worse.items() if factor > 1.25) or "none"
    return [
        at_most("numbers of the default", quantity, named, geometric_mean(default), slack * best.score),
        noted(
            "where the default loses", f"{level}: default over that best setting, worst on {game}", lost, worse[game]
        ),
    ]


def _pool_checks(scale: Scale) -> list[Check]:
    """Implicit against explicit at equal samples, on a pool of past draws; and a pool of single verdicts."""
    games = {name: game for name, game in suite(quick=False).items() if name in _POOLED}
    if scale.quick:
        games = {name: games[name] for name in ("R(10,0)", "Blotto(6;2:3:4)")}
    rounds, seeds = scale.pick(120, 40), scale.pick(20, 6)
    named = ", ".join(games)
    checks = []
    for weights in ("horvitz_thompson", "exact"):
        pool = OpponentPool(8, "exact" if weights == "exact" else "horvitz_thompson")
        for eta, tau, fixed in ((0.2, 0.2, True), (2.0, 0.05, True), (1.0, 0.1, False)):
            magnet = None if fixed else EMAMagnet(0.5 * eta * tau)
            implicit = _last(games, proximal_rebel(eta, tau, magnet=magnet), pool, rounds, seeds, scale.seed)
            explicit = _last(games, magnetic_rebel(eta, tau, magnet=magnet), pool, rounds, seeds, scale.seed)
            game = max(games, key=lambda name: explicit[name] / implicit[name])
            words = (
                f"{weights} pool, 8 draws a round, eta {eta:g}, tau {tau:g}, magnet {'fixed' if fixed else 'moving'}"
            )
            ratio = geometric_mean(implicit) / geometric_mean(explicit)
            if eta > 1.0:
                # Beyond its step-size limit the explicit row overshoots, and what it has driven out is not drawn again.
                quantity = f"{words}: implicit over explicit, geometric mean"
                checks.append(at_most("implicit step on a pool", quantity, named, ratio, 1.0, kind="observation"))
                quantity = f"{words}: explicit over implicit on {game}"
                factor = explicit[game] / implicit[game]
                checks.append(
                    at_least("explicit step on a pool", quantity, game, factor, 1.5, kind="observation", negative=True)
                )
            else:
                checks.append(
                    noted("implicit step on a pool", f"{words}: implicit over explicit, geometric mean", named, ratio)
                )
    verdicts = _last(games, None, OpponentPool(8, labels=True), rounds, seeds, scale.seed)
    fresh = _last(games, None, SampledOpponents(8, labels=True), rounds, seeds, scale.seed)
    quantity = "a pool of verdicts given once, over fresh verdicts each round: what a pair was judged, it stays"
    ratio = geometric_mean(verdicts) / geometric_mean(fresh)
    checks.append(at_least("pool of single verdicts", quantity, named, ratio, 1.2, kind="observation", negative=True))
    return checks


def _group_checks(scale: Scale) -> list[Check]:
    """Self-play by regression as a trainer runs it: 16 groups of 8 draws, verdicts, ridge."""
    games = {name: game for name, game in suite(quick=False).items() if name in _GROUPED}
    groups = SampledGroups(16, 8, labels=True)
    rounds, seeds = scale.pick(1000, 250), scale.pick(20, 6)
    rows: dict[str, Algorithm | Schedule | None] = {
        "rebel": rebel(0.1),
        "optimistic_rebel": optimistic_rebel(0.1),
        "fixed magnet": magnetic_rebel(0.1, 0.1),
        "moving magnet": magnetic_rebel(0.2, 0.2, magnet=EMAMagnet(0.02)),
        "default": None,
    }
    scores = {name: geometric_mean(_last(games, row, groups, rounds, seeds, scale.seed)) for name, row in rows.items()}
    named = ", ".join(games)
    quantity = f"16 groups of 8, verdicts, round {rounds}: geometric mean of the last iterate, default; bound: "
    return [
        at_most("regressed groups", f"{quantity}{name}", named, scores["default"], score, kind="observation")
        for name, score in scores.items()
        if name in ("rebel", "optimistic_rebel", "fixed magnet")
    ] + [
        noted("regressed groups", "the same: default over a moving magnet with constant numbers", named,
              scores["default"] / scores["moving magnet"])
    ]  # fmt: skip


def _write(tables: Mapping[str, list[Cell]], defaults: Mapping[str, Mapping[str, float]], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["level", "step_size", "regularization", "share", "game", "exploitability"])
        for level, cells in tables.items():
            for cell in cells:
                numbers = (cell.step_size, cell.regularization, cell.share)
                writer.writerows([level, *numbers, game, f"{value:.6g}"] for game, value in cell.by_game.items())
            writer.writerows([level, "default", "", "", game, f"{x:.6g}"] for game, x in defaults[level].items())


def _draw(
    tables: Mapping[str, list[Cell]],
    defaults: Mapping[str, Mapping[str, float]],
    rounds: int,
    etas: tuple[float, ...],
    taus: tuple[float, ...],
    out: Path,
) -> None:
    count = len(next(iter(defaults.values())))
    title = f"Exploitability of the last iterate, {count} games, round {rounds}:\nmoving magnet, constant numbers"
    figure, axes = panels(1, len(tables), title=title, width=3.1, height=3.3)
    scores = [cell.score for cells in tables.values() for cell in cells]
    norm = LogNorm(max(min(scores), 1e-3), max(scores))
    for axis, (level, cells) in zip(axes, tables.items(), strict=True):
        grid = np.array([[_at(cells, eta, tau) for eta in etas] for tau in taus])
        axis.imshow(grid, norm=norm, cmap="viridis_r", origin="lower", aspect="auto")
        axis.grid(False)
        _annotate(axis, grid, norm)
        axis.set_xticks(range(len(etas)), [f"{eta:g}" for eta in etas])
        axis.set_yticks(range(len(taus)), [f"{tau:g}" for tau in taus])
        axis.set_xlabel("step size eta")
        axis.set_title(f"{level}; default {geometric_mean(defaults[level]):.2g}", loc="left", fontsize=9)
    axes[0].set_ylabel("regularization tau")
    save(figure, out, "theory_11_defaults")


def _at(cells: list[Cell], eta: float, tau: float) -> float:
    wanted = (eta, tau, 0.5)
    return next(cell.score for cell in cells if (cell.step_size, cell.regularization, cell.share) == wanted)


def _annotate(axis: Axes, grid: np.ndarray, norm: LogNorm) -> None:
    for (row, column), value in np.ndenumerate(grid):
        dark = norm(value) > 0.5
        axis.text(column, row, f"{value:.2g}", ha="center", va="center", fontsize=8, color="white" if dark else "black")
