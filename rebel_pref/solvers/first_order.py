"""A policy near the winner by a first-order method: where the exact solvers start."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rebel_pref.preferences import FloatArray

__all__ = ["FENCE", "RegretMatchingPlay", "first_order_guess"]

FENCE = 0.15
"""An action belongs to the guessed support if its probability exceeds this share of its slack. Averages leave a trace
on every action ever played; the number is measured: to miss actions costs more pivots than to have too many."""

_OUT = 5e-4  # An action is out of it if its probability is below this share of its slack.
_SCREEN = 100
_LOOK = 25
_BLOCK = 550  # Float32 blocks of 1.2 MB: a core's own cache holds one.
_LOOSE = 1e-5  # Tolerances that float32 can meet, at a price that a first-order method asks.


def first_order_guess(
    payoff: FloatArray, scale: float, *, rounds: int | None = None, tol: float = 0.0
) -> tuple[FloatArray, FloatArray, int]:
    """A policy near the winner and its slacks, by predictive RM+ in float32 with quadratic averaging.

    Source: Farina, Kroer, Sandholm 2021 (PRM+). Self-play is symmetric, so one product a round serves both players,
    and the payoffs against the average are the average of the payoffs.

    Parameters
    ----------
    payoff : [n, n]; scale : ``max|A|``, positive; the slacks come back in units of it.
    rounds : at most; ``max(100, .3 n)`` unless given, since a pivot saved is worth about five rounds, or n where
        `tol` is loose. It is also over when no action gains more than `tol`, or, where `tol` is strict, when the
        support has been the same for a while.

    Returns
    -------
    policy [n], slack ``-(A p) / scale`` [n] (negative where an action still gains), rounds taken.
    """
    size = len(payoff)
    if rounds is None:
        rounds = max(100, int(0.3 * size) if tol < _LOOSE else size)
    play = RegretMatchingPlay(payoff, scale)
    looked, support = 0, np.zeros(0, dtype=np.int64)
    while play.rounds < rounds:
        play.step()
        if play.rounds % _LOOK:
            continue
        if size > _BLOCK and play.rounds % _SCREEN == 0:
            # A third of a large game's actions are out of it early: what they lose outweighs what they ever played.
            policy, slack = play.whole_average()
            play.keep(np.flatnonzero(policy >= _OUT * np.maximum(slack, 0.0)))
        policy, slack = play.average()
        if slack.min() >= -tol:
            policy, slack = play.whole_average()
            if slack.min() >= -tol or len(play.kept) == size:
                break
            play.keep(np.arange(size))
        elif tol < _LOOSE and play.rounds >= 1.2 * looked:
            looked, last = play.rounds, support
            support = play.kept[policy > FENCE * np.maximum(slack, 0.0)]
            if np.array_equal(last, support):
                break
    policy, slack = play.whole_average()
    return policy, slack, play.rounds


class RegretMatchingPlay:
    """Predictive RM+ on the actions that are kept, with the averages of its play and of their payoffs."""

    def __init__(self, payoff: FloatArray, scale: float) -> None:
        self._payoff, self._scale = payoff, scale
        self.rounds = 0
        self.kept = np.arange(len(payoff))
        self._product = _SkewProduct(payoff, scale, self.kept)
        self._regret, self._gain = np.zeros((2, len(payoff)), np.float32)
        self._total, self._payoffs = np.zeros((2, len(payoff)))
        self._mass = 0.0

    def step(self) -> None:
        """One round of self-play."""
        self.rounds += 1
        played = np.maximum(self._regret + self._gain, 0.0)
        mass = float(played.sum())
        if mass > 0.0:
            played *= np.float32(1.0 / mass)
        else:
            played[:] = 1.0 / len(played)
        self._product.times(played, out=self._gain)
        self._regret += self._gain
        np.maximum(self._regret, 0.0, out=self._regret)
        weight = float(self.rounds * self.rounds)
        self._total[self.kept] += weight * played
        self._payoffs[self.kept] += weight * self._gain
        self._mass += weight

    def average(self) -> tuple[FloatArray, FloatArray]:
        """Average policy and slack of the kept actions."""
        return self._total[self.kept] / self._mass, -self._payoffs[self.kept] / self._mass

    def whole_average(self) -> tuple[FloatArray, FloatArray]:
        """Average policy and slack of all actions."""
        policy = self._total / self._total.sum()
        if len(self.kept) == len(policy):
            return policy, -self._payoffs / self._mass
        return policy, -(self._payoff @ policy) / self._scale

    def keep(self, kept: NDArray[np.int64]) -> None:
        """Go on with these actions only; one that was out comes back without regret."""
        regret, gain = np.zeros((2, len(self._payoff)), np.float32)
        regret[self.kept], gain[self.kept] = self._regret, self._gain
        self._payoffs = -self.whole_average()[1] * self._mass
        self.kept = kept
        self._regret, self._gain = regret[kept], gain[kept]
        del self._product  # Before the next one is made: they are large.
        self._product = _SkewProduct(self._payoff, self._scale, kept)


class _SkewProduct:
    """``A x / scale`` in float32 from the blocks on and above the diagonal: half the memory to read.

    A block above the diagonal also stands, transposed and negated, for the one below, and is still in the cache when
    it is used the second time.
    """

    def __init__(self, payoff: FloatArray, scale: float, kept: NDArray[np.int64]) -> None:
        """Of the actions that are kept."""
        size = len(kept)
        step = -(-size // -(-size // _BLOCK))
        starts = range(0, size, step)
        self._blocks = []
        for first in starts:
            for second in starts[first // step :]:
                rows, columns = slice(first, first + step), slice(second, second + step)
                among = payoff[kept[rows, None], kept[columns]] if size < len(payoff) else payoff[rows, columns]
                block = np.empty(among.shape, np.float32)
                np.divide(among, scale, out=block, casting="same_kind")
                self._blocks.append((rows, columns, block))

    def times(self, vector: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Write the product with a vector [n] to `out` [n]."""
        out[:] = 0.0
        for rows, columns, block in self._blocks:
            out[rows] += block @ vector[columns]
            if rows != columns:
                out[columns] -= vector[rows] @ block
