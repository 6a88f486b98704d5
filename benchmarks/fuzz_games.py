"""Games to fuzz solvers with: each kind from one seed, odd and even sizes from 1 to 300 actions."""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np

from rebel_pref import games
from rebel_pref.preferences import FloatArray

__all__ = ["INTEGER_KINDS", "KINDS", "LARGEST", "draw_factors", "draw_game", "draw_size"]

LARGEST = 300

_BANDS = ((1, 12, 0.42), (13, 60, 0.36), (61, 150, 0.18), (151, LARGEST, 0.04))


def draw_size(rng: np.random.Generator, largest: int) -> int:
    """Mostly small, where what is degenerate lives; some up to `largest`."""
    bands = [(low, min(high, largest), share) for low, high, share in _BANDS if low <= largest]
    shares = np.array([share for *_, share in bands])
    low, high, _ = bands[int(rng.choice(len(bands), p=shares / shares.sum()))]
    return int(rng.integers(low, high + 1))


def draw_game(kind: str, seed: int, largest: int = LARGEST) -> FloatArray:
    """Payoffs [n, n] of the game that `kind` and `seed` name, n drawn too; exactly skew."""
    rng = _generator(kind, seed)
    payoff = KINDS[kind](rng, draw_size(rng, largest))
    return np.asarray(0.5 * (payoff - payoff.T), dtype=np.float64)


def draw_factors(seed: int, largest: int = LARGEST) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Left and right factors [n, k] and scores [n] of the game of kind "disc" with this seed."""
    rng = _generator("disc", seed)
    return _factors(rng, draw_size(rng, largest))


def _generator(kind: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([list(KINDS).index(kind), seed])


def _skew(entries: FloatArray) -> FloatArray:
    upper = np.triu(entries, 1)
    return np.asarray(upper - upper.T, dtype=np.float64)


def _random(rng: np.random.Generator, n: int) -> FloatArray:
    return _skew(rng.uniform(-1.0, 1.0, (n, n)))


def _integer(rng: np.random.Generator, n: int) -> FloatArray:
    largest = int(rng.choice([1, 3, 100]))
    return _skew(rng.integers(-largest, largest + 1, (n, n)).astype(np.float64))


def _duplicated(rng: np.random.Generator, n: int) -> FloatArray:
    base = _random(rng, max(1, n // 3)) if rng.random() < 0.5 else _integer(rng, max(1, n // 3))
    pick = rng.integers(0, len(base), n)
    return np.asarray(base[np.ix_(pick, pick)])


def _near_clones(rng: np.random.Generator, n: int) -> FloatArray:
    return np.asarray(_duplicated(rng, n) + 10.0 ** rng.uniform(-16, -6) * _random(rng, n))


def _ties(rng: np.random.Generator, n: int) -> FloatArray:
    return _skew(rng.choice([-1.0, 0.0, 1.0], size=(n, n), p=[0.1, 0.8, 0.1]))


def _zero(rng: np.random.Generator, n: int) -> FloatArray:
    return np.zeros((n, n))


def _single_winner(rng: np.random.Generator, n: int) -> FloatArray:
    payoff = _random(rng, n) if rng.random() < 0.5 else _integer(rng, n)
    winner, margin = int(rng.integers(n)), 10.0 ** rng.uniform(-12, 0)
    payoff[winner], payoff[:, winner] = margin, -margin
    payoff[winner, winner] = 0.0
    return payoff


def _near_singular(rng: np.random.Generator, n: int) -> FloatArray:
    return np.asarray(_disc(rng, n) + 10.0 ** rng.uniform(-16, -6) * _random(rng, n))


def _disc(rng: np.random.Generator, n: int) -> FloatArray:
    left, right, scores = _factors(rng, n)
    return np.asarray(left @ right.T - right @ left.T + scores[:, None] - scores)


def _factors(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Discs that are centred, off their centre, or neither; with scores or without."""
    discs = int(rng.integers(1, 6))
    left, right = rng.standard_normal((2, n, discs)) + rng.choice([0.0, 0.5]) * rng.standard_normal((2, 1, discs))
    if rng.random() < 0.3:
        left, right = left - left.mean(axis=0), right - right.mean(axis=0)
    return left, right, rng.choice([0.0, 0.3]) * rng.standard_normal(n)


def _blotto(rng: np.random.Generator, n: int) -> FloatArray:
    fields = int(rng.integers(2, 6))
    soldiers = 0
    while comb(soldiers + fields, fields - 1) <= max(n, fields):
        soldiers += 1
    values = [int(value) for value in rng.integers(1, 5, fields)] if rng.random() < 0.5 else [1] * fields
    return np.array(games.blotto(soldiers, values, payoff="win" if rng.random() < 0.5 else "margin").payoff)


def _tournament(rng: np.random.Generator, n: int) -> FloatArray:
    return _skew(rng.choice([-1.0, 1.0], size=(n, n)))


def _transitive(rng: np.random.Generator, n: int) -> FloatArray:
    score = rng.integers(0, max(2, n // 2), n) if rng.random() < 0.5 else rng.standard_normal(n)
    return np.tanh(np.subtract.outer(score, score).astype(np.float64))


def _majority(rng: np.random.Generator, n: int) -> FloatArray:
    return np.array(games.majority_game(rng.random((int(rng.integers(1, 8)), n))).payoff)


def _scaled(rng: np.random.Generator, n: int) -> FloatArray:
    # Squares of payoffs stay within float64.
    return np.asarray(10.0 ** rng.uniform(-100, 100) * _random(rng, n))


def _uneven(rng: np.random.Generator, n: int) -> FloatArray:
    return _skew(10.0 ** rng.uniform(-9, 0, (n, n)) * rng.choice([-1.0, 1.0], size=(n, n)))


KINDS: dict[str, Callable[[np.random.Generator, int], FloatArray]] = {
    "random": _random,
    "integer": _integer,
    "duplicated": _duplicated,
    "near clones": _near_clones,
    "ties": _ties,
    "all zero": _zero,
    "single winner": _single_winner,
    "near singular": _near_singular,
    "Blotto": _blotto,
    "disc": _disc,
    "tournament": _tournament,
    "transitive": _transitive,
    "majority": _majority,
    "scaled": _scaled,
    "uneven": _uneven,
}
"""What each is called, and how it is drawn."""

INTEGER_KINDS = ("integer", "ties", "all zero", "tournament")
"""Kinds whose payoffs are whole numbers always, so that a proof can be repeated in fractions."""
