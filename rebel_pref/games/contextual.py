"""One game a context: what a policy that answers many prompts plays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.games.batch import GameBatch
from rebel_pref.games.labels import checked_labels
from rebel_pref.preferences import FloatArray

__all__ = ["ContextualGame"]


@dataclass(frozen=True, eq=False)
class ContextualGame:
    """Games on the same n actions, and how likely each comes up. Policies of different contexts share nothing.

    Attributes
    ----------
    games : C games.
    weights : float64 [C], the distribution of contexts.
    contexts : C names.
    """

    games: GameBatch
    weights: FloatArray
    contexts: Sequence[str]

    @classmethod
    def from_payoffs(
        cls,
        payoffs: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        contexts: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
    ) -> ContextualGame:
        """From skew-symmetric matrices [C, n, n]; contexts are equally likely unless `weights` [C] are given.

        Raises
        ------
        ValueError
            For matrices that are no games, or weights that are no distribution over them.
        """
        games = GameBatch.from_payoffs(payoffs, labels=labels)
        count = len(games)
        shares = np.full(count, 1.0 / count) if weights is None else np.array(weights, dtype=np.float64)
        if shares.shape != (count,):
            raise ValueError(f"expected a weight for each of {count} contexts, got shape {shares.shape}")
        if not (np.isfinite(shares).all() and shares.min() >= 0.0 and abs(shares.sum() - 1.0) <= 1e-6):
            raise ValueError(
                f"weights of contexts are a distribution, got {shares.min():g} to {shares.max():g} with sum "
                f"{shares.sum():.8g}; divide them by their sum"
            )
        shares /= shares.sum()
        shares.flags.writeable = False
        return cls(games, shares, checked_labels(contexts, count))

    @property
    def payoff(self) -> FloatArray:
        """Payoffs [C, n, n]."""
        return self.games.payoffs

    @property
    def labels(self) -> Sequence[str]:
        """Names of the n actions."""
        return self.games.labels

    def exploitability(self, policies: ArrayLike) -> float:
        """``sum_c w_c max_y (A_c pi_c)(y)`` of policies [C, n]: a best responder answers each context apart."""
        table = np.asarray(policies, dtype=np.float64)
        if table.shape != self.payoff.shape[:2]:
            raise ValueError(f"expected policies of shape {self.payoff.shape[:2]}, got {table.shape}")
        return float(self.weights @ np.einsum("cij,cj->ci", self.payoff, table).max(axis=-1))

    def __len__(self) -> int:
        return len(self.games)

    def __repr__(self) -> str:
        return f"ContextualGame({len(self)} contexts, {len(self.labels)} actions)"
