"""Many small games of one size, solved in one call."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.games.game import PreferenceGame
from rebel_pref.games.labels import checked_labels
from rebel_pref.preferences import (
    FloatArray,
    check_preferences,
    exactly_skew,
    payoffs_from_preferences,
)

__all__ = ["GameBatch"]


@dataclass(frozen=True, eq=False)
class GameBatch:
    """B games on the same n actions.

    Attributes
    ----------
    payoffs : float64 [B, n, n], every matrix exactly skew-symmetric, read-only.
    labels : n names.
    """

    payoffs: FloatArray
    labels: Sequence[str]

    @classmethod
    def from_payoffs(cls, payoffs: ArrayLike, *, labels: Sequence[str] | None = None) -> GameBatch:
        """From skew-symmetric matrices [B, n, n] (tolerance 1e-9, then made exactly skew)."""
        exact = exactly_skew(_of_games(payoffs))
        return cls(exact, checked_labels(labels, exact.shape[1]))

    @classmethod
    def from_preferences(cls, preferences: ArrayLike, *, labels: Sequence[str] | None = None) -> GameBatch:
        """From win probabilities [B, n, n] with ``P + P^T = 1`` (tolerance 1e-6)."""
        payoffs = payoffs_from_preferences(check_preferences(_of_games(preferences)))
        return cls.from_payoffs(0.5 * (payoffs - payoffs.swapaxes(1, 2)), labels=labels)

    def __getitem__(self, index: int) -> PreferenceGame:
        try:
            number = operator.index(index)
        except TypeError:
            raise TypeError(
                f"expected the number of one game, got {index!r}; for some of them take "
                "GameBatch.from_payoffs(batch.payoffs[...], labels=batch.labels)"
            ) from None
        if not -len(self) <= number < len(self):
            raise IndexError(f"no game {number} in a batch of {len(self)}")
        return PreferenceGame(self.payoffs[number], self.labels)

    def __len__(self) -> int:
        return len(self.payoffs)

    def __repr__(self) -> str:
        return f"GameBatch({len(self)} games of {len(self.labels)} actions)"


def _of_games(matrices: ArrayLike) -> ArrayLike:
    """The matrices as they are, if they are those of at least one game with at least one action."""
    shape = np.shape(matrices)
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"a batch of games has shape [B, n, n], each at least 1, got {shape}")
    return matrices
