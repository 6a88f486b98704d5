"""Small dense games by pivoting on one skew tableau: the same path as :mod:`active_set`, all of it in the cache.

The tableau of the complementary pair (probability p_i, slack w_i) stays skew-symmetric under principal pivots
(Tucker 1960), so it is an [n, n] matrix and two columns: the values of p and w without the perturbation theta, and
what theta adds. Rows and columns carry the sign that makes every value one that must not fall below 0. One pivot is
one skew rank-2 update, 4 n^2 flops. The kernel is plain Python on arrays; :mod:`rebel_pref.solvers.compiled` compiles
it where numba is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from rebel_pref.games.batch import GameBatch
from rebel_pref.games.game import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers.answer import Answer

__all__ = ["FROM_SCRATCH", "PURE", "can_compile", "pivot_games", "pivoting", "pivoting_batch"]

Kernel = Callable[[FloatArray, FloatArray, int], tuple[FloatArray, NDArray[np.int64], FloatArray]]

FROM_SCRATCH = 32
"""Up to this many actions the path starts at a single action: fewer pivots than a guess would cost to find."""

PURE = 24
"""Up to this many actions a single game is solved without loading numba, which takes longer than the game."""


@cache
def can_compile() -> bool:
    """Whether numba is installed (the extra `fast`)."""
    return find_spec("numba") is not None


def pivoting(game: PreferenceGame, *, seed: int = 0) -> Answer | None:
    """Solve one small game exactly; None where the pivots broke down. O(n^2) a pivot, about n pivots.

    Parameters
    ----------
    seed : of the small random perturbation that keeps ties from cycling.
    """
    policies, pivots, _ = _kernel(len(game))(game.payoff[None], _noise(len(game), seed), _rounds(len(game)))
    return None if pivots[0] < 0 else Answer(policies[0], "pivoting", int(pivots[0]))


def pivoting_batch(batch: GameBatch, *, seed: int = 0) -> tuple[FloatArray, NDArray[np.int64], FloatArray]:
    """Solve B small games: policies [B, n], pivots [B], -1 where a game broke down, and ``max|A|`` [B]."""
    size = len(batch.labels)
    return _kernel(max(size, PURE + 1))(batch.payoffs, _noise(size, seed), _rounds(size))


def _kernel(size: int) -> Kernel:
    # Once loaded, the compiled kernel serves the smallest games too; it takes the same pivots.
    if can_compile() and (size > PURE or "rebel_pref.solvers.compiled" in sys.modules):
        from rebel_pref.solvers.compiled import compiled_pivot_games

        return compiled_pivot_games
    return pivot_games


@lru_cache(maxsize=64)
def _noise(size: int, seed: int) -> FloatArray:
    return np.asarray(np.random.default_rng(seed).uniform(0.5, 1.0, size))


def _rounds(size: int) -> int:
    return 0 if size <= FROM_SCRATCH else 30 + size // 3


def pivot_games(
    payoffs: FloatArray, noise: FloatArray, rounds: int
) -> tuple[FloatArray, NDArray[np.int64], FloatArray]:
    """Solve B games: the kernel, written for a compiler (loops over arrays that are made once, no calls of our own).

    Parameters
    ----------
    payoffs : [B, n, n] skew.
    noise : [n] in [.5, 1]; keeps the path away from ties.
    rounds : of predictive RM+ before the first pivot; 0 starts at the action with the largest mean payoff.

    Returns
    -------
    policies [B, n]; pivots on pairs of actions [B], -1 where the path broke down; ``max|A|`` [B].
    """
    count, size = payoffs.shape[0], payoffs.shape[1]
    policies = np.zeros((count, size))
    steps = np.zeros(count, dtype=np.int64)
    scales = np.zeros(count)
    table = np.empty((size, size))
    single = np.empty((size, size), dtype=np.float32)
    policy, slack, border, push = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    row_e, row_f, residual = np.empty(size), np.empty(size), np.empty(size)
    regret, gain, played = (
        np.empty(size, dtype=np.float32),
        np.empty(size, dtype=np.float32),
        np.empty(size, dtype=np.float32),
    )
    inside, waiting = np.empty(size, dtype=np.bool_), np.empty(size, dtype=np.bool_)
    support = np.empty(size, dtype=np.int64)
    for game in range(count):
        payoff = payoffs[game]
        scale = 0.0
        for i in range(size):
            for j in range(size):
                scale = max(scale, payoff[i, j])
        scales[game] = scale
        if scale == 0.0:
            policies[game, :] = 1.0 / size
            continue
        unit = 1.0 / scale
        best = 0
        if rounds == 0:
            largest = -np.inf
            for i in range(size):
                total = 0.0
                for j in range(size):
                    table[i, j] = payoff[i, j] * unit
                    total += table[i, j]
                policy[i] = 0.0
                if total > largest:
                    largest = total
                    best = i
            policy[best] = 1.0
            for i in range(size):
                slack[i] = table[best, i]
        else:
            # Predictive RM+ with quadratic averaging (Farina, Kroer, Sandholm 2021).
            for i in range(size):
                for j in range(size):
                    table[i, j] = payoff[i, j] * unit
                    single[i, j] = table[i, j]
                policy[i] = slack[i] = 0.0
                regret[i] = gain[i] = 0.0
            total = 0.0
            for number in range(1, rounds + 1):
                mass = np.float32(0.0)
                for i in range(size):
                    played[i] = max(regret[i] + gain[i], np.float32(0.0))
                    mass += played[i]
                for i in range(size):
                    played[i] = played[i] / mass if mass > 0.0 else np.float32(1.0 / size)
                gain[:] = np.dot(single, played)
                weight = float(number * number)
                total += weight
                for i in range(size):
                    regret[i] = max(regret[i] + gain[i], np.float32(0.0))
                    policy[i] += weight * played[i]
                    slack[i] -= weight * gain[i]
            for i in range(size):
                policy[i] /= total
                slack[i] /= total
                if policy[i] > policy[best]:
                    best = i

        # The first pivot pairs the border with the likeliest action.
        error = 1e-13
        for i in range(size):
            error = max(error, -slack[i])
            row_e[i] = table[best, i]
            border[i] = row_e[i]
            push[i] = 0.0
        for i in range(size):
            for j in range(size):
                table[i, j] += row_e[i] - row_e[j]
            inside[i] = False
            # Pairs of guessed actions wait to be taken in.
            waiting[i] = rounds > 0 and policy[i] > 0.15 * max(slack[i], 0.0)
        for i in range(size):
            table[i, best] = -1.0
            table[best, i] = 1.0
        table[best, best] = 0.0
        border[best] = 1.0
        inside[best] = True
        waiting[best] = False

        on_path = False
        theta = 1.0
        pivots = 0
        broken = True
        while pivots < 20 * size + 100:
            e = -1
            f = -1
            while not on_path:
                # The likeliest action that waits, and the partner on which its row is largest.
                largest = -1.0
                e = -1
                for i in range(size):
                    if waiting[i] and policy[i] > largest:
                        largest = policy[i]
                        e = i
                if e < 0:
                    # All of the guess is in: perturb until it is the winner of its game.
                    on_path = True
                    for i in range(size):
                        if inside[i]:
                            push[i] = max(policy[i], 1e-3 / size * noise[i]) - border[i]
                        else:
                            push[i] = max(slack[i], 0.0) + error * noise[i] - border[i]
                    break
                waiting[e] = False
                largest = 1e-6
                for j in range(size):
                    if waiting[j] and abs(table[e, j]) > largest:
                        largest = abs(table[e, j])
                        f = j
                if f >= 0:
                    waiting[f] = False
                    break
            if on_path:
                largest = -1.0
                e = -1
                for i in range(size):
                    if border[i] < -1e-13:
                        when = -border[i] / push[i] if push[i] > 0.0 else theta
                        if when > largest:
                            largest = when
                            e = i
                if e < 0:
                    broken = False
                    break
                theta = min(theta, largest)
                # Row e: how p (on the support) and w (off it) answer to the complement of the one at 0.
                ratio = np.inf
                steepest = 0.0
                for i in range(size):
                    rate = table[e, i]
                    if rate < -1e-9 and i != e:
                        value = max(border[i] + theta * push[i], 0.0) / -rate
                        if value < ratio - 1e-14 - 1e-9 * ratio or (
                            value <= ratio * (1.0 + 1e-9) + 1e-14 and rate < steepest
                        ):
                            ratio = min(ratio, value)
                            steepest = rate
                            f = i
                if f < 0:
                    break

            t = table[e, f]
            if abs(t) < 1e-11:
                break
            unit = 1.0 / t
            for i in range(size):
                row_e[i] = table[e, i]
                row_f[i] = table[f, i]
            border_e, border_f, push_e, push_f = border[e], border[f], push[e], push[f]
            for i in range(size):
                left = row_f[i] * unit
                right = row_e[i] * unit
                for j in range(size):
                    table[i, j] += left * row_e[j] - right * row_f[j]
                border[i] += left * border_e - right * border_f
                push[i] += left * push_e - right * push_f
                table[i, e] = left
                table[i, f] = -right
            for j in range(size):
                table[e, j] = -row_f[j] * unit
                table[f, j] = row_e[j] * unit
            table[e, e] = 0.0
            table[f, f] = 0.0
            table[e, f] = -unit
            table[f, e] = unit
            border[e], border[f], push[e], push[f] = -border_f * unit, border_e * unit, -push_f * unit, push_e * unit
            inside[e] = not inside[e]
            inside[f] = not inside[f]
            pivots += 1
        if broken:
            steps[game] = -1
            continue

        # The tableau holds the inverse on the support: iterative refinement, one step for a few pivots.
        size_of_support = 0
        for i in range(size):
            if inside[i]:
                support[size_of_support] = i
                policy[i] = border[i]
                size_of_support += 1
        value = 0.0
        for _ in range(1 if pivots <= 16 else 2):
            missing = 1.0
            for a in range(size_of_support):
                missing -= policy[support[a]]
            for a in range(size_of_support):
                total = 0.0
                for b in range(size_of_support):
                    total += payoff[support[a], support[b]] * policy[support[b]]
                residual[a] = value - total / scale
            for a in range(size_of_support):
                total = border[support[a]] * missing
                for b in range(size_of_support):
                    total += table[support[a], support[b]] * residual[b]
                policy[support[a]] += total
                value -= border[support[a]] * residual[a]
        total = 0.0
        for a in range(size_of_support):
            total += max(policy[support[a]], 0.0)
        for a in range(size_of_support):
            policies[game, support[a]] = max(policy[support[a]], 0.0) / total
        steps[game] = pivots
    return policies, steps, scales
