"""Comparisons as they were counted: who met whom, who won, and which rows belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rebel_pref.games.frames import unframed
from rebel_pref.games.labels import checked_labels
from rebel_pref.preferences import FloatArray

__all__ = ["Comparisons"]


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Tallies of paired comparisons between n items, m rows.

    A row says that, within one cluster, `first` and `second` met ``wins + losses + ties`` times.

    Attributes
    ----------
    labels : n names.
    first, second : int [m], items of the row, ``first != second``.
    wins, losses, ties : float64 [m], not negative: how often `first` won, lost, neither.
    cluster : int [m] or None: rows with one number were not drawn independently (one voter's ballot, one
        prompt, one annotator) and are resampled together. None: every single comparison was independent.
    """

    labels: Sequence[str]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    wins: FloatArray
    losses: FloatArray
    ties: FloatArray
    cluster: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        rows, size = len(self.first), len(self.labels)
        columns = (self.second, self.wins, self.losses, self.ties)
        if any(len(column) != rows for column in columns) or (self.cluster is not None and len(self.cluster) != rows):
            raise ValueError(f"expected columns of the same length, got {rows} and {[len(c) for c in columns]}")
        pairs = np.stack([self.first, self.second])
        if rows and (pairs.min() < 0 or pairs.max() >= size or (self.first == self.second).any()):
            raise ValueError(f"expected two different items out of {size} in every row")
        for name in ("wins", "losses", "ties"):
            column = getattr(self, name)
            if not (np.isfinite(column) & (column >= 0)).all():
                row = int(np.argmin(np.isfinite(column) & (column >= 0)))
                raise ValueError(f"counts must be finite and not negative, got {name}[{row}] = {column[row]}")

    @classmethod
    def from_counts(cls, wins: ArrayLike, *, labels: Sequence[str] | None = None) -> Comparisons:
        """From a matrix [n, n]: ``wins[i, j]`` = how often i beat j; a tie may be counted as half a win for each.

        A DataFrame brings its labels: those of its index.

        Raises
        ------
        ValueError
            For a matrix that is not square, negative counts or counts that are not finite.
        """
        wins, labels = unframed(wins, labels)
        array = np.asarray(wins, dtype=np.float64)
        if array.ndim != 2 or array.shape[0] != array.shape[1]:
            raise ValueError(f"counts must be a square matrix [n, n], got shape {array.shape}")
        if not np.isfinite(array).all() or (array < 0).any():
            i, j = np.argwhere(~(np.isfinite(array) & (array >= 0)))[0]
            raise ValueError(f"counts must be finite and not negative, got wins[{i}, {j}] = {array[i, j]}")
        total = array + array.T
        first, second = np.nonzero(np.triu(total, 1))
        return cls(
            checked_labels(labels, len(array)),
            first.astype(np.int64),
            second.astype(np.int64),
            array[first, second],
            array[second, first],
            np.zeros(len(first)),
        )

    @property
    def counts(self) -> FloatArray:
        """Win counts W [n, n], a tie counted as half a win for each side."""
        size = len(self.labels)
        total = np.zeros((size, size))
        np.add.at(total, (self.first, self.second), self.wins + 0.5 * self.ties)
        np.add.at(total, (self.second, self.first), self.losses + 0.5 * self.ties)
        return total

    @property
    def total(self) -> float:
        """Number of comparisons."""
        return float(self.wins.sum() + self.losses.sum() + self.ties.sum())

    def __len__(self) -> int:
        return len(self.first)

    def __repr__(self) -> str:
        clusters = "" if self.cluster is None else f" in {len(np.unique(self.cluster))} clusters"
        return f"Comparisons({self.total:g} of {len(self.labels)} items{clusters})"
