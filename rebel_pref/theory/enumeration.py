"""Every draw there can be, with its probability: expectations of estimators without sampling noise."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rebel_pref.preferences import FloatArray
from rebel_pref.regression import group_gradient_weights

__all__ = ["IntArray", "Prescribed", "groups", "multisets", "places", "population_minimiser", "verdict_patterns"]

IntArray = NDArray[np.int64]


def groups(policy: FloatArray, size: int) -> tuple[IntArray, FloatArray]:
    """All ordered groups of `size` i.i.d. draws: actions [n^K, K] and probabilities [n^K]."""
    draws = np.array(list(product(range(len(policy)), repeat=size)), dtype=np.int64)
    return draws, policy[draws].prod(axis=-1)


def multisets(policy: FloatArray, size: int) -> tuple[IntArray, FloatArray]:
    """All groups of `size` i.i.d. draws up to their order: actions [m, K], ascending, and probabilities [m]."""
    n = len(policy)
    draws = np.array(list(combinations_with_replacement(range(n), size)), dtype=np.int64)
    counts = (draws[..., None] == np.arange(n)).sum(axis=1)
    log_factorial = np.cumsum([0.0, *np.log(np.arange(1.0, size + 1.0))])
    orders = log_factorial[size] - log_factorial[counts].sum(axis=-1)
    return draws, np.exp(orders + counts @ np.log(policy))


def verdict_patterns(payoffs: FloatArray) -> tuple[FloatArray, FloatArray]:
    """All verdicts +1 or -1 with means `payoffs` [m]: patterns [2^m, m] and probabilities [2^m]."""
    patterns = np.array(list(product((1.0, -1.0), repeat=len(payoffs)))).reshape(-1, len(payoffs))
    return patterns, (0.5 * (1.0 + patterns * payoffs)).prod(axis=-1)


def population_minimiser(draws: IntArray, probability: FloatArray, targets: FloatArray, n: int) -> FloatArray:
    """The log-ratio [n], mean 0, where the expected gradient of the pairwise loss over groups [m, K] vanishes.

    The gradient is the library's, linear in the errors: from its values at the unit vectors and at the targets the
    minimiser follows by one linear solve. Actions that no group holds stay at 0.
    """

    def gradient(error: FloatArray) -> FloatArray:
        coefficients = np.asarray(group_gradient_weights(error)) * probability[:, None]
        return np.bincount(draws.ravel(), weights=coefficients.ravel(), minlength=n).astype(np.float64)

    curvature = np.stack([gradient((draws == action).astype(np.float64)) for action in range(n)], axis=1)
    # A constant drops out of differences: its singular value is rounding.
    return np.asarray(np.linalg.pinv(curvature, rcond=1e-9) @ gradient(targets))


def places(policy: FloatArray, draws: IntArray) -> FloatArray:
    """Uniform numbers that a draw by inversion turns into these actions: the middles of their intervals."""
    return np.asarray((policy.cumsum() - 0.5 * policy)[draws])


class Prescribed(np.random.Generator):
    """A generator whose ``random(shape)`` returns what it was given, in turn: an estimator under one known draw."""

    def __init__(self, values: Iterable[FloatArray]) -> None:
        super().__init__(np.random.PCG64(0))
        self._values = iter(values)

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        """The next array, in the shape asked for."""
        return next(self._values).reshape(size)
