"""Stochastic transitivity: from a over b and b over c, how far must a be over c?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rebel_pref.preferences import FloatArray

__all__ = ["StochasticTransitivity", "Violations", "stochastic_transitivity", "violation_counts"]

KINDS = ("weak", "moderate", "strong")


@dataclass(frozen=True)
class Violations:
    """Of one kind of stochastic transitivity.

    Attributes
    ----------
    count : chains that break it.
    share : of all chains; 0 where there are none.
    worst : the chain (a, b, c) that falls short most, or None.
    shortfall : by how much the payoff of `worst`'s a against c is too small, payoff units.
    """

    count: int
    share: float
    worst: tuple[str, str, str] | None
    shortfall: float


@dataclass(frozen=True)
class StochasticTransitivity:
    """Over chains: ordered triples in which a beats b, b beats c, and a and c met.

    In win rates: weak asks P(a > c) >= 1/2, moderate >= min(P(a > b), P(b > c)), strong >= the larger of the two.
    Bradley-Terry games keep all three; an order alone keeps the weak one. Source: Coombs 1964, chapter 4.

    Attributes
    ----------
    chains : how many there are.
    weak, moderate, strong : who breaks what.
    """

    chains: int
    weak: Violations
    moderate: Violations
    strong: Violations


def violation_counts(payoffs: FloatArray, met: NDArray[np.bool_]) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Number of chains, and of those that break each kind: `payoffs` [..., n, n], `met` [..., n, n] -> [...].

    A shortfall below 1e-12 of the largest payoff is rounding. O(n^3) for each game, in n steps.
    """
    size = payoffs.shape[-1]
    noise = 1e-12 * np.abs(payoffs).max(axis=(-2, -1), keepdims=True, initial=0.0)
    beats = payoffs > noise
    comparable = met & ~np.eye(size, dtype=bool)
    chains = np.zeros(payoffs.shape[:-2])
    broken = {kind: np.zeros(payoffs.shape[:-2]) for kind in KINDS}
    slack = payoffs + noise
    for b in range(size):
        chain = beats[..., :, b, None] & beats[..., b, None, :] & comparable
        chains += chain.sum((-2, -1))
        first, second = payoffs[..., :, b, None], payoffs[..., b, None, :]
        # Along a chain both payoffs are positive, so `weak` broken implies `moderate`, and that `strong`.
        broken["weak"] += (chain & (slack < 0)).sum((-2, -1))
        above_first, above_second = slack >= first, slack >= second
        broken["moderate"] += (chain & ~(above_first | above_second)).sum((-2, -1))
        broken["strong"] += (chain & ~(above_first & above_second)).sum((-2, -1))
    return chains, broken


def stochastic_transitivity(
    payoffs: FloatArray, met: NDArray[np.bool_], labels: Sequence[str]
) -> StochasticTransitivity:
    """Count the violations of a payoff matrix [n, n] over the pairs that met, bool [n, n], and find the worst."""
    size = len(payoffs)
    noise = 1e-12 * np.abs(payoffs).max(initial=0.0)
    comparable = met & ~np.eye(size, dtype=bool)
    chains = 0
    counts = dict.fromkeys(KINDS, 0)
    worst: dict[str, tuple[float, tuple[str, str, str] | None]] = dict.fromkeys(KINDS, (0.0, None))
    for b in range(size):
        before, after = np.flatnonzero(payoffs[:, b] > noise), np.flatnonzero(payoffs[b] > noise)
        if len(before) == 0 or len(after) == 0:
            continue
        chain = comparable[np.ix_(before, after)]
        chains += int(chain.sum())
        first, second = payoffs[before, b][:, None], payoffs[b, after][None, :]
        for kind, required in zip(KINDS, (0.0, np.minimum(first, second), np.maximum(first, second)), strict=True):
            shortfall = np.where(chain, required - payoffs[np.ix_(before, after)], -np.inf)
            counts[kind] += int((shortfall > noise).sum())
            a, c = np.unravel_index(int(shortfall.argmax()), shortfall.shape)
            if shortfall[a, c] > max(noise, worst[kind][0]):
                worst[kind] = float(shortfall[a, c]), (labels[before[a]], labels[b], labels[after[c]])
    weak, moderate, strong = (
        Violations(counts[kind], counts[kind] / chains if chains else 0.0, worst[kind][1], worst[kind][0])
        for kind in KINDS
    )
    return StochasticTransitivity(chains, weak, moderate, strong)
