"""An oracle that asks a more expensive one for a part of the pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rebel_pref.pair_designs import (
    PairDesign,
    PayoffEstimates,
    active_pairs,
    circular_pairs,
    estimate_payoffs,
    regular_pairs,
)
from rebel_pref.preferences import (
    FloatArray,
    PreferenceOracle,
    check_texts,
    checked_answer,
    payoffs_from_preferences,
    symmetrize_preferences,
)

__all__ = ["BudgetedOracle"]

Design = Literal["regular", "circular", "active"]


class BudgetedOracle:
    """Ask an expensive oracle for a random part of the pairs only.

    In a group each response is compared with `degree` others, or with about as many, by one of the designs of
    :mod:`rebel_pref.pair_designs`; against opponents, whatever the design, with `degree` of them drawn at random. Which
    pairs is decided by the seed and the texts alone (and by the guess, where the design is active), so the same
    question asks the same pairs, whenever.

    :meth:`payoffs` is for estimates: each answer is weighted by the inverse of its pair's chance, so payoffs against
    the group are unbiased, whatever the `guess`, and have a variance, which a good guess lowers.

    :meth:`prefer` is for who needs a matrix. Without a `guess`, all other pairs are NaN: right for whoever fits a model
    on the answers. **In self-play it is seldom what you want**: there, responses are left out until every pair of the
    rest is judged (:func:`rebel_pref.payoffs.drop_unjudged`), so of K responses only a clique of the asked graph is
    kept (at degree 2 a pair or a triangle), and missing pairs are asked for again on later visits. With a `guess`, such
    as a preference model fitted so far, its preferences stand at the other pairs: nothing is dropped, at the price of
    the guess's error there, of which a payoff keeps the share ``(K - 1 - degree) / K``.

    Parameters
    ----------
    oracle : asked for one pair at a time, all of a call at once: ``prefer`` of one response against one opponent.
    degree : comparisons a response, at least 1; all pairs where there are no more. In a group of odd size an odd degree
        is raised by one, but for the active design.
    design : ``"regular"`` (:func:`regular_pairs`), ``"circular"`` (:func:`circular_pairs`: the same chances and
        variance) or ``"active"`` (:func:`active_pairs`: ``degree K / 2`` pairs on average, drawn apart, by how unsure
        the guess is of them). Active pays off where the guess misses most on the pairs that it is unsure of, as with
        single votes; where it misses all pairs alike, a regular design is better.
    guess : a cheap oracle for the other pairs, or None. **Not one that was fitted on answers to these very pairs**: it
        would be right just where it is checked. After a fit on them, take another seed.
    seed : of the pairs.

    Attributes
    ----------
    queries : pairs that the oracle was asked for so far, second requests included.

    Raises
    ------
    ValueError
        For a degree below 1, another design, or an active design without a guess.
    """

    def __init__(
        self,
        oracle: PreferenceOracle,
        degree: int,
        *,
        design: Design = "regular",
        guess: PreferenceOracle | None = None,
        seed: int = 0,
    ) -> None:
        if degree < 1:
            raise ValueError(f"expected at least 1 comparison a response, got degree={degree}")
        if design not in get_args(Design):
            raise ValueError(f"expected a design of {', '.join(map(repr, get_args(Design)))}, got {design!r}")
        if design == "active" and guess is None:
            raise ValueError(
                "expected a guess with design='active', whose pairs follow the guess's uncertainty, got None; pass a "
                "cheap oracle as guess, or take design='regular'"
            )
        self.oracle = oracle
        self.degree = degree
        self.design = design
        self.guess = guess
        self.seed = seed
        self.queries = 0

    def design_of(self, prompt: str, responses: Sequence[str]) -> PairDesign:
        """The pairs that are asked about a group of K >= 2 responses: what the estimates of their payoffs need."""
        known = _usable(self._guessed([prompt], [responses]))[0] if self.design == "active" else None
        return self._drawn(prompt, responses, known)

    def payoffs(self, prompts: Sequence[str], responses: Sequence[Sequence[str]]) -> list[PayoffEstimates]:
        """Payoffs of every response against the mean of its group, unbiased, from the pairs of the design alone.

        :func:`estimate_payoffs` with the guess as control variate: both orders of it averaged, 1/2 where it is NaN or
        where there is none. The variance is that of the choice of pairs. Its estimate is unbiased over the draws, not a
        bound on one of them: an active design that happens to ask nothing about a response reports 0 there.

        Pairs without a judgement are asked for once more. Where that fails too, both responses get NaN for payoff and
        variance: to fill the pair with the guess, or to weigh the others up, would be a bias. The rest of the group
        does not look at this pair and stays unbiased.

        Parameters
        ----------
        prompts : B strings.
        responses : B lists of K >= 2 strings each.

        Returns
        -------
        B estimates, of K responses each.

        Raises
        ------
        ValueError
            For other shapes, or an oracle or a guess that answers with another shape or outside [0, 1].
        """
        check_texts(prompts, responses)
        size = len(responses[0])
        if size < 2:
            raise ValueError(f"expected groups of at least 2 responses, got {size}; one alone has nobody to be paid by")
        if self.guess is None:
            known = np.full((len(prompts), size, size), 0.5)
        else:
            known = _usable(self._guessed(prompts, responses))
        designs = [self._drawn(prompt, responses[b], known[b]) for b, prompt in enumerate(prompts)]
        pairs = np.array([(b, i, j) for b, drawn in enumerate(designs) for i, j in drawn.pairs], dtype=np.int64)
        pairs = pairs.reshape(-1, 3)
        answers = self._answers(prompts, responses, responses, pairs)
        again = np.flatnonzero(np.isnan(answers))
        answers[again] = self._answers(prompts, responses, responses, pairs[again])
        values = np.zeros((len(prompts), size, size))
        of, i, j = pairs.T
        values[of, i, j] = payoffs_from_preferences(answers)
        values[of, j, i] = -values[of, i, j]
        guessed = payoffs_from_preferences(known)
        return [_estimated(*group) for group in zip(values, designs, guessed, strict=True)]

    def prefer(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> FloatArray:
        """See :meth:`PreferenceOracle.prefer`. A judgement that fails stays NaN and is not asked for again here."""
        rivals = check_texts(prompts, responses, opponents)
        size = len(responses[0])
        if self.guess is not None:
            result = self._guessed(prompts, responses, opponents)
        else:
            result = np.full((len(prompts), size, len(rivals[0])), np.nan)
        asked: list[tuple[int, int, int]] = []
        if opponents is not None:
            for b, prompt in enumerate(prompts):
                asked += [(b, i, j) for i, j in self._met(prompt, responses[b], opponents[b])]
        elif size > 1:
            known = _usable(result) if self.design == "active" else None
            for b, prompt in enumerate(prompts):
                drawn = self._drawn(prompt, responses[b], None if known is None else known[b])
                asked += [(b, i, j) for i, j in drawn.pairs]
        pairs = np.array(asked, dtype=np.int64).reshape(-1, 3)
        answers = self._answers(prompts, responses, rivals, pairs)
        of, i, j = pairs.T
        result[of, i, j] = answers
        if opponents is None:
            result[of, j, i] = 1.0 - answers
            result[:, np.arange(size), np.arange(size)] = 0.5
        return result

    def _drawn(self, prompt: str, responses: Sequence[str], known: FloatArray | None) -> PairDesign:
        """The design of one group; `known` [K, K], what the guess says of it, is for the active one."""
        size = len(responses)
        rng = self._rng(prompt, responses, [])
        if self.design == "active":
            assert known is not None
            return active_pairs(known, min(self.degree, size - 1) * size / 2, rng)
        degree = min(self.degree + self.degree % 2 * (size % 2), size - 1)
        return (circular_pairs if self.design == "circular" else regular_pairs)(size, degree, rng)

    def _met(self, prompt: str, responses: Sequence[str], opponents: Sequence[str]) -> list[tuple[int, int]]:
        """Pairs of a response and an opponent."""
        rng = self._rng(prompt, responses, opponents)
        met = min(self.degree, len(opponents))
        return [(i, int(j)) for i in range(len(responses)) for j in np.sort(rng.permutation(len(opponents))[:met])]

    def _guessed(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> FloatArray:
        """What the guess says, [B, K, M], a fresh array."""
        assert self.guess is not None
        rivals = responses if opponents is None else opponents
        expected = (len(prompts), len(responses[0]), len(rivals[0]))
        return checked_answer(self.guess.prefer(prompts, responses, opponents), expected, "the guess")

    def _answers(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        rivals: Sequence[Sequence[str]],
        pairs: NDArray[np.int64],
    ) -> FloatArray:
        """What the oracle says of pairs [m, 3] (prompt, response, rival): probabilities [m], counted."""
        if not len(pairs):
            return np.empty(0)
        self.queries += len(pairs)
        answers = self.oracle.prefer(
            [prompts[b] for b, _, _ in pairs],
            [[responses[b][i]] for b, i, _ in pairs],
            [[rivals[b][j]] for b, _, j in pairs],
        )
        return checked_answer(answers, (len(pairs), 1, 1))[:, 0, 0]

    def _rng(self, prompt: str, responses: Sequence[str], opponents: Sequence[str]) -> np.random.Generator:
        """A generator that the seed and the texts determine: a run that is resumed asks the same pairs."""
        digest = hashlib.blake2b(digest_size=16)
        for texts in ([prompt], responses, opponents):
            digest.update(f"{len(texts)};".encode())
            for text in texts:
                data = text.encode("utf-8", "surrogatepass")
                digest.update(f"{len(data)}:".encode() + data)
        return np.random.default_rng([self.seed, int.from_bytes(digest.digest(), "little")])


def _usable(preferences: FloatArray) -> FloatArray:
    """A guess [..., K, K] as a control variate: any is right as long as ``P + P.T = 1`` and none is missing."""
    averaged: FloatArray = symmetrize_preferences(preferences)
    return np.where(np.isnan(averaged), 0.5, averaged)


def _estimated(values: FloatArray, design: PairDesign, guess: FloatArray) -> PayoffEstimates:
    """The estimates of one group, NaN for a response with an asked pair that has no judgement."""
    failed = np.isnan(values)
    found = estimate_payoffs(np.where(failed, guess, values), design, guess=guess)
    lost = failed.any(-1)
    return PayoffEstimates(np.where(lost, np.nan, found.payoffs), np.where(lost, np.nan, found.variance))
