"""Runs of learning dynamics on the suite of games, many seeds at a time, and how they are put in one number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rebel_pref.algorithms import Algorithm
from rebel_pref.games import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.schedules import Schedule
from rebel_pref.solvers import Feedback, initial_state, iterates

__all__ = ["FLOOR", "Run", "geometric_mean", "play", "random_starts"]

FLOOR = 1e-6
"""Errors below it count as it: nobody needs them, and a mean of logarithms would be theirs alone."""


@dataclass(frozen=True, eq=False)
class Run:
    """Exploitability in payoff units at some rounds.

    Attributes
    ----------
    rounds : m rounds.
    last, magnet : [m, S] of the last iterate and of the magnet, a column a seed.
    """

    rounds: tuple[int, ...]
    last: FloatArray
    magnet: FloatArray


def random_starts(size: int, seeds: int, seed: int) -> FloatArray:
    """S starts [S, n]: softmax of standard normals, away from uniform and from one another."""
    weights = np.exp(np.random.default_rng([seed, size]).normal(size=(seeds, size)))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def play(
    game: PreferenceGame,
    algorithm: Algorithm | Schedule,
    feedback: Feedback,
    *,
    rounds: Sequence[int],
    seeds: int,
    seed: int,
    settled: float = 0.0,
) -> Run:
    """Run S seeds side by side and measure the last iterate at `rounds`.

    `settled`: below this exploitability of all seeds an exact run stops, and counts as staying where it is.
    """
    start = initial_state(random_starts(len(game), seeds, seed))
    rng = np.random.default_rng([seed, len(game), 1])
    last, magnet = [], []
    for state in iterates(algorithm, game.payoff, start, feedback=feedback, rng=rng):
        if state.round in rounds:
            last.append(_exploitability(game, state.current))
            magnet.append(_exploitability(game, state.magnet))
            if last[-1].max() < settled:
                missing = len(rounds) - len(last)
                last += [last[-1]] * missing
                magnet += [magnet[-1]] * missing
        if len(last) == len(rounds):
            break
    return Run(tuple(rounds), np.array(last), np.array(magnet))


def geometric_mean(by_game: Mapping[str, float]) -> float:
    """Over games, of the mean exploitability over seeds."""
    return float(np.exp(np.mean([np.log(max(value, FLOOR)) for value in by_game.values()])))


def _exploitability(game: PreferenceGame, log_policy: FloatArray) -> FloatArray:
    return np.asarray((np.exp(log_policy) @ game.payoff.T).max(axis=-1))
