"""The games that benchmarks solve, as plain arrays that every package can read, and the recheck of every answer.

A game travels to another process as its recipe: a partial of a function of this module, with small arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref import games
from rebel_pref.preferences import FloatArray

__all__ = [
    "Batch",
    "Dense",
    "Factored",
    "Problem",
    "dense",
    "duplicated",
    "majority",
    "mixed",
    "random_batch",
    "random_dense",
    "random_dice",
    "recheck",
    "rock_paper_scissors",
    "toy",
]


@dataclass(frozen=True, eq=False)
class Dense:
    """One payoff matrix [n, n]."""

    payoff: FloatArray

    def __len__(self) -> int:
        return len(self.payoff)


@dataclass(frozen=True, eq=False)
class Batch:
    """Payoff matrices [B, n, n]."""

    payoffs: FloatArray

    def __len__(self) -> int:
        return int(self.payoffs.shape[1])


@dataclass(frozen=True, eq=False)
class Factored:
    """``U V^T - V U^T + r 1^T - 1 r^T`` from left U and right V [n, k] and scores r [n]."""

    left: FloatArray
    right: FloatArray
    scores: FloatArray

    def __len__(self) -> int:
        return len(self.left)


Problem = Dense | Batch | Factored


def recheck(problem: Problem, answer: ArrayLike) -> float:
    """Exploitability of an answer as a share of ``max|A|``, in float64, the worst of a batch; NaN if no policy.

    No policy: another shape, a number that is not finite, a probability below -1e-9, or a sum off 1 by over 1e-6.
    What is within is clipped and divided by its sum, as its user would. A factored game's ``max|A|`` is taken
    over its first ten million payoffs.
    """
    policy = np.asarray(answer, dtype=np.float64)
    expected = (len(problem),) if not isinstance(problem, Batch) else problem.payoffs.shape[:2]
    if policy.shape != expected or not np.isfinite(policy).all() or policy.min() < -1e-9:
        return float("nan")
    policy = np.maximum(policy, 0.0)
    total = policy.sum(axis=-1, keepdims=True)
    if np.abs(total - 1.0).max() > 1e-6:
        return float("nan")
    policy = policy / total
    match problem:
        case Dense(payoff):
            gain, scale = float((payoff @ policy).max()), float(payoff.max())
        case Batch(payoffs):
            gains = np.einsum("bij,bj->bi", payoffs, policy).max(axis=1)
            return float((gains / np.maximum(payoffs.max(axis=(1, 2)), np.finfo(float).tiny)).max())
        case Factored(left, right, scores):
            payoffs = left @ (right.T @ policy) - right @ (left.T @ policy) + scores - scores @ policy
            rows = slice(0, max(1, 10_000_000 // len(left)))
            block = left[rows] @ right.T - right[rows] @ left.T + scores[rows, None] - scores
            gain, scale = float(payoffs.max()), float(np.abs(block).max())
    return gain / scale if scale > 0.0 else gain


def toy(problem: Problem) -> Problem:
    """A tiny problem of the same type, to import and compile everything before the clock runs."""
    match problem:
        case Dense():
            return random_dense(5, 7)
        case Batch(payoffs):
            return random_batch(4, payoffs.shape[1], 7)
        case Factored(left):
            return mixed(200, left.shape[1], 7)


def dense(build: Callable[..., games.Game], *arguments: object, **settings: object) -> Dense:
    """The payoffs of ``build(*arguments, **settings)``, one of the functions of :mod:`rebel_pref.games`."""
    game = build(*arguments, **settings)
    if not isinstance(game, games.PreferenceGame):
        game = games.dense_game(game)
    # A copy, because some packages write into what they are given and others refuse read-only arrays.
    return Dense(np.array(game.payoff))


def random_dense(n: int, seed: int) -> Dense:
    """Entries above the diagonal uniform on [-1, 1]: one winner, on about n / 2 actions."""
    return dense(games.random_game, n, seed=seed)


def random_batch(count: int, n: int, seed: int) -> Batch:
    """Independent random games."""
    upper = np.triu(np.random.default_rng(seed).uniform(-1.0, 1.0, (count, n, n)), 1)
    return Batch(upper - upper.swapaxes(1, 2))


def mixed(n: int, discs: int, seed: int) -> Factored:
    """Discs off their centre plus scores, rank ``2 discs + 2``: a winner on few actions."""
    game = games.mixed_game(n, discs, seed=seed)
    return Factored(game.left, game.right, game.scores)


def majority(n: int, raters: int, seed: int) -> Dense:
    """The majority of raters who rank at random."""
    return dense(games.majority_game, np.random.default_rng(seed).random((raters, n)))


def random_dice(n: int, sides: int, seed: int) -> Dense:
    """Dice with faces drawn from 1 to `sides`."""
    return dense(games.dice_game, np.random.default_rng(seed).integers(1, sides + 1, (n, sides)))


def rock_paper_scissors(unit: float = 1.0) -> Dense:
    """Weighted, and in another unit: the winner is (.6, .3, .1) whatever the unit."""
    return Dense(np.multiply(unit, dense(games.rock_paper_scissors, 0.1, 0.3, 0.6).payoff, dtype=np.float64))


def duplicated(copies: int) -> Dense:
    """Weighted rock, paper, scissors with every action copied."""
    return Dense(np.repeat(np.repeat(rock_paper_scissors().payoff, copies, axis=0), copies, axis=1))
