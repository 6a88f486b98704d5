"""The pool of one prompt: its distinct responses, how they were judged, and how likely each was to be drawn.

Text and numbers are cheap to keep; completions and judgements are what a run pays for. A response is a
sequence of tokens: two of them with the same text are two entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rebel_pref.payoffs import log_seen_after
from rebel_pref.preferences import FloatArray

__all__ = ["PromptPool"]


class PromptPool:
    """Distinct responses to one prompt. Entries are appended, and dropped by :meth:`keep`.

    Attributes
    ----------
    tokens, texts : S entries.
    draws : int [S], how often each was drawn in the latest round.
    payoffs : float64 [S, S], skew-symmetric, NaN where no judgement could be had.
    log_reference : float64 [S], log-probability under the starting model.
    log_seen : float64 [S], log-probability of having been drawn at all so far.
    failures : int [S], visits at which a judgement of this response did not come.
    visits : rounds that sampled this prompt.
    draws_total : responses sampled for this prompt.
    """

    def __init__(self) -> None:
        self.tokens: list[tuple[int, ...]] = []
        self.texts: list[str] = []
        self.draws = np.zeros(0, dtype=np.int64)
        self.payoffs: FloatArray = np.zeros((0, 0))
        self.log_reference: FloatArray = np.zeros(0)
        self.log_seen: FloatArray = np.zeros(0)
        self.failures = np.zeros(0, dtype=np.int64)
        self.visits = 0
        self.draws_total = 0
        self._place: dict[tuple[int, ...], int] = {}

    def __len__(self) -> int:
        return len(self.texts)

    def add(self, tokens: Sequence[tuple[int, ...]], texts: Sequence[str]) -> list[int]:
        """Enter a round's draws; return the indices of those not seen before, in order of appearance."""
        old = len(self)
        for row, text in zip(tokens, texts, strict=True):
            if row not in self._place:
                self._place[row] = len(self.tokens)
                self.tokens.append(row)
                self.texts.append(text)
        size, added = len(self), len(self) - old
        payoffs = np.full((size, size), np.nan)
        payoffs[:old, :old] = self.payoffs
        np.fill_diagonal(payoffs, 0.0)
        self.payoffs = payoffs
        blank = np.full(added, np.nan)
        self.log_reference = np.concatenate([self.log_reference, blank])
        self.log_seen = np.concatenate([self.log_seen, blank])
        self.failures = np.concatenate([self.failures, np.zeros(added, dtype=np.int64)])
        self.draws = np.zeros(size, dtype=np.int64)
        for row in tokens:
            self.draws[self._place[row]] += 1
        return list(range(old, size))

    def record_visit(self, log_current: FloatArray, count: int) -> None:
        """Account for a round that drew `count` responses from the policy with these log-probabilities [S].

        A response first seen now was missed by all rounds before, whose policies are gone: its
        log-probability is taken to have moved linearly from the reference to its value now.
        """
        new = np.isnan(self.log_seen)
        self.log_seen[new] = -np.inf
        if new.any() and self.visits:
            # A few points on the path stand for many rounds; between them the policy moved little.
            points = min(self.visits, 32)
            for share in np.arange(points) / points:
                between = (1.0 - share) * self.log_reference[new] + share * log_current[new]
                self.log_seen[new] = log_seen_after(self.log_seen[new], between, self.draws_total / points)
        self.log_seen = np.asarray(log_seen_after(self.log_seen, log_current, count))
        self.visits += 1
        self.draws_total += count

    def keep(self, indices: Sequence[int]) -> None:
        """Drop every entry that is not listed."""
        chosen = list(indices)
        self.tokens = [self.tokens[i] for i in chosen]
        self.texts = [self.texts[i] for i in chosen]
        self._place = {row: i for i, row in enumerate(self.tokens)}
        self.payoffs = self.payoffs[np.ix_(chosen, chosen)]
        for name in ("draws", "log_reference", "log_seen", "failures"):
            setattr(self, name, getattr(self, name)[chosen])

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a checkpoint stores: a JSON object and arrays, exact to the bit."""
        plain = {
            "tokens": [list(row) for row in self.tokens],
            "texts": self.texts,
            "visits": self.visits,
            "draws_total": self.draws_total,
        }
        arrays = {
            "draws": self.draws,
            "payoffs": self.payoffs,
            "log_reference": self.log_reference,
            "log_seen": self.log_seen,
            "failures": self.failures,
        }
        return plain, arrays

    @classmethod
    def from_state(cls, plain: dict[str, Any], arrays: dict[str, Any]) -> PromptPool:
        """The pool that :meth:`state` described."""
        pool = cls()
        pool.tokens = [tuple(row) for row in plain["tokens"]]
        pool.texts = list(plain["texts"])
        pool.visits, pool.draws_total = plain["visits"], plain["draws_total"]
        pool.draws = np.asarray(arrays["draws"], dtype=np.int64)
        pool.failures = np.asarray(arrays["failures"], dtype=np.int64)
        for name in ("payoffs", "log_reference", "log_seen"):
            setattr(pool, name, np.asarray(arrays[name], dtype=np.float64))
        pool._place = {row: i for i, row in enumerate(pool.tokens)}
        return pool
