"""The games on which theorems are checked, by the names that the table prints."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rebel_pref import games
from rebel_pref.games import PreferenceGame
from rebel_pref.preferences import FloatArray

__all__ = ["RPS", "WEIGHTED_RPS", "leaning_start", "random_game", "suite", "weighted_rps"]

RPS = "RPS"
WEIGHTED_RPS = "RPS(1,.5,.2)"


def weighted_rps(a: float, b: float, c: float) -> PreferenceGame:
    """``[[0, -a, c], [a, 0, -b], [-c, b, 0]]``: the winner plays (b, c, a) / (a + b + c)."""
    return PreferenceGame.from_payoffs([[0.0, -a, c], [a, 0.0, -b], [-c, b, 0.0]])


def random_game(size: int, seed: int) -> PreferenceGame:
    """R(size, seed): payoffs above the diagonal uniform on [-1, 1] from NumPy's default generator."""
    return games.random_game(size, seed=seed)


def leaning_start(size: int, spread: float = 2.0) -> FloatArray:
    """``softmax(linspace(0, spread, n))``: away from uniform, which is the winner of many symmetric games."""
    weights = np.exp(np.linspace(0.0, spread, size))
    return np.asarray(weights / weights.sum())


def suite(*, quick: bool) -> Mapping[str, PreferenceGame]:
    """Twenty-two games of 3 to 200 actions, cyclic and nearly transitive, with full and small support; six if quick."""
    small: dict[str, PreferenceGame] = {
        RPS: weighted_rps(1.0, 1.0, 1.0),
        WEIGHTED_RPS: weighted_rps(1.0, 0.5, 0.2),
        "RPS(1,1,.1)": weighted_rps(1.0, 1.0, 0.1),
        "lizard-spock": games.lizard_spock(),
        "R(10,0)": random_game(10, 0),
        "disc(20,1)": games.disc_game(20, seed=1),
    }
    if quick:
        return small
    dense = {
        "cycle(7)": games.cycle_game(7),
        "R(5,3)": random_game(5, 3),
        "R(10,1)": random_game(10, 1),
        "R(20,3)": random_game(20, 3),
        "R(30,2)": random_game(30, 2),
        "R(50,0)": random_game(50, 0),
        "R(50,5)": random_game(50, 5),
        "R(100,1)": random_game(100, 1),
        "R(200,0)": random_game(200, 0),
        "hybrid(20,0)": games.hybrid_game(20, 2.0, 0),
        "hybrid(60,1)": games.hybrid_game(60, 2.0, 1),
        "Bradley-Terry(4)": games.bradley_terry_game(),
        "Blotto(6;2:3:4)": games.blotto(soldiers=6, values=(2, 3, 4)),
        "Blotto(10;1:2:3)": games.blotto(soldiers=10, values=(1, 2, 3)),
        "Lotto(12;3)": games.colonel_lotto(12, 3),
        "disc(100,2)": games.disc_game(100, seed=2),
    }
    return {**small, **dense}
