"""A preference game: one skew-symmetric payoff matrix and a label for each action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.preferences import (
    FloatArray,
    check_preferences,
    check_skew_symmetric,
    payoffs_from_preferences,
    preferences_from_payoffs,
)

__all__ = ["PreferenceGame"]


@dataclass(frozen=True, eq=False)
class PreferenceGame:
    """A symmetric zero-sum game on n actions. Build one with a ``from_...`` constructor.

    Attributes
    ----------
    payoff : float64 [n, n]
        Exactly skew-symmetric, read-only. ``A = 2 P - 1`` in [-1, 1] for preferences; any skew matrix
        is a game.
    labels : n distinct strings, in the order of rows and columns.

    >>> game = PreferenceGame.from_preferences([[0.5, 0.9], [0.1, 0.5]], labels=["a", "b"])
    >>> float(game.payoff[0, 1])
    0.8
    """

    payoff: FloatArray
    labels: tuple[str, ...]

    @classmethod
    def from_payoffs(cls, payoffs: ArrayLike, *, labels: Sequence[str] | None = None) -> PreferenceGame:
        """A game from a skew-symmetric matrix [n, n] (tolerance 1e-9, then made exactly skew)."""
        array = check_skew_symmetric(payoffs)
        if array.ndim != 2:
            raise ValueError(f"payoff matrix must have two axes, got shape {array.shape}")
        exact = 0.5 * (array - array.T)
        exact.flags.writeable = False
        return cls(exact, _checked_labels(labels, len(exact)))

    @classmethod
    def from_preferences(cls, preferences: ArrayLike, *, labels: Sequence[str] | None = None) -> PreferenceGame:
        """A game from win probabilities [n, n] with ``P + P.T = 1`` (tolerance 1e-6)."""
        payoffs = payoffs_from_preferences(check_preferences(preferences))
        return cls.from_payoffs(0.5 * (payoffs - np.swapaxes(payoffs, -1, -2)), labels=labels)

    @classmethod
    def from_counts(cls, wins: ArrayLike, *, labels: Sequence[str] | None = None) -> PreferenceGame:
        """A game from win counts: ``wins[i, j]`` = how often i beat j. A pair never compared is a tie.

        Raises
        ------
        ValueError
            For negative counts or counts that are not finite.
        """
        array = np.asarray(wins, dtype=np.float64)
        if array.ndim != 2 or array.shape[0] != array.shape[1]:
            raise ValueError(f"counts must be a square matrix [n, n], got shape {array.shape}")
        if not np.isfinite(array).all() or (array < 0).any():
            i, j = np.argwhere(~(np.isfinite(array) & (array >= 0)))[0]
            raise ValueError(f"counts must be finite and not negative, got wins[{i}, {j}] = {array[i, j]}")
        total = array + array.T
        payoffs = np.divide(array - array.T, total, out=np.zeros_like(total), where=total > 0)
        return cls.from_payoffs(payoffs, labels=labels)

    @property
    def preferences(self) -> FloatArray:
        """Win probabilities ``(1 + A) / 2`` [n, n]; probabilities only if ``max|A| <= 1``."""
        return np.asarray(preferences_from_payoffs(self.payoff))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        shown = ", ".join(self.labels[:4]) + (", ..." if len(self) > 4 else "")
        return f"PreferenceGame({len(self)} actions: {shown})"


def _checked_labels(labels: Sequence[str] | None, size: int) -> tuple[str, ...]:
    if labels is None:
        return tuple(str(i) for i in range(size))
    named = tuple(str(label) for label in labels)
    if len(named) != size:
        raise ValueError(f"expected {size} labels, one for each row, got {len(named)}")
    if len(set(named)) != size:
        twice = next(label for label in named if named.count(label) > 1)
        raise ValueError(f"labels must be distinct, got {twice!r} twice")
    return named
