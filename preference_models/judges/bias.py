"""How much a judge goes by position rather than by what the responses say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from preference_models.comparisons import ask
from preference_models.judges.orders import OrderedJudge, Shown
from rebel_pref.preferences import PreferenceOracle, payoffs_from_preferences

__all__ = ["PositionBias", "position_bias", "position_bias_of_answers"]


@dataclass(frozen=True)
class PositionBias:
    """What both orders of N different pairs say about a judge.

    Let f(y, y') be what the judge says of y shown first and y' second: a logit, or a payoff 2 P - 1.

    Attributes
    ----------
    scale : ``logit`` or ``payoff``, the scale of f and `bias`.
    pairs : N.
    missing : pairs with no answer in one order or both; they count for nothing below.
    flip_rate : of the pairs decided in both orders, the share whose winner changes with the order; NaN without any.
    bias : mean of ``b = (f(y, y') + f(y', y)) / 2``; positive where the response shown first gains by it.
    standard_error : of `bias`, over pairs (sample standard deviation / sqrt N); NaN for fewer than two.
    tie_share : share of the answers (two a pair) that are ties, f = 0.
    """

    scale: str
    pairs: int
    missing: int
    flip_rate: float
    bias: float
    standard_error: float
    tie_share: float

    def __str__(self) -> str:
        return (
            f"{self.pairs} pairs in both orders, {self.missing} missing: winner flips with the order in "
            f"{self.flip_rate:.1%} of the decided pairs; the first position is worth {self.bias:+.3g} "
            f"(standard error {self.standard_error:.2g}) on the {self.scale} scale; {self.tie_share:.1%} ties"
        )


def position_bias(
    judge: OrderedJudge | PreferenceOracle, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]
) -> PositionBias:
    """Ask both orders of N pairs and compare the answers.

    A pair that comes twice, in either order, counts once; a response against itself counts too, and shows the bias at
    its plainest.

    Parameters
    ----------
    judge : a judge that answers in the order shown (:class:`ChatJudge`, :class:`LocalJudge`, a
        :class:`preference_models.CrossEncoderPreferenceModel`). Any other oracle is asked through ``prefer`` on
        the payoff scale: one that averages both orders itself shows no bias.
    prompts, first, second : N strings each.
    """
    distinct = dict.fromkeys(
        Shown(prompt, *sorted((one, other))) for prompt, one, other in zip(prompts, first, second, strict=True)
    )
    if not distinct:
        raise ValueError("expected at least one pair, got none")
    forward = list(distinct)
    backward = [view.turned() for view in forward]
    if hasattr(judge, "judge_as_shown"):
        ordered = cast(OrderedJudge, judge)
        answers = ordered.judge_as_shown([*forward, *backward])
        logits = ordered.gives_logits
    else:
        answers = ask(judge, *zip(*forward, *backward, strict=True))
        logits = False
    values = answers if logits else payoffs_from_preferences(answers)
    return position_bias_of_answers(
        values[: len(forward)], values[len(forward) :], scale="logit" if logits else "payoff"
    )


def position_bias_of_answers(forward: ArrayLike, backward: ArrayLike, *, scale: str) -> PositionBias:
    """The report on answers that are there already.

    Parameters
    ----------
    forward, backward : f(y, y') and f(y', y) of N pairs, [N] each, logits or payoffs; NaN where an answer is missing.
    scale : ``logit`` or ``payoff``, for the report.
    """
    one, other = np.asarray(forward, dtype=np.float64), np.asarray(backward, dtype=np.float64)
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(f"expected two arrays [N] of the same length, got shapes {one.shape} and {other.shape}")
    if scale not in {"logit", "payoff"}:
        raise ValueError(f"expected the scale 'logit' or 'payoff', got {scale!r}")
    there = ~(np.isnan(one) | np.isnan(other))
    one, other = one[there], other[there]
    count = len(one)
    decided = (one != 0.0) & (other != 0.0)
    flips = (one > 0.0) == (other > 0.0)
    shift = 0.5 * one + 0.5 * other
    return PositionBias(
        scale=scale,
        pairs=len(there),
        missing=len(there) - count,
        flip_rate=float(flips[decided].mean()) if decided.any() else math.nan,
        bias=float(shift.mean()) if count else math.nan,
        standard_error=float(shift.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan,
        tie_share=float((np.concatenate([one, other]) == 0.0).mean()) if count else math.nan,
    )
