"""Second arrow: ask the oracle for the comparisons that a pool lacks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rebel_pref.preferences import FloatArray, PreferenceOracle, payoffs_from_preferences
from rebel_pref.selfplay.pool import PromptPool

__all__ = ["judge_new"]

TOLERANCE = 0.01
"""Of P + P.T = 1: above what batching does to a half-precision model, below any position bias. The rest is averaged."""


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
    among = _asked(oracle, prompt, texts, None)
    excess = among + among.T
    np.fill_diagonal(excess, 0.0)
    if np.nanmax(np.abs(excess), initial=0.0) > 2.0 * TOLERANCE:
        i, j = np.unravel_index(int(np.nanargmax(np.abs(excess))), excess.shape)
        raise ValueError(
            f"the oracle contradicts itself on prompt {prompt!r}: P({pool.texts[rows[i]]!r} wins) + "
            f"P({pool.texts[rows[j]]!r} wins) = {1.0 + 0.5 * excess[i, j]:.4g}, expected 1 (tolerance {TOLERANCE}); "
            "ask it in both orders and average (rebel_pref.preferences.symmetrize_preferences)"
        )
    _enter(pool.payoffs, rows, rows, 0.5 * (among - among.T))
    pool.payoffs[rows, rows] = 0.0
    if len(others):
        against = _asked(oracle, prompt, texts, [pool.texts[i] for i in others])
        _enter(pool.payoffs, rows, others.tolist(), against)
        _enter(pool.payoffs, others.tolist(), rows, -against.T)
    asked = len(rows) * len(others) + len(rows) * (len(rows) - 1) // 2
    unanswered = np.isnan(pool.payoffs[rows, :])
    pool.failures[rows] += unanswered.any(-1)
    missing = int(unanswered.sum() - np.triu(unanswered[:, rows]).sum())
    return asked, missing


def _asked(oracle: PreferenceOracle, prompt: str, texts: Sequence[str], opponents: Sequence[str] | None) -> FloatArray:
    """The oracle's payoffs for one prompt, checked: [K, K] or [K, M]."""
    answer = oracle.prefer([prompt], [texts], None if opponents is None else [opponents])
    preferences = np.asarray(answer, dtype=np.float64)
    expected = (1, len(texts), len(texts if opponents is None else opponents))
    if preferences.shape != expected:
        raise ValueError(
            f"the oracle answered with shape {preferences.shape} for {expected[1]} responses against {expected[2]} "
            f"opponents of prompt {prompt!r}; expected {expected}"
        )
    if np.nanmin(preferences, initial=0.5) < 0.0 or np.nanmax(preferences, initial=0.5) > 1.0:
        raise ValueError(f"the oracle answered with a value outside [0, 1] for prompt {prompt!r}")
    return np.asarray(payoffs_from_preferences(preferences[0]))


def _enter(payoffs: FloatArray, rows: Sequence[int], columns: Sequence[int], values: FloatArray) -> None:
    """Write what came; what is known already stays where nothing came this time."""
    place = np.ix_(rows, columns)
    payoffs[place] = np.where(np.isnan(values), payoffs[place], values)
