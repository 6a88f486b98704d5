"""Preferences: the oracle protocol, the change of scale, and what makes a matrix a preference.

A *preference* ``P(y > y' | x)`` is a win probability in [0, 1] with ``P + P.T = 1``; a *payoff* is
``A = 2 P - 1`` in [-1, 1] with ``A + A.T = 0``. Every formula of the library is on the payoff scale;
oracles speak probabilities because that is what judges and models produce.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "FunctionOracle",
    "PreferenceOracle",
    "check_preferences",
    "check_texts",
    "checked_answer",
    "complementary",
    "exactly_skew",
    "half_character",
    "payoffs_from_preferences",
    "preferences_from_payoffs",
    "probabilities",
    "skew_payoffs",
    "symmetrize_logits",
    "symmetrize_preferences",
]

FloatArray = NDArray[np.float64]

ROUNDING = 0.01
"""Of P + P.T = 1 in an oracle's answer: above what batching does to a half-precision model, below a position bias."""


@runtime_checkable
class PreferenceOracle(Protocol):
    """Anything that compares responses to the same prompt: a judge, a preference model, a matrix."""

    def prefer(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> FloatArray:
        """Return the win probability of every response against every opponent.

        Parameters
        ----------
        prompts : B strings.
        responses : B lists of K strings each.
        opponents : B lists of M strings each, or None for the responses themselves (M = K).

        Returns
        -------
        array [B, K, M] in [0, 1]; NaN where no judgement could be had (never a coin flip).
        """
        ...


class FunctionOracle:
    """Turn a Python function ``compare(prompt, first, second) -> P(first wins)`` into an oracle.

    The function is called in one order only and completed by ``P(second, first) = 1 - P(first, second)``;
    wrap a judge with a position bias in both orders first (:func:`symmetrize_preferences`).
    """

    def __init__(self, compare: Callable[[str, str, str], float]) -> None:
        self.compare = compare

    def prefer(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> FloatArray:
        """See :meth:`PreferenceOracle.prefer`."""
        rivals = check_texts(prompts, responses, opponents)
        result = np.full((len(prompts), len(responses[0]), len(rivals[0])), 0.5)
        for b, prompt in enumerate(prompts):
            for i, first in enumerate(responses[b]):
                for j, second in enumerate(rivals[b]):
                    if opponents is None and j < i:
                        result[b, i, j] = 1.0 - result[b, j, i]
                    elif opponents is not None or j > i:
                        result[b, i, j] = self.compare(prompt, first, second)
        return result


def check_texts(
    prompts: Sequence[str], responses: Sequence[Sequence[str]], opponents: Sequence[Sequence[str]] | None = None
) -> Sequence[Sequence[str]]:
    """The opponents, or the responses where there are none, of a question that an oracle can answer.

    Raises
    ------
    ValueError
        For anything but B >= 1 prompts with B lists of K >= 1 responses (and of M >= 1 opponents).
    """
    for name, lists in (("responses", responses), ("opponents", opponents)):
        if lists is None:
            continue
        if isinstance(lists, str) or any(isinstance(texts, str) for texts in lists):
            raise ValueError(f"expected one list of {name} a prompt, got a string in the place of a list")
        widths = {len(texts) for texts in lists}
        if len(prompts) != len(lists) or len(widths) != 1 or 0 in widths:
            raise ValueError(
                f"expected one list of {name} a prompt, all of the same length >= 1; got {len(prompts)} prompts and "
                f"{len(lists)} lists of lengths {sorted(widths)}"
            )
    return responses if opponents is None else opponents


def half_character(text: str) -> int | None:
    """Where half of a pair of surrogates stands, which JSON may hold and no file or tokenizer; None where none does."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def checked_answer(answer: ArrayLike, shape: tuple[int, ...], who: str = "the oracle") -> FloatArray:
    """A fresh array of what `who` answered: probabilities of this shape, NaN where there is no judgement.

    Raises
    ------
    ValueError
        For another shape, or anything outside [0, 1].
    """
    result = np.array(answer, dtype=np.float64)
    if result.shape != shape:
        raise ValueError(f"{who} answered with shape {result.shape}, expected {shape}")
    outside = result[(result < 0.0) | (result > 1.0)]
    if outside.size:
        raise ValueError(f"{who} answered {outside[0]:.6g}, expected probabilities (not logits) in [0, 1], or NaN")
    return result


def skew_payoffs(preferences: FloatArray, names: Sequence[str], who: str = "the oracle") -> FloatArray:
    """``(A - A^T) / 2`` of an oracle's answer [K, K], a judge that may round: NaN stays, the diagonal is 0.

    Parameters
    ----------
    names, who : of the K responses, and who answered, for the error.

    Raises
    ------
    ValueError
        If ``P + P.T`` is further from 1 than :data:`ROUNDING`.
    """
    payoffs = np.asarray(payoffs_from_preferences(preferences))
    excess = np.abs(payoffs + payoffs.T)
    np.fill_diagonal(excess, 0.0)
    if np.nanmax(excess, initial=0.0) > 2.0 * ROUNDING:
        i, j = _worst(np.nan_to_num(excess))
        raise ValueError(
            f"{who} contradicts itself: P({names[i]!r} wins) + P({names[j]!r} wins) = "
            f"{preferences[i, j] + preferences[j, i]:.4g}, expected 1 (tolerance {ROUNDING}); ask it in both orders "
            "and average (rebel_pref.preferences.symmetrize_preferences)"
        )
    result: FloatArray = 0.5 * (payoffs - payoffs.T)
    np.fill_diagonal(result, 0.0)
    return result


def probabilities(logits: ArrayLike) -> FloatArray:
    """``sigmoid(logits)`` in float64; large logits do not overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64))))


