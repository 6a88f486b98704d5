"""Many small games of one size, solved in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
        exact = exactly_skew(payoffs)
        if exact.ndim != 3:
            raise ValueError(f"a batch of games has shape [B, n, n], got {exact.shape}")
        return cls(exact, checked_labels(labels, exact.shape[1]))

    @classmethod
    def from_preferences(cls, preferences: ArrayLike, *, labels: Sequence[str] | None = None) -> GameBatch:
        """From win probabilities [B, n, n] with ``P + P^T = 1`` (tolerance 1e-6)."""
        payoffs = payoffs_from_preferences(check_preferences(preferences))
        return cls.from_payoffs(0.5 * (payoffs - payoffs.swapaxes(1, 2)), labels=labels)

    def __getitem__(self, index: int) -> PreferenceGame:
        return PreferenceGame(self.payoffs[index], self.labels)

    def __len__(self) -> int:
        return len(self.payoffs)

    def __repr__(self) -> str:
        return f"GameBatch({len(self)} games of {len(self.labels)} actions)"
