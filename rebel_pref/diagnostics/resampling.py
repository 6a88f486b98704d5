"""Counts by pair, drawn again: by cluster for intervals, from a null model for tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rebel_pref.games.comparisons import Comparisons
from rebel_pref.preferences import FloatArray

__all__ = ["Counted", "Tallies", "batches", "counted", "tally"]


@dataclass(frozen=True)
class Counted:
    """What the comparisons are.

    Attributes
    ----------
    comparisons, ties : how many, and how many of them had no winner.
    pairs, possible_pairs : pairs that met, and n (n - 1) / 2.
    fewest, median : comparisons of a pair, over those that met.
    clusters : how many groups of dependent comparisons; None where every comparison is independent.
    """

    comparisons: float
    ties: float
    pairs: int
    possible_pairs: int
    fewest: float
    median: float
    clusters: int | None


@dataclass(frozen=True, eq=False)
class Tallies:
    """Comparisons added up over the P pairs that met, first < second.

    Attributes
    ----------
    size : n, number of items.
    first, second : int [P].
    wins, losses, ties : float64 [..., P], of `first`; leading axes are replicates.
    members : sparse [C, 3 P], wins, losses and ties that each of C clusters contributed; None where every
        comparison was independent of the others.
    """

    size: int
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    wins: FloatArray
    losses: FloatArray
    ties: FloatArray
    members: Any = None

    @property
    def decided(self) -> FloatArray:
        """Comparisons that were no tie, [..., P]."""
        return self.wins + self.losses

    @property
    def total(self) -> FloatArray:
        """Comparisons, [..., P]."""
        return self.wins + self.losses + self.ties

    def matrix(self, upper: FloatArray, lower: FloatArray) -> FloatArray:
        """[..., n, n] with `upper` [..., P] at (first, second), `lower` at (second, first), 0 elsewhere."""
        result = np.zeros((*upper.shape[:-1], self.size, self.size))
        result[..., self.first, self.second] = upper
        result[..., self.second, self.first] = lower
        return result

    def skew(self, upper: FloatArray) -> FloatArray:
        """Skew-symmetric [..., n, n]."""
        return self.matrix(upper, -upper)

    def times(self, factor: int) -> Tallies:
        """The same comparisons `factor` times over, by new clusters where there are any."""
        members = self.members
        if members is not None:
            from scipy.sparse import vstack

            members = vstack([members] * factor, format="csr")
        wins, losses, ties = factor * self.wins, factor * self.losses, factor * self.ties
        return Tallies(self.size, self.first, self.second, wins, losses, ties, members)

    @property
    def payoffs(self) -> FloatArray:
        """``(wins - losses) / comparisons`` [..., n, n]; 0 where a pair never met."""
        total = self.total
        return self.skew(np.divide(self.wins - self.losses, total, out=np.zeros_like(total), where=total > 0))

    def drawn_again(self, rng: np.random.Generator, count: int) -> Tallies:
        """`count` replicates: as many clusters (or single comparisons) as there are, drawn with replacement."""
        pairs = len(self.first)
        if self.members is None:
            cells = np.concatenate([self.wins, self.losses, self.ties])
            drawn = rng.multinomial(round(float(cells.sum())), cells / cells.sum(), size=count).astype(np.float64)
        else:
            clusters = self.members.shape[0]
            times = rng.multinomial(clusters, np.full(clusters, 1.0 / clusters), size=count).astype(np.float64)
            drawn = np.asarray((self.members.T @ times.T).T)
        wins, losses, ties = (drawn[:, part * pairs : (part + 1) * pairs] for part in range(3))
        return Tallies(self.size, self.first, self.second, wins, losses, ties)

    def drawn_from(self, chance: FloatArray, rng: np.random.Generator, count: int) -> Tallies:
        """`count` replicates of the decided comparisons if `first` wins each with probability `chance` [P].

        Independent comparisons are binomial. A cluster speaks with one voice: its comparisons of one pair share
        one verdict, the strongest dependence there can be. Verdicts of a cluster on different pairs are drawn apart,
        which makes more cycles than clusters that are transitive in themselves, such as ballots.
        """
        pairs = len(self.first)
        if self.members is None:
            wins = rng.binomial(np.round(self.decided).astype(np.int64), chance, size=(count, pairs)).astype(np.float64)
        else:
            from scipy.sparse import csr_array

            voices = (self.members[:, :pairs] + self.members[:, pairs : 2 * pairs]).tocoo()
            speaks_for = csr_array((voices.data, (np.arange(voices.nnz), voices.col)), shape=(voices.nnz, pairs))
            verdicts = rng.random((count, voices.nnz)) < chance[voices.col]
            wins = np.asarray(verdicts @ speaks_for, dtype=np.float64)
        return Tallies(self.size, self.first, self.second, wins, self.decided - wins, np.zeros_like(wins))

    def independent_comparisons(self) -> FloatArray:
        """Decided comparisons of each pair [P], a cluster counted as one voice: ``N^2 / sum N_c^2``."""
        if self.members is None:
            return self.decided
        pairs = len(self.first)
        shares = self.members[:, :pairs] + self.members[:, pairs : 2 * pairs]
        squares = np.asarray(shares.multiply(shares).sum(axis=0)).ravel()
        return np.asarray(np.divide(self.decided**2, squares, out=np.zeros_like(squares), where=squares > 0))


def tally(comparisons: Comparisons) -> Tallies:
    """Add up comparisons by pair; clusters of a single comparison each are no clusters."""
    size = len(comparisons.labels)
    swapped = comparisons.first > comparisons.second
    low = np.where(swapped, comparisons.second, comparisons.first)
    high = np.where(swapped, comparisons.first, comparisons.second)
    wins = np.where(swapped, comparisons.losses, comparisons.wins)
    losses = np.where(swapped, comparisons.wins, comparisons.losses)
    rows = np.flatnonzero(wins + losses + comparisons.ties > 0)
    pair, place = np.unique(low[rows] * size + high[rows], return_inverse=True)
    pairs = len(pair)
    cells = np.concatenate([place, place + pairs, place + 2 * pairs])
    values = np.concatenate([wins[rows], losses[rows], comparisons.ties[rows]])
    sums = np.bincount(cells, values, minlength=3 * pairs).astype(np.float64)
    members = None
    if comparisons.cluster is not None:
        from scipy.sparse import csr_array

        _, cluster = np.unique(comparisons.cluster[rows], return_inverse=True)
        inside = np.tile(cluster, 3)
        if np.bincount(inside, values, minlength=1).max(initial=0.0) > 1.0:
            members = csr_array((values, (inside, cells)), shape=(int(cluster.max()) + 1, 3 * pairs))
    first, second = pair // size, pair % size
    return Tallies(size, first, second, sums[:pairs], sums[pairs : 2 * pairs], sums[2 * pairs :], members)


def counted(tallies: Tallies) -> Counted:
    """Sum up what there is."""
    total = tallies.total
    return Counted(
        comparisons=float(total.sum()),
        ties=float(tallies.ties.sum()),
        pairs=len(total),
        possible_pairs=tallies.size * (tallies.size - 1) // 2,
        fewest=float(total.min(initial=np.inf)) if len(total) else 0.0,
        median=float(np.median(total)) if len(total) else 0.0,
        clusters=None if tallies.members is None else tallies.members.shape[0],
    )


def batches(count: int, size: int) -> Iterator[int]:
    """Sizes of batches that add up to `count`, so that one holds about a million entries of [n, n]."""
    step = max(1, 10**6 // (size * size))
    while count > 0:
        yield min(step, count)
        count -= step
