"""Exact winners of dense games: a first-order start, then parametric principal pivoting from its support.

Write ``w = v - A p`` for the slacks and K for the skew matrix ``[[0, 1^T], [-1, A]]`` of the border (v) and the
actions. With |S| odd and ``K_S`` regular there is one p on S against which all of S ties. Regret matching guesses S
up to a few per cent of the actions. The game is then perturbed so that the guess is its exact winner, and the
perturbation theta goes from 1 to 0 while pivots keep p and w complementary: for every action one of the two is 0.
This is the parametric self-dual simplex method (Dantzig 1963, section 11-3; as complementary pivoting, Lemke 1965),
warm-started. Principal pivots keep the tableau skew (Tucker 1960), so one pivot is one rank-2 update of ``K_S^-1``
and two columns of the tableau: O(n |S|), no new factorisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rebel_pref.games.game import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers.answer import Answer, Progress

__all__ = ["active_set", "first_order_guess", "follow_path"]

_FEASIBLE = 1e-13
_PIVOT = 1e-9
_LARGEST_INVERSE = 1e9
_ROOM = 32
_FENCE = 0.15
_LOOK = 25
_SCREEN = 100
_OUT = 5e-4
_BLOCK = 550  # Float32 blocks of 1.2 MB: a core's own cache holds one.
_LOOSE = 1e-5  # Tolerances that float32 can meet, at a price that a first-order method asks.


def active_set(
    game: PreferenceGame, *, tol: float = 1e-9, seed: int = 0, progress: Progress | None = None
) -> Answer | None:
    """Solve a dense game exactly, or return None where pivoting broke down (singular or ill-conditioned supports).

    Parameters
    ----------
    tol : as a share of ``max|A|``. A loose one may be met by the first-order start alone, which then is the answer;
        the pivots stop where the answer is exact.
    seed : of the small random perturbation that keeps ties from cycling.
    """
    start, slack, rounds = first_order_guess(game.payoff, game.scale, tol=tol)
    if progress is not None:
        progress(rounds, float(max(0.0, -slack.min())) * game.scale)
    # The start sees A in float32.
    if -slack.min() <= tol and float((game.payoff @ start).max()) <= tol * game.scale:
        return Answer(start, "regret_matching", rounds)
    found = follow_path(game.payoff, game.scale, start, slack, seed=seed, progress=progress)
    if found is None:
        return None
    policy, pivots = found
    if float((game.payoff @ policy).max()) > max(tol, 1e-12) * game.scale:
        return None
    return Answer(policy, "active_set", rounds + pivots)


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
    play = _RegretMatching(payoff, scale)
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
            support = play.kept[policy > _FENCE * np.maximum(slack, 0.0)]
            if np.array_equal(last, support):
                break
    policy, slack = play.whole_average()
    return policy, slack, play.rounds


class _RegretMatching:
    """Predictive RM+ on the actions that are kept, with the averages of its play and of their payoffs."""

    def __init__(self, payoff: FloatArray, scale: float) -> None:
        self._payoff, self._scale = payoff, scale
        self.rounds = 0
        self.kept = np.arange(len(payoff))
        self._product = _SkewProduct(payoff, scale)
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
        among = self._payoff if len(kept) == len(self._payoff) else self._payoff[kept[:, None], kept]
        self._product = _SkewProduct(among, self._scale)


class _SkewProduct:
    """``A x / scale`` in float32 from the blocks on and above the diagonal: half the memory to read.

    A block above the diagonal also stands, transposed and negated, for the one below, and is still in the cache when
    it is used the second time.
    """

    def __init__(self, payoff: FloatArray, scale: float) -> None:
        size = len(payoff)
        step = -(-size // -(-size // _BLOCK))
        starts = range(0, size, step)
        self._blocks = []
        for first in starts:
            for second in starts[first // step :]:
                rows, columns = slice(first, first + step), slice(second, second + step)
                block = np.empty(payoff[rows, columns].shape, np.float32)
                np.divide(payoff[rows, columns], scale, out=block, casting="same_kind")
                self._blocks.append((rows, columns, block))

    def times(self, vector: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Write the product with a vector [n] to `out` [n]."""
        out[:] = 0.0
        for rows, columns, block in self._blocks:
            out[rows] += block @ vector[columns]
            if rows != columns:
                out[columns] -= vector[rows] @ block


