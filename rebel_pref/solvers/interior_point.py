"""Interior point on the symmetric central path: robust, and it ends in the relative interior of the winners.

In a symmetric zero-sum game primal and dual are one vector. The central path is ``p_i w_i = mu`` with slacks
``w = v - A p``; since ``p^T A p = 0`` that means ``v = n mu``, so ``p_i = mu / (n mu - (A p)_i)``. The uniform
policy starts on the right side of it, ``sum p = 1`` is kept exactly, and a Newton step solves one n x n system
``(diag(w/p) - A) dp + 1 dv = r`` whose symmetric part is positive definite: half the size of what a general
interior-point solver factors. Predictor and corrector as in Mehrotra 1992.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rebel_pref.games.game import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers.answer import Answer, Progress

__all__ = ["CentralPoint", "central_path", "interior_point", "polish"]

_MAX_STEPS = 100
_END = 1e-14


@dataclass(frozen=True, eq=False)
class CentralPoint:
    """Where the path was left: p and w = v - A p (in units of ``max|A|``), ``p_i w_i`` about mu.

    As mu goes to 0 the pair tends to the analytic centre of the winners, which is strictly complementary:
    of p_i and w_i exactly one vanishes.
    """

    policy: FloatArray
    slack: FloatArray
    value: float
    mu: float
    steps: int

    @property
    def support(self) -> np.ndarray:
        """Actions that some winner plays: p_i outweighs w_i, [n] bool."""
        return np.asarray(self.policy > self.slack)


def central_path(
    payoff: FloatArray, scale: float, *, tol: float = _END, progress: Progress | None = None
) -> CentralPoint:
    """Follow the path until ``v = n mu <= tol`` (the exploitability, in units of `scale`) or no step helps.

    9 to 20 steps of one LU each: O(n^3). At the default `tol` it goes on until it can tell which of p_i and w_i
    vanishes, for every action: near-ties of size s ask for mu far below s^2.
    """
    from scipy.linalg.lapack import dgetrf, dgetrs  # In place: the matrix may be large.

    size = len(payoff)
    policy = np.full(size, 1.0 / size)
    payoffs = payoff @ policy / scale
    value = max(2.0 * float(np.abs(payoffs).max()), 1e-3)
    slack = value - payoffs
    steps = 0
    best = CentralPoint(policy, slack, value, value / size, 0)
    system = np.empty((size, size), order="F")
    while steps < _MAX_STEPS:
        mu = float(policy @ slack) / size
        if value <= tol and (tol > _END or value <= 1e-25 or _tells_apart(policy, slack)):
            break
        steps += 1
        # -A^T = A, and the transpose of a Fortran array is in C order like the payoffs.
        np.divide(payoff, scale, out=system.T)
        system.T[np.diag_indices(size)] += slack / policy
        factors, pivots, info = dgetrf(system, overwrite_a=True)
        if info != 0:
            break

        def solve(complementarity: FloatArray) -> tuple[FloatArray, float]:
            both, _ = dgetrs(factors, pivots, np.column_stack([complementarity / policy, np.ones(size)]))  # noqa: B023
            shift = float(both[:, 0].sum() / both[:, 1].sum())
            return both[:, 0] - shift * both[:, 1], shift

        # Affine step, then centring by its success and a correction of second order.
        toward, lift = solve(-policy * slack)
        fall = lift - payoff @ toward / scale
        length = min(_longest(policy, toward), _longest(slack, fall))
        centred = float((policy + length * toward) @ (slack + length * fall)) / size
        sigma = (centred / mu) ** 3
        toward, lift = solve(sigma * mu - policy * slack - toward * fall)
        fall = lift - payoff @ toward / scale
        length = min(_longest(policy, toward), _longest(slack, fall))
        length *= min(max(0.99, 1.0 - value), 0.9999) if length < 1.0 else 1.0
        policy = policy + length * toward
        # The slacks are carried along, not computed from p: near the end v - A p has lost its digits.
        slack = slack + length * fall
        value = float(policy @ slack)
        if not np.isfinite(value) or policy.min() <= 0.0 or slack.min() <= 0.0:
            break
        if value < best.value:
            best = CentralPoint(policy, slack, value, value / size, steps)
        elif steps > best.steps + 5:
            break
        if progress is not None:
            progress(steps, value * scale)
    return best


def _tells_apart(policy: FloatArray, slack: FloatArray) -> bool:
    ratio = policy / slack
    return bool(np.maximum(ratio, 1.0 / ratio).min() > 1e4)


def _longest(point: FloatArray, direction: FloatArray) -> float:
    """The longest step up to 1 that keeps every entry of ``point + step direction`` from falling below 0."""
    falling = direction < 0.0
    return min(1.0, float((point[falling] / -direction[falling]).min())) if falling.any() else 1.0


def polish(payoff: FloatArray, scale: float, point: CentralPoint) -> FloatArray:
    """The policy [n] on the path's support against which that support ties exactly, closest to the path's own.

    Closest in the metric of the path, ``sum (dp_i / p_i)^2``, which keeps shares positive: a least-squares problem
    of rank |S| at most, O(|S|^3).
    """
    from scipy.linalg import lstsq

    members = np.flatnonzero(point.support)
    if len(members) == 0:
        return np.asarray(point.policy / point.policy.sum())
    policy = np.zeros(len(payoff))
    share = point.policy[members] / point.policy[members].sum()
    system = np.vstack([payoff[members[:, None], members] / scale, np.ones(len(members))])
    for _ in range(2):
        missing = -system @ share
        missing[-1] += 1.0
        change = lstsq(system * share, missing, cond=1e-11, lapack_driver="gelsy", check_finite=False)[0]
        share = np.maximum(share * (1.0 + change), 0.0)
    policy[members] = share
    return np.asarray(policy / policy.sum())


def interior_point(game: PreferenceGame, *, tol: float = 1e-9, progress: Progress | None = None) -> Answer:
    """A winner by the central path, then exact on the support that the path shows.

    The last digits come from the support S: the least-squares correction that makes all of S tie. Where the winner is
    not unique, the answer lies near the analytic centre of the winners.

    Parameters
    ----------
    tol : as a share of ``max|A|``; the path is followed to 1e-14 in any case where rounding allows it.
    """
    point = central_path(game.payoff, game.scale, progress=progress)
    policy = polish(game.payoff, game.scale, point)
    own = point.policy / point.policy.sum()
    found = min((policy, own), key=lambda p: float((game.payoff @ p).max()))
    reached = float((game.payoff @ found).max()) / game.scale
    message = "" if reached <= tol else f"the central path stalled at exploitability {reached * game.scale:.3g}"
    return Answer(found, "interior_point", point.steps, message)
