"""Percentile bootstrap intervals of every diagnostic that is one number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from rebel_pref.diagnostics.hodge import log_odds_flow, potentials
from rebel_pref.diagnostics.resampling import Tallies, batches
from rebel_pref.diagnostics.spectrum import disc_strengths, effective_discs
from rebel_pref.diagnostics.tournaments import smith_actions
from rebel_pref.diagnostics.transitivity import violation_counts
from rebel_pref.diagnostics.triads import consistency, cyclic_triads, decided_triads, majority_signs
from rebel_pref.preferences import FloatArray

__all__ = ["Interval", "bootstrap_intervals", "scalar_diagnostics"]


@dataclass(frozen=True)
class Interval:
    """A number and the range it takes when the comparisons are drawn again.

    Attributes
    ----------
    estimate : from the comparisons as they are.
    low, high : percentiles over the replicates. Noise makes cycles, so for measures of intransitivity the range
        may lie above the estimate: it shows how unsure they are, not how large they would be without noise.
    """

    estimate: float
    low: float
    high: float


def scalar_diagnostics(tallies: Tallies, policies: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Every diagnostic that is one number, for B sets of counts: name -> [B].

    Parameters
    ----------
    tallies : with one leading axis of B replicates.
    policies : rule -> policy [n], measured as they are on each replicate.
    """
    payoffs = tallies.payoffs
    weights = tallies.matrix(tallies.total, tallies.total)
    half = 0.5 * tallies.ties
    flow = tallies.skew(np.where(tallies.total > 0, log_odds_flow(tallies.wins + half, tallies.losses + half), 0.0))
    potential = potentials(flow, weights)
    cyclic = np.where(weights > 0, flow - potential[:, :, None] + potential[:, None, :], 0.0)
    energy = (weights * flow**2).sum((-2, -1))
    signs = majority_signs(payoffs)
    triads = cyclic_triads(signs)
    chains, broken = violation_counts(payoffs, weights > 0)
    result = {
        "cyclic triads": triads,
        "share of decided triads": _ratio(triads, decided_triads(signs)),
        "consistency": consistency(signs),
        "cyclic share of energy": _ratio((weights * cyclic**2).sum((-2, -1)), energy),
        "effective discs": effective_discs(disc_strengths(flow)),
        "effective cyclic discs": effective_discs(disc_strengths(cyclic)),
        "size of the Smith set": smith_actions(signs).sum(-1).astype(np.float64),
    }
    result |= {f"{kind} violations": _ratio(count, chains) for kind, count in broken.items()}
    result |= {f"exploitability of {rule}": (payoffs @ policy).max(-1) for rule, policy in policies.items()}
    return result


def bootstrap_intervals(
    tallies: Tallies,
    policies: Mapping[str, FloatArray],
    *,
    replicates: int,
    level: float,
    rng: np.random.Generator,
    advance: Callable[[int], None],
) -> dict[str, Interval]:
    """Resample clusters, or single comparisons where there are no clusters, and take percentiles.

    Source: Efron & Tibshirani 1993, section 13.3; clusters: Field & Welsh 2007.
    """
    once = Tallies(
        tallies.size, tallies.first, tallies.second, tallies.wins[None], tallies.losses[None], tallies.ties[None]
    )
    seen = scalar_diagnostics(once, policies)
    drawn: dict[str, list[FloatArray]] = {name: [] for name in seen}
    for count in batches(replicates, tallies.size):
        for name, values in scalar_diagnostics(tallies.drawn_again(rng, count), policies).items():
            drawn[name].append(values)
        advance(count)
    tails = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
    bounds = {name: np.quantile(np.concatenate(values), tails) for name, values in drawn.items()}
    return {name: Interval(float(seen[name][0]), float(low), float(high)) for name, (low, high) in bounds.items()}


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    """0 where there is nothing to share."""
    return np.divide(part, whole, out=np.zeros_like(part, dtype=np.float64), where=whole > 0)
