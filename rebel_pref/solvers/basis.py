"""A basis of the skew tableau: a support, the rows of A on it and the inverse of its bordered matrix ``K_S``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rebel_pref.preferences import FloatArray

__all__ = ["Basis", "Column", "independent_support", "invert_in_halves", "lapack_inverse", "support_inverse"]

_LARGEST_INVERSE = 1e9
_ROOM = 32
_HALVES = 300


@dataclass(frozen=True)
class Column:
    """One column of the tableau: entries of the border and the support (in the basis's order), and of all actions."""

    support: FloatArray
    actions: FloatArray


class Basis:
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

    def column(self, action: int) -> Column:
        """How p (on S) and -w (off S) answer to p of an action off S, or to -w of one on S."""
        if self.inside[action]:
            support = self.inverse[:, self._place(action) + 1].copy()
            actions = -(support[1:] @ self.rows) - support[0]
        else:
            support = -(self.inverse @ np.append(1.0, self.rows[:, action]))
            # Column `action` of A is minus its row.
            actions = -(support[1:] @ self.rows) - support[0] - self.payoff[action] / self.scale
        actions[self.members] = support[1:]
        return Column(support, actions)

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

    def exchange(self, first: int, second: int, column: Column, other: Column, t: float) -> bool:
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


def support_inverse(payoff: FloatArray, scale: float, members: NDArray[np.int64]) -> FloatArray | None:
    """``K_S^-1`` in the first block of a larger array; None where K_S is singular or nearly so."""
    size = len(members) + 1
    room = min(len(payoff), len(members) + max(_ROOM, len(payoff) // 50)) + 1
    bordered = np.zeros((size, size))
    bordered[1:, 0] = -1.0
    bordered[0, 1:] = 1.0
    for place, action in enumerate(members, start=1):
        np.divide(payoff[action, members], scale, out=bordered[place, 1:])
    result = np.zeros((room, room))
    if size >= _HALVES and invert_in_halves(bordered, result[:size, :size]):
        return result
    inverse = lapack_inverse(bordered)
    if inverse is None:
        return None
    result[:size, :size] = inverse
    return result


def invert_in_halves(matrix: FloatArray, out: FloatArray) -> bool:
    """Inverse of a skew matrix by its Schur complement: twice as fast, for most of it are products of matrices.

    Nothing pivots between the halves, so the result is checked on a random vector; False where it is too far off. The
    pivots need no more than six digits, and the answer is refined.
    """
    half = len(matrix) // 4 * 2
    corner = lapack_inverse(matrix[:half, :half])
    if corner is None:
        return False
    right = corner @ matrix[:half, half:]
    complement = lapack_inverse(matrix[half:, half:] + matrix[:half, half:].T @ right)
    if complement is None:
        return False
    out[half:, half:] = complement
    product = right @ complement
    out[half:, :half] = product.T
    np.negative(product, out=out[:half, half:])
    out[:half, :half] = corner
    out[:half, :half] += product @ right.T
    probe = np.random.default_rng(0).standard_normal(len(matrix))
    error = np.abs(matrix @ (out @ probe) - probe).max()
    return bool(error < 1e-6 and max(out.max(), -out.min()) < _LARGEST_INVERSE)


def lapack_inverse(matrix: FloatArray) -> FloatArray | None:
    """Inverse of a skew matrix by LU with partial pivoting, 2 m^3 flops; None where it is singular or nearly so."""
    from scipy.linalg.lapack import dgetrf, dgetri

    # Of the transpose, which LAPACK finds in its own order: minus the matrix, whose inverse is minus ours.
    factors, pivots, info = dgetrf(matrix.T, overwrite_a=False)
    if info != 0 or np.abs(np.diagonal(factors)).min() < 1.0 / _LARGEST_INVERSE:
        return None
    inverse, info = dgetri(factors, pivots, overwrite_lu=True)
    if info != 0 or not max(inverse.max(), -inverse.min()) < _LARGEST_INVERSE:
        return None
    return np.asarray(inverse.T)


def independent_support(payoff: FloatArray, scale: float, ranked: NDArray[np.int64]) -> NDArray[np.int64]:
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
