"""Small dense games by pivoting on one skew tableau: the same path as :mod:`active_set`, all of it in the cache.

The tableau of the complementary pair (probability p_i, slack w_i) stays skew-symmetric under principal pivots
(Tucker 1960), so it is an [n, n] matrix and two columns: what the border (sum p = 1) and the perturbation theta
contribute. One pivot is one skew rank-2 update, 4 n^2 flops. The kernel is plain Python on arrays;
:mod:`rebel_pref.solvers.compiled` compiles it where numba is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from rebel_pref.games.batch import GameBatch
from rebel_pref.games.game import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers.answer import Answer

__all__ = ["FROM_SCRATCH", "PURE", "compiled_is_loaded", "pivot_game", "pivoting", "pivoting_batch"]

FROM_SCRATCH = 40
"""Up to this many actions the path starts at a single action: fewer pivots than a guess would cost to find."""

PURE = 24
"""Up to this many actions a single game is solved without loading numba, which takes longer than the game."""


def compiled_is_loaded() -> bool:
    """Whether the compiled kernel is at hand in this process, because a batch or a larger game asked for it."""
    return "rebel_pref.solvers.compiled" in sys.modules


def pivoting(game: PreferenceGame, *, seed: int = 0) -> Answer | None:
    """Solve one small game exactly; None where the pivots broke down. O(n^2) a pivot, about n pivots.

    Parameters
    ----------
    seed : of the small random perturbation that keeps ties from cycling.
    """
    size = len(game)
    noise = np.random.default_rng(seed).uniform(0.5, 1.0, size)
    kernel: Callable[..., tuple[FloatArray, int]] = pivot_game
    if compiled_is_loaded() or (size > PURE and find_spec("numba") is not None):
        from rebel_pref.solvers.compiled import compiled_pivot_game

        kernel = compiled_pivot_game
    policy, pivots = kernel(game.payoff, game.scale, noise, _rounds(size))
    return None if pivots < 0 else Answer(policy, "pivoting", pivots)


def pivoting_batch(batch: GameBatch, *, seed: int = 0) -> tuple[FloatArray, NDArray[np.int64]]:
    """Solve B small games: policies [B, n] and pivots [B], -1 where a game broke down."""
    count, size = len(batch), len(batch.labels)
    noise = np.random.default_rng(seed).uniform(0.5, 1.0, size)
    if find_spec("numba") is not None:
        from rebel_pref.solvers.compiled import compiled_pivot_games

        policies, pivots = compiled_pivot_games(batch.payoffs, noise, _rounds(size))
        return policies, pivots
    policies, pivots = np.empty((count, size)), np.empty(count, dtype=np.int64)
    for b, payoff in enumerate(batch.payoffs):
        policies[b], pivots[b] = pivot_game(payoff, float(payoff.max()), noise, _rounds(size))
    return policies, pivots


def _rounds(size: int) -> int:
    return 0 if size <= FROM_SCRATCH else 60 + size // 4


def pivot_game(payoff: FloatArray, scale: float, noise: FloatArray, rounds: int) -> tuple[FloatArray, int]:
    """Solve one game: the kernel, written for a compiler (loops, no calls of our own).

    Parameters
    ----------
    payoff : [n, n] skew; scale : ``max|A|``.
    noise : [n] in [.5, 1]; keeps the path away from ties.
    rounds : of predictive RM+ before the first pivot; 0 starts at the action with the largest mean payoff.

    Returns
    -------
    policy [n] and the number of pivots on pairs of actions, or -1 where the path broke down.
    """
    size = payoff.shape[0]
    policy = np.zeros(size)
    if scale == 0.0:
        policy[:] = 1.0 / size
        return policy, 0
    table = payoff / scale
    slack = np.zeros(size)
    best = 0
    if rounds == 0:
        mean = table.sum(axis=1)
        best = int(mean.argmax())
        policy[best] = 1.0
        slack[:] = table[best]
    else:
        # Predictive RM+ with quadratic averaging (Farina, Kroer, Sandholm 2021).
        regret = np.zeros(size)
        gain = np.zeros(size)
        for number in range(1, rounds + 1):
            played = np.maximum(regret + gain, 0.0)
            mass = played.sum()
            if mass > 0.0:
                played /= mass
            else:
                played[:] = 1.0 / size
            gain = np.dot(table, played)
            regret = np.maximum(regret + gain, 0.0)
            policy += number * number * played
            slack -= number * number * gain
        mass = policy.sum()
        policy /= mass
        slack /= mass
        best = int(policy.argmax())

    # The first pivot pairs the border with the likeliest action.
    border = table[:, best].copy()
    first_row = table[best].copy()
    for i in range(size):
        for j in range(size):
            table[i, j] += first_row[i] - first_row[j]
    table[:, best] = 1.0
    table[best, :] = -1.0
    table[best, best] = 0.0
    border[best] = 1.0
    inside = np.zeros(size, dtype=np.bool_)
    inside[best] = True

    # Then pairs of guessed actions, likeliest first, while the pivots are large; then the path.
    queue = np.argsort(-policy)
    waiting = np.zeros(size, dtype=np.bool_)
    if rounds > 0:
        for i in range(size):
            waiting[i] = policy[i] > 0.15 * max(slack[i], 0.0) and not inside[i]
    place = 0
    on_path = False
    theta = 1.0
    push = np.zeros(size)
    error = max(-slack.min(), 1e-13)
    pivots = 0
    while pivots < 20 * size + 100:
        e = -1
        f = -1
        if not on_path:
            while place < size and e < 0:
                i = queue[place]
                place += 1
                if waiting[i]:
                    waiting[i] = False
                    largest = 1e-6
                    for j in range(size):
                        if waiting[j] and abs(table[i, j]) > largest:
                            largest = abs(table[i, j])
                            f = j
                    if f >= 0:
                        e = i
                        waiting[f] = False
            if e < 0:
                # All of the guess is in: perturb until it is the winner of its game.
                on_path = True
                for i in range(size):
                    sign = 1.0 if inside[i] else -1.0
                    if inside[i]:
                        value = max(policy[i], 1e-3 / size * noise[i])
                    else:
                        value = max(slack[i], 0.0) + error * noise[i]
                    push[i] = sign * value - border[i]
        if on_path:
            largest = -1.0
            for i in range(size):
                sign = 1.0 if inside[i] else -1.0
                final = sign * border[i]
                if final < -1e-13:
                    slope = sign * push[i]
                    when = -final / slope if slope > 0.0 else theta
                    if when > largest:
                        largest = when
                        e = i
            if e < 0:
                break
            theta = min(theta, largest)
            away = -1.0 if inside[e] else 1.0
            largest = 1.0
            for i in range(size):
                largest = max(largest, abs(table[e, i]))
            ratio = np.inf
            steepest = 0.0
            for i in range(size):
                sign = 1.0 if inside[i] else -1.0
                # Column e of a skew tableau is minus its row.
                rate = -away * sign * table[e, i]
                if rate < -1e-9 * largest and i != e:
                    value = max(sign * (border[i] + theta * push[i]), 0.0) / -rate
                    if value < ratio - 1e-14 - 1e-9 * ratio or (
                        value <= ratio * (1.0 + 1e-9) + 1e-14 and rate < steepest
                    ):
                        ratio = min(ratio, value)
                        steepest = rate
                        f = i
            if f < 0:
                return policy, -1

        row_e = table[e].copy()
        row_f = table[f].copy()
        t = row_e[f]
        if abs(t) < 1e-11:
            return policy, -1
        for i in range(size):
            left = row_f[i] / t
            right = row_e[i] / t
            for j in range(size):
                table[i, j] += left * row_e[j] - right * row_f[j]
        border_e, border_f, push_e, push_f = border[e], border[f], push[e], push[f]
        for i in range(size):
            border[i] += (row_f[i] * border_e - row_e[i] * border_f) / t
            push[i] += (row_f[i] * push_e - row_e[i] * push_f) / t
            table[e, i] = row_f[i] / t
            table[i, e] = -row_f[i] / t
            table[f, i] = -row_e[i] / t
            table[i, f] = row_e[i] / t
        table[e, e] = 0.0
        table[f, f] = 0.0
        table[e, f] = -1.0 / t
        table[f, e] = 1.0 / t
        border[e], border[f], push[e], push[f] = border_f / t, -border_e / t, push_f / t, -push_e / t
        inside[e] = not inside[e]
        inside[f] = not inside[f]
        pivots += 1
    if e >= 0:
        return policy, -1

    # The tableau holds the inverse on the support: two steps of iterative refinement.
    support = np.flatnonzero(inside)
    count = len(support)
    found = border[support]
    value = 0.0
    for _ in range(2):
        missing = 1.0 - found.sum()
        residual = np.empty(count)
        for a in range(count):
            total = 0.0
            for b in range(count):
                total += payoff[support[a], support[b]] * found[b]
            residual[a] = value - total / scale
        for a in range(count):
            total = border[support[a]] * missing
            for b in range(count):
                total += table[support[a], support[b]] * residual[b]
            found[a] += total
        for a in range(count):
            value -= border[support[a]] * residual[a]
    policy[:] = 0.0
    for a in range(count):
        policy[support[a]] = max(found[a], 0.0)
    policy /= policy.sum()
    return policy, pivots