def follow_path(
    payoff: FloatArray,
    scale: float,
    start: FloatArray,
    slack: FloatArray,
    *,
    seed: int = 0,
    max_pivots: int | None = None,
    progress: Progress | None = None,
) -> tuple[FloatArray, int] | None:
    """Pivot from a guess to the winner; None where a basis is singular or the pivots run out.

    Parameters
    ----------
    payoff : [n, n]; scale : ``max|A|``, positive.
    start, slack : [n] policy and ``-(A start) / scale``, approximately complementary.
    max_pivots : ``40 + n / 8`` unless given: three times what a good guess needs, and about as much work as an interior
        point, which takes over.

    Returns
    -------
    policy [n] and the number of (double) pivots.
    """
    size = len(payoff)
    basis = _first_basis(payoff, scale, start, slack)
    if basis is None:
        return None
    rng = np.random.default_rng(seed)
    # z is p on the support and w off it. At theta = 1 it is the guess, kept away from 0 and from ties.
    inside = basis.inside
    error = max(float(-slack.min()), _FEASIBLE)
    noise = rng.uniform(0.5, 1.0, size)
    guess = np.where(inside, np.maximum(start, 1e-3 / size * noise), np.maximum(slack, 0.0) + error * noise)
    final = basis.values()
    slope = guess - final
    theta = 1.0
    max_pivots = 40 + size // 8 if max_pivots is None else max_pivots
    for pivots in range(max_pivots):
        # An action blocks before theta = 0 only if its value there is negative.
        blocking = np.flatnonzero(final < -_FEASIBLE)
        if len(blocking) == 0:
            return basis.policy(), pivots
        when = -final[blocking] / slope[blocking]
        when[slope[blocking] <= 0.0] = theta  # Rounding: it has crossed 0 already.
        first = int(blocking[when.argmax()])
        theta = min(theta, float(when.max()))
        column = basis.column(first)
        signs = np.where(inside, 1.0, -1.0)
        rates = -signs[first] * signs * column.actions
        values = np.maximum(final + theta * slope, 0.0)
        second = _second(rates, values, first)
        if second is None:
            return None
        other = basis.column(second)
        t = other.actions[first]
        if abs(t) < _PIVOT:
            return None
        # The columns of the border and of theta move like every column of the tableau.
        final = _moved(final, signs, first, second, column, other, t)
        slope = _moved(slope, signs, first, second, column, other, t)
        if not basis.exchange(first, second, column, other, t):
            return None
        if progress is not None and pivots % 50 == 0:
            progress(pivots, theta * error)
        if pivots % 50 == 49:
            final = basis.values()
    return None


@dataclass(frozen=True)
class _Column:
    """One column of the tableau: entries of the border and the support (in the basis's order), and of all actions."""

    support: FloatArray
    actions: FloatArray


