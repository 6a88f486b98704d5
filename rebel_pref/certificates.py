"""Certificates: how far a policy is from a minimax winner, computed from game and policy alone.

No solver marks its own work: nothing here imports a solver.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.games.game import PreferenceGame
from rebel_pref.preferences import FloatArray

__all__ = ["Certificate", "certify", "check_policy", "exploitability"]


@dataclass(frozen=True)
class Certificate:
    """What the best responder gets against a policy.

    Attributes
    ----------
    exploitability : ``max_y (A pi)(y)``, payoff units, >= 0 up to rounding; 0 at a minimax winner.
    duality_gap : twice the exploitability (NashConv of the symmetric game).
    best_response : label of the action that attains it.
    best_response_win_rate : ``1/2 + exploitability / 2``; None where a payoff lies outside [-1, 1], so that
        the game is not one of win probabilities.
    """

    exploitability: float
    duality_gap: float
    best_response: str
    best_response_win_rate: float | None

    def __str__(self) -> str:
        text = f"exploitability {self.exploitability:.3g}, duality gap {self.duality_gap:.3g}"
        if self.best_response_win_rate is None:
            return f"{text}; the best response is {self.best_response!r}"
        rate = f"{100 * self.best_response_win_rate:.2f} %"
        return f"{text}; a best responder ({self.best_response!r}) wins {rate} against it"


def certify(game: PreferenceGame, policy: ArrayLike) -> Certificate:
    """Measure how far `policy` is from a minimax winner of `game`.

    Parameters
    ----------
    policy : [n] probabilities in the order of ``game.labels``; not negative, sum 1 within 1e-6.

    Raises
    ------
    ValueError
        If `policy` has another shape, a negative or non-finite entry, or another sum.

    >>> from rebel_pref.games import rock_paper_scissors
    >>> certify(rock_paper_scissors(), [1, 0, 0]).duality_gap
    2.0
    """
    payoffs = game.payoff @ check_policy(game, policy)
    best = int(payoffs.argmax())
    worst = float(payoffs[best])
    win_rate = 0.5 + 0.5 * worst if float(np.abs(game.payoff).max()) <= 1.0 + 1e-9 else None
    return Certificate(worst, 2.0 * worst, game.labels[best], win_rate)


def exploitability(game: PreferenceGame, policy: ArrayLike) -> float:
    """``max_y (A pi)(y)``, payoff units: half the duality gap."""
    return certify(game, policy).exploitability


def check_policy(game: PreferenceGame, policy: ArrayLike) -> FloatArray:
    """Return `policy` as float64 probabilities of the game's actions, summing to 1 exactly to rounding."""
    array = np.asarray(policy, dtype=np.float64)
    if array.shape != (len(game),):
        raise ValueError(f"expected a policy of shape ({len(game)},), one probability an action, got {array.shape}")
    if not np.isfinite(array).all() or array.min() < -1e-9:
        worst = int(np.where(np.isfinite(array), array, -np.inf).argmin())
        raise ValueError(
            f"a policy is a probability distribution, got {array[worst]} for {game.labels[worst]!r} (action {worst})"
        )
    total = float(array.sum())
    if abs(total - 1.0) > 1e-6:
        raise ValueError(f"policy sums to {total:.8g}, expected 1 (tolerance 1e-6); divide it by its sum")
    clipped = np.maximum(array, 0.0)
    return np.asarray(clipped / clipped.sum())
