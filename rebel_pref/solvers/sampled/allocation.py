"""How many duels each pair should get, where one duel informs both of its rows."""

from __future__ import annotations

import numpy as np

from rebel_pref.preferences import FloatArray
from rebel_pref.solvers.sampled.tally import Estimate

__all__ = ["allocate"]

_LARGEST_STAKE = 0.45


def allocate(
    policy: FloatArray,
    radius: FloatArray,
    log_terms: FloatArray,
    estimate: Estimate,
    multipliers: FloatArray,
    *,
    rounds: int = 10,
) -> tuple[FloatArray, FloatArray]:
    """Fewest duels that measure every ``(A p)_i`` to its radius at its level.

    Minimises ``sum_{i<j} N_ij`` subject to ``sum_j p_j^2 v_ij / N_ij <= radius_i^2 / (2 log_terms_i)``. The solution
    is ``N_ij = sqrt(mu_i p_j^2 v_ij + mu_j p_i^2 v_ij)`` with multipliers mu, found by scaling each towards its
    constraint; close to it will do, since any allocation gives valid bounds. Large radii also ask for a number of
    duels that does not shrink with the variance (the linear term of Bernstein's inequality).

    Parameters
    ----------
    policy, radius, log_terms : [n]; a row with ``log_terms == 0`` needs nothing.
    multipliers : [n] to start from, those of a similar allocation.

    Returns
    -------
    Duels [n, n], symmetric with diagonal 0, not rounded; multipliers [n].
    """
    needed = log_terms > 0.0
    target = np.where(needed, radius**2 / (2.0 * np.where(needed, log_terms, 1.0)), 1.0)
    stake = np.where(needed, 2.0 * log_terms / radius, 0.0)
    least = policy * (1.0 - estimate.payoff) * stake[:, None] / _LARGEST_STAKE
    least = np.maximum(least, least.T)
    np.fill_diagonal(least, 0.0)
    weight = estimate.variance * policy**2
    multipliers = np.where(needed, np.maximum(multipliers, 1e-3), 0.0)
    for _ in range(rounds):
        pull = multipliers[:, None] * weight
        duels = np.maximum(np.sqrt(pull + pull.T), least)
        variance = np.divide(weight, duels, out=np.zeros_like(weight), where=duels > 0.0).sum(axis=1)
        # The variance falls like mu^-1/2 or faster: a power of 1.3 is quick and does not overshoot by much.
        multipliers = multipliers * np.clip(variance / target, 0.1, 10.0) ** 1.3
        multipliers = np.where(needed, np.clip(multipliers, 1e-12, 1e30), 0.0)
    return duels, multipliers
