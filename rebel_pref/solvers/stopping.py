"""What iterative solvers share: where they start, when they may stop, what they say when they fall short."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.certificates import check_policy
from rebel_pref.games.game import Game
from rebel_pref.preferences import FloatArray

__all__ = ["allowed_exploitability", "fell_short", "starting_policy"]


def allowed_exploitability(game: Game, tol: float, max_steps: int) -> float:
    """``tol max|A|`` in payoff units; in a game of zeros, what rounding alone may leave.

    Raises
    ------
    ValueError
        For `tol` that is not positive or `max_steps` below 1.
    """
    if not tol > 0.0:
        raise ValueError(f"tol must be positive, got {tol}")
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    if game.scale > 0.0:
        return tol * game.scale
    rounding = game.rounding_bound(starting_policy(game, None))
    return rounding if np.isfinite(rounding) else 0.0


def starting_policy(game: Game, start: ArrayLike | None) -> FloatArray:
    """`start` as checked probabilities [n]; uniform where none is given."""
    if start is None:
        return np.full(len(game), 1.0 / len(game))
    return check_policy(game, start)


def fell_short(steps: str, exploitability: float, allowed: float, advice: str) -> str:
    """The message of a solver that ran out of steps, such as "4000 matvecs"."""
    return f"stopped after {steps}: exploitability {exploitability:.3g} > {allowed:.3g}; {advice}"
