"""What plays no row of weights: regret matching, fictitious play, the double oracle. Draws no figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rebel_pref.certificates import exploitability
from rebel_pref.games import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.proximal import regularized_equilibrium
from rebel_pref.solvers import solve
from rebel_pref.solvers.learning_curve import DoubleOracle, FictitiousPlay, learning_curve
from rebel_pref.solvers.linear_program import linear_program
from rebel_pref.theory.checks import Check, Scale, at_most, near, within
from rebel_pref.theory.games import RPS, WEIGHTED_RPS, leaning_start, random_game, weighted_rps
from rebel_pref.theory.regrets import farthest, log_exploitability, observed, regret_bounds, regret_rates

__all__ = ["section"]


def section(scale: Scale, out: Path) -> list[Check]:
    """Regret bounds, rates and ends of what learns by playing without a row; nothing is written to `out`."""
    return [*regret_bounds(scale), *regret_rates(scale), *_fictitious_play(scale), *_smooth(scale), *_oracle(scale)]


def _fictitious_play(scale: Scale) -> list[Check]:
    """``T^(-1/2)`` on these games. Not in general: there are games with slower rates, with and without ties."""
    steps = scale.pick(1_000_000, 10_000)
    games = {RPS: weighted_rps(1.0, 1.0, 1.0), WEIGHTED_RPS: weighted_rps(1.0, 0.5, 0.2)}
    games |= {"R(10,0)": random_game(10, 0), "R(10,1)": random_game(10, 1)}
    slopes = []
    for game in games.values():
        at = np.unique(np.geomspace(30, steps, 60).round().astype(np.int64))
        curve = learning_curve(game, FictitiousPlay(), steps=steps, at=at, start=leaning_start(len(game)))
        # Exploitability saws up and down as runs of one action end: a fit over all horizons, not two ends.
        slopes.append(float(np.polyfit(np.log(curve.rounds), log_exploitability(curve.average), 1)[0]))
    return [
        observed(
            within(
                "fictitious play",
                f"frequencies: slope of log Expl in log T, T = 30..{steps}, farthest from -1/2",
                ", ".join(games),
                farthest(slopes, -0.5),
                -0.6,
                -0.4,
            )
        )
    ]


def _smooth(scale: Scale) -> list[Check]:
    """Frequencies q with ``q <- q + (softmax(A q / tau) - q) / t`` end at the fixed point of the softmax.

    Linearised, the map turns and pulls with real part -1 in log t, whatever tau, since A is skew: distance ~ 1/T.
    """
    early, late = 100, 10_000
    games = {WEIGHTED_RPS: weighted_rps(1.0, 0.5, 0.2), "R(10,0)": random_game(10, 0), "R(50,0)": random_game(50, 0)}
    taus = scale.pick((0.1, 0.2, 0.5), (0.1, 0.3))
    slopes, distances, lasts, biases = [], [], [], []
    for game in games.values():
        uniform = np.full(len(game), 1.0 / len(game))
        for tau in taus:
            solved = regularized_equilibrium(np.log(uniform), game.payoff, tau).policy
            learner, start = FictitiousPlay(tau), leaning_start(len(game))
            before = learning_curve(game, learner, steps=early, at=[early], start=start)
            curve = learning_curve(game, learner, steps=late, at=[late], start=start)
            there = _distance(curve.average_policy, solved)
            slopes.append(np.log(there / _distance(before.average_policy, solved)) / np.log(late / early))
            distances.append(there)
            lasts.append(_distance(curve.last_policy, solved))
            # r_p(y) = tau (log p(y)/m(y) - KL(p || m)): what the regularisation leaves to a best responder.
            log_ratio = np.log(solved / uniform)
            biases.append(float(curve.average[-1]) / (tau * float(log_ratio.max() - solved @ log_ratio)))
    names, rounds = ", ".join(games), f"T = {late}, tau = {', '.join(map(str, taus))}"
    name, of = "smooth fictitious play", "from the equilibrium regularised by tau, largest max|.|"
    return [
        within(
            name,
            f"frequencies: slope of the distance to the regularised equilibrium, {rounds}, farthest from -1",
            names,
            farthest(slopes, -1.0),
            -1.15,
            -0.85,
        ),
        at_most(name, f"frequencies {of}, {rounds}", names, max(distances), 1e-3, kind="observation"),
        at_most(name, f"last iterate {of}, {rounds}", names, max(lasts), 3e-3, kind="observation"),
        near(
            name,
            f"frequencies: Expl / (tau (max log p/m - KL(p||m))): not a winner, {rounds}",
            names,
            farthest(biases, 1.0),
            1.0,
            relative=1e-2,
            negative=True,
        ),
    ]


def _oracle(scale: Scale) -> list[Check]:
    """One best response a round: exact after at most n, and on the way exploitability rises as often as not."""
    checks = []
    ranges = {50: ((31, 40), (23, 33)), 200: ((125, 140), (97, 110))}
    for size, (strategies, support) in ranges.items():
        count = {50: scale.pick(4, 2), 200: scale.pick(4, 1)}[size]
        games = {f"R({size},{seed})": random_game(size, seed) for seed in range(count)}
        # The small ones by linear programs, the large ones by pivoting: two ways to the same winners.
        learner = DoubleOracle() if size == 50 else DoubleOracle(_winner)
        curves = [learning_curve(game, learner, steps=size, at=range(1, size + 1)) for game in games.values()]
        names, name = ", ".join(games), "double oracle (PSRO)"
        rounds = [float(curve.rounds[-1]) for curve in curves]
        played = [float(np.count_nonzero(curve.last_policy > 1e-9)) for curve in curves]
        referee = [
            _distance(c.last_policy, linear_program(g).policy) for c, g in zip(curves, games.values(), strict=True)
        ]
        rising = [float(np.mean(np.diff(curve.last) > 0.0)) for curve in curves]
        exact = [exploitability(g, c.last_policy) for c, g in zip(curves, games.values(), strict=True)]
        checks += [
            at_most(name, "exact after at most n rounds: Expl(last) at the end, largest", names, max(exact), 1e-12),
            at_most(name, "rounds / n, largest", names, max(rounds) / size, 1.0),
            at_most(name, "max|last - winner by linear program|, largest", names, max(referee), 1e-7, kind="identity"),
            _between(name, "actions in the restricted game at the end", names, rounds, strategies),
            _between(name, "actions in the support of the winner", names, played, support),
            _between(name, "Expl(last) rises: share of rounds", names, rising, (0.2, 0.6), negative=True),
        ]
    return checks


def _winner(payoffs: FloatArray) -> FloatArray:
    return solve(PreferenceGame.from_payoffs(payoffs)).policy


def _between(
    theorem: str,
    quantity: str,
    games: str,
    values: Sequence[float],
    limits: tuple[float, float],
    *,
    negative: bool = False,
) -> Check:
    middle = 0.5 * sum(limits)
    far = farthest(values, middle)
    return observed(within(theorem, f"{quantity}, farthest from {middle:g}", games, far, *limits, negative=negative))


def _distance(policy: FloatArray, other: FloatArray) -> float:
    return float(np.abs(policy - other).max())
