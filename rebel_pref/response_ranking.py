"""Rank the responses to one prompt by what an oracle says of them: `rank_responses`.

It stands here and not beside the models: a ranking needs the game solver, and the models need nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rebel_pref.games import PreferenceGame
from rebel_pref.payoffs import drop_unjudged
from rebel_pref.preferences import PreferenceOracle, checked_answer, skew_payoffs
from rebel_pref.ranking import Ranking, rank

__all__ = ["rank_responses"]


def rank_responses(oracle: PreferenceOracle, prompt: str, responses: Sequence[str]) -> Ranking:
    """Rank the responses to one prompt by what an oracle says of every pair.

    The oracle's probabilities are taken as exact, so nothing is tested and there are no intervals. Responses are
    labelled by their number, from 1, and their beginning. A pair without a judgement is never counted as a tie:
    responses are left out until every pair of the others is judged (:func:`rebel_pref.payoffs.drop_unjudged`), which a
    note says.

    Parameters
    ----------
    oracle : asked once, for all pairs.
    responses : K >= 2 strings; equal ones are different items.

    Raises
    ------
    ValueError
        For fewer than two responses, or than two that were judged; an answer of another shape, outside [0, 1], or with
        ``P + P.T`` further than .01 from 1.

    >>> from rebel_pref.preferences import FunctionOracle
    >>> longer = FunctionOracle(lambda prompt, first, second: 0.5 + 0.5 * (len(first) > len(second)))
    >>> rank_responses(longer, "Say hello.", ["hi", "hello there"]).condorcet_winner
    '2: hello there'
    """
    if isinstance(responses, str) or len(responses) < 2:
        raise ValueError(f"expected a list of at least 2 responses, got {responses!r}")
    size = len(responses)
    answer = checked_answer(oracle.prefer([prompt], [list(responses)]), (1, size, size))
    payoffs = skew_payoffs(answer[0], responses)
    kept = list(drop_unjudged(payoffs))
    if len(kept) < 2:
        raise ValueError(f"the oracle judged no two of {size} responses to prompt {prompt[:60]!r}")
    labels = [f"{number}: {' '.join(text.split())[:60]}" for number, text in enumerate(responses, start=1)]
    ranking = rank(
        PreferenceGame.from_payoffs(payoffs[np.ix_(kept, kept)], labels=[labels[i] for i in kept]), bootstrap=0
    )
    dropped = [str(i + 1) for i in range(size) if i not in kept]
    if not dropped:
        return ranking
    what = f"Left out, because judgements are missing: response{'s' * (len(dropped) > 1)} {', '.join(dropped)}."
    return replace(ranking, notes=(*ranking.notes, what))
