"""Games given by factors or by a matvec: a million actions without a million squared payoffs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rebel_pref.games.game import rounding_factor
from rebel_pref.games.labels import checked_labels
from rebel_pref.preferences import FloatArray

__all__ = ["FactoredGame", "MatvecGame"]


@dataclass(frozen=True, eq=False)
class FactoredGame:
    """``A = U V^T - V U^T + r 1^T - 1 r^T``, never formed: discs (intransitive) and scores (transitive).

    Attributes
    ----------
    left, right : U and V, float64 [n, k]; column l of both is one disc, ``u_i v_j - v_i u_j``.
    scores : r, float64 [n].
    labels : n names.

    >>> game = FactoredGame.from_factors([[1.0], [-0.5], [-0.5]], [[0.0], [0.75], [-0.75]])
    >>> game.payoffs_against(np.full(3, 1 / 3)).round(12)
    array([0., 0., 0.])
    """

    left: FloatArray
    right: FloatArray
    scores: FloatArray
    labels: Sequence[str]

    @classmethod
    def from_factors(
        cls, left: ArrayLike, right: ArrayLike, scores: ArrayLike | None = None, *, labels: Sequence[str] | None = None
    ) -> FactoredGame:
        """From U, V [n, k] and optional scores r [n]; all finite.

        Raises
        ------
        ValueError
            For shapes that do not match, an empty game, NaN or infinite entries.
        """
        u = np.ascontiguousarray(left, dtype=np.float64)
        v = np.ascontiguousarray(right, dtype=np.float64)
        if u.ndim != 2 or u.shape != v.shape or len(u) == 0:
            raise ValueError(f"expected two factors of the same shape [n, k], n >= 1, got {u.shape} and {v.shape}")
        r = np.zeros(len(u)) if scores is None else np.ascontiguousarray(scores, dtype=np.float64)
        if r.shape != (len(u),):
            raise ValueError(f"expected scores of shape ({len(u)},), one an action, got {r.shape}")
        # NaN and infinities spread to the largest payoff there can be.
        with np.errstate(over="ignore", invalid="ignore"):
            largest = [max(float(array.max(initial=0.0)), -float(array.min(initial=0.0))) for array in (u, v, r)]
            most = 2.0 * (u.shape[1] * largest[0] * largest[1] + largest[2])
        if not np.isfinite(most) or any(np.isnan(array.max(initial=0.0)) for array in (u, v, r)):
            for name, array in (("left", u), ("right", v), ("scores", r)):
                if not np.isfinite(array).all():
                    where = np.argwhere(~np.isfinite(array))[0].tolist()
                    raise ValueError(f"factors must be finite, got {name}{where} = {array[tuple(where)]}")
            raise ValueError("factors are so large that payoffs overflow; divide them by a common number")
        return cls(u, v, r, checked_labels(labels, len(u)))

    @cached_property
    def _stacked(self) -> FloatArray:
        """U^T, V^T and r, one under the other, [2 k + 1, n]: every product runs along the memory."""
        return np.vstack([self.left.T, self.right.T, self.scores])

    @cached_property
    def _largest(self) -> FloatArray:
        """Largest absolute entry of every row of the stack."""
        return np.asarray(np.maximum(self._stacked.max(axis=1), -self._stacked.min(axis=1)))

    @cached_property
    def scale(self) -> float:
        """The largest payoff met by going from an action to the one furthest from it, and on from there.

        A lower bound of ``max|A|``, which would take O(n^2 k): a tolerance relative to it is the stricter one. The
        first action is the one that a random mixture moves most, so that an action that ties with all hides nothing.
        What is no larger than rounding is 0.
        """
        largest = _largest_payoff(self)
        discs, sizes = self.left.shape[1], self._largest
        rounding = rounding_factor(2 * discs + 8) * 2.0 * float(sizes[:discs] @ sizes[discs:-1] + sizes[-1])
        return largest if largest > rounding else 0.0

    @cached_property
    def holds_win_rates(self) -> bool:
        """Whether the factors alone show that every payoff lies in [-1, 1]."""
        if self.scale > 1.0 + 1e-9:
            return False
        norms = np.einsum("ij,ij->j", self._stacked[:-1], self._stacked[:-1])
        return float(norms.max()) + float(np.ptp(self.scores)) <= 1.0 + 1e-9

    def payoffs_against(self, policy: FloatArray) -> FloatArray:
        """``A p`` [n]; O(n k), and the moments of p over its support only."""
        support = np.flatnonzero(policy)
        mass = policy[support]
        if len(support) == len(self):
            moments = self._stacked @ policy
        else:
            moments = np.concatenate(
                [mass @ self.left[support], mass @ self.right[support], self.scores[support, None].T @ mass]
            )
        return self._against(moments, float(mass.sum()))

    def precise_payoffs_against(self, policy: FloatArray) -> NDArray[np.longdouble]:
        """``A p`` [n] in extended precision, over the support of p."""
        support = np.flatnonzero(policy)
        mass = policy[support].astype(np.longdouble)
        mass /= mass.sum()
        left, right, scores = (array[support].astype(np.longdouble) for array in (self.left, self.right, self.scores))
        result = np.empty(len(self), dtype=np.longdouble)
        for start in range(0, len(self), 4096):
            block = slice(start, start + 4096)
            result[block] = self.left[block].astype(np.longdouble) @ (mass @ right)
            result[block] -= self.right[block].astype(np.longdouble) @ (mass @ left)
            result[block] += self.scores[block] - mass @ scores
        return result

    def rounding_bound(self, policy: FloatArray) -> float:
        """``gamma`` times the same sum over absolute values, for the terms of both products."""
        support = np.flatnonzero(policy)
        mass = policy[support]
        discs = self.left.shape[1]
        left, right = mass @ np.abs(self.left[support]), mass @ np.abs(self.right[support])
        largest = self._largest
        absolute = float(largest[:discs] @ right + largest[discs:-1] @ left)
        absolute += float(largest[-1] * mass.sum() + mass @ np.abs(self.scores[support]))
        terms = 2 * len(support) + 2 * discs + 8
        return float(rounding_factor(terms) * absolute + (len(support) + 1) * terms * self._underflow)

    @property
    def _underflow(self) -> float:
        """What one product may lose below the smallest normal number, times what multiplies it afterwards."""
        return float(np.finfo(np.float64).smallest_subnormal) * (1.0 + float(self._largest.max()))

    def columns(self, actions: NDArray[np.int64]) -> FloatArray:
        """``A[:, actions]`` [n, k]; O(n k rank)."""
        result = np.empty((len(self), len(actions)))
        for column, action in enumerate(actions):
            result[:, column] = self._against(self._stacked[:, action], 1.0)
        return result

    def among(self, actions: NDArray[np.int64], opponents: NDArray[np.int64] | None = None) -> FloatArray:
        """``A[actions, opponents]`` [k, m] from the rows of the factors; O(k m rank)."""
        rivals = actions if opponents is None else opponents
        payoffs = self.left[actions] @ self.right[rivals].T
        payoffs -= self.right[actions] @ self.left[rivals].T
        payoffs += np.subtract.outer(self.scores[actions], self.scores[rivals])
        return payoffs if opponents is not None else np.asarray(0.5 * (payoffs - payoffs.T))

    def _against(self, moments: FloatArray, mass: float) -> FloatArray:
        """Payoffs [n] against a mixture with these moments of the stack [2 k + 1]."""
        discs = self.left.shape[1]
        result = np.concatenate([moments[discs:-1], -moments[:discs], [mass]]) @ self._stacked
        result -= moments[-1]
        return np.asarray(result)

    def __len__(self) -> int:
        return len(self.left)

    def __repr__(self) -> str:
        return f"FactoredGame({len(self)} actions, {self.left.shape[1]} discs)"


@dataclass(frozen=True, eq=False)
class MatvecGame:
    """A game known only through ``matvec(p) = A p``, such as an operator that runs elsewhere.

    Attributes
    ----------
    matvec : float64 [n] -> float64 [n]; linear and skew (``p @ matvec(p) = 0``), which is checked on two draws.
    size : n.
    labels : n names.
    matvec_error : absolute bound on any entry of ``matvec(p)`` for a policy p, if known; without one the
        certificate has no rounding bound.
    """

    matvec: Callable[[FloatArray], FloatArray]
    size: int
    labels: Sequence[str]
    matvec_error: float = float("inf")

    @classmethod
    def from_matvec(
        cls,
        matvec: Callable[[FloatArray], FloatArray],
        size: int,
        *,
        labels: Sequence[str] | None = None,
        matvec_error: float = float("inf"),
    ) -> MatvecGame:
        """From a function and the number of actions.

        Raises
        ------
        ValueError
            For a function that returns another shape, NaN or infinite payoffs, or is not skew.
        """
        if size < 1:
            raise ValueError(f"expected at least one action, got size {size}")
        if not matvec_error >= 0.0:
            raise ValueError(f"matvec_error bounds an absolute error and is not negative, got {matvec_error}")
        game = cls(matvec, size, checked_labels(labels, size), matvec_error)
        rng = np.random.default_rng(0)
        first, second = rng.standard_normal((2, size))
        images = game.payoffs_against(first), game.payoffs_against(second)
        excess = abs(float(first @ images[1] + second @ images[0]))
        allowed = 1e-9 * float(np.linalg.norm(first) * np.abs(images[1]).max() * np.sqrt(size))
        if excess > allowed:
            raise ValueError(
                f"matvec is not skew-symmetric: x.A(y) + y.A(x) = {excess:.3g} for two random vectors, expected 0 "
                f"(tolerance {allowed:.3g})"
            )
        return game

    @cached_property
    def scale(self) -> float:
        """The largest payoff met on a walk, as in :attr:`FactoredGame.scale`; at most nine calls."""
        return _largest_payoff(self)

    @property
    def holds_win_rates(self) -> bool:
        """Never known."""
        return False

    def payoffs_against(self, policy: FloatArray) -> FloatArray:
        """``A p`` [n]; one call."""
        # A function may use one array for all its results.
        result = np.array(self.matvec(policy), dtype=np.float64)
        if result.shape != (self.size,) or not np.isfinite(result).all():
            found = f"shape {result.shape}" if result.shape != (self.size,) else "NaN or infinite entries"
            raise ValueError(f"expected {self.size} finite payoffs from matvec, got {found}")
        return result

    def precise_payoffs_against(self, policy: FloatArray) -> NDArray[np.longdouble]:
        """``A p`` [n]: the function is asked again."""
        return self.payoffs_against(policy).astype(np.longdouble)

    def rounding_bound(self, policy: FloatArray) -> float:
        """What the user said of the function's error."""
        return self.matvec_error

    def columns(self, actions: NDArray[np.int64]) -> FloatArray:
        """``A[:, actions]`` [n, k]; k calls."""
        result = np.empty((self.size, len(actions)))
        for column, action in enumerate(actions):
            unit = np.zeros(self.size)
            unit[action] = 1.0
            result[:, column] = self.payoffs_against(unit)
        return result

    def among(self, actions: NDArray[np.int64], opponents: NDArray[np.int64] | None = None) -> FloatArray:
        """``A[actions, opponents]`` [k, m]; as many calls as the shorter side has actions."""
        if opponents is None:
            payoffs = self.columns(actions)[actions]
            return np.asarray(0.5 * (payoffs - payoffs.T))
        if len(actions) < len(opponents):
            return np.asarray(-self.columns(actions)[opponents].T)
        return self.columns(opponents)[actions]

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"MatvecGame({self.size} actions)"


def _largest_payoff(game: FactoredGame | MatvecGame) -> float:
    """Walk from the action that a random mixture moves most to the one furthest from it, while payoffs grow."""
    direction = np.random.default_rng(0).random(len(game))
    action = int(np.abs(game.payoffs_against(direction / direction.sum())).argmax())
    largest = 0.0
    for _ in range(8):
        column = np.abs(game.columns(np.array([action]))[:, 0])
        action, reached = int(column.argmax()), float(column.max())
        if reached <= 1.01 * largest:
            break
        largest = reached
    return max(largest, reached)
