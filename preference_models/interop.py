"""Preference oracles where other libraries expect a reward function or a pairwise judge (TRL and its like).

A reward function sees one number a completion, so what a general preference knows of cycles survives only as "how often
this beats its own group": the self-play trainer here keeps the matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from preference_models.comparisons import ask
from preference_models.messages import conversation, response_text
from rebel_pref.preferences import FloatArray, PreferenceOracle, checked_answer

__all__ = ["PairwiseJudge", "as_pairwise_judge", "group_win_rates"]


def group_win_rates(
    oracle: PreferenceOracle,
    *,
    num_generations: int | None = None,
    missing: str = "none",
) -> Callable[..., list[float | None]]:
    """A reward function for GRPO, RLOO and the like: how often a completion beats the others of its group.

    The mean of ``P(y_i > y_j | x)`` over the K - 1 others, in [0, 1], pairs that were not judged left out. It divides
    by K - 1, as a policy gradient wants it; a group that is *regressed* divides by K.

    Parameters
    ----------
    num_generations : K, completions a group. Groups are contiguous: K equal prompts in a row. None takes every run of
        equal prompts for one group, whatever its length.
    missing : what a completion gets that was not judged against any other: "none", None, or "mean", the mean of
        its group's rates, whose advantage is 0 (None where nobody of the group was judged). TRL sums rewards over
        functions and leaves None out of the sum: if no other function speaks, the sum is 0, which here reads "lost to
        everyone". With a judge that may fail as the only reward, "mean" is what you want.

    Returns
    -------
    ``group_win_rate(prompts, completions, **columns) -> list``, one entry a completion. The columns of the dataset,
    which TRL passes by name, are not looked at.

    Raises
    ------
    ValueError
        By the function: if prompts and completions differ in number, or a run of equal prompts is no multiple of
        `num_generations`. Give a process whole groups: a batch a device that is a multiple of it.
    """
    if num_generations is not None and num_generations < 2:
        raise ValueError(f"num_generations must be at least 2, got {num_generations}: nobody to compare with")
    if missing not in ("none", "mean"):
        raise ValueError(f'missing must be "none" or "mean", got {missing!r}')

    # TRL names the reward in its logs after the function; **columns is its contract.
    def group_win_rate(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        if len(prompts) != len(completions):
            raise ValueError(f"expected a prompt a completion, got {len(prompts)} and {len(completions)}")
        asked = [_prompt(prompt) for prompt in prompts]
        texts = [_completion(completion) for completion in completions]
        rewards: list[float | None] = [None] * len(texts)
        by_size: dict[int, list[int]] = {}
        for start, size in _groups(asked, num_generations):
            by_size.setdefault(size, []).append(start)
        for size, starts in by_size.items():
            if size < 2:
                continue
            chosen = [asked[start] for start in starts]
            matrix = oracle.prefer(chosen, [texts[start : start + size] for start in starts])
            rates_of = _against_others(checked_answer(matrix, (len(starts), size, size)))
            if missing == "mean":
                rates_of = np.where(np.isnan(rates_of), _mean(rates_of)[:, None], rates_of)
            for start, rates in zip(starts, rates_of, strict=True):
                rewards[start : start + size] = [None if np.isnan(rate) else float(rate) for rate in rates]
        return rewards

    return group_win_rate


@dataclass(frozen=True)
class PairwiseJudge:
    """An oracle with the interface of pairwise judges; made by :func:`as_pairwise_judge`.

    Attributes
    ----------
    oracle : which is asked.
    """

    oracle: PreferenceOracle

    def judge(
        self, prompts: Sequence[Any], completions: Sequence[Sequence[Any]], shuffle_order: bool = True
    ) -> list[int]:
        """The winner of each pair: 0 or 1, or -1 where there is none: not judged, or exactly 1/2.

        Parameters
        ----------
        prompts, completions : N prompts and N pairs, strings or lists of messages.
        shuffle_order : without effect. Judges shuffle to hide a position bias on average; an oracle answers
            independently of the order, both orders averaged where it has to.
        """
        if len(prompts) != len(completions):
            raise ValueError(f"expected a pair a prompt, got {len(prompts)} prompts and {len(completions)} pairs")
        for row, pair in enumerate(completions):
            if isinstance(pair, str) or len(pair) != 2:
                raise ValueError(f"completions[{row}]: expected two completions, got {str(pair)[:80]!r}")
        if not prompts:
            return []
        asked = [_prompt(prompt) for prompt in prompts]
        first, second = ([_completion(pair[side]) for pair in completions] for side in (0, 1))
        wins = np.asarray(ask(self.oracle, asked, first, second))
        return [-1 if np.isnan(p) or p == 0.5 else int(p < 0.5) for p in wins]


def as_pairwise_judge(oracle: PreferenceOracle) -> PairwiseJudge:
    """An object with ``judge(prompts, completions, shuffle_order=True) -> list[int]``; see :class:`PairwiseJudge`."""
    return PairwiseJudge(oracle)


def _prompt(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else conversation(prompt)


def _completion(completion: Any) -> str:
    return completion if isinstance(completion, str) else response_text(completion)


def _groups(prompts: Sequence[str], size: int | None) -> list[tuple[int, int]]:
    """Start and size of each group: runs of equal prompts, cut into groups of `size`."""
    edges = [i for i in range(len(prompts)) if i == 0 or prompts[i] != prompts[i - 1]] + [len(prompts)]
    runs = [(start, stop - start) for start, stop in pairwise(edges)]
    if size is None:
        return runs
    for start, length in runs:
        if length % size:
            raise ValueError(
                f"expected groups of {size} equal prompts in a row, got {length} from row {start} on "
                f"({prompts[start][:40]!r}); a batch a device must be a multiple of num_generations"
            )
    return [(at, size) for start, length in runs for at in range(start, start + length, size)]


def _against_others(preferences: FloatArray) -> FloatArray:
    """Mean win rate [B, K] against the K - 1 others, NaN where none was judged."""
    others = preferences.copy()
    diagonal = np.arange(others.shape[-1])
    others[:, diagonal, diagonal] = np.nan
    return _mean(others)


def _mean(values: FloatArray) -> FloatArray:
    """Mean over the last axis of what is there; NaN where nothing is."""
    there = ~np.isnan(values)
    count = there.sum(-1)
    return np.where(count > 0, np.where(there, values, 0.0).sum(-1) / np.maximum(count, 1), np.nan)
