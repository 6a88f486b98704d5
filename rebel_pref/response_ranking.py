"""Rank the responses to one prompt by what an oracle says of them: `rank_responses`.

It stands here and not beside the models: a ranking needs the game solver, and the models need nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rebel_pref.games import PreferenceGame
from rebel_pref.payoffs import drop_unjudged
from rebel_pref.preferences import PreferenceOracle, payoffs_from_preferences
from rebel_pref.ranking import Ranking, rank

__all__ = ["rank_responses"]

_TOLERANCE = 0.01
"""Of P + P.T = 1 in an oracle's answer: what half precision does to a model, and no position bias."""


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
    answer = np.asarray(oracle.prefer([prompt], [list(responses)]), dtype=np.float64)
    if answer.shape != (1, size, size):
        raise ValueError(f"the oracle answered with shape {answer.shape}, expected {(1, size, size)}")
    if np.nanmin(answer, initial=0.5) < 0.0 or np.nanmax(answer, initial=0.5) > 1.0:
        raise ValueError("the oracle answered with a value outside [0, 1]; it must give probabilities, not logits")
    payoffs = payoffs_from_preferences(answer[0])
    np.fill_diagonal(payoffs, 0.0)
    if (excess := float(np.nanmax(np.abs(payoffs + payoffs.T)))) > 2.0 * _TOLERANCE:
        raise ValueError(
            f"the oracle contradicts itself: P + P.T is up to {0.5 * excess:.3g} from 1 (tolerance {_TOLERANCE}); ask "
            "it in both orders and average (rebel_pref.preferences.symmetrize_preferences)"
        )
    payoffs = 0.5 * (payoffs - payoffs.T)
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
