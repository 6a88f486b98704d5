"""Both orders: every pair is shown as (y, y') and as (y', y), and one win probability is made of the two answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from rebel_pref.preferences import FloatArray, check_texts, probabilities, symmetrize_logits, symmetrize_preferences

__all__ = ["OrderedJudge", "Shown", "prefer_in_both_orders", "win_probabilities"]


class Shown(NamedTuple):
    """One comparison as the judge sees it: `first` stands where A stands, `second` where B stands."""

    prompt: str
    first: str
    second: str

    def turned(self) -> Shown:
        """The same pair in the other order."""
        return Shown(self.prompt, self.second, self.first)


class OrderedJudge(Protocol):
    """A judge before its position bias is averaged away."""

    @property
    def gives_logits(self) -> bool:
        """Whether :meth:`judge_as_shown` gives logits f (then P = sigmoid(f)) or win probabilities in [0, 1]."""
        ...

    def judge_as_shown(self, shown: Sequence[Shown]) -> FloatArray:
        """How strongly the first response wins, in the order shown: float64 [N], NaN where no answer came."""
        ...


def prefer_in_both_orders(
    judge: OrderedJudge,
    prompts: Sequence[str],
    responses: Sequence[Sequence[str]],
    opponents: Sequence[Sequence[str]] | None = None,
) -> FloatArray:
    """Win probabilities [B, K, K or M] from two questions a distinct unordered pair.

    Equal texts are not asked about: their average over both orders is 1/2 whatever the judge's bias. A pair whose
    answer is missing in one order is missing. ``P(y, y') + P(y', y) == 1`` to the last bit.

    Raises
    ------
    ValueError
        If the lists of responses are not one a prompt, all of the same length.
    """
    rivals = check_texts(prompts, responses, opponents)
    pairs: dict[Shown, int] = {}
    for prompt, ours, theirs in zip(prompts, responses, rivals, strict=True):
        for one in ours:
            for other in theirs:
                if one != other:
                    pairs.setdefault(Shown(prompt, *sorted((one, other))), len(pairs))
    values = win_probabilities(judge, list(pairs))
    result = np.full((len(prompts), len(responses[0]), len(rivals[0])), 0.5)
    for b, (prompt, ours, theirs) in enumerate(zip(prompts, responses, rivals, strict=True)):
        for i, one in enumerate(ours):
            for j, other in enumerate(theirs):
                if one < other:
                    result[b, i, j] = values[pairs[Shown(prompt, one, other)]]
                elif other < one:
                    result[b, i, j] = 1.0 - values[pairs[Shown(prompt, other, one)]]
    return result


def win_probabilities(judge: OrderedJudge, pairs: Sequence[Shown]) -> FloatArray:
    """Ask both orders of N pairs and average: P(first wins), float64 [N], NaN where an order is missing.

    Logits are averaged as logits, ``s = (f(y, y') - f(y', y)) / 2``, which cancels any additive position bias;
    verdicts as payoffs, which does not cancel it but shrinks towards 1/2.
    """
    if not pairs:
        return np.empty(0)
    # The two orders of a pair stand side by side: where a budget ends, at most one pair is left half asked.
    answers = judge.judge_as_shown([view for pair in pairs for view in (pair, pair.turned())])
    both = np.full((len(pairs), 2, 2), 0.0 if judge.gives_logits else 0.5)
    both[:, 0, 1], both[:, 1, 0] = answers[0::2], answers[1::2]
    if judge.gives_logits:
        logits = np.asarray(symmetrize_logits(both), dtype=np.float64)[:, 0, 1]
        return probabilities(logits)
    return np.asarray(symmetrize_preferences(both), dtype=np.float64)[:, 0, 1]
