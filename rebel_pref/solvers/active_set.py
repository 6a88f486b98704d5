"""Exact winners of dense games: a first-order start, then parametric principal pivoting from its support.

Write ``w = v - A p`` for the slacks and K for the skew matrix ``[[0, 1^T], [-1, A]]`` of the border (v) and the
actions. With |S| odd and ``K_S`` regular there is one p on S against which all of S ties. Regret matching guesses S
up to a few per cent of the actions. The game is then perturbed so that the guess is its exact winner, and the
perturbation theta goes from 1 to 0 while pivots keep p and w complementary: for every action one of the two is 0.
This is the parametric self-dual simplex method (Dantzig 1963, section 11-3; as complementary pivoting, Lemke 1965),
warm-started. Principal pivots keep the tableau skew (Tucker 1960), so one pivot is one rank-2 update of ``K_S^-1``
and two columns of the tableau: O(n |S|), no new factorisation.
"""

from __future__ import annotations

import numpy as np

from rebel_pref.games.game import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers.answer import Answer, Progress
from rebel_pref.solvers.basis import Basis, Column, independent_support, support_inverse
from rebel_pref.solvers.first_order import FENCE, first_order_guess

__all__ = ["active_set", "follow_path"]

_FEASIBLE = 1e-13
_PIVOT = 1e-9


def active_set(
    game: PreferenceGame, *, tol: float = 1e-9, seed: int = 0, progress: Progress | None = None
) -> Answer | None:
    """Solve a dense game exactly, or return None where pivoting broke down (singular or ill-conditioned supports).

    Parameters
    ----------
    tol : as a share of ``max|A|``. A loose one may be met by the first-order start alone, which then is the answer;
        the pivots stop where the answer is exact.
    seed : of the small random perturbation that keeps ties from cycling.
    """
    start, slack, rounds = first_order_guess(game.payoff, game.scale, tol=tol)
    if progress is not None:
        progress(rounds, float(max(0.0, -slack.min())) * game.scale)
    # The start sees A in float32.
    if -slack.min() <= tol and float((game.payoff @ start).max()) <= tol * game.scale:
        return Answer(start, "regret_matching", rounds)
    found = follow_path(game.payoff, game.scale, start, slack, seed=seed, progress=progress)
    if found is None:
        return None
    policy, pivots = found
    if float((game.payoff @ policy).max()) > max(tol, 1e-12) * game.scale:
        return None
    return Answer(policy, "active_set", rounds + pivots)


def follow_path(
    payoff: FloatArray,
    scale: float,
    start: FloatArray,
    slack: FloatArray,
    *,
    seed: int = 0,
    max_pivots: int | None = None,
    progress: Progress | None = None,
) -> tuple[FloatArray, int] | None:
    """Pivot from a guess to the winner; None where a basis is singular or the pivots run out.

    Parameters
    ----------
    payoff : [n, n]; scale : ``max|A|``, positive.
    start, slack : [n] policy and ``-(A start) / scale``, approximately complementary.
    max_pivots : ``40 + n / 8`` unless given: three times what a good guess needs, and about as much work as an interior
        point, which takes over.

    Returns
    -------
    policy [n] and the number of (double) pivots.
    """
    size = len(payoff)
    basis = _first_basis(payoff, scale, start, slack)
    if basis is None:
        return None
    rng = np.random.default_rng(seed)
    # z is p on the support and w off it. At theta = 1 it is the guess, kept away from 0 and from ties.
    inside = basis.inside
    error = max(float(-slack.min()), _FEASIBLE)
    noise = rng.uniform(0.5, 1.0, size)
    guess = np.where(inside, np.maximum(start, 1e-3 / size * noise), np.maximum(slack, 0.0) + error * noise)
    final = basis.values()
    slope = guess - final
    theta = 1.0
    max_pivots = 40 + size // 8 if max_pivots is None else max_pivots
    for pivots in range(max_pivots):
        # An action blocks before theta = 0 only if its value there is negative.
        blocking = np.flatnonzero(final < -_FEASIBLE)
        if len(blocking) == 0:
            return basis.policy(), pivots
        when = -final[blocking] / slope[blocking]
        when[slope[blocking] <= 0.0] = theta  # Rounding: it has crossed 0 already.
        first = int(blocking[when.argmax()])
        theta = min(theta, float(when.max()))
        column = basis.column(first)
        signs = np.where(inside, 1.0, -1.0)
        rates = -signs[first] * signs * column.actions
        values = np.maximum(final + theta * slope, 0.0)
        second = _second(rates, values, first)
        if second is None:
            return None
        other = basis.column(second)
        t = other.actions[first]
        if abs(t) < _PIVOT:
            return None
        # The columns of the border and of theta move like every column of the tableau.
        final = _moved(final, signs, first, second, column, other, t)
        slope = _moved(slope, signs, first, second, column, other, t)
        if not basis.exchange(first, second, column, other, t):
            return None
        if progress is not None and pivots % 50 == 0:
            progress(pivots, theta * error)
        if pivots % 50 == 49:
            final = basis.values()
    return None


def _moved(
    vector: FloatArray, signs: FloatArray, first: int, second: int, column: Column, other: Column, t: float
) -> FloatArray:
    """A column of the tableau, in the signs of (p, w), after the pivot on two actions."""
    at_first, at_second = signs[first] * vector[first], signs[second] * vector[second]
    moved: FloatArray = vector + signs * (column.actions * at_second - other.actions * at_first) / t
    moved[first] = -signs[first] * at_second / t
    moved[second] = signs[second] * at_first / t
    return moved


def _second(rates: FloatArray, values: FloatArray, first: int) -> int | None:
    """Ratio test: which value reaches 0 first; among near ties, the one with the largest pivot."""
    falling = np.flatnonzero(rates < -_PIVOT * max(1.0, float(np.abs(rates).max())))
    falling = falling[falling != first]
    if len(falling) == 0:
        return None
    ratios = values[falling] / -rates[falling]
    near = falling[ratios <= ratios.min() * (1.0 + 1e-9) + 1e-15]
    return int(near[rates[near].argmin()])


def _first_basis(payoff: FloatArray, scale: float, start: FloatArray, slack: FloatArray) -> Basis | None:
    """The guessed support, made odd and thinned until ``K_S`` is regular; None where nothing is left."""
    balance = start - FENCE * np.maximum(slack, 0.0)
    members = np.flatnonzero(balance > 0.0)
    if len(members) % 2 == 0:
        members = np.setxor1d(members, [int(np.abs(balance).argmin())])
    inverse = support_inverse(payoff, scale, members) if len(members) else None
    if inverse is None:
        ranked = np.argsort(-start, kind="stable")[: max(1, int((balance > 0.0).sum()))]
        members = independent_support(payoff, scale, ranked)
        inverse = support_inverse(payoff, scale, members)
    return None if inverse is None else Basis(payoff, scale, members, inverse)
