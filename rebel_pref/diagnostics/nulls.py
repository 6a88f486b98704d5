"""Is it chance? Tests of counts against Bradley-Terry and against the best-fitting transitive model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rebel_pref.diagnostics.bradley_terry import (
    bias_reduced_bradley_terry,
    expected_preferences,
    fit_bradley_terry,
)
from rebel_pref.diagnostics.hodge import log_odds_flow, potentials
from rebel_pref.diagnostics.orders import best_order, evidence, strongest_cycle
from rebel_pref.diagnostics.resampling import Tallies, batches
from rebel_pref.diagnostics.triads import cyclic_triads
from rebel_pref.preferences import FloatArray

__all__ = [
    "BRADLEY_TERRY",
    "TRANSITIVE",
    "NullTest",
    "bradley_terry_statistics",
    "bradley_terry_tests",
    "holm",
    "testable",
    "transitive_tests",
]

BRADLEY_TERRY = "Bradley-Terry"
TRANSITIVE = "weak stochastic transitivity"
Advance = Callable[[int], None]


@dataclass(frozen=True)
class NullTest:
    """One statistic, seen and simulated under a null model; large values speak against the model.

    Attributes
    ----------
    null, statistic : what was tested, with what.
    observed : the statistic of the data.
    null_mean, null_high : its mean, and the quantile at the level of the test, over the replicates; for transitive
        models those of an upper bound (:func:`transitive_tests`).
    p_value : ``(1 + #(replicates >= observed)) / (1 + replicates)``.
    adjusted : the p-value after Holm's correction over the statistics of the same null model.
    """

    null: str
    statistic: str
    observed: float
    null_mean: float
    null_high: float
    p_value: float
    adjusted: float


def testable(tallies: Tallies) -> str:
    """Empty where counts can be tested, else the reason why not."""
    if float(tallies.decided.sum()) == 0.0:
        return "no comparison was decided"
    # Half wins are ties that were counted as such: fewer decided comparisons than it seems, so the tests are cautious.
    halves = np.concatenate([tallies.decided, 2.0 * tallies.wins])
    if tallies.members is None and (np.abs(halves - np.round(halves)) > 1e-9).any():
        return "the counts are not whole, and no clusters say what was independent"
    return ""


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that keep the chance of any false rejection (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    stepped = np.maximum.accumulate(np.minimum(np.asarray(p_values)[order] * factors, 1.0))
    result = np.empty(len(p_values))
    result[order] = stepped
    return [float(p) for p in result]


def bradley_terry_statistics(tallies: Tallies, start: FloatArray | None = None) -> dict[str, FloatArray]:
    """Cyclic triads, cyclic Hodge energy of the log-odds and deviance of the Bradley-Terry fit; each [B].

    Ties are left out. Given that a pair is decided, a Davidson or a Rao-Kupper model of ties is Bradley-Terry, or
    close to it, so conditioning loses nothing but numbers.

    Parameters
    ----------
    tallies : with one leading axis of replicates.
    start : scores [n] to start the fit from.
    """
    from scipy.special import xlogy

    wins, losses, decided = tallies.wins, tallies.losses, tallies.decided
    scores = fit_bradley_terry(tallies.matrix(wins, losses), start=start)
    chance = expected_preferences(scores)[:, tallies.first, tallies.second]
    deviance = 2.0 * (
        xlogy(wins, wins)
        + xlogy(losses, losses)
        - xlogy(decided, decided)
        - xlogy(wins, chance)
        - xlogy(losses, 1.0 - chance)
    )
    flow = log_odds_flow(wins, losses)
    weights = np.broadcast_to(decided, flow.shape)
    shared = tallies.matrix(weights[:1], weights[:1])  # The number of decided comparisons is no random number here.
    potential = potentials(tallies.skew(flow), shared)
    gradient = potential[:, tallies.first] - potential[:, tallies.second]
    return {
        "cyclic triads": cyclic_triads(tallies.skew(np.sign(wins - losses))),
        "cyclic energy": (weights * (flow - gradient) ** 2).sum(-1),
        "deviance": deviance.sum(-1),
    }


def bradley_terry_tests(
    tallies: Tallies, *, replicates: int, level: float, rng: np.random.Generator, advance: Advance
) -> tuple[NullTest, ...]:
    """Bootstrap of Bradley-Terry from bias-reduced scores; each replicate is fitted again by maximum likelihood.

    Rejecting says that one score for each item and the logistic curve do not describe the counts; it does not yet
    say that preferences cycle. Source: Efron & Tibshirani 1993, section 16.
    """
    decided = tallies.decided
    kept = np.divide(tallies.independent_comparisons(), decided, out=np.zeros_like(decided), where=decided > 0)
    scores = bias_reduced_bradley_terry(tallies.matrix(kept * tallies.wins, kept * tallies.losses))
    chance = expected_preferences(scores)[tallies.first, tallies.second]
    seen = bradley_terry_statistics(_single(tallies), scores)
    drawn: dict[str, list[FloatArray]] = {name: [] for name in seen}
    for count in batches(replicates, tallies.size):
        found = bradley_terry_statistics(tallies.drawn_from(chance, rng, count), scores)
        for name, values in found.items():
            drawn[name].append(values)
        advance(count)
    observed = {name: float(values[0]) for name, values in seen.items()}
    return _tests(BRADLEY_TERRY, observed, {name: np.concatenate(values) for name, values in drawn.items()}, level)


def transitive_tests(
    tallies: Tallies, *, replicates: int, level: float, rng: np.random.Generator
) -> tuple[tuple[NullTest, ...], tuple[int, ...]]:
    """Test of weak stochastic transitivity, against its best-fitting order: only this shows that preferences cycle.

    Transitive models have an order in which P_ij >= 1/2 whenever i stands before j. The likeliest one clips the pairs
    that contradict its order to 1/2. Two statistics: the likelihood ratio against that model (the evidence that must
    be contradicted; adds up many weak cycles), and the strongest cycle (the evidence for its weakest link; finds
    one strong cycle among many pairs).

    Neither is bootstrapped from the fitted model, which believes every margin that chance enlarged and rejects far
    too often. Whatever the true order, the likelihood ratio is at most the evidence against that order, summed, and
    a cycle is at most as strong as its strongest link against the order: bounds that need no search in a
    replicate. Two refinements keep them sharp. A link between neighbours in the order closes no cycle by itself,
    only together with the next; and evidence against the order is stochastically largest where P_ij = 1/2, but a pair
    that is clearly decided keeps the lower end of Wilson's interval, at ``sqrt(2 log P)`` standard errors, the
    largest that noise alone reaches among P pairs (generalised moment selection: Andrews & Soares 2010; the
    threshold: Donoho & Johnstone 1994).

    Returns
    -------
    The tests, and the strongest cycle as indices, empty where there is none.
    """
    against = tallies.matrix(evidence(tallies.wins, tallies.losses), evidence(tallies.losses, tallies.wins))
    order, ratio = best_order(against)
    strongest, cycle = strongest_cycle(against)
    # From here on wins are those of whoever won more often: on this bound the direction of a pair does not matter.
    drawn = tallies.drawn_from(np.maximum(_lower_margin(tallies), 0.5), rng, replicates)
    contrary = evidence(drawn.losses, drawn.wins)
    position = np.argsort(order)
    places = np.sort(np.stack([position[tallies.first], position[tallies.second]]), axis=0)
    neighbours = places[1] - places[0] == 1
    between = np.zeros((replicates, tallies.size - 1))
    between[:, places[0, neighbours]] = contrary[:, neighbours]
    links = np.concatenate([contrary[:, ~neighbours], np.minimum(between[:, 1:], between[:, :-1])], axis=1)
    seen = {"likelihood ratio": ratio, "strongest cycle": strongest}
    bounds = {"likelihood ratio": links.sum(1), "strongest cycle": links.max(1, initial=0.0)}
    return _tests(TRANSITIVE, seen, bounds, level), cycle


def _lower_margin(tallies: Tallies) -> FloatArray:
    """Lower end of Wilson's interval [P] for the chance of whoever won more often, at sqrt(2 log P) standard errors."""
    decided, number = tallies.decided, tallies.independent_comparisons()
    most = np.maximum(tallies.wins, tallies.losses)
    share = np.divide(most, decided, out=np.full_like(most, 0.5), where=decided > 0)
    squared = 2.0 * np.log(max(len(share), 2))
    noise = np.sqrt(squared * (share * (1.0 - share) * number + squared / 4.0))
    return np.asarray((number * share + squared / 2.0 - noise) / (number + squared))


def _single(tallies: Tallies) -> Tallies:
    """The data as a batch of one, ties left out."""
    wins, losses = tallies.wins[None], tallies.losses[None]
    return Tallies(tallies.size, tallies.first, tallies.second, wins, losses, np.zeros_like(wins))


def _tests(null: str, seen: dict[str, float], drawn: dict[str, FloatArray], level: float) -> tuple[NullTest, ...]:
    # Equal up to rounding is equal: a replicate may repeat the data.
    p_values = [
        float(1 + (drawn[name] >= observed * (1.0 - 1e-9)).sum()) / (1 + len(drawn[name]))
        for name, observed in seen.items()
    ]
    return tuple(
        NullTest(
            null, name, seen[name], float(drawn[name].mean()), float(np.quantile(drawn[name], level)), p_value, adjusted
        )
        for name, p_value, adjusted in zip(seen, p_values, holm(p_values), strict=True)
    )
