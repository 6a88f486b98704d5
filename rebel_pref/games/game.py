"""What a solver knows of a game, and the dense game: one skew-symmetric matrix and a label for each action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rebel_pref.games.comparisons import Comparisons
from rebel_pref.games.frames import unframed
from rebel_pref.games.labels import checked_labels
from rebel_pref.preferences import (
    FloatArray,
    check_preferences,
    exactly_skew,
    payoffs_from_preferences,
    preferences_from_payoffs,
)

__all__ = ["Game", "PreferenceGame", "rounding_factor"]


class Game(Protocol):
    """A symmetric zero-sum game on n actions whose payoff matrix A = -A^T may never be formed."""

    @property
    def labels(self) -> Sequence[str]:
        """Names of the n actions."""
        ...

    @property
    def scale(self) -> float:
        """``max|A|``, or the largest entry seen where A is too large to look at (never more than ``max|A|``)."""
        ...

    @property
    def holds_win_rates(self) -> bool:
        """Whether every payoff is known to lie in [-1, 1], so that ``1/2 + A/2`` is a win rate."""
        ...

    def payoffs_against(self, policy: FloatArray) -> FloatArray:
        """``A p`` [n]: the payoff of every action against the policy [n]."""
        ...

    def precise_payoffs_against(self, policy: FloatArray) -> NDArray[np.longdouble]:
        """``A p`` [n] once more, summed apart and in extended precision where the game allows it; slow."""
        ...

    def rounding_bound(self, policy: FloatArray) -> float:
        """Rigorous bound on the error of any entry of :meth:`payoffs_against`; infinite where none is known."""
        ...

    def columns(self, actions: NDArray[np.int64]) -> FloatArray:
        """``A[:, actions]`` [n, k]: the payoff of every action against each of k."""
        ...

    def among(self, actions: NDArray[np.int64], opponents: NDArray[np.int64] | None = None) -> FloatArray:
        """``A[actions, opponents]`` [k, m]; a restricted game, exactly skew, unless opponents are named."""
        ...

    def __len__(self) -> int: ...


def rounding_factor(terms: int) -> float:
    """``gamma_k = k u / (1 - k u)``: relative error of a float64 sum of k products (Higham 2002, eq. 3.1)."""
    unit = np.finfo(np.float64).eps / 2.0
    return terms * unit / (1.0 - terms * unit)


@dataclass(frozen=True, eq=False)
class PreferenceGame:
    """A symmetric zero-sum game on n actions, dense. Build one with a ``from_...`` constructor.

    Attributes
    ----------
    payoff : float64 [n, n]
        Exactly skew-symmetric, read-only. ``A = 2 P - 1`` in [-1, 1] for preferences; any skew matrix
        is a game.
    labels : n distinct strings, in the order of rows and columns.
    comparisons : the counts the payoffs were estimated from, or None where the payoffs are exact.

    >>> game = PreferenceGame.from_preferences([[0.5, 0.9], [0.1, 0.5]], labels=["a", "b"])
    >>> float(game.payoff[0, 1])
    0.8
    """

    payoff: FloatArray
    labels: Sequence[str]
    comparisons: Comparisons | None = None

    @classmethod
    def from_payoffs(cls, payoffs: ArrayLike, *, labels: Sequence[str] | None = None) -> PreferenceGame:
        """A game from a skew-symmetric matrix [n, n] (tolerance 1e-9, then made exactly skew).

        A DataFrame, here and in the other constructors, brings its labels: those of its index.
        """
        payoffs, labels = unframed(payoffs, labels)
        exact = exactly_skew(payoffs)
        if exact.ndim != 2:
            raise ValueError(f"payoff matrix must have two axes, got shape {exact.shape}")
        return cls(exact, checked_labels(labels, len(exact)))

    @classmethod
    def from_preferences(cls, preferences: ArrayLike, *, labels: Sequence[str] | None = None) -> PreferenceGame:
        """A game from win probabilities [n, n] with ``P + P.T = 1`` (tolerance 1e-6)."""
        preferences, labels = unframed(preferences, labels)
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
        return cls.from_comparisons(Comparisons.from_counts(wins, labels=labels))

    @classmethod
    def from_comparisons(cls, comparisons: Comparisons) -> PreferenceGame:
        """A game from counted comparisons: ``A = (wins - losses) / comparisons``; a pair never compared is a tie."""
        wins = comparisons.counts
        total = wins + wins.T
        payoffs = np.divide(wins - wins.T, total, out=np.zeros_like(total), where=total > 0)
        game = cls.from_payoffs(payoffs, labels=comparisons.labels)
        return cls(game.payoff, game.labels, comparisons)

    @property
    def preferences(self) -> FloatArray:
        """Win probabilities ``(1 + A) / 2`` [n, n]; probabilities only if ``max|A| <= 1``."""
        return np.asarray(preferences_from_payoffs(self.payoff))

    @cached_property
    def scale(self) -> float:
        """``max|A|``."""
        # Skew symmetry: the largest entry is the largest absolute entry.
        return float(self.payoff.max())

    @property
    def holds_win_rates(self) -> bool:
        """Whether every payoff lies in [-1, 1] (to 1e-9)."""
        return self.scale <= 1.0 + 1e-9

    def payoffs_against(self, policy: FloatArray) -> FloatArray:
        """``A p`` [n]; O(n^2)."""
        return np.asarray(self.payoff @ policy)

    def precise_payoffs_against(self, policy: FloatArray) -> NDArray[np.longdouble]:
        """``A p`` [n] in extended precision, over the support of p."""
        support = np.flatnonzero(policy)
        mass = policy[support].astype(np.longdouble)
        result = np.empty(len(self), dtype=np.longdouble)
        for start in range(0, len(self), 512):
            block = slice(start, start + 512)
            result[block] = self.payoff[block, support].astype(np.longdouble) @ mass
        return np.asarray(result / mass.sum())

    def rounding_bound(self, policy: FloatArray) -> float:
        """``gamma_(2n+4) max|A| sum(p)`` for the products and the division by the sum of p, and what may underflow."""
        underflow = (len(self) + 1) * float(np.finfo(np.float64).smallest_subnormal)
        return rounding_factor(2 * len(self) + 4) * self.scale * float(policy.sum()) + underflow

    def columns(self, actions: NDArray[np.int64]) -> FloatArray:
        """``A[:, actions]`` [n, k]."""
        # Rows lie together in memory, and A is skew.
        return np.asarray(-self.payoff[actions].T)

    def among(self, actions: NDArray[np.int64], opponents: NDArray[np.int64] | None = None) -> FloatArray:
        """``A[actions, opponents]`` [k, m]; the same actions on both sides unless opponents are named."""
        return np.asarray(self.payoff[np.ix_(actions, actions if opponents is None else opponents)])

    def __len__(self) -> int:
        return len(self.payoff)

    def __repr__(self) -> str:
        shown = ", ".join(self.labels[:4]) + (", ..." if len(self) > 4 else "")
        return f"PreferenceGame({len(self)} actions: {shown})"
