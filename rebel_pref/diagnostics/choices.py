"""What it costs to choose by a score: exploitability of the top item of the usual rankings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rebel_pref.diagnostics.triads import majority_signs
from rebel_pref.preferences import FloatArray

__all__ = ["Choice", "choices"]


@dataclass(frozen=True, eq=False)
class Choice:
    """A policy that a rule would choose.

    Attributes
    ----------
    rule : "Borda", "Copeland", "Bradley-Terry", "uniform" or "minimax winner".
    actions : labels it plays, likeliest first.
    exploitability : ``max_y (A pi)(y)``: what somebody gains who knows the choice; payoff units, 0 at best.
    policy : float64 [n].
    """

    rule: str
    actions: tuple[str, ...]
    exploitability: float
    policy: FloatArray = field(repr=False)


def choices(
    payoffs: FloatArray, labels: Sequence[str], *, scores: FloatArray | None, winner: FloatArray
) -> tuple[Choice, ...]:
    """The top item of each score as a pure policy (items tied at the top in equal parts), and two mixed ones.

    Borda's score is the mean payoff, Copeland's wins minus losses. Elo is not listed apart: fitted to all
    comparisons at once it is Bradley-Terry in units of 400 / log 10, and its running update depends on their order.

    Parameters
    ----------
    scores : Bradley-Terry scores [n], or None where none can be fitted.
    winner : a minimax winner [n].
    """
    size = len(payoffs)
    policies = {"Borda": _top(payoffs.mean(1)), "Copeland": _top(majority_signs(payoffs).sum(1))}
    if scores is not None:
        policies["Bradley-Terry"] = _top(scores)
    policies["uniform"] = np.full(size, 1.0 / size)
    policies["minimax winner"] = winner
    return tuple(
        Choice(
            rule,
            tuple(labels[i] for i in np.argsort(-policy, kind="stable") if policy[i] > 1e-9),
            float((payoffs @ policy).max()),
            policy,
        )
        for rule, policy in policies.items()
    )


def _top(score: FloatArray) -> FloatArray:
    """Equal parts of the items within 1e-7 of the range of scores from the best: what a fit cannot tell apart."""
    best = score >= score.max() - 1e-7 * max(float(np.ptp(score)), np.finfo(float).tiny)
    return np.asarray(best / best.sum())
