"""Regret matching: its bounds, the rates that no theorem gives it, and the last iterate that circles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rebel_pref.games import PreferenceGame
from rebel_pref.games.game import Game
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers.learning_curve import LearningCurve, Play, RegretMatching, learning_curve
from rebel_pref.solvers.regret_matching import Variant, matched_policies
from rebel_pref.theory.checks import Check, Scale, at_least, at_most, within
from rebel_pref.theory.games import RPS, WEIGHTED_RPS, leaning_start, random_game, suite, weighted_rps

__all__ = ["farthest", "log_exploitability", "observed", "regret_bounds", "regret_rates"]

_LARGEST = 100  # actions of the games on which regret matching is played


@dataclass
class _Recorded:
    """Regret matching that keeps the squares its bounds are made of."""

    variant: Variant
    regrets: list[float] = field(default_factory=list)
    surprises: list[float] = field(default_factory=list)
    name: str = "recorded"

    def play(self, game: Game, start: FloatArray) -> Iterator[Play]:
        before = np.zeros(len(game))
        for number, (policy, payoffs) in enumerate(matched_policies(game, self.variant, start), 1):
            self.regrets.append(float(payoffs @ payoffs))
            self.surprises.append(float((payoffs - before) @ (payoffs - before)))
            before = payoffs
            yield policy, policy, number


def regret_bounds(scale: Scale) -> list[Check]:
    """Blackwell's potential: ``|[z + r]_+|^2 <= |z|^2 + |r|^2``, since the policy makes ``z . r = 0``.

    So ``max z_T <= sqrt(sum |r_t|^2)``, and the exploitability of the uniform average is at most that over T. For
    regret matching+, ``r_t <= z_t - z_{t-1}`` gives ``sum_t t r_t <= T z_T``: the linear average is at most twice that
    over T + 1. Predictive regret matching+ is optimistic mirror descent on the cone with the regularizer |.|^2 / 2,
    at every step size at once: ``min_s 1/(2 s) + s sum |r_t - r_{t-1}|^2 = sqrt(2 sum |r_t - r_{t-1}|^2)``.
    """
    games = {name: game for name, game in suite(quick=scale.quick).items() if len(game) <= _LARGEST}
    steps = scale.pick(10_000, 1_000)
    ratios: dict[str, list[float]] = {key: [] for key in ("plain", "plus", "size", "linear", "predictive")}
    for game in games.values():
        start = leaning_start(len(game))
        for variant in ("plain", "plus", "predictive_plus"):
            player = _Recorded(variant)
            curve = learning_curve(game, player, steps=steps, start=start)
            rounds = curve.rounds
            own = np.sqrt(np.cumsum(player.regrets))[rounds - 1] / rounds
            if variant == "predictive_plus":
                surprise = np.sqrt(2.0 * np.cumsum(player.surprises))[rounds - 1] / rounds
                ratios["predictive"].append(_worst(curve.average, surprise))
                continue
            ratios[variant].append(_worst(curve.average, own))
            ratios["size"].append(_worst(curve.average, game.scale * np.sqrt(len(game) / rounds)))
            if variant == "plus":
                linear = learning_curve(game, RegretMatching("plus"), steps=steps, start=start, averaging="linear")
                ratios["linear"].append(_worst(linear.average, 2.0 * own * rounds / (rounds + 1.0)))
    names, until = ", ".join(games), f"T = 1..{steps}, largest ratio"
    plain, plus, predictive = "regret matching", "regret matching+", "predictive regret matching+"
    return [
        at_most(plain, f"Expl(average) T / sqrt(sum |r_t|^2), {until}", names, max(ratios["plain"]), 1.0),
        at_most(plus, f"Expl(average) T / sqrt(sum |r_t|^2), {until}", names, max(ratios["plus"]), 1.0),
        at_most(f"{plain}, {plus}", f"Expl(average) / (L sqrt(n/T)), {until}", names, max(ratios["size"]), 1.0),
        at_most(
            plus, f"Expl(linear average) (T+1) / (2 sqrt(sum |r_t|^2)), {until}", names, max(ratios["linear"]), 1.0
        ),
        at_most(
            predictive,
            f"Expl(average) T / sqrt(2 sum |r_t - r_(t-1)|^2), {until}",
            names,
            max(ratios["predictive"]),
            1.0,
        ),
    ]


def regret_rates(scale: Scale) -> list[Check]:
    """What no theorem says: rates of the averages, and a last iterate that circles."""
    steps = scale.pick(10_000, 1_000)
    uneven = _uneven()
    even = {name: suite(quick=True)[name] for name in (RPS, "disc(20,1)")}

    def curves(variant: Variant, averaging: str, games: Mapping[str, PreferenceGame]) -> list[LearningCurve]:
        return [
            learning_curve(
                game,
                RegretMatching(variant),
                steps=steps,
                at=[100, steps],
                start=leaning_start(len(game)),
                averaging="linear" if averaging == "linear" else "uniform",
            )
            for game in games.values()
        ]

    def ratio(variant: Variant, games: Mapping[str, PreferenceGame]) -> list[float]:
        """Exploitability of the linear average, as a share of the uniform average's."""
        pairs = zip(curves(variant, "linear", games), curves(variant, "uniform", games), strict=True)
        return [float(linear.average[-1] / uniform.average[-1]) for linear, uniform in pairs]

    uniform = curves("predictive_plus", "uniform", uneven | even)
    linear = curves("predictive_plus", "linear", uneven)
    weighted = uneven[WEIGHTED_RPS]
    last = learning_curve(
        weighted, RegretMatching(), steps=steps, at=range(steps // 2, steps + 1), start=leaning_start(3)
    ).last
    some, symmetric, every = ", ".join(uneven), ", ".join(even), ", ".join(uneven | even)
    plain, plus, predictive = "regret matching", "regret matching+", "predictive regret matching+"
    late, share = f"T = {steps // 2}..{steps}", f"Expl(linear average) / Expl(uniform average), T = {steps}"
    return [
        observed(
            within(
                predictive,
                f"uniform average: slope of log Expl in log T, T = 100..{steps}, farthest from -1",
                every,
                farthest([_slope(curve) for curve in uniform], -1.0),
                -1.1,
                -0.9,
            )
        ),
        at_most(
            predictive,
            f"uniform average: T Expl, T = {steps}, largest",
            every,
            max(steps * float(curve.average[-1]) for curve in uniform),
            1.5,
            kind="observation",
        ),
        at_most(
            predictive,
            f"linear average: slope of log Expl in log T, T = 100..{steps}, shallowest",
            some,
            max(_slope(curve) for curve in linear),
            -1.25,
            kind="observation",
        ),
        at_least(
            predictive,
            f"{share}, smallest: linear weights gain nothing where the orbit is symmetric",
            symmetric,
            min(ratio("predictive_plus", even)),
            1.0,
            kind="observation",
            negative=True,
        ),
        observed(within(plus, f"{share}, median", some, float(np.median(ratio("plus", uneven))), 0.3, 1.0)),
        at_least(
            plain,
            f"{share}, median: linear weights are for regret matching+",
            every,
            float(np.median(ratio("plain", uneven | even))),
            1.5,
            kind="observation",
            negative=True,
        ),
        observed(
            within(
                predictive,
                f"last iterate circles: largest Expl, {late}",
                WEIGHTED_RPS,
                float(last.max()),
                0.14,
                0.2,
                negative=True,
            )
        ),
        at_least(
            predictive,
            f"last iterate circles: smallest Expl, {late}",
            WEIGHTED_RPS,
            float(last.min()),
            0.01,
            kind="observation",
            negative=True,
        ),
    ]


def _uneven() -> dict[str, PreferenceGame]:
    """Games whose winner is mixed and not symmetric."""
    games = {WEIGHTED_RPS: weighted_rps(1.0, 0.5, 0.2), "R(10,0)": random_game(10, 0), "R(10,1)": random_game(10, 1)}
    return games | {"R(50,0)": random_game(50, 0)}


def _worst(values: FloatArray, bounds: FloatArray) -> float:
    return float((values / bounds).max())


def _slope(curve: LearningCurve) -> float:
    """Of log exploitability of the average in log T, between the first and the last round measured."""
    fall = log_exploitability(curve.average[[0, -1]])
    return float((fall[1] - fall[0]) / np.log(curve.rounds[-1] / curve.rounds[0]))


def observed(check: Check) -> Check:
    """A check whose interval was measured on these games, not derived."""
    return replace(check, kind="observation")


def farthest(values: Sequence[float], prediction: float) -> float:
    """The value that a prediction explains worst."""
    return float(max(values, key=lambda value: abs(value - prediction)))


def log_exploitability(values: FloatArray) -> FloatArray:
    """Natural logarithm; an exact winner has exploitability 0 but for rounding, and counts as that."""
    return np.asarray(np.log(np.maximum(values, np.finfo(np.float64).eps)))