def complementary(preferences: FloatArray) -> FloatArray:
    """Preferences [..., K, K] whose lower triangle is 1 - the upper one; NaN stays NaN, in both."""
    result = preferences.copy()
    rows, columns = np.tril_indices(result.shape[-1], -1)
    result[..., rows, columns] = 1.0 - result[..., columns, rows]
    return result


def payoffs_from_preferences(preferences: Any) -> Any:
    """``A = 2 P - 1``, on any array type; NaN (a missing judgement) stays NaN."""
    return 2.0 * preferences - 1.0


def preferences_from_payoffs(payoffs: Any) -> Any:
    """``P = (1 + A) / 2``, on any array type."""
    return 0.5 * (1.0 + payoffs)


def exactly_skew(payoffs: ArrayLike, *, tolerance: float = 1e-9) -> FloatArray:
    """``(A - A^T) / 2`` of payoffs [..., n, n]: a fresh, read-only copy; or say which entry breaks ``A + A^T = 0``.

    Raises
    ------
    ValueError
        For an empty or non-square array, NaN or infinite entries, or a pair whose sum exceeds
        ``tolerance * max|A|`` (and 1e-15).
    """
    array = _square(payoffs, "payoff")
    # NaN and infinities spread to the asymmetry, so 0 says that all is well.
    asymmetry = _asymmetry(array)
    if asymmetry == 0.0:
        result = array.copy(order="C")
    else:
        _check_finite(array, "payoff")
        # Below 1e-15 it is what rounding leaves of payoffs of ordinary size.
        allowed = max(tolerance * max(float(array.max()), -float(array.min())), 1e-15)
        if asymmetry > allowed:
            excess = np.abs(array + np.swapaxes(array, -1, -2))
            i, j = _worst(excess)
            totals = (array[..., i, j] + array[..., j, i]).ravel()
            raise ValueError(
                f"payoff is not skew-symmetric: A[{i}, {j}] + A[{j}, {i}] = {totals[np.abs(totals).argmax()]:.6g}, "
                f"expected 0 (tolerance {allowed:.3g}); pass preferences with from_preferences"
            )
        result = np.empty(array.shape)
        for block in _blocks(array):
            # Halved first: the difference may be too large for a float.
            half = 0.5 * np.swapaxes(array[..., :, block], -1, -2)
            np.subtract(0.5 * array[..., block, :], half, out=result[..., block, :])
    result.flags.writeable = False
    return result


