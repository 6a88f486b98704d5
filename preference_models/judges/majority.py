"""Several oracles as one: a vote, taken after each has compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from preference_models.judges.orders import check_texts
from rebel_pref.preferences import (
    FloatArray,
    PreferenceOracle,
    payoffs_from_preferences,
    preferences_from_payoffs,
)

__all__ = ["MajorityJudge"]


class MajorityJudge:
    """The weighted mean of several oracles' win probabilities (soft) or of their votes (hard).

    The mean is taken after the non-linearity: of probabilities or votes, never of scores. Three raters, each of them
    transitive, can then prefer in a cycle (Condorcet), and enough of them can give any tournament (McGarvey 1953); a
    mean of scores would be one more Bradley-Terry model.

    A judge that did not answer about a pair is left out of that pair and the weights of the others are scaled up;
    where none did, the pair is missing (NaN).

    Parameters
    ----------
    judges : one oracle or more; each is asked about everything, in turn.
    weights : one a judge, positive; None for equal ones. Only their proportions matter.
    vote : ``soft`` takes P as it is; ``hard`` counts P above 1/2 as a vote for, below as a vote against, and 1/2 as
        half of each. The result is the weighted share of the votes.
    """

    def __init__(
        self,
        judges: Sequence[PreferenceOracle],
        *,
        weights: ArrayLike | None = None,
        vote: Literal["hard", "soft"] = "soft",
    ) -> None:
        self.judges = tuple(judges)
        if not self.judges:
            raise ValueError("expected at least one judge, got none")
        if vote not in {"hard", "soft"}:
            raise ValueError(f"expected vote 'hard' or 'soft', got {vote!r}")
        self.weights = np.ones(len(self.judges)) if weights is None else np.array(weights, dtype=np.float64)
        if self.weights.shape != (len(self.judges),):
            raise ValueError(f"expected {len(self.judges)} weights, one a judge, got shape {self.weights.shape}")
        if not (np.isfinite(self.weights) & (self.weights > 0.0)).all():
            raise ValueError(f"weights must be positive and finite, got {self.weights.tolist()}")
        self.vote = vote

    def prefer(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> FloatArray:
        """Win probabilities, float64 [B, K, K or M]; see :meth:`rebel_pref.preferences.PreferenceOracle.prefer`.

        Raises
        ------
        ValueError
            If a judge answers with another shape, or with something that is no probability.
        """
        rivals = check_texts(prompts, responses, opponents)
        expected = (len(prompts), len(responses[0]), len(rivals[0]))
        total, share = np.zeros(expected), np.zeros(expected)
        for place, (judge, weight) in enumerate(zip(self.judges, self.weights / self.weights.max(), strict=True)):
            answer = np.asarray(judge.prefer(prompts, responses, opponents), dtype=np.float64)
            if answer.shape != expected:
                raise ValueError(f"judge {place} answered with shape {answer.shape}, expected {expected}")
            if not (np.isnan(answer) | ((answer >= 0.0) & (answer <= 1.0))).all():
                raise ValueError(f"judge {place} answered with a value outside [0, 1]")
            # On the payoff scale turning a pair round changes a sign and no rounding.
            payoffs = payoffs_from_preferences(answer)
            there = ~np.isnan(payoffs)
            votes = np.sign(payoffs) if self.vote == "hard" else payoffs
            total += weight * np.where(there, votes, 0.0)
            share += weight * there
        mean = np.divide(total, share, out=np.full(expected, np.nan), where=share > 0.0)
        # Rounding of the weighted mean may pass the ends by a bit.
        return np.asarray(preferences_from_payoffs(np.clip(mean, -1.0, 1.0)))
