"""Sets of winners: Condorcet, Smith, uncovered, bipartisan, essential."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rebel_pref.diagnostics.triads import majority_signs
from rebel_pref.games import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers import solve

__all__ = ["TournamentSolutions", "essential_actions", "smith_actions", "tournament_solutions", "uncovered_actions"]

_TELLING = 1e-7
"""Probabilities and payoffs above this are not the solver's rounding."""


@dataclass(frozen=True)
class TournamentSolutions:
    """Who can be called a winner; a pair that never met is a tie. Labels in the order of the game.

    Attributes
    ----------
    condorcet_winner, condorcet_loser : the action that beats (loses to) every other; None if there is none.
    smith_set : the smallest set whose members beat everyone outside (top cycle).
    uncovered_set : actions that nobody covers, McKelvey's covering: x covers y if x beats y and does at least as
        well as y against everyone (win > tie > loss). Source: McKelvey 1986; Duggan 2013 compares definitions.
    bipartisan_set : support of the minimax winners of the signs of the payoffs. Unique where no pair is tied
        (Laffond, Laslier & Le Breton 1993); with ties the union over all of them (Dutta & Laslier 1999).
    essential_set : actions with a positive probability in some minimax winner of the payoffs.
    bipartisan_unique, essential_unique : whether there is only one such winner.
    """

    condorcet_winner: str | None
    condorcet_loser: str | None
    smith_set: tuple[str, ...]
    uncovered_set: tuple[str, ...]
    bipartisan_set: tuple[str, ...]
    bipartisan_unique: bool
    essential_set: tuple[str, ...]
    essential_unique: bool


def tournament_solutions(payoffs: FloatArray, labels: Sequence[str], winner: FloatArray) -> TournamentSolutions:
    """All sets of a payoff matrix [n, n] with a minimax winner [n].

    Raises
    ------
    FloatingPointError
        If a linear program fails.
    """
    signs = majority_signs(payoffs)
    others = len(signs) - 1

    def names(actions: NDArray[np.bool_]) -> tuple[str, ...]:
        return tuple(labels[i] for i in np.flatnonzero(actions).tolist())

    beats_all, loses_to_all = names((signs > 0).sum(1) == others), names((signs < 0).sum(1) == others)
    bipartisan, bipartisan_unique = essential_actions(signs, solve(PreferenceGame.from_payoffs(signs)).policy)
    essential, essential_unique = essential_actions(payoffs, winner)
    return TournamentSolutions(
        condorcet_winner=beats_all[0] if beats_all else None,
        condorcet_loser=loses_to_all[0] if loses_to_all and others else None,
        smith_set=names(smith_actions(signs)),
        uncovered_set=names(uncovered_actions(signs)),
        bipartisan_set=names(bipartisan),
        bipartisan_unique=bipartisan_unique,
        essential_set=names(essential),
        essential_unique=essential_unique,
    )


def smith_actions(signs: FloatArray) -> NDArray[np.bool_]:
    """Members of the Smith set, bool [..., n].

    A member's Copeland score is above every outsider's, so the set is the shortest stretch of the ranking by score
    whose members beat the rest: wins minus losses of the first k then add up to k (n - k) between inside and outside.
    """
    size = signs.shape[-1]
    copeland = signs.sum(-1)
    order = np.argsort(-copeland, axis=-1, kind="stable")
    inside = np.arange(1, size + 1)
    closed = np.cumsum(np.take_along_axis(copeland, order, -1), -1) == inside * (size - inside)
    members = np.zeros(signs.shape[:-1], dtype=bool)
    np.put_along_axis(members, order, inside <= closed.argmax(-1)[..., None] + 1, -1)
    return members


def uncovered_actions(signs: FloatArray) -> NDArray[np.bool_]:
    """Actions [n] that no action covers; O(n^3)."""
    covered = np.zeros(len(signs), dtype=bool)
    for y in range(len(signs)):
        rivals = signs[signs[:, y] > 0]
        covered[y] = bool((rivals >= signs[y]).all(axis=1).any())
    return ~covered


def essential_actions(payoffs: FloatArray, winner: FloatArray) -> tuple[NDArray[np.bool_], bool]:
    """Actions [n] played by some minimax winner, and whether there is only one winner.

    No winner plays an action that loses to some winner. If every other action is played by the winner at hand, those
    are all. Else Tucker's theorem on skew matrices gives a winner that plays them all: some x >= 0 has A x <= 0 and
    x - A x > 0, scaled here to x - A x >= 1; as ``x^T A x = 0``, of x_i and -(A x)_i one is 0 and the other at least
    1: a linear program whose answer needs no tolerance. The winners form a polytope of dimension ``nullity(A) - 1``, A
    restricted to the essential actions. Source: Tucker 1956; Goldman & Tucker 1956.

    Parameters
    ----------
    winner : a minimax winner [n].

    Raises
    ------
    FloatingPointError
        If the linear program fails.
    """
    size = len(payoffs)
    scale = float(np.abs(payoffs).max(initial=0.0))
    if scale == 0.0:
        return np.ones(size, dtype=bool), size == 1
    scaled = payoffs / scale
    played = scaled @ winner >= -_TELLING
    if not (winner[played] > _TELLING).all():
        played[played] = _strictly_complementary(scaled[:, played], played)
    singular = np.linalg.svd(scaled[np.ix_(played, played)], compute_uv=False)
    return played, int((singular <= 1e-9 * max(1.0, float(singular.max()))).sum()) == 1


def _strictly_complementary(columns: FloatArray, candidates: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the k candidates are essential: `columns` [n, k] of the scaled payoffs."""
    from scipy.optimize import linprog

    size, count = columns.shape
    inner = columns[candidates]
    result = linprog(
        c=np.ones(count),
        A_ub=np.concatenate([columns, inner - np.eye(count)]),
        b_ub=np.concatenate([np.zeros(size), -np.ones(count)]),
        bounds=(0, None),
        method="highs",
    )
    if result.x is None or not result.success:
        raise FloatingPointError(f"the linear program for the essential set failed: {result.message}")
    return np.asarray(result.x > -(inner @ result.x))
