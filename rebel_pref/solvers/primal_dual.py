"""Restarted Halpern primal-dual hybrid gradient: a matvec is all it needs, and the tail is linear, then exact."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rebel_pref.games.game import Game
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers.answer import Answer, Progress
from rebel_pref.solvers.stopping import allowed_exploitability, fell_short, starting_policy

__all__ = ["primal_dual", "project_to_simplex"]

# Restart when the duality gap has fallen to a fifth, or to four fifths and rises again, or when the epoch is
# longer than .36 of the whole run (the thresholds of PDLP, Applegate et al. 2021).
_SUFFICIENT, _NECESSARY, _LONGEST = 0.2, 0.8, 0.36
_MARGIN, _SHRINK = 1.2, 0.8  # of L: over the largest stretch seen in an epoch, and against the L before it


def primal_dual(
    game: Game,
    *,
    tol: float = 1e-9,
    max_steps: int = 200_000,
    start: ArrayLike | None = None,
    progress: Progress | None = None,
) -> Answer:
    """Reflected restarted Halpern PDHG on ``min_x max_y y . A x``, finished by conjugate gradients on the support.

    One iteration of PDHG costs two matvecs,

        x' = P(x + A y / L)    y' = P(y + A (2 x' - x) / L)    with P onto the simplex

    (``A^T = -A`` turns the gradient of x into ``A y``). Halpern's iteration pulls its reflection ``2 z' - z``,
    z = (x, y), back to the anchor z0 where the epoch began: ``z <- k/(k+1) (2 z' - z) + 1/(k+1) z0``. Restarts make
    it linear.

    L need not be ``|A|_2``, which is far too cautious where the winner is on few of many actions: it suffices that
    ``2 |dy . A dx| <= L (|dx|^2 + |dy|^2)`` along the way, so L starts at ``max|A|`` and follows what is seen.

    The support settles after finitely many steps, and then only a linear system is left: ``A p`` the same on all
    of the support. Its least-squares solution is tried once restarts agree on a support: exact to rounding where
    the support is right, thrown away where it is no better.

    Parameters
    ----------
    tol : exploitability at which to stop, as a share of ``game.scale``.
    max_steps : matvecs at most, all included.
    start : [n] probabilities; uniform unless given.
    progress : called at every restart.

    Returns
    -------
    Answer with the least exploitable policy seen; `steps` are matvecs.

    Source: Chambolle and Pock 2011; Applegate et al. 2021 (restarts, step sizes); Lu and Yang, arXiv 2407.16144
    (reflected Halpern); Hestenes and Stiefel 1952, section 10 (conjugate gradients for least squares).
    """
    allowed = allowed_exploitability(game, tol, max_steps)
    payoffs = _Payoffs(game)
    x = y = best = starting_policy(game, start)
    ax = ay = payoffs(x)
    reached = float(ax.max())
    if reached <= allowed:
        return Answer(best, "primal_dual", payoffs.calls)
    norm = max(game.scale, reached)
    anchor = x, y, ax, ay
    gap_at_restart, last_gap, most_stretched = 2.0 * reached, np.inf, 0.0
    iterations = epoch = seen = 0
    support = np.empty(0, dtype=np.int64)
    while payoffs.calls + 2 <= max_steps:
        new_x = project_to_simplex(x + ay / norm)
        new_ax = payoffs(new_x)
        new_y = project_to_simplex(y + (2.0 * new_ax - ax) / norm)
        new_ay = payoffs(new_y)
        iterations, epoch = iterations + 1, epoch + 1
        policy, image = (new_x, new_ax) if new_ax.max() <= new_ay.max() else (new_y, new_ay)
        if image.max() < reached:
            best, reached = policy, float(image.max())
        if reached <= allowed:
            return Answer(best, "primal_dual", payoffs.calls)
        gap = float(new_ax.max() + new_ay.max())
        stretched = _stretched(new_x - x, new_y - y, new_ax - ax)
        most_stretched = max(most_stretched, stretched)
        if not (_is_over(gap, gap_at_restart, last_gap, epoch, iterations) or stretched > norm):
            keep = epoch / (epoch + 1.0)
            x, y, ax, ay = (
                keep * (2.0 * new - old) + (1.0 - keep) * at
                for new, old, at in zip((new_x, new_y, new_ax, new_ay), (x, y, ax, ay), anchor, strict=True)
            )
            last_gap = gap
            continue
        norm = max(_MARGIN * most_stretched, _SHRINK * norm)
        found = np.flatnonzero(policy)
        seen = seen + 1 if np.array_equal(found, support) else 1
        support = found
        # Generic winners live on an odd number of actions (a skew matrix of even size is generically invertible),
        # so an even support is given longer to change.
        if seen == (3 if len(support) % 2 == 1 else 5) and payoffs.calls + 4 <= max_steps:
            budget = min(max(50, payoffs.calls // 4), max_steps - payoffs.calls - 1)
            policy = _equalized(payoffs, policy, image, support, norm, budget)
            image = payoffs(policy)
            if image.max() < reached:
                best, reached = policy, float(image.max())
                new_x, new_y, new_ax, new_ay, gap = policy, policy, image, image, 2.0 * reached
            if reached <= allowed:
                return Answer(best, "primal_dual", payoffs.calls)
        x, y, ax, ay = anchor = new_x, new_y, new_ax, new_ay
        epoch, gap_at_restart, last_gap, most_stretched = 0, gap, np.inf, 0.0
        if progress is not None:
            progress(payoffs.calls, reached)
    message = fell_short(f"{payoffs.calls} matvecs", reached, allowed, "raise max_steps or tol")
    return Answer(best, "primal_dual", payoffs.calls, message)


def project_to_simplex(point: FloatArray) -> FloatArray:
    """The probabilities nearest to `point` [n] in Euclidean distance: ``max(point - c, 0)`` with the c that sums to 1.

    Sort-free: c only rises as entries below it are dropped (Michelot 1986); O(n) a pass, few passes.
    """
    # c >= max - 1, because no probability exceeds 1: most entries go before the first pass.
    shifted = point - point.max()
    active = shifted[shifted > -1.0]
    while True:
        level = (active.sum() - 1.0) / len(active)
        above = active[active > level]
        if len(above) == len(active):
            return np.asarray(np.maximum(shifted - level, 0.0))
        active = above


class _Payoffs:
    """``p -> A p``, counted."""

    def __init__(self, game: Game) -> None:
        self.game, self.calls = game, 0

    def __call__(self, policy: FloatArray) -> FloatArray:
        self.calls += 1
        return np.asarray(self.game.payoffs_against(policy))


def _is_over(gap: float, gap_at_restart: float, last_gap: float, epoch: int, iterations: int) -> bool:
    """Whether it is time to restart."""
    falls_enough = gap <= _SUFFICIENT * gap_at_restart
    falls_no_more = gap <= _NECESSARY * gap_at_restart and gap > last_gap
    takes_long = epoch > 10 and epoch >= _LONGEST * iterations
    return falls_enough or falls_no_more or takes_long


def _stretched(dx: FloatArray, dy: FloatArray, adx: FloatArray) -> float:
    """The least L that makes one step of PDHG a contraction: at most ``|A|_2``."""
    moved = float(dx @ dx + dy @ dy)
    return 2.0 * abs(float(dy @ adx)) / moved if moved > 0.0 else 0.0


def _equalized(
    payoffs: _Payoffs, policy: FloatArray, image: FloatArray, support: NDArray[np.int64], norm: float, budget: int
) -> FloatArray:
    """The policy on `support` nearest to `policy` against which all of the support gets the same payoff.

    Conjugate gradients on the normal equations of ``C A d = -C A p``, where d lives on the support, sums to 0, and
    C takes out the mean: that operator is skew like A. Two matvecs a step.
    """

    def centred(change: FloatArray) -> FloatArray:
        full = np.zeros(len(policy))
        full[support] = change
        values = payoffs(full)[support]
        return np.asarray(values - values.mean())

    rounding = np.finfo(float).eps
    last_call = payoffs.calls + budget
    change = np.zeros(len(support))
    residual = image[support].mean() - image[support]
    gradient = -centred(residual)
    direction, squared = gradient, float(gradient @ gradient)
    while payoffs.calls < last_call - 1:
        # Solved; or inconsistent, and as close as it gets.
        if np.sqrt(squared) <= rounding * norm * max(float(np.linalg.norm(residual)), rounding * norm):
            break
        moved = centred(direction)
        length = squared / float(moved @ moved)
        change += length * direction
        residual -= length * moved
        gradient = -centred(residual)
        squared, before = float(gradient @ gradient), squared
        direction = gradient + (squared / before) * direction
    result = policy.copy()
    result[support] += change
    result = np.maximum(result, 0.0)
    return np.asarray(result / result.sum())
