"""Which last iterate: every row at equal judgements, exact and under noise, over the whole suite of games.

The default, :func:`rebel_pref.solvers.automatic_algorithm`, has one setting for a noise level. Each other row gets the
best of several settings **in hindsight**, chosen on the very numbers that it is compared by.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.ticker import NullFormatter

from rebel_pref.algorithms import (
    Algorithm,
    EMAMagnet,
    egpo,
    magnetic_rebel,
    nash_md,
    optimistic_magnetic_rebel,
    optimistic_rebel,
    rebel,
)
from rebel_pref.games import PreferenceGame
from rebel_pref.schedules import Schedule, annealed
from rebel_pref.solvers import ExactPayoffs, Feedback, SampledOpponents, automatic_algorithm
from rebel_pref.theory.checks import Check, Scale, at_most, noted
from rebel_pref.theory.games import suite
from rebel_pref.theory.study import FLOOR, Run, geometric_mean, play
from rebel_pref.theory.style import colour, panels, save

__all__ = ["CANDIDATES", "DEFAULT", "LEVELS", "RIVALS", "Entry", "measure", "section"]

DEFAULT = "default"
CANDIDATES: Mapping[str, tuple[str, Algorithm | Schedule]] = {
    "moving magnet": ("eta = tau = .2, rate .02", magnetic_rebel(0.2, 0.2, magnet=EMAMagnet(0.02))),
    "optimistic, moving magnet": (
        "eta .5, tau .1, rate .05",
        optimistic_magnetic_rebel(0.5, 0.1, magnet=EMAMagnet(0.05)),
    ),
    "falling tau": (
        "eta .5 / sqrt t, tau 1 / sqrt t",
        annealed(magnetic_rebel, step_size=0.5, regularization=1.0, step_power=0.5, regularization_power=0.5),
    ),
}
"""What else might have become the default: rows that end at the winner itself, one setting each."""

LEVELS: Mapping[str, Feedback] = {
    "K = 2": SampledOpponents(2),
    "K = 8": SampledOpponents(8),
    "K = 64": SampledOpponents(64),
    "exact": ExactPayoffs(),
}
"""What a round sees: K opponents drawn from the current policy, whom every action plays, or everything."""

RIVALS: Mapping[str, Mapping[str, Algorithm]] = {
    "rebel": {f"eta {eta:g}": rebel(eta) for eta in (0.02, 0.1)},
    "optimistic_rebel": {f"eta {eta:g}": optimistic_rebel(eta) for eta in (0.02, 0.1, 0.5)},
    "magnetic_rebel": {f"eta = tau = {tau:g}": magnetic_rebel(tau, tau) for tau in (0.05, 0.1)},
    "nash_md": {f"eta .2, tau {tau:g}": nash_md(0.2, tau) for tau in (0.05, 0.1)},
    "egpo": {f"eta {eta:g}, tau {tau:g}": egpo(eta, tau) for eta, tau in ((0.2, 0.02), (0.2, 0.1), (0.5, 0.02))},
}
"""Row -> settings; magnets are fixed at the start, as published."""

_NAMES = {
    "rebel": "REBEL (Hedge)",
    "optimistic_rebel": "optimistic REBEL",
    "magnetic_rebel": "fixed magnet",
    "nash_md": "Nash-MD",
    "egpo": "EGPO",
    **{name: name for name in CANDIDATES},
    DEFAULT: "default",
}


@dataclass(frozen=True, eq=False)
class Entry:
    """One row with one setting at one noise level, on every game."""

    level: str
    row: str
    setting: str
    runs: Mapping[str, Run]

    def exploitability(self, mark: int = -1, of: str = "last") -> dict[str, float]:
        """Game -> mean over seeds at a mark, of the "last" iterate or the "magnet"."""
        return {game: float(getattr(run, of)[mark].mean()) for game, run in self.runs.items()}

    @property
    def score(self) -> float:
        """Geometric mean over games at the last mark."""
        return geometric_mean(self.exploitability())


def measure(
    games: Mapping[str, PreferenceGame], level: str, *, rounds: tuple[int, ...], seeds: int, seed: int
) -> list[Entry]:
    """Every row with every setting at one noise level."""
    feedback = LEVELS[level]
    exact = math.isinf(feedback.opponents)
    settings: list[tuple[str, str, Algorithm | Schedule | None]] = [
        (row, setting, algorithm) for row, grid in RIVALS.items() for setting, algorithm in grid.items()
    ]
    settings += [(name, setting, algorithm) for name, (setting, algorithm) in CANDIDATES.items()]
    settings.append((DEFAULT, "automatic", None))
    entries = []
    for row, setting, algorithm in settings:
        runs = {}
        for name, game in games.items():
            chosen = algorithm or automatic_algorithm(feedback.opponents, scale=game.scale)
            runs[name] = play(
                game,
                chosen,
                feedback,
                rounds=rounds,
                seeds=min(seeds, 3) if exact else seeds,
                seed=seed,
                settled=1e-9 if exact else 0.0,
            )
        entries.append(Entry(level, row, setting, runs))
    return entries


def section(scale: Scale, out: Path) -> list[Check]:
    """Measure, compare the default with the best of each row, draw ``theory_08_noise``."""
    games = suite(quick=scale.quick)
    rounds = scale.pick((60, 200, 600), (20, 60, 150))
    seeds = scale.pick(20, 6)
    levels = scale.pick(tuple(LEVELS), ("K = 8", "exact"))
    entries = [
        entry for level in levels for entry in measure(games, level, rounds=rounds, seeds=seeds, seed=scale.seed)
    ]
    _write(entries, out / "last_iterate.csv")
    _draw(entries, levels, rounds, out)
    return [check for level in levels for check in _compare([e for e in entries if e.level == level])]


def _compare(entries: list[Entry]) -> list[Check]:
    """The default against the best setting of every row at one noise level."""
    level = entries[0].level
    named = ", ".join(entries[0].runs)
    best = _best_settings(entries)
    default = best.pop(DEFAULT)
    rounds = next(iter(default.runs.values())).rounds[-1]
    checks = []
    if level == "exact":
        leader = min(best.values(), key=lambda entry: entry.score)
        quantity = (
            f"exact, round {rounds}: geometric mean of the last iterate's exploitability, default; bound: twice the "
            f"best other, {_NAMES[leader.row]} ({leader.setting})"
        )
        checks.append(at_most("last iterate", quantity, named, default.score, 2.0 * leader.score))
    for row, entry in best.items():
        quantity = (
            f"{level}, round {rounds}: geometric mean of the last iterate's exploitability, default; bound: "
            f"{_NAMES[row]} at its best setting ({entry.setting})"
        )
        checks.append(at_most("last iterate", quantity, named, default.score, entry.score))
    worst, by, where = 1.0, "", []
    ours = default.exploitability()
    for row, entry in best.items():
        for game, value in entry.exploitability().items():
            factor = max(ours[game], FLOOR) / max(value, FLOOR)
            if factor > 1.05:
                where.append(game)
            if factor > worst:
                worst, by = factor, f"{_NAMES[row]} ({entry.setting}) on {game}"
    lost = ", ".join(dict.fromkeys(where)) or "none"
    quantity = f"{level}: largest factor by which another row's best setting ends lower than the default" + (
        f": {by}" if by else ""
    )
    checks.append(noted("where the default loses", quantity, lost, worst))
    magnet = geometric_mean(default.exploitability(of="magnet"))
    if level != "exact":
        quantity = f"{level}: geometric mean of the magnet's exploitability over the last iterate's, default"
        checks.append(noted("magnet or last iterate", quantity, named, magnet / default.score))
    return checks


def _best_settings(entries: list[Entry]) -> dict[str, Entry]:
    best: dict[str, Entry] = {}
    for entry in entries:
        if entry.row not in best or entry.score < best[entry.row].score:
            best[entry.row] = entry
    return best


def _write(entries: list[Entry], path: Path) -> None:
    """Every number behind the comparison: one line for a level, row, setting, game and round."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["level", "row", "setting", "game", "round", "seeds", "last", "standard_error", "magnet"])
        for entry in entries:
            for game, run in entry.runs.items():
                for mark, number in enumerate(run.rounds):
                    last = run.last[mark]
                    error = last.std(ddof=1) / math.sqrt(len(last)) if len(last) > 1 else 0.0
                    numbers = (f"{x:.6g}" for x in (last.mean(), error, run.magnet[mark].mean()))
                    writer.writerow([entry.level, entry.row, entry.setting, game, number, len(last), *numbers])


