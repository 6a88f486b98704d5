"""Duels played so far, and what they say about the payoffs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rebel_pref.games.duels import DuelOracle
from rebel_pref.preferences import FloatArray

__all__ = ["DuelBatch", "DuelTally", "Estimate", "play_duels"]


@dataclass(frozen=True, eq=False)
class DuelBatch:
    """Duels of one batch, summed by pair; all [n, n].

    Attributes
    ----------
    counts : duels of the pair, symmetric, diagonal 0.
    sums : total payoff of the row action, skew-symmetric.
    squares : total of the squared payoffs, symmetric.
    """

    counts: FloatArray
    sums: FloatArray
    squares: FloatArray


def play_duels(oracle: DuelOracle, share: FloatArray, duels: int, rng: np.random.Generator) -> DuelBatch:
    """Draw `duels` pairs independently and play each once.

    Each pair is played in a random order, so that an advantage of going first cancels in the mean.

    Parameters
    ----------
    share : [n, n] symmetric; probability of each pair, the upper triangle sums to 1.
    """
    size = len(oracle)
    rows, columns = np.triu_indices(size, 1)
    counts = rng.multinomial(duels, share[rows, columns])
    pair = np.repeat(np.arange(len(rows)), counts)
    swapped = rng.random(duels) < 0.5
    first, second = np.where(swapped, columns[pair], rows[pair]), np.where(swapped, rows[pair], columns[pair])
    outcomes = oracle.sample(first, second) * np.where(swapped, -1.0, 1.0)
    upper = np.zeros((3, size, size))
    upper[:, rows, columns] = (
        counts,
        np.bincount(pair, outcomes, len(rows)),
        np.bincount(pair, outcomes**2, len(rows)),
    )
    lower = upper.transpose(0, 2, 1)
    return DuelBatch(upper[0] + lower[0], upper[1] - lower[1], upper[2] + lower[2])


@dataclass(frozen=True, eq=False)
class Estimate:
    """Payoffs as the duels suggest them; good for planning, proof of nothing.

    Attributes
    ----------
    payoff : [n, n] skew-symmetric, inside (-1, 1), shrunk towards ties.
    variance : [n, n] of a single duel, diagonal 0.
    counts : [n, n] duels behind the payoff.
    prior : number of duels that the shrinkage is worth.
    """

    payoff: FloatArray
    variance: FloatArray
    counts: FloatArray
    prior: float

    def deviation(self, policy: FloatArray, more: FloatArray | float = 0.0) -> FloatArray:
        """Standard deviation [n] of ``A p`` that is left, or would be after `more` duels [n, n]."""
        known = self.counts + more + self.prior
        return np.asarray(np.sqrt((policy**2 * self.variance / known).sum(axis=1)))


class DuelTally:
    """All duels played, by pair."""

    def __init__(self, size: int) -> None:
        self.counts = np.zeros((size, size))
        self.sums = np.zeros((size, size))
        self.squares = np.zeros((size, size))

    def add(self, batch: DuelBatch) -> None:
        """Count a batch in."""
        self.counts += batch.counts
        self.sums += batch.sums
        self.squares += batch.squares

    def estimate(self) -> Estimate:
        """Posterior means under a normal prior around ties whose variance is estimated too (empirical Bayes).

        ``(S^2 - sum X^2) / (N (N - 1))`` is an unbiased estimate of A^2 for each pair; pairs are weighted by N - 1.
        A game of near-ties is so recognised long before any of its entries is known.
        """
        counts = self.counts[self.counts > 1.0]
        spread = 0.5
        if counts.size:
            excess = (self.sums**2 - self.squares)[self.counts > 1.0] / counts
            degrees = (counts - 1.0).sum()
            # Twice the standard error on top: a game taken for near-ties by mistake is raced too early. Every pair
            # stands twice in the sums, which makes its variance 4 (N - 1) / N.
            error = 2.0 * np.sqrt((4.0 * (counts - 1.0) / counts).sum()) / degrees
            spread = float(np.clip(excess.sum() / degrees + error, 1e-4, 0.5))
        prior = max((1.0 - spread) / spread, 1.0)
        payoff = self.sums / (self.counts + prior)
        variance = np.clip((self.squares + prior) / (self.counts + prior) - payoff**2, 0.02, 1.0)
        np.fill_diagonal(variance, 0.0)
        return Estimate(payoff, variance, self.counts.copy(), prior)
