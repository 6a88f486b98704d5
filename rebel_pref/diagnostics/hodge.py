"""Hodge decomposition of the flow between actions: what scores explain, what runs round triangles, what is left."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rebel_pref.preferences import FloatArray

__all__ = ["HodgeDecomposition", "hodge_decomposition", "log_odds_flow", "potentials"]


@dataclass(frozen=True, eq=False)
class HodgeDecomposition:
    """``Y_ij = r_i - r_j + cyclic_ij`` on the pairs that met; energies are ``sum w Y^2`` over unordered pairs.

    Attributes
    ----------
    flow : what was decomposed, "log-odds" or "payoff".
    total, gradient, curl, harmonic : energies; the last three sum to the first.
    potential : r, float64 [n], sums to 0 over each connected part.
    cyclic_flow : Y - grad r, float64 [n, n], 0 where a pair never met.
    """

    flow: str
    total: float
    gradient: float
    curl: float
    harmonic: float
    potential: FloatArray = field(repr=False)
    cyclic_flow: FloatArray = field(repr=False)

    def share(self, part: float) -> float:
        """An energy as a share of the total; 0 for the zero flow."""
        return part / self.total if self.total > 0 else 0.0


def log_odds_flow(wins: FloatArray, losses: FloatArray) -> FloatArray:
    """``log((w + 1/2) / (l + 1/2))``: finite for an unbeaten action (Haldane 1956; bias O(1/N^2))."""
    return np.asarray(np.log(wins + 0.5) - np.log(losses + 0.5))


def potentials(flow: FloatArray, weights: FloatArray) -> FloatArray:
    """Scores r [..., n] that minimise ``sum w (Y_ij - r_i + r_j)^2``; `flow` and `weights` [..., n, n].

    Normal equations ``L r = div``, L the weighted graph Laplacian, by its pseudo-inverse, which gives every connected
    part a sum of 0. Source: Jiang, Lim, Yao & Ye 2011, section 4.
    """
    divergence = (weights * flow).sum(-1)
    laplacian = np.asarray(-weights, dtype=np.float64)
    diagonal = np.arange(flow.shape[-1])
    laplacian[..., diagonal, diagonal] = weights.sum(-1)
    inverse = np.linalg.pinv(laplacian, hermitian=True)
    return np.asarray((inverse @ divergence[..., None])[..., 0])


def hodge_decomposition(flow: FloatArray, weights: FloatArray, *, name: str) -> HodgeDecomposition:
    """Split a skew flow [n, n] on the graph of pairs with a positive weight [n, n] (symmetric).

    The parts are orthogonal in the inner product with these weights. On a complete graph nothing is harmonic, and
    the rest after the gradient is curl; elsewhere the curl part is the least squares fit by flows round triangles.

    Parameters
    ----------
    name : what the flow is, as the report says it.
    """
    size = len(flow)
    weights = np.where(np.eye(size, dtype=bool), 0.0, weights)
    met = weights > 0
    potential = potentials(flow, weights)
    gradient = np.where(met, potential[:, None] - potential[None, :], 0.0)
    cyclic = np.where(met, flow - gradient, 0.0)
    harmonic = np.zeros_like(flow) if met.sum() == size * (size - 1) else _without_triangles(cyclic, weights)

    def energy(part: FloatArray) -> float:
        return float(0.5 * (weights * part**2).sum())

    return HodgeDecomposition(
        flow=name,
        total=energy(flow),
        gradient=energy(gradient),
        curl=energy(cyclic - harmonic),
        harmonic=energy(harmonic),
        potential=potential,
        cyclic_flow=cyclic,
    )


def _without_triangles(flow: FloatArray, weights: FloatArray) -> FloatArray:
    """What is left of a divergence-free flow when flows round triangles are fitted to it, weighted least squares.

    In the weighted inner product the adjoint of the curl is ``W^-1 C^T``: minimise ``|W^1/2 flow - W^-1/2 C^T phi|``.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import lsmr

    size = len(flow)
    first, second = np.nonzero(np.triu(weights, 1) > 0)
    place = np.full((size, size), -1)
    place[first, second] = np.arange(len(first))
    # Two edges (i, j) and (i, k) with j < k make a triangle if (j, k) met too.
    triangles = [
        np.stack([np.full(len(j), i), neighbours[j], neighbours[k]])
        for i in range(size)
        for neighbours in [np.flatnonzero(place[i] >= 0)]
        for j, k in [np.nonzero(place[np.ix_(neighbours, neighbours)] >= 0)]
    ]
    i, j, k = np.concatenate(triangles, axis=1) if triangles else np.zeros((3, 0), dtype=int)
    edges = np.stack([place[i, j], place[j, k], place[i, k]])
    root = np.sqrt(weights[first, second])
    values = np.array([1.0, 1.0, -1.0])[:, None] / root[edges]
    adjoint = csr_array((values.ravel(), (edges.ravel(), np.tile(np.arange(len(i)), 3))), shape=(len(first), len(i)))
    left = root * flow[first, second]
    if len(i):
        for _ in range(2):  # The second pass removes what the first left by rounding.
            left = left - adjoint @ lsmr(adjoint, left, atol=1e-14, btol=1e-14, conlim=0.0, maxiter=20_000)[0]
    harmonic = np.zeros_like(flow)
    harmonic[first, second] = left / root
    return harmonic - harmonic.T
