"""Comparisons: pairs of responses to a prompt and who won, the data that preference models are fitted to."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.preferences import FloatArray, PreferenceOracle, checked_answer

__all__ = ["TextComparisons", "ask", "draw_comparisons", "draw_votes", "near_misses"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TextComparisons:
    """N comparisons. Checked when built.

    Attributes
    ----------
    prompts, first, second : N strings each; `first` and `second` answer the prompt of their row.
    outcome : float64 [N] in [0, 1], how often the first won: 1 win, 0 loss, 1/2 tie, or a share of votes.
    weight : float64 [N], positive; how many votes a row stands for. None means 1 each.
    group : N strings, or None: rows of one group (an annotator, a conversation) are not independent, and intervals
        draw them together, see :func:`evaluation.clusters`.

    Win counts of items by number, which rankings and games are made of, are :class:`rebel_pref.Comparisons`.
    """

    prompts: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]
    outcome: FloatArray
    weight: FloatArray = None  # type: ignore[assignment]  # Ones, once it is built.
    group: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        count = len(self.prompts)
        if not len(self.first) == len(self.second) == count:
            raise ValueError(
                f"expected as many first and second responses as prompts, got {count} prompts, "
                f"{len(self.first)} first, {len(self.second)} second"
            )
        # A frozen dataclass sets its own fields this way; what the caller passed is not written to.
        for name in ("prompts", "first", "second"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.group is not None:
            object.__setattr__(self, "group", tuple(self.group))
            if len(self.group) != count:
                raise ValueError(f"expected one group a comparison, got {len(self.group)} for {count}")
        outcome = np.array(self.outcome, dtype=np.float64)
        weight = np.ones(count) if self.weight is None else np.array(self.weight, dtype=np.float64)
        for name, values in (("outcome", outcome), ("weight", weight)):
            if values.shape != (count,):
                raise ValueError(f"expected {name} of shape {(count,)}, one a comparison, got {values.shape}")
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        # "not inside", rather than "outside", also catches NaN.
        if (wrong := np.flatnonzero(~((outcome >= 0) & (outcome <= 1)))).size:
            raise ValueError(f"outcome must be in [0, 1], got {outcome[wrong[0]]} at row {wrong[0]}")
        if (wrong := np.flatnonzero(~((weight > 0) & (weight < np.inf)))).size:
            raise ValueError(f"weight must be positive and finite, got {weight[wrong[0]]} at row {wrong[0]}")

    def __len__(self) -> int:
        return len(self.prompts)

    def __repr__(self) -> str:
        return f"TextComparisons({len(self)} of {len(set(self.prompts))} prompts)"

    @classmethod
    def join(cls, *parts: TextComparisons) -> TextComparisons:
        """All rows of `parts`, in order. Groups are kept if every part has them."""
        if not parts:
            raise ValueError("expected at least one set of comparisons to join, got none")
        return cls(
            tuple(prompt for part in parts for prompt in part.prompts),
            tuple(text for part in parts for text in part.first),
            tuple(text for part in parts for text in part.second),
            np.concatenate([part.outcome for part in parts]),
            np.concatenate([part.weight for part in parts]),
            None
            if any(part.group is None for part in parts)
            else tuple(name for part in parts for name in part.group or ()),
        )

    def select(self, rows: ArrayLike) -> TextComparisons:
        """The given rows: integer positions, or a mask [N]."""
        index = np.arange(len(self))[np.asarray(rows)]
        return TextComparisons(
            tuple(self.prompts[i] for i in index),
            tuple(self.first[i] for i in index),
            tuple(self.second[i] for i in index),
            self.outcome[index],
            self.weight[index],
            None if self.group is None else tuple(self.group[i] for i in index),
        )


def draw_votes(preferences: ArrayLike, *, flip: float, rng: np.random.Generator) -> FloatArray:
    """The noisy judge: one Bernoulli(P) draw for each entry, flipped with probability `flip`.

    Returns an array of 0. and 1. in the shape of `preferences`, 1 where the first response won; NaN, a
    missing judgement, stays NaN.
    """
    if not 0.0 <= flip <= 0.5:
        raise ValueError(f"flip is the probability of a wrong verdict, expected a value in [0, 0.5], got {flip}")
    probability = np.asarray(preferences, dtype=np.float64)
    won = rng.random(probability.shape) < probability
    flipped = rng.random(probability.shape) < flip
    return np.where(np.isnan(probability), np.nan, (won ^ flipped).astype(np.float64))


def ask(
    oracle: PreferenceOracle,
    prompts: Sequence[str],
    first: Sequence[str],
    second: Sequence[str],
    *,
    batch_size: int = 1024,
) -> FloatArray:
    """What `oracle` thinks of N pairs: P(first wins), float64 [N]. Each distinct pair is asked about once."""
    keys = list(zip(prompts, first, second, strict=True))
    distinct = list(dict.fromkeys(keys))
    answers: dict[tuple[str, str, str], float] = {}
    for start in range(0, len(distinct), batch_size):
        chunk = distinct[start : start + batch_size]
        verdicts = oracle.prefer([p for p, _, _ in chunk], [[a] for _, a, _ in chunk], [[b] for _, _, b in chunk])
        answers.update(zip(chunk, checked_answer(verdicts, (len(chunk), 1, 1))[:, 0, 0].tolist(), strict=True))
    return np.array([answers[key] for key in keys])


def draw_comparisons(
    oracle: PreferenceOracle,
    prompts: Sequence[str],
    responses: Sequence[Sequence[str]],
    opponents: Sequence[Sequence[str]] | None = None,
    *,
    votes: int,
    flip: float = 0.0,
    seed: int,
) -> TextComparisons:
    """Random pairs of different responses to a random prompt, and one noisy vote on each.

    Prompts are uniform, and so are the pairs of a prompt; who is named first is a fair coin. A pair that the
    oracle cannot judge (NaN) is left out, and their number is logged.

    Parameters
    ----------
    prompts : B strings.
    responses : B lists of strings; equal ones count once.
    opponents : B lists of strings to draw the other response of each pair from (such as malformed text),
        or None for the responses themselves.
    votes : number of comparisons to draw.
    flip : probability that a vote is turned round, in [0, 1/2].
    """
    rivals = responses if opponents is None else opponents
    if not prompts or len(prompts) != len(responses) or len(prompts) != len(rivals):
        raise ValueError(
            f"expected one list of responses a prompt, got {len(prompts)} prompts, {len(responses)} lists of "
            f"responses, {len(rivals)} of opponents"
        )
    if votes < 1:
        raise ValueError(f"expected at least one vote, got {votes}")
    ours = [list(dict.fromkeys(texts)) for texts in responses]
    pools = [list(dict.fromkeys(texts)) for texts in rivals]
    for prompt, mine, pool in zip(prompts, ours, pools, strict=True):
        if not mine or not pool or (len(mine) == 1 and pool == mine):
            raise ValueError(f"prompt {prompt!r} has no two different responses to compare")
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(prompts), size=votes)
    first, second = [], []
    for b in chosen:
        one = other = ""
        while one == other:
            one, other = ours[b][rng.integers(len(ours[b]))], pools[b][rng.integers(len(pools[b]))]
        if rng.random() < 0.5:
            one, other = other, one
        first.append(one)
        second.append(other)
    asked = [prompts[b] for b in chosen]
    outcome = draw_votes(ask(oracle, asked, first, second), flip=flip, rng=rng)
    judged = ~np.isnan(outcome)
    if not judged.all():
        logger.warning("%d of %d comparisons have no judgement and are left out", (~judged).sum(), votes)
    filled = np.where(judged, outcome, 0.5)
    return TextComparisons(tuple(asked), tuple(first), tuple(second), filled).select(judged)


def near_misses(texts: Sequence[str], alphabet: str, *, count: int, seed: int) -> list[str]:
    """Up to `count` distinct near misses of `texts`: one or two characters inserted, deleted or replaced.

    A model fitted to well-formed responses alone says anything about the rest, and a policy finds out.
    The near misses that are well-formed too are for the oracle to tell; none is in `texts`.
    """
    if not texts or not alphabet or count < 1:
        raise ValueError(f"expected texts, an alphabet and count >= 1, got {len(texts)}, {alphabet!r} and {count}")
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    known = set(texts)
    for _ in range(20 * count):
        text = texts[int(rng.integers(len(texts)))]
        for _ in range(rng.integers(1, 3)):
            place = int(rng.integers(len(text) + 1))
            letter = alphabet[int(rng.integers(len(alphabet)))]
            kind = rng.integers(3)
            text = text[:place] + ("" if kind == 1 else letter) + text[place + (kind > 0) :]
        if text not in known:
            found[text] = None
        if len(found) == count:
            break
    return list(found)
