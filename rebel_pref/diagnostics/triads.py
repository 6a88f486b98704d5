"""Cyclic triads: how often three actions beat each other in a circle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rebel_pref.preferences import FloatArray

__all__ = ["Cycle", "Triads", "cyclic_triads", "decided_triads", "majority_signs", "triads"]


@dataclass(frozen=True)
class Cycle:
    """Three actions in a circle: each beats the next, the last beats the first.

    Attributes
    ----------
    actions : labels a, b, c.
    payoffs : of a against b, b against c, c against a; all positive.
    """

    actions: tuple[str, str, str]
    payoffs: tuple[float, float, float]

    @property
    def weakest(self) -> float:
        """The smallest of the three payoffs: what must vanish for the circle to open."""
        return min(self.payoffs)


@dataclass(frozen=True)
class Triads:
    """Counts of three actions at a time.

    Attributes
    ----------
    cyclic : triads that go in a circle, all three pairs decided.
    decided : triads without a tie and without a pair that never met.
    total : n (n - 1) (n - 2) / 6.
    consistency : Kendall and Babington Smith's zeta, 1 for an order, 0 for the most cycles possible. A pair that
        is tied or never met counts as a fair coin: zeta uses the expected number of cyclic triads.
    strongest : the cyclic triads with the largest weakest payoff, strongest first.
    """

    cyclic: int
    decided: int
    total: int
    consistency: float
    strongest: tuple[Cycle, ...]

    @property
    def share(self) -> float:
        """Cyclic triads among the decided ones; 1/4 is expected of fair coins. NaN where none is decided."""
        return self.cyclic / self.decided if self.decided else float("nan")


def majority_signs(payoffs: FloatArray) -> FloatArray:
    """1 where the row's action beats the column's, -1 where it loses, 0 for a tie; [..., n, n].

    A payoff below 1e-12 of the largest is a tie, so that .1 + .2 - .3 is one.
    """
    scale = np.abs(payoffs).max(axis=(-2, -1), keepdims=True, initial=0.0)
    return np.where(np.abs(payoffs) > 1e-12 * scale, np.sign(payoffs), 0.0)


def cyclic_triads(signs: FloatArray) -> FloatArray:
    """Number of decided triads that are cyclic, ``tr(B^3) / 3`` with ``B = 1[A > 0]``; [..., n, n] -> [...]."""
    return _closed_walks(signs > 0) / 3.0


def decided_triads(signs: FloatArray) -> FloatArray:
    """Number of triads whose three pairs are all decided; [..., n, n] -> [...]."""
    return _closed_walks(signs != 0) / 6.0


def consistency(signs: FloatArray) -> FloatArray:
    """Coefficient of consistency zeta, ``1 - d / max d``; [..., n, n] -> [...].

    ``max d = (n^3 - n) / 24`` for odd n and ``(n^3 - 4 n) / 24`` for even n. The expected d of undecided pairs
    tossed fairly is ``tr(H^3) / 3`` with H = 1, 1/2, 0 for a win, an undecided pair, a loss: the three tosses of a
    triad are independent. Source: Kendall & Babington Smith 1940, eq. 6; ties by expectation are our reading.
    """
    size = signs.shape[-1]
    most = (size**3 - (size if size % 2 else 4 * size)) / 24.0
    if most == 0.0:
        return np.ones(signs.shape[:-2])
    half_points = 0.5 + 0.5 * signs
    half_points[..., np.arange(size), np.arange(size)] = 0.0
    return np.asarray(1.0 - _closed_walks(half_points) / (3.0 * most))


def triads(payoffs: FloatArray, labels: Sequence[str], *, listed: int = 5) -> Triads:
    """Count the triads of a payoff matrix [n, n] and list the `listed` strongest circles; O(n^3)."""
    signs = majority_signs(payoffs)
    size = len(payoffs)
    return Triads(
        cyclic=round(float(cyclic_triads(signs))),
        decided=round(float(decided_triads(signs))),
        total=size * (size - 1) * (size - 2) // 6,
        consistency=float(consistency(signs)),
        strongest=_strongest(payoffs * np.abs(signs), labels, listed),
    )


def _closed_walks(matrix: NDArray[Any]) -> FloatArray:
    """``tr(M^3)`` without the third product, of entries 0, 1/2 and 1; [..., n, n] -> [...]."""
    # Multiples of 1/4 up to 200 are exact in single precision, and half the work.
    values: NDArray[Any] = matrix.astype(np.float32 if matrix.shape[-1] <= 200 else np.float64)
    return np.asarray(((values @ values) * np.swapaxes(values, -1, -2)).sum((-2, -1), dtype=np.float64))


def _strongest(payoffs: FloatArray, labels: Sequence[str], listed: int) -> tuple[Cycle, ...]:
    """The `listed` strongest; each circle is met once, from its action with the smallest index."""
    found: list[tuple[float, tuple[int, int, int]]] = []
    for i in range(len(payoffs) - 2):
        after = np.flatnonzero(payoffs[i, i + 1 :] > 0) + i + 1
        before = np.flatnonzero(payoffs[i, i + 1 :] < 0) + i + 1
        if len(after) == 0 or len(before) == 0:
            continue
        weakest = np.minimum(payoffs[i, after][:, None], -payoffs[i, before][None, :])
        weakest = np.minimum(weakest, payoffs[np.ix_(after, before)])
        least = found[-1][0] if found and len(found) == listed else 0.0
        stronger = np.flatnonzero(weakest > least)
        best = stronger[np.argsort(-weakest.flat[stronger], kind="stable")[:listed]]
        for j, k in zip(*np.unravel_index(best, weakest.shape), strict=True):
            found.append((float(weakest[j, k]), (i, int(after[j]), int(before[k]))))
        found = sorted(found, key=lambda entry: (-entry[0], entry[1]))[:listed]
    return tuple(
        Cycle((labels[i], labels[j], labels[k]), (float(payoffs[i, j]), float(payoffs[j, k]), float(payoffs[k, i])))
        for _, (i, j, k) in found
    )
