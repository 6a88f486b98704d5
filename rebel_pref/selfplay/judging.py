"""Second arrow: ask the oracle for the comparisons that a pool lacks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rebel_pref.preferences import FloatArray, PreferenceOracle, checked_answer, payoffs_from_preferences, skew_payoffs
from rebel_pref.selfplay.pool import PromptPool

__all__ = ["judge_new"]

RETRIES = 2
"""Later visits at which a response with missing judgements is asked about again."""


def judge_new(oracle: PreferenceOracle, prompt: str, pool: PromptPool, new: Sequence[int]) -> tuple[int, int]:
    """Fill the payoffs of new entries against every entry of the pool, and ask again for what did not come.

    Returns
    -------
    Comparisons asked for (unordered pairs of distinct responses) and how many of them came back missing.

    Raises
    ------
    ValueError
        If the oracle's answer has another shape, is no probability, or breaks ``P + P.T = 1``.
    """
    old = np.setdiff1d(np.arange(len(pool)), list(new))
    unjudged = np.isnan(pool.payoffs[np.ix_(old, old)]).any(-1) & (pool.failures[old] <= RETRIES)
    rows = [*old[unjudged].tolist(), *new]
    if not rows:
        return 0, 0
    texts = [pool.texts[i] for i in rows]
    others = np.setdiff1d(np.arange(len(pool)), rows)
    size, who = len(rows), f"prompt {prompt[:60]!r}: the oracle"
    answer = checked_answer(oracle.prefer([prompt], [texts]), (1, size, size), who)
    _enter(pool.payoffs, rows, rows, skew_payoffs(answer[0], texts, who))
    if len(others):
        rivals = [pool.texts[i] for i in others]
        against = checked_answer(oracle.prefer([prompt], [texts], [rivals]), (1, size, len(rivals)), who)
        payoffs = payoffs_from_preferences(against[0])
        _enter(pool.payoffs, rows, others.tolist(), payoffs)
        _enter(pool.payoffs, others.tolist(), rows, -payoffs.T)
    asked = len(rows) * len(others) + len(rows) * (len(rows) - 1) // 2
    unanswered = np.isnan(pool.payoffs[rows, :])
    pool.failures[rows] += unanswered.any(-1)
    missing = int(unanswered.sum() - np.triu(unanswered[:, rows]).sum())
    return asked, missing


def _enter(payoffs: FloatArray, rows: Sequence[int], columns: Sequence[int], values: FloatArray) -> None:
    """Write what came; what is known already stays where nothing came this time."""
    place = np.ix_(rows, columns)
    payoffs[place] = np.where(np.isnan(values), payoffs[place], values)
