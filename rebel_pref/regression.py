"""The regression: residuals of REBEL (pairwise) and SPPO (pointwise), and the exact O(K) forms.

All residuals are in nats: ``error = log-ratio - target`` with the step size inside the target (some papers
divide by eta instead, which scales the loss by 1 / eta^2). Functions accept any array type, [..., K].
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "group_gradient_weights",
    "pairwise_loss",
    "pairwise_residuals",
    "pointwise_loss",
    "weighted_pairwise_loss",
]


def pairwise_residuals(error: Any) -> Any:
    """``error_i - error_j`` for every pair, [..., K] -> [..., K, K]. The normaliser log Z cancels here."""
    return error[..., :, None] - error[..., None, :]


def pairwise_loss(error: Any) -> Any:
    """Mean over pairs i != j of squared residuals, [..., K] -> [...], in O(K).

    It is twice the sample variance: ``sum_{i != j} (e_i - e_j)^2 / (K (K-1)) = 2 sum (e - mean)^2 / (K-1)``.
    """
    size = error.shape[-1]
    if size < 2:
        raise ValueError(f"a pairwise residual needs K >= 2 responses to a prompt, got {size}")
    centred = error - error.mean(-1)[..., None]
    return 2.0 * (centred * centred).sum(-1) / (size - 1)


def weighted_pairwise_loss(error: Any, weights: Any) -> Any:
    """``sum_ij v_i v_j (e_i - e_j)^2 = 2 Var_v(e)`` for weights that sum to 1 along the last axis.

    Zero weights are padding. With v = 1/K this is (K-1)/K of :func:`pairwise_loss`, which leaves i = j out.
    """
    centred = error - (weights * error).sum(-1)[..., None]
    return 2.0 * (weights * centred * centred).sum(-1)


def pointwise_loss(error: Any, weights: Any | None = None) -> Any:
    """Mean of squared errors of single responses (SPPO, arXiv:2405.00675), [..., K] -> [...]."""
    if weights is None:
        return (error * error).mean(-1)
    return (weights * error * error).sum(-1)


def group_gradient_weights(error: Any, weights: Any | None = None, *, residual: str = "pairwise") -> Any:
    """Coefficients c with ``grad loss = sum_i c_i grad log pi(y_i)``, from errors at the current parameters.

    They need no gradient themselves, so one group may be split over microbatches, packs and processes:
    the gradient stays the one of the whole group. Pairwise: ``4 (e_i - mean e) / (K - 1)``, with weights
    ``4 v_i (e_i - sum v e)``; pointwise: ``2 e_i / K``, with weights ``2 v_i e_i``.
    """
    if residual == "pointwise":
        return 2.0 * error / error.shape[-1] if weights is None else 2.0 * weights * error
    if weights is None:
        return 4.0 * (error - error.mean(-1)[..., None]) / (error.shape[-1] - 1)
    return 4.0 * weights * (error - (weights * error).sum(-1)[..., None])
