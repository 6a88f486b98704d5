"""An oracle that asks a more expensive one for a part of the pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rebel_pref.budgets import PairDesign, regular_pairs
from rebel_pref.preferences import FloatArray, PreferenceOracle

__all__ = ["BudgetedOracle"]


class BudgetedOracle:
    """Ask an expensive oracle for a random part of the pairs only.

    In a group each response is compared with `degree` others (:func:`regular_pairs`); against opponents, with `degree`
    of them drawn at random. Which pairs is decided by the seed and the texts alone, so the same question asks the same
    pairs, whenever.

    Without a `guess`, all other pairs are NaN: right for :func:`rebel_pref.budgets.estimate_payoffs`, and for whoever
    fits a model on the answers. **In self-play it is seldom what you want**: there, responses are left out until every
    pair of the rest is judged (:func:`rebel_pref.payoffs.drop_unjudged`), so of K responses only a clique of the asked
    graph is kept (at degree 2 a pair or a triangle), and missing pairs are asked for again on later visits. With a
    `guess`, such as a preference model fitted so far, its preferences stand at the other pairs: nothing is dropped, at
    the price of the guess's error there, of which a payoff keeps the share ``(K - 1 - degree) / K``.

    Parameters
    ----------
    oracle : asked for one pair at a time, all of a call at once: ``prefer`` of one response against one opponent.
    degree : comparisons a response, at least 1; all pairs where there are no more. In a group of odd size an odd degree
        is raised by one.
    guess : a cheap oracle for the other pairs, or None.
    seed : of the pairs.
    """

    def __init__(
        self, oracle: PreferenceOracle, degree: int, *, guess: PreferenceOracle | None = None, seed: int = 0
    ) -> None:
        if degree < 1:
            raise ValueError(f"expected at least 1 comparison a response, got degree={degree}")
        self.oracle = oracle
        self.degree = degree
        self.guess = guess
        self.seed = seed

    def design(self, prompt: str, responses: Sequence[str]) -> PairDesign:
        """The pairs that are asked about a group of K >= 2 responses: what the estimates of their payoffs need."""
        size = len(responses)
        degree = min(self.degree + self.degree % 2 * (size % 2), size - 1)
        return regular_pairs(size, degree, self._rng(prompt, responses, []))

    def prefer(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> FloatArray:
        """See :meth:`PreferenceOracle.prefer`."""
        rivals = responses if opponents is None else opponents
        lengths = {len(prompts), len(responses), len(rivals)}, {*map(len, responses)}, {*map(len, rivals)}
        if any(len(found) != 1 for found in lengths):
            raise ValueError(
                f"expected one list of responses a prompt, all of the same length, got {len(prompts)} prompts, "
                f"lists of {[*map(len, responses)]} responses and of {[*map(len, rivals)]} opponents"
            )
        pairs: list[tuple[int, int, int]] = []
        for b, prompt in enumerate(prompts):
            against = None if opponents is None else opponents[b]
            pairs += [(b, int(i), int(j)) for i, j in self._asked(prompt, responses[b], against)]
        if self.guess is not None:
            result = np.array(self.guess.prefer(prompts, responses, opponents), dtype=np.float64)
        else:
            result = np.full((len(prompts), len(responses[0]), len(rivals[0])), np.nan)
        if opponents is None:
            result[:, np.arange(len(responses[0])), np.arange(len(responses[0]))] = 0.5
        if pairs:
            b, i, j = np.array(pairs).T
            answers = np.asarray(
                self.oracle.prefer(
                    [prompts[p] for p, _, _ in pairs],
                    [[responses[p][k]] for p, k, _ in pairs],
                    [[rivals[p][k]] for p, _, k in pairs],
                ),
                dtype=np.float64,
            )
            if answers.shape != (len(pairs), 1, 1):
                raise ValueError(f"the oracle answered with shape {answers.shape}, expected {(len(pairs), 1, 1)}")
            result[b, i, j] = answers[:, 0, 0]
            if opponents is None:
                result[b, j, i] = 1.0 - answers[:, 0, 0]
        return result

    def _asked(self, prompt: str, responses: Sequence[str], opponents: Sequence[str] | None) -> NDArray[np.int64]:
        """Pairs [m, 2] of a response and an opponent."""
        if opponents is None:
            return self.design(prompt, responses).pairs if len(responses) > 1 else np.empty((0, 2), dtype=np.int64)
        rng = self._rng(prompt, responses, opponents)
        met = min(self.degree, len(opponents))
        asked = [(i, j) for i in range(len(responses)) for j in np.sort(rng.permutation(len(opponents))[:met])]
        return np.array(asked, dtype=np.int64).reshape(-1, 2)

    def _rng(self, prompt: str, responses: Sequence[str], opponents: Sequence[str]) -> np.random.Generator:
        """A generator that the seed and the texts determine: a run that is resumed asks the same pairs."""
        digest = hashlib.blake2b(digest_size=16)
        for texts in ([prompt], responses, opponents):
            digest.update(f"{len(texts)};".encode())
            for text in texts:
                data = text.encode("utf-8", "surrogatepass")
                digest.update(f"{len(data)}:".encode() + data)
        return np.random.default_rng([self.seed, int.from_bytes(digest.digest(), "little")])