class _Basis:
    """A support, the rows of A / scale on it, and the inverse of ``K_S``, whose index 0 is the border."""

    def __init__(self, payoff: FloatArray, scale: float, members: NDArray[np.int64], inverse: FloatArray) -> None:
        """`inverse` may be larger than ``K_S^-1``, its first block: room to grow."""
        self.payoff, self.scale = payoff, scale
        self.count = len(members)
        self.inside = np.zeros(len(payoff), dtype=bool)
        self.inside[members] = True
        room = len(inverse) - 1
        self._members = np.empty(room, dtype=np.int64)
        self._members[: self.count] = members
        self._inverse = inverse
        self._rows = np.empty((room, len(payoff)))
        for place, action in enumerate(members):
            np.divide(payoff[action], scale, out=self._rows[place])

    @property
    def members(self) -> NDArray[np.int64]:
        """Actions of S, in the order of the inverse."""
        return self._members[: self.count]

    @property
    def rows(self) -> FloatArray:
        """``A[S, :] / scale``."""
        return self._rows[: self.count]

    @property
    def inverse(self) -> FloatArray:
        """``K_S^-1`` [|S| + 1, |S| + 1]."""
        return self._inverse[: self.count + 1, : self.count + 1]

    def column(self, action: int) -> _Column:
        """How p (on S) and -w (off S) answer to p of an action off S, or to -w of one on S."""
        if self.inside[action]:
            support = self.inverse[:, self._place(action) + 1].copy()
            actions = -(support[1:] @ self.rows) - support[0]
        else:
            support = -(self.inverse @ np.append(1.0, self.rows[:, action]))
            # Column `action` of A is minus its row.
            actions = -(support[1:] @ self.rows) - support[0] - self.payoff[action] / self.scale
        actions[self.members] = support[1:]
        return _Column(support, actions)

    def values(self) -> FloatArray:
        """p on S and w off it, [n], without the perturbation."""
        on_support = self._refined()
        values = on_support[1:] @ self.rows + on_support[0]
        values[self.members] = on_support[1:]
        return np.asarray(values)

    def policy(self) -> FloatArray:
        """p [n], after two steps of iterative refinement."""
        policy = np.zeros(len(self.payoff))
        policy[self.members] = np.maximum(self._refined()[1:], 0.0)
        return np.asarray(policy / policy.sum())

    def exchange(self, first: int, second: int, column: _Column, other: _Column, t: float) -> bool:
        """Principal pivot on two actions with the tableau entry t: each changes sides. False: a singular basis."""
        from scipy.linalg.blas import dgemm

        # G' = G + (other column^T - column other^T) / t on the indices that stay; BLAS adds it in place, on the whole
        # array, since it would copy a block. Its Fortran order is our C order of the transpose.
        size = len(self.inverse)
        left, right = np.zeros((2, 2, len(self._inverse)))
        left[0, :size], left[1, :size] = other.support / t, -column.support / t
        right[0, :size], right[1, :size] = column.support, other.support
        dgemm(1.0, right.T, left.T, beta=1.0, c=self._inverse.T, trans_b=True, overwrite_c=True)
        borders = {first: left[0, :size], second: left[1, :size]}
        entering = [action for action in borders if not self.inside[action]]
        leaving = [action for action in borders if self.inside[action]]
        if len(entering) == 1:
            self._set(self._place(leaving[0]), entering[0], borders[entering[0]])
        elif entering:
            self._make_room(2)
            for action in entering:
                self.count += 1
                self._set(self.count - 1, action, borders[action])
            self._inverse[self.count - 1, self.count] = -1.0 / t
            self._inverse[self.count, self.count - 1] = 1.0 / t
        else:
            for action in leaving:
                self._drop(self._place(action))
        self.inside[entering] = True
        self.inside[leaving] = False
        return bool(np.abs(self.inverse[:, 0]).max() < _LARGEST_INVERSE)

    def _set(self, place: int, action: int, border: FloatArray) -> None:
        """Give a place in S to an action whose column of the inverse is `border` (of the old indices)."""
        self._members[place] = action
        np.divide(self.payoff[action], self.scale, out=self._rows[place])
        self._inverse[: len(border), place + 1] = border
        self._inverse[place + 1, : len(border)] = -border
        self._inverse[place + 1, place + 1] = 0.0

    def _drop(self, place: int) -> None:
        """Take an action out of S; the last one moves to its place."""
        last = self.count - 1
        self._members[place] = self._members[last]
        self._rows[place] = self._rows[last]
        self._inverse[place + 1, : last + 2] = self._inverse[last + 1, : last + 2]
        self._inverse[: last + 2, place + 1] = self._inverse[: last + 2, last + 1]
        self._inverse[place + 1, place + 1] = 0.0
        self.count = last

    def _make_room(self, more: int) -> None:
        if self.count + more <= len(self._members):
            return
        room = min(len(self.payoff), self.count + more + max(_ROOM, len(self.payoff) // 50))
        members, rows, inverse = self.members, self.rows, self.inverse
        self._members = np.resize(members, room)
        self._rows = np.concatenate([rows, np.empty((room - self.count, len(self.payoff)))])
        self._inverse = np.zeros((room + 1, room + 1))
        self._inverse[: self.count + 1, : self.count + 1] = inverse

    def _place(self, action: int) -> int:
        return int(np.flatnonzero(self.members == action)[0])

    def _refined(self) -> FloatArray:
        """First column of the inverse (v, then p on S), refined on ``K_S x = e_0``."""
        found = self.inverse[:, 0].copy()
        policy = np.zeros(len(self.payoff))
        for _ in range(2):
            policy[self.members] = found[1:]
            residual = np.append(1.0 - found[1:].sum(), found[0] - self.rows @ policy)
            found += self.inverse @ residual
        return found


def _moved(
    vector: FloatArray, signs: FloatArray, first: int, second: int, column: _Column, other: _Column, t: float
) -> FloatArray:
    """A column of the tableau, in the signs of (p, w), after the pivot on two actions."""
    at_first, at_second = signs[first] * vector[first], signs[second] * vector[second]
    moved: FloatArray = vector + signs * (column.actions * at_second - other.actions * at_first) / t
    moved[first] = -signs[first] * at_second / t
    moved[second] = signs[second] * at_first / t
    return moved


def _second(rates: FloatArray, values: FloatArray, first: int) -> int | None:
    """Ratio test: which value reaches 0 first; among near ties, the one with the largest pivot."""
    falling = np.flatnonzero(rates < -_PIVOT * max(1.0, float(np.abs(rates).max())))
    falling = falling[falling != first]
    if len(falling) == 0:
        return None
    ratios = values[falling] / -rates[falling]
    near = falling[ratios <= ratios.min() * (1.0 + 1e-9) + 1e-15]
    return int(near[rates[near].argmin()])


def _first_basis(payoff: FloatArray, scale: float, start: FloatArray, slack: FloatArray) -> _Basis | None:
    """The guessed support, made odd and thinned until ``K_S`` is regular; None where nothing is left."""
    # Averages leave a trace on every action ever played: an action belongs to S if its probability outweighs
    # its slack. The factor is measured: to miss actions costs more pivots than to have too many.
    balance = start - _FENCE * np.maximum(slack, 0.0)
    members = np.flatnonzero(balance > 0.0)
    if len(members) % 2 == 0:
        members = np.setxor1d(members, [int(np.abs(balance).argmin())])
    inverse = _inverse(payoff, scale, members) if len(members) else None
    if inverse is None:
        ranked = np.argsort(-start, kind="stable")[: max(1, int((balance > 0.0).sum()))]
        members = _independent(payoff, scale, ranked)
        inverse = _inverse(payoff, scale, members)
    return None if inverse is None else _Basis(payoff, scale, members, inverse)


def _inverse(payoff: FloatArray, scale: float, members: NDArray[np.int64]) -> FloatArray | None:
    """``K_S^-1`` in the first block of a larger array; None where K_S is singular or nearly so."""
    from scipy.linalg.lapack import dgetrf, dgetri  # In place: the matrix may be large.

    # The identity beside K_S is its own inverse and leaves room for the basis to grow without moving it.
    size = len(members) + 1
    room = min(len(payoff), len(members) + max(_ROOM, len(payoff) // 50)) + 1
    bordered = np.zeros((room, room), order="F")
    bordered[np.arange(size, room), np.arange(size, room)] = 1.0
    bordered[1:size, 0] = -1.0
    bordered[0, 1:size] = 1.0
    # A^T = -A: written by rows of the transpose, which lies in C order.
    for place, action in enumerate(members, start=1):
        np.divide(payoff[action, members], -scale, out=bordered.T[place, 1:size])
    factors, pivots, info = dgetrf(bordered, overwrite_a=True)
    if info != 0 or np.abs(np.diagonal(factors)).min() < 1.0 / _LARGEST_INVERSE:
        return None
    inverse, info = dgetri(factors, pivots, overwrite_lu=True)
    if info != 0 or not max(inverse.max(), -inverse.min()) < _LARGEST_INVERSE:
        return None
    # The transpose lies in C order; of a skew matrix it is the negative.
    np.negative(inverse, out=inverse)
    return np.asarray(inverse.T)


def _independent(payoff: FloatArray, scale: float, ranked: NDArray[np.int64]) -> NDArray[np.int64]:
    """A large odd subset with a regular ``K_S``, by skew elimination that takes likely actions first.

    Pivots are 2 x 2 (Bunch 1982): the next action in rank, and the partner on which its row is largest. A row is
    brought up to date when it is looked at, so the work is O(m^2 r) for m actions of rank r.
    """
    count = len(ranked)
    first = payoff[ranked[0], ranked] / scale
    left, right = np.empty((2, count // 2, count))
    free = np.ones(count, dtype=bool)
    free[0] = False
    chosen = [0]
    pivots = 0
    for i in range(1, count):
        if not free[i]:
            continue
        free[i] = False
        row = _eliminated(payoff, scale, ranked, first, left[:pivots], right[:pivots], i)
        j = int(np.abs(np.where(free, row, 0.0)).argmax())
        if not free[j] or abs(row[j]) < 1e-7:
            continue
        free[j] = False
        chosen += [i, j]
        # A_xy + (A_jx A_iy - A_ix A_jy) / A_ij for the remaining x, y.
        left[pivots] = _eliminated(payoff, scale, ranked, first, left[:pivots], right[:pivots], j) / row[j]
        right[pivots] = row
        pivots += 1
    return np.sort(ranked[chosen])


def _eliminated(
    payoff: FloatArray,
    scale: float,
    ranked: NDArray[np.int64],
    first: FloatArray,
    left: FloatArray,
    right: FloatArray,
    i: int,
) -> FloatArray:
    """Row i of the Schur complement: the first pivot pairs the border with action 0, A_ij - A_i0 + A_j0 remains."""
    row = payoff[ranked[i], ranked] / scale + first[i] - first
    row += left[:, i] @ right
    row -= right[:, i] @ left
    return np.asarray(row)
