"""Which winner, where the minimax winner is not unique: rules that do not depend on the solver.

The winners form a polytope. Its analytic centre and its point of largest entropy are single policies; a vertex has
the smallest supports. Clones (actions with equal rows) are merged first and share their mass equally, so that to
duplicate an action changes nobody else's probability.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rebel_pref.preferences import FloatArray
from rebel_pref.solvers.interior_point import central_path, polish

__all__ = ["SELECTIONS", "analytic_center", "clone_groups", "max_entropy"]

SELECTIONS = ("any", "max_entropy", "analytic_center", "vertex")


def clone_groups(payoff: FloatArray) -> NDArray[np.int64]:
    """Number of the group of each action, [n]: equal rows, one group. Groups are numbered by first appearance.

    By skew symmetry equal rows have equal columns and tie with each other. O(n^2).
    """
    # -0.0 and 0.0 are one payoff but two byte strings.
    rows = np.ascontiguousarray(payoff + 0.0).view([("", f"V{payoff.itemsize * len(payoff)}")]).ravel()
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in rows], dtype=np.int64)


def analytic_center(payoff: FloatArray, scale: float) -> tuple[FloatArray, int]:
    """The limit of the central path: the winner that maximises ``sum_B log p_i + sum_N log w_i``.

    B are the actions that some winner plays, N the others, w = -A p their slacks. Source: Guler, Ye 1993
    (convergence of the path to the centre). Returns policy [n] and interior-point steps.
    """
    point = central_path(payoff, scale)
    return polish(payoff, scale, point), point.steps


def max_entropy(payoff: FloatArray, scale: float) -> tuple[FloatArray, int]:
    """The winner of largest entropy: Newton steps on the face of winners, from its analytic centre.

    On the support B of the centre every winner p has ``A_BB p = 0``, so ``p = centre + Z t`` with Z a basis of that
    null space. ``p >= 0`` and, off the support, ``A p <= 0`` are kept by a logarithmic barrier: at weight infinity its
    maximiser is the centre, and the weight is driven to 0. A canonical, clone-robust equilibrium of largest entropy:
    Ortiz, Schapire, Kakade 2007; Balduzzi et al. 2018.

    Returns
    -------
    policy [n]; interior-point and Newton steps.
    """
    from scipy.linalg import lstsq, null_space

    point = central_path(payoff, scale)
    centre = polish(payoff, scale, point)
    members = np.flatnonzero(centre > 0.0)
    among = np.vstack([payoff[members[:, None], members] / scale, np.ones(len(members))])
    directions = null_space(among, rcond=1e-13)
    if directions.shape[1] == 0:
        return centre, point.steps
    others = np.setdiff1d(np.arange(len(payoff)), members)
    slacks_of = -payoff[others[:, None], members] / scale
    # An action off the support that ties with every winner bounds nothing.
    bounding = (np.abs(slacks_of @ directions) > 1e-12).any(axis=1) & (slacks_of @ centre[members] > 0.0)
    slacks_of = slacks_of[bounding]
    slope = slacks_of @ directions
    share = centre[members]
    steps = point.steps

    def value(p: FloatArray, barrier: float) -> float:
        w = slacks_of @ p
        if p.min() <= 0.0 or (len(w) and w.min() <= 0.0):
            return -np.inf
        return float(-(p * np.log(p)).sum() + barrier * (np.log(p).sum() + np.log(w).sum()))

    barrier = 1.0
    while barrier > 1e-13:
        barrier *= 0.1
        for _ in range(50):
            w = slacks_of @ share
            gradient = directions.T @ (barrier / share - np.log(share) - 1.0) + barrier * (slope.T @ (1.0 / w))
            curvature = (directions * ((1.0 + barrier / share) / share)[:, None]).T @ directions
            curvature += barrier * (slope / w[:, None] ** 2).T @ slope
            # Scaled to a unit diagonal: shares of very different size make it ill-conditioned.
            unit = 1.0 / np.sqrt(np.diagonal(curvature))
            move = directions @ (unit * lstsq(curvature * unit * unit[:, None], gradient * unit)[0])
            gain = float(gradient @ (directions.T @ move))
            steps += 1
            length, now = 1.0, value(share, barrier)
            while length > 1e-9 and not value(share + length * move, barrier) >= now + 0.1 * length * gain:
                length *= 0.5
            if gain < 1e-24 or length <= 1e-9:
                break
            share = share + length * move
    policy = np.zeros(len(payoff))
    policy[members] = share
    return policy / policy.sum(), steps