def _draw(entries: list[Entry], levels: tuple[str, ...], rounds: tuple[int, ...], out: Path) -> None:
    figure, axes = panels(
        1, 2, title=f"Last iterate over {len(entries[0].runs)} games, at equal judgements", width=4.6, height=3.6
    )
    rows = (*RIVALS, *CANDIDATES, DEFAULT)
    shown = {
        "moving magnet": "optimistic_magnetic_rebel",
        "optimistic, moving magnet": "inpo",
        "falling tau": "comal",
        DEFAULT: "proximal_rebel",
    }
    noisy = "K = 8"
    for row in rows:
        best = [_best_settings([e for e in entries if e.level == level])[row] for level in levels]
        look: dict[str, Any] = {
            "color": colour(shown.get(row, row)),
            "linewidth": 2.6 if row == DEFAULT else 1.3,
            "marker": "o",
            "markersize": 5.0 if row == DEFAULT else 3.5,
            "zorder": 3 if row == DEFAULT else 2,
            "label": _NAMES[row],
        }
        axes[0].plot(range(len(levels)), [entry.score for entry in best], **look)
        curve = best[levels.index(noisy)]
        heights = [geometric_mean(curve.exploitability(mark)) for mark in range(len(rounds))]
        axes[1].plot(rounds, heights, **look)
    axes[0].set_xticks(range(len(levels)), levels)
    axes[0].set_xlabel("opponents a round sees")
    axes[0].set_title(f"after {rounds[-1]} rounds", loc="left", fontsize=9)
    axes[1].set_title(noisy, loc="left", fontsize=9)
    axes[1].set_xscale("log")
    axes[1].set_xticks(rounds, [str(number) for number in rounds])
    axes[1].xaxis.set_minor_formatter(NullFormatter())
    axes[1].set_xlabel("rounds")
    for axis in axes:
        axis.set_yscale("log")
    axes[0].set_ylabel("exploitability, geometric mean (payoff units)")
    axes[1].legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save(figure, out, "theory_08_noise")