def check_preferences(preferences: ArrayLike, *, tolerance: float = 1e-6) -> FloatArray:
    """Return `preferences` as float64 [..., n, n], or say which entry breaks ``P + P.T = 1``.

    Raises
    ------
    ValueError
        For an empty or non-square array, entries that are NaN, infinite or outside [0, 1], or a pair
        that does not sum to 1 within `tolerance`.
    """
    array = _square(preferences, "preference")
    _check_finite(array, "preference")
    if array.min() < 0.0 or array.max() > 1.0:
        distance = np.abs(array - 0.5)
        i, j = _worst(distance)
        raise ValueError(
            f"preference is not a probability: P[{i}, {j}] = {array.flat[distance.argmax()]:.6g}, expected a value "
            "in [0, 1]; pass payoffs with from_payoffs"
        )
    total = array + np.swapaxes(array, -1, -2)
    excess = np.abs(total - 1.0)
    if excess.max() > tolerance:
        i, j = _worst(excess)
        found = total.flat[excess.argmax()]
        raise ValueError(
            f"preference matrix is not complementary: P[{i}, {j}] + P[{j}, {i}] = {found:.6g}, expected 1 "
            f"(tolerance {tolerance:.3g}); average both orders with symmetrize_preferences"
        )
    return array


def symmetrize_logits(logits: Any) -> Any:
    """Average both orders of a raw comparison logit [..., K, K]: ``(f(y, y') - f(y', y)) / 2``.

    Exactly skew-symmetric, and cancels any additive position bias. Use it where there are logits.
    """
    half = 0.5 * logits
    return half - half.swapaxes(-1, -2)


def symmetrize_preferences(preferences: Any) -> Any:
    """Average both orders of sampled verdicts [..., K, K]: ``(P(y, y') + 1 - P(y', y)) / 2``.

    For verdicts that come without logits; shrinks towards 1/2 where the judge prefers a position.
    """
    half = 0.5 * payoffs_from_preferences(preferences)
    return preferences_from_payoffs(half - half.swapaxes(-1, -2))


def _square(values: ArrayLike, name: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim < 2 or array.shape[-1] != array.shape[-2]:
        raise ValueError(f"{name} matrix must be square, got shape {array.shape}")
    if array.shape[-1] == 0:
        raise ValueError(f"{name} matrix is empty; a game needs at least one action")
    return array


def _check_finite(array: FloatArray, name: str) -> None:
    if not (np.isfinite(array.max()) and np.isfinite(array.min())):
        i, j = _worst(~np.isfinite(array))
        raise ValueError(f"{name} matrix has a value that is not finite at [{i}, {j}]: fill or drop it first")


def _asymmetry(array: FloatArray) -> float:
    """``max |A + A^T|``."""
    worst = 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        for block in _blocks(array):
            total = array[..., block, :] + np.swapaxes(array[..., :, block], -1, -2)
            worst = np.maximum(worst, np.maximum(total.max(), -total.min()))  # NaN stays NaN
    return float(worst)


def _blocks(array: FloatArray) -> list[slice]:
    """Rows in blocks: a transposed panel of a large matrix is read through the cache, and nothing large is made."""
    return [slice(start, start + 128) for start in range(0, array.shape[-1], 128)]


def _worst(excess: NDArray[Any]) -> tuple[int, int]:
    """Position (row, column) of the largest entry, over all leading axes."""
    *_, i, j = np.unravel_index(int(excess.argmax()), excess.shape)
    return int(i), int(j)
