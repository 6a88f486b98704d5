"""Comparisons as they were counted: who met whom, who won, and which rows belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rebel_pref.games.frames import unframed
from rebel_pref.games.labels import NumberLabels, checked_labels
from rebel_pref.preferences import FloatArray

__all__ = ["Comparisons", "whole_numbers"]


def whole_numbers(name: str, column: ArrayLike) -> NDArray[np.int64]:
    """A column of whole numbers [m] as int64, however it is stored.

    Raises
    ------
    ValueError
        For more than one axis, what is no number, fractions, NaN, and numbers beyond the range of int64.
    """
    array = np.asarray(column)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "buif"):
        raise ValueError(f"expected a column of whole numbers in {name}, got {array.dtype} of shape {array.shape}")
    wrong = np.zeros(len(array), dtype=bool)
    if array.dtype.kind == "f":
        wrong = ~((np.floor(array) == array) & (np.abs(array) < 2.0**63))
    elif array.dtype.kind == "u":
        wrong = array > np.iinfo(np.int64).max
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"expected whole numbers below 2^63 in {name}, got {name}[{row}] = {array[row]}")
    return array.astype(np.int64, copy=False)


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Tallies of paired comparisons between n items, m rows.

    A row says that, within one cluster, `first` and `second` met ``wins + losses + ties`` times. Columns may be given
    as lists, or as arrays of other types of numbers.

    Attributes
    ----------
    labels : n distinct names.
    first, second : int [m], items of the row, ``first != second``.
    wins, losses, ties : float64 [m], not negative: how often `first` won, lost, neither.
    cluster : int [m] or None: rows with one number were not drawn independently (one voter's ballot, one
        prompt, one annotator) and are resampled together. None: every single comparison was independent.

    Raises
    ------
    ValueError
        For columns of different lengths, items that are no whole numbers in 0..n-1, an item against itself, counts
        that are negative or not finite, or labels that are not distinct.
    """

    labels: Sequence[str]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    wins: FloatArray
    losses: FloatArray
    ties: FloatArray
    cluster: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        # A frozen dataclass is filled in by object.__setattr__.
        size = len(self.labels)
        if not isinstance(self.labels, NumberLabels):
            object.__setattr__(self, "labels", checked_labels(self.labels, size))
        for name in ("first", "second", "cluster"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, whole_numbers(name, getattr(self, name)))
        for name in ("wins", "losses", "ties"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        columns = [self.first, self.second, self.wins, self.losses, self.ties]
        columns += [] if self.cluster is None else [self.cluster]
        if any(column.shape != self.first.shape for column in columns):
            raise ValueError(f"expected columns of the same length, got shapes {[column.shape for column in columns]}")
        wrong = (np.minimum(self.first, self.second) < 0) | (np.maximum(self.first, self.second) >= size)
        wrong |= self.first == self.second
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(
                f"expected two different items out of {size} in every row, got {self.first[row]} and "
                f"{self.second[row]} in row {row}"
            )
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
