"""Which pairs of a group to ask an expensive judge for, and what the answers say of every response.

A group of K responses has K (K - 1) / 2 pairs. A *design* draws m of them at random; since every pair has a known
chance to be drawn, payoffs against the group are estimated without bias from the pairs that were asked, with a
variance that is known too. That is the variance of the choice of pairs: what a judge would say of all pairs is taken
as it is.

================  ======================================================================================================
circular          neighbours on a circle. Every response gets the same number of comparisons. On fixed labels it is
                  **biased** for good: a pair further apart is never asked. Here labels are shuffled first, after which
                  every pair has the same chance.
random regular    a random graph with the same number of comparisons for every response; same chances, same variance
                  of one payoff, no circle to see.
active            pairs apart from each other, by how uncertain they are given estimates from a cheap model: about m
                  of them, not exactly. Pays off with these estimates as control variate.
================  ======================================================================================================

:class:`rebel_pref.budgeted_oracle.BudgetedOracle` puts a design in front of any oracle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rebel_pref.preferences import FloatArray

__all__ = [
    "PairDesign",
    "PayoffEstimates",
    "active_pairs",
    "affordable_degree",
    "circular_pairs",
    "estimate_payoffs",
    "regular_pairs",
]

_ATTEMPTS = 1000


@dataclass(frozen=True, eq=False)
class PairDesign:
    """Pairs to ask for, and the chance that each pair had.

    Attributes
    ----------
    asked : bool [K, K], symmetric, false on the diagonal.
    inclusion : float64 [K, K], probability over the draw that the pair is asked; the diagonal is 0. A chance of 0 off
        the diagonal makes estimates biased.
    degree : comparisons of every response, where all have the same number; None where pairs are drawn apart.
    """

    asked: NDArray[np.bool_]
    inclusion: FloatArray
    degree: int | None

    @property
    def pairs(self) -> NDArray[np.int64]:
        """The m pairs that are asked, int64 [m, 2], first < second."""
        return np.argwhere(np.triu(self.asked))


@dataclass(frozen=True, eq=False)
class PayoffEstimates:
    """Payoffs of K responses against the mean of their group.

    Attributes
    ----------
    payoffs : float64 [K]; estimates ``(1/K) sum_j A[i, j]``. May leave [-1, 1]: unbiased estimates do.
    variance : float64 [K], an unbiased estimate of the variance of each over the draw of the pairs; NaN where it cannot
        be estimated (one comparison a response). Errors of two responses are correlated, so the variance of a
        difference is not the sum of two of these.
    """

    payoffs: FloatArray
    variance: FloatArray


def affordable_degree(size: int, pairs: int) -> int:
    """The largest number of comparisons a response that `pairs` pairs pay for: even, if `size` is odd.

    Raises
    ------
    ValueError
        If not even one comparison a response (two, if `size` is odd) is affordable.

    >>> affordable_degree(8, 12)
    3
    """
    degree = min(2 * pairs // size, size - 1) if size >= 2 else 0
    degree -= degree % 2 * (size % 2)
    if degree < 1:
        raise ValueError(
            f"{pairs} pairs are too few for the same number of comparisons for each of {size} responses; expected at "
            f"least {size if size % 2 else (size + 1) // 2}"
        )
    return degree


def circular_pairs(size: int, degree: int, rng: np.random.Generator) -> PairDesign:
    """Responses in a random order on a circle, each compared with its `degree` nearest; with an odd degree also with
    the one opposite.

    The random order is what makes it unbiased: every pair is asked with chance ``degree / (size - 1)``.

    Raises
    ------
    ValueError
        For a degree outside 1..size - 1, or odd with an odd size: half a comparison would be left over.
    """
    _check_regular(size, degree)
    offsets = [*range(1, degree // 2 + 1), *([size // 2] if degree % 2 else [])]
    around = np.arange(size)
    graph = np.zeros((size, size), dtype=bool)
    for offset in offsets:
        graph[around, (around + offset) % size] = True
    order = rng.permutation(size)
    return _regular((graph | graph.T)[np.ix_(order, order)], degree)


def regular_pairs(size: int, degree: int, rng: np.random.Generator) -> PairDesign:
    """A random graph in which every response is compared with `degree` others.

    Pairs of free places are matched one after the other, and all is begun again where it gets stuck (Steger and Wormald
    1999). No response is special, so every pair is asked with chance ``degree / (size - 1)``.

    Raises
    ------
    ValueError
        As :func:`circular_pairs`.
    """
    _check_regular(size, degree)
    # The pairs left out of a dense graph are a sparse one, which is found sooner.
    if 2 * degree > size - 1:
        sparse = _matched(size, size - 1 - degree, rng)
        return _regular(~sparse & ~np.eye(size, dtype=bool), degree)
    return _regular(_matched(size, degree, rng), degree)


def active_pairs(preferences: ArrayLike, pairs: float, rng: np.random.Generator, *, floor: float = 0.1) -> PairDesign:
    """About `pairs` pairs, each drawn apart, with a chance that follows its uncertainty ``sqrt(P (1 - P))``.

    If the estimates are right, a verdict's deviation from them has just this standard deviation, and chances in
    proportion to it give the lowest variance that a budget allows, with the estimates as control variate
    (:func:`estimate_payoffs`, Neyman's allocation). The number of pairs that are asked is random: its mean is `pairs`,
    its standard deviation at most ``sqrt(pairs)``.

    Parameters
    ----------
    preferences : current estimates [K, K], ``P + P.T = 1``. They must not depend on the verdicts to come.
    pairs : expected number of pairs, over 0 and at most K (K - 1) / 2.
    floor : the least uncertainty, as a share of the largest: estimates that are sure may be wrong, and a pair that is
        never asked is a bias.

    Raises
    ------
    ValueError
        For estimates that are no probabilities or do not sum to 1, or numbers out of range.
    """
    guess = np.asarray(preferences, dtype=np.float64)
    if guess.ndim != 2 or guess.shape[0] != guess.shape[1] or len(guess) < 2:
        raise ValueError(f"expected preferences [K, K] with K >= 2, got shape {guess.shape}")
    size = len(guess)
    i, j = np.triu_indices(size, 1)
    total = len(i)
    if not (guess[i, j] >= 0).all() or not (np.abs(guess[i, j] + guess[j, i] - 1.0) <= 1e-6).all() or guess.max() > 1:
        raise ValueError("expected probabilities with P + P.T = 1 and none missing: fill in 1/2 where nothing is known")
    if not 0.0 < pairs <= total or not 0.0 < floor <= 1.0:
        raise ValueError(f"expected 0 < pairs <= {total} and 0 < floor <= 1, got pairs={pairs}, floor={floor}")
    uncertainty = np.sqrt(guess[i, j] * (1.0 - guess[i, j]))
    largest = float(uncertainty.max())
    uncertainty = np.maximum(uncertainty, floor * largest) if largest > 0.0 else np.ones(total)
    chance = _capped(uncertainty, pairs)
    inclusion, asked = np.zeros((size, size)), np.zeros((size, size), dtype=bool)
    inclusion[i, j] = chance
    asked[i, j] = rng.random(total) < chance
    return PairDesign(asked | asked.T, inclusion + inclusion.T, None)


def estimate_payoffs(payoffs: ArrayLike, design: PairDesign, *, guess: ArrayLike | None = None) -> PayoffEstimates:
    """Payoffs against the group from the pairs that were asked, each weighted by its inverse chance.

    ``a_i = (1/K) (sum_j G_ij + sum_{j asked} (A_ij - G_ij) / inclusion_ij)``, which is unbiased for the in-group payoff
    ``(1/K) sum_j A_ij`` (the zero diagonal included) whatever the guess G: Horvitz and Thompson 1952 without, the
    difference estimator (Cassel, Sarndal and Wretman 1976) with one.

    The variance over the draw, R = A - G: where pairs are drawn apart, ``(1/K^2) sum_j (1 - pi_ij) / pi_ij R_ij^2``;
    where every response is compared with d others, these are a simple random sample of the K - 1, so
    ``((K-1)/K)^2 (1 - d/(K-1)) S_i^2 / d`` with S_i^2 the variance (ddof 1) of R_ij over j != i. Reported is the
    unbiased estimate of it from the pairs that were asked.

    Parameters
    ----------
    payoffs : A [K, K], ``2 P - 1``; what stands at pairs that were not asked is not looked at.
    design : drew the pairs.
    guess : G [K, K] payoffs from a cheap model, fixed before the pairs were drawn or judged; None for 0.

    Raises
    ------
    ValueError
        For another shape; NaN at a pair that was asked: a judgement that failed is not missing by design, so drop the
        response from the group or ask again; or a pair that could never be asked: the design is biased.
    """
    values = np.asarray(payoffs, dtype=np.float64)
    size = len(design.asked)
    known = np.zeros((size, size)) if guess is None else np.asarray(guess, dtype=np.float64)
    if values.shape != (size, size) or known.shape != (size, size):
        raise ValueError(f"expected payoffs and guess of shape {(size, size)}, got {values.shape} and {known.shape}")
    off_diagonal = ~np.eye(size, dtype=bool)
    if (design.inclusion[off_diagonal] <= 0.0).any():
        raise ValueError("a pair of this design has no chance to be asked, so no weight makes its estimates unbiased")
    failed = design.asked & np.isnan(values)
    if failed.any():
        i, j = np.argwhere(failed)[0]
        raise ValueError(f"the pair ({i}, {j}) was asked and has no judgement; ask again, or leave a response out")
    if not np.isfinite(known[off_diagonal]).all():
        raise ValueError("the guess has values that are not finite; use 0 where nothing is known")
    residual = np.where(design.asked, values - known, 0.0)
    chance = np.where(off_diagonal, design.inclusion, 1.0)
    means = (np.where(off_diagonal, known, 0.0) + residual / chance).sum(1) / size
    if design.degree is None:
        return PayoffEstimates(means, ((1.0 - chance) * (residual / chance) ** 2).sum(1) / size**2)
    degree, others = design.degree, size - 1
    center = residual.sum(1, keepdims=True) / degree
    squares = (np.where(design.asked, residual - center, 0.0) ** 2).sum(1)
    if degree == others:
        return PayoffEstimates(means, np.zeros(size))
    spread = squares / (degree - 1) if degree > 1 else np.full(size, np.nan)
    return PayoffEstimates(means, (others / size) ** 2 * (1.0 - degree / others) * spread / degree)


def _check_regular(size: int, degree: int) -> None:
    if not 1 <= degree <= size - 1 or size * degree % 2:
        raise ValueError(
            f"expected 1 to {size - 1} comparisons for each of {size} responses{', an even number' * (size % 2)}, got "
            f"{degree}"
        )


def _regular(asked: NDArray[np.bool_], degree: int) -> PairDesign:
    size = len(asked)
    return PairDesign(asked, degree / (size - 1) * (1.0 - np.eye(size)), degree)


def _matched(size: int, degree: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Adjacency [n, n] of a random `degree`-regular graph; 0 edges for degree 0."""
    for _ in range(_ATTEMPTS):
        graph = np.zeros((size, size), dtype=bool)
        free = np.full(size, degree)
        while free.any():
            # A pair is as likely as it has ways to be made of free places.
            weight = np.triu(np.outer(free, free) * ~graph, 1).ravel()
            total = weight.sum()
            if total == 0:
                break
            i, j = divmod(int(rng.choice(len(weight), p=weight / total)), size)
            graph[i, j] = graph[j, i] = True
            free[[i, j]] -= 1
        else:
            return graph
    raise RuntimeError(f"no {degree}-regular graph on {size} responses was found in {_ATTEMPTS} attempts")


def _capped(weights: FloatArray, total: float) -> FloatArray:
    """Chances in proportion to positive `weights` that add up to `total`, none above 1."""
    chance = np.zeros(len(weights))
    certain = np.zeros(len(weights), dtype=bool)
    while True:
        left = total - certain.sum()
        chance[certain] = 1.0
        chance[~certain] = left * weights[~certain] / weights[~certain].sum() if not certain.all() else 0.0
        if (chance <= 1.0 + 1e-12).all():
            return np.minimum(chance, 1.0)
        certain |= chance >= 1.0
