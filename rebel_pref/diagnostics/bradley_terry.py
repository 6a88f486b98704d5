"""Bradley-Terry scores from counts, many sets of counts at a time."""

from __future__ import annotations

import numpy as np

from rebel_pref.preferences import FloatArray

__all__ = ["ELO_PER_NAT", "bias_reduced_bradley_terry", "expected_preferences", "fit_bradley_terry"]

ELO_PER_NAT = 400.0 / np.log(10.0)
"""A Bradley-Terry score in nats times this is an Elo rating: 400 points are odds of ten to one."""


def expected_preferences(scores: FloatArray) -> FloatArray:
    """``P_ij = sigma(r_i - r_j) = s_i / (s_i + s_j)``, s = exp r: [..., n] -> [..., n, n]; scores of mean about 0."""
    # n exponentials in place of n^2; at |r| < 300 nothing leaves the range of floats.
    strength = np.exp(scores)
    return np.asarray(strength[..., :, None] / (strength[..., :, None] + strength[..., None, :]))


def fit_bradley_terry(
    wins: FloatArray, *, ridge: float = 1e-3, start: FloatArray | None = None, tol: float = 1e-6, limit: int = 100
) -> FloatArray:
    """Scores r [..., n] in nats, mean 0: maximum likelihood with a weak pull of all scores to 0.

    Maximises ``sum_ij wins_ij log sigma(r_i - r_j) - ridge/2 |r|^2``. The pull keeps scores finite and unique
    where an action is unbeaten or the graph of comparisons falls apart (no maximum exists without it, Ford 1957);
    elsewhere it moves them by less than about ``ridge / (comparisons of an action)``.

    Newton's method. A step that would move a difference of scores by d > 1 is cut by ``log(1 + d) / d``: within
    such a step the Hessian of a logistic likelihood changes by at most exp(d), so it cannot overshoot.
    Source: Bradley & Terry 1952; Bach 2010, section 2 (generalised self-concordance).

    Parameters
    ----------
    wins : [..., n, n], ``wins[i, j]`` = how often i beat j; not negative, need not be whole.
    start : where to begin, [..., n].
    tol : largest move of a score, in nats, that is the last; the next would be about its square.

    Raises
    ------
    FloatingPointError
        If `limit` steps do not suffice.
    """
    size = wins.shape[-1]
    met = wins + np.swapaxes(wins, -1, -2)
    scores = np.zeros(wins.shape[:-1]) if start is None else np.broadcast_to(start, wins.shape[:-1]).copy()
    diagonal = np.arange(size)
    won = wins.sum(-1)
    for _ in range(limit):
        chance = expected_preferences(scores)
        expected = met * chance
        gradient = won - expected.sum(-1) - ridge * scores
        hessian = expected * (chance - 1.0)
        hessian[..., diagonal, diagonal] = 0.0
        hessian[..., diagonal, diagonal] = ridge - hessian.sum(-1)
        move = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        distance = np.ptp(move, axis=-1)[..., None]
        move *= np.where(distance > 1.0, np.log1p(distance) / np.maximum(distance, 1.0), 1.0)
        scores += move
        if np.abs(move).max(initial=0.0) <= tol:
            return np.asarray(scores - scores.mean(-1, keepdims=True))
    raise FloatingPointError(f"Bradley-Terry scores did not settle in {limit} Newton steps")


def bias_reduced_bradley_terry(wins: FloatArray) -> FloatArray:
    """Scores [n] whose bias is of second order: what to simulate from.

    Maximum likelihood spreads scores too widely, so data simulated from it cycle too little and a test of it
    rejects the truth too often. Firth's penalty, half the log-determinant of the information, adds h_ij / 2 wins to
    each side of a pair, h_ij the leverage of the pair in the fit; found by repeating. Source: Firth 1993, section 3.

    Parameters
    ----------
    wins : [n, n], as for :func:`fit_bradley_terry`.
    """
    size = len(wins)
    met = wins + wins.T
    scores = fit_bradley_terry(wins)
    for _ in range(50):
        chance = expected_preferences(scores)
        variance = met * chance * (1.0 - chance)
        # A constant added to all scores changes nothing; a small one added to those of one part no more than the ridge.
        information = np.diag(variance.sum(1) + 1e-3) - variance + 1.0 / size
        inverse = np.linalg.inv(information)
        spread = np.diagonal(inverse)
        leverage = variance * (spread[:, None] + spread[None, :] - 2.0 * inverse)
        moved = fit_bradley_terry(wins + 0.5 * leverage, start=scores)
        settled = float(np.abs(moved - scores).max()) < 1e-6
        scores = moved
        if settled:
            break
    return scores
