"""Payoff estimators: from the K x K judgements of a prompt to the payoff of each response against a policy.

Every estimator is a weighted sum over judged responses, ``(A pi_o)(y_i) ~ sum_j w_j A[i, j]``; they differ in
the weights. Functions take NumPy arrays or torch tensors, with any leading axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

__all__ = [
    "PoolWeights",
    "draw_weights",
    "drop_unjudged",
    "duel_payoffs",
    "exact_pool_weights",
    "fresh_payoffs",
    "horvitz_thompson_weights",
    "in_group_payoffs",
    "log_seen_after",
    "normalized_weights",
    "opponent_payoffs",
    "stratified_payoffs",
]


def in_group_payoffs(payoffs: Any) -> Any:
    """Mean over the K members of the group itself, the zero diagonal included: [..., K, K] -> [..., K].

    For pairs regressed inside the same group of K i.i.d. draws: the comparison of i with j enters both
    payoffs, and dividing by K - 1 would inflate the step size by K / (K - 1), x2 at K = 2. K counts draws:
    keep duplicates, with payoff 0 between them.
    """
    size = payoffs.shape[-1]
    if size < 2 or payoffs.shape[-2] != size:
        raise ValueError(f"expected payoffs [..., K, K] with K >= 2, got shape {tuple(payoffs.shape)}")
    return payoffs.sum(-1) / size


def fresh_payoffs(payoffs: Any) -> Any:
    """Mean over M opponents drawn apart from the regressed responses: [..., K, M] -> [..., K]. No correction."""
    return payoffs.mean(-1)


def duel_payoffs(payoffs: Any, *, independent_current: bool) -> Any:
    """Payoffs of two responses from their one comparison: [..., 2, 2] -> [..., 2], difference ``A[0, 1]``.

    Its regression has the right population minimiser only for i.i.d. unselected pairs from the current
    policy. The caller states that with `independent_current`.

    Raises
    ------
    ValueError
        If the pairs are off-policy or selected (best against worst), or are not pairs.
    """
    if not independent_current:
        raise ValueError(
            "the duel target is biased for pairs that are off-policy or selected (best against worst): "
            "use in_group_payoffs on the whole group, or fresh opponents"
        )
    if tuple(payoffs.shape[-2:]) != (2, 2):
        raise ValueError(f"a duel has two responses, expected payoffs [..., 2, 2], got {tuple(payoffs.shape)}")
    return in_group_payoffs(payoffs)


def opponent_payoffs(payoffs: Any, weights: Any) -> Any:
    """``sum_j A[i, j] w_j``: payoffs [..., K, M] against weights [..., M] -> [..., K]."""
    return (payoffs * weights[..., None, :]).sum(-1)


def normalized_weights(log_weights: Any, mask: Any | None = None) -> Any:
    """Softmax along the last axis over the entries where `mask` is true; 0 elsewhere. [..., M] -> [..., M]."""
    xp = array_namespace(log_weights)
    if mask is None:
        mask = xp.ones_like(log_weights, dtype=xp.bool)
    lowest = xp.asarray(-xp.inf, dtype=log_weights.dtype)
    top = xp.max(xp.where(mask, log_weights, lowest), axis=-1, keepdims=True)
    # Padding is put at the top before exp so that nothing there overflows, then zeroed.
    weights = xp.exp(xp.where(mask, log_weights, top) - top) * xp.astype(mask, log_weights.dtype)
    return weights / xp.sum(weights, axis=-1, keepdims=True)


def draw_weights(counts: Any, log_probs: Any) -> PoolWeights:
    """Weights of one round's i.i.d. draws by multiplicity: in-group payoffs on distinct responses.

    Parameters
    ----------
    counts : float [..., M], how often each response was drawn; 0 for padding and for responses not drawn,
        whose log-weight is -inf.
    log_probs : [..., M], log pi(y), for the coverage alone.
    """
    xp = array_namespace(counts, log_probs)
    drawn = counts > 0
    log_counts = xp.where(drawn, xp.log(xp.where(drawn, counts, xp.ones_like(counts))), -xp.inf * xp.ones_like(counts))
    inside = xp.where(drawn, xp.exp(log_probs), xp.zeros_like(log_probs))
    return _pool_weights(log_counts, drawn, xp.sum(inside, axis=-1))


@dataclass(frozen=True)
class PoolWeights:
    """Weights of pooled responses that stand for a policy, and how far to trust them.

    Attributes
    ----------
    log_weights : [..., M], up to a constant; what to reweight from, since weights can underflow.
    weights : [..., M], their softmax: sum to 1 along the last axis.
    coverage : [...], probability that the policy gives to the pool. Renormalising biases a payoff by at
        most ``2 max|A| (1 - coverage)``.
    effective_sample_size : [...], ``1 / sum w^2``: how many equally weighted responses these are worth.
    """

    log_weights: Any
    weights: Any
    coverage: Any
    effective_sample_size: Any


def exact_pool_weights(log_probs: Any, mask: Any | None = None) -> PoolWeights:
    """Weights proportional to the policy's own probabilities on **distinct** pooled responses.

    Exact once the pool covers the policy (short responses); collapses on long ones, where a few nats of
    spread leave an effective sample size near 1.

    Parameters
    ----------
    log_probs : [..., M], log pi(y) of each pooled response.
    mask : [..., M], false for padding.
    """
    xp = array_namespace(log_probs)
    inside = xp.exp(log_probs) if mask is None else xp.where(mask, xp.exp(log_probs), xp.zeros_like(log_probs))
    return _pool_weights(log_probs, mask, xp.sum(inside, axis=-1))


def horvitz_thompson_weights(log_probs: Any, log_seen: Any, mask: Any | None = None) -> PoolWeights:
    """``h(y) = pi(y) / P(y was ever drawn)``, self-normalised, on distinct responses past and fresh.

    Common responses get pi(y), rare ones the multiple-importance weight ``1 / sum_s n_s pi_s(y) / pi(y)``:
    the lowest error of the pool's estimators at every coverage. Horvitz and Thompson 1952; only
    approximately unbiased here, since later policies depend on earlier draws.

    Parameters
    ----------
    log_probs : [..., M], log pi_t(y).
    log_seen : [..., M], log P(y was ever drawn), kept up by :func:`log_seen_after`.
    mask : [..., M], false for padding.
    """
    xp = array_namespace(log_probs)
    inside = xp.exp(log_probs) if mask is None else xp.where(mask, xp.exp(log_probs), xp.zeros_like(log_probs))
    return _pool_weights(log_probs - log_seen, mask, xp.sum(inside, axis=-1))


def log_seen_after(log_seen: Any, log_probs: Any, draws: float) -> Any:
    """Log-probability of having been drawn at least once, after `draws` more i.i.d. draws.

    ``P' = P + (1 - P) (1 - (1 - pi)^n)``, in logarithms throughout: a long response has a probability far
    below the smallest float, yet ratios of such numbers are what the weights are made of.

    Parameters
    ----------
    log_seen : [...], -inf before the first draw.
    log_probs : [...], log pi(y) of the policy that is drawn from.
    """
    xp = array_namespace(log_seen, log_probs)
    # (1 - pi)^n = exp(n log(1 - pi)); below e^-30 the first-order form n pi is exact to rounding. The cap at
    # both ends only keeps the branch that is not taken free of infinities.
    floor, top = xp.full_like(log_probs, -30.0), xp.full_like(log_probs, -1e-12)
    capped = xp.minimum(xp.maximum(log_probs, floor), top)
    common = xp.log(-xp.expm1(draws * xp.log1p(-xp.exp(capped))))
    rare = log_probs + math.log(draws)
    drawn = xp.where(log_probs < floor, rare, common)
    unseen = xp.log1p(-xp.exp(xp.minimum(log_seen, top)))
    return xp.logaddexp(log_seen, unseen + drawn)


def stratified_payoffs(pool_payoffs: Any, pool_probs: Any, fresh: Any, fresh_outside: Any) -> Any:
    """Exactly unbiased pool estimator: exact sum over the pool, sample mean over what lies outside it.

    ``sum_{j in S} pi(j) A[i, j] + (1/n) sum_{fresh j not in S} A[i, j]``, for responses i chosen
    independently of the fresh draws and a pool S from earlier rounds.

    Parameters
    ----------
    pool_payoffs : [..., K, S], `pool_probs` : [..., S], pi(j), not renormalised.
    fresh : [..., K, n], payoffs against the n fresh draws.
    fresh_outside : [..., n], 1 where the fresh draw is not in S, else 0.
    """
    outside = (fresh * fresh_outside[..., None, :]).sum(-1) / fresh.shape[-1]
    return opponent_payoffs(pool_payoffs, pool_probs) + outside


def drop_unjudged(payoffs: Any) -> Sequence[int]:
    """Indices of responses to keep so that no pair of them is unjudged (NaN), dropping the worst first.

    Parameters
    ----------
    payoffs : one prompt's payoffs [K, K], NaN where a judgement is missing.
    """
    xp = array_namespace(payoffs)
    missing = xp.isnan(payoffs)
    kept = list(range(payoffs.shape[0]))
    if not bool(xp.any(missing)):
        return kept
    missing = missing | missing.T
    counts = [int(count) for count in xp.sum(xp.astype(missing, xp.int64), axis=-1)]
    while kept and max(counts[i] for i in kept) > 0:
        worst = max(kept, key=lambda i: counts[i])
        kept.remove(worst)
        for i in kept:
            counts[i] -= int(missing[i, worst])
    return kept


def _pool_weights(log_weights: Any, mask: Any | None, coverage: Any) -> PoolWeights:
    weights = normalized_weights(log_weights, mask)
    return PoolWeights(log_weights, weights, coverage, 1.0 / (weights * weights).sum(-1))
