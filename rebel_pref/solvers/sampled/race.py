"""The race: every row collects evidence that it gets little against a fixed policy, and leaves when it has enough."""

from __future__ import annotations

import numpy as np

from rebel_pref.preferences import FloatArray
from rebel_pref.solvers.sampled.tally import DuelBatch, Estimate

__all__ = ["Race"]


class Race:
    """Bounds on ``max_i (A p)_i`` for a policy p that was fixed before the first duel of the race.

    In batch t the pairs are drawn with probabilities pi, and one draw estimates ``m_i = (A p)_i`` without bias by
    ``Y_i = (Ahat p)_i + [i meets j] (p_j / pi_ij) (X_ij - Ahat_ij)``; pi, Ahat and the stake lambda_i come from earlier
    batches only. With ``kappa_ij = lambda_i (1 - Ahat_ij) p_j / pi_ij < 1``, ``psi(k) = -log(1 - k) - k`` and
    ``xi = (Ahat - X) / (1 - Ahat) >= -1``,

        exp(lambda_i (m_i - Y_i) - psi(kappa) xi^2)    has mean at most 1

    (Fan, Grama & Liu 2015; empirical Bernstein e-process of Howard, Ramdas, McAuliffe & Sekhon 2021, with predictable
    stakes as in Waudby-Smith & Ramdas 2024). So the product over all draws exceeds 1/delta with probability at most
    delta, at any time (Ville), which gives ``m_i <= upper_i`` at level ``1 - delta`` for each row by itself.

    The largest of the upper ends needs no union over rows: it can only fail if the bound of the one worst row fails,
    and which row that is depends on p alone (an intersection-union test, Berger 1982). It would not be so for a policy
    that moves with the same duels. The largest of the lower ends does need the union.

    Attributes
    ----------
    policy : [n], fixed.
    goal : a row leaves when its upper end is at most this.
    upper, lower : [n], ends for each row; -1 and 1 while nothing is known.
    open : bool [n], rows still racing.
    """

    def __init__(self, policy: FloatArray, goal: float, delta: float) -> None:
        size = len(policy)
        self.policy = policy
        self.upper = np.ones(size)
        self.lower = -np.ones(size)
        self.aim(goal)
        # The lower end is of use only where the race is lost: a twentieth of delta, shared by all rows.
        self._log_upper = float(np.log(1.0 / (0.95 * delta)))
        self._log_lower = float(np.log(size / (0.05 * delta)))
        self._duels = 0.0
        self._weight = np.zeros(size)
        self._above = np.zeros(size)
        self._below = np.zeros(size)

    def aim(self, goal: float) -> None:
        """Go on to another goal: rows whose upper end is above it race again, with the evidence they have."""
        self.goal = goal
        self.open = self.upper > goal

    @property
    def log_terms(self) -> FloatArray:
        """What each row has still to earn, [n] nats; 0 for rows that left, for others 1/20 to twice the start."""
        missing = self._log_upper - (self.goal * self._weight - self._above)
        return np.where(self.open, np.clip(missing, 0.05 * self._log_upper, 2.0 * self._log_upper), 0.0)

    def stakes(self, share: FloatArray, estimate: Estimate) -> FloatArray:
        """Stakes lambda [n] that are expected to earn fastest at ``share`` [n, n], 0 for rows that left.

        The growth ``lambda r - lambda^2 s / (2 (1 - lambda c))`` for a slack r, a variance s and a largest jump c has
        its maximum at ``(1 - (1 + 2 r c / s)^-1/2) / c``, which is below 1 / c.
        """
        ratio = self._ratios(share)
        variance = np.maximum((ratio * self.policy * estimate.variance).sum(axis=1), 1e-9)
        slack = self.goal - estimate.payoff @ self.policy
        # Rows that seem to miss the goal: what the duels so far can tell, so that their ends still close in.
        reachable = np.sqrt(2.0 * self._log_upper * variance / max(self._duels, 1.0))
        slack = np.where(slack > 0.2 * self.goal, slack, np.clip(reachable, 0.1 * self.goal, self.goal))
        jump = np.maximum((ratio * (1.0 + np.abs(estimate.payoff))).max(axis=1), 1e-9)
        # A row that a pair of its own cannot reach has no unbiased estimate.
        reached = ((share > 0.0) | (self.policy == 0.0) | np.eye(len(share), dtype=bool)).all(axis=1)
        stakes = (1.0 - 1.0 / np.sqrt(1.0 + 2.0 * slack * jump / variance)) / jump
        return np.where(self.open & reached, stakes, 0.0)

    def record(self, batch: DuelBatch, share: FloatArray, stakes: FloatArray, estimate: Estimate) -> None:
        """Count a batch in that was drawn with `share`; `stakes` and `estimate` are from before it."""
        ratio = self._ratios(share)
        guess = estimate.payoff
        duels = 0.5 * float(batch.counts.sum())
        payoffs = duels * (guess @ self.policy) + (ratio * (batch.sums - batch.counts * guess)).sum(axis=1)
        residuals = batch.squares - 2.0 * guess * batch.sums + batch.counts * guess**2
        bets = stakes[:, None] * ratio
        self._duels += duels
        self._weight += stakes * duels
        self._above += stakes * payoffs + _variation(bets, 1.0 - guess, residuals)
        self._below += stakes * payoffs - _variation(bets, 1.0 + guess, residuals)
        moved = self.open & (self._weight > 0.0)
        weight = np.where(moved, self._weight, 1.0)
        self.upper = np.where(moved, np.minimum(self.upper, (self._above + self._log_upper) / weight), self.upper)
        self.lower = np.where(moved, np.maximum(self.lower, (self._below - self._log_lower) / weight), self.lower)
        self.open &= self.upper > self.goal

    def _ratios(self, share: FloatArray) -> FloatArray:
        return np.divide(self.policy, share, out=np.zeros_like(share), where=share > 0.0)


def _variation(bets: FloatArray, jump: FloatArray, residuals: FloatArray) -> FloatArray:
    """``sum psi(kappa) xi^2`` [n] with ``kappa = bets * jump`` and squared residuals in units of ``jump``."""
    kappa = bets * jump
    return np.asarray(((-np.log1p(-kappa) - kappa) * residuals / jump**2).sum(axis=1))
