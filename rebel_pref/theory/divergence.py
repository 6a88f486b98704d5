"""Distances between policies, from their logarithms: what the statements about the implicit step are in."""

from __future__ import annotations

import numpy as np

from rebel_pref.preferences import FloatArray

__all__ = ["kl", "log_softmax", "spread"]


def kl(log_p: FloatArray, log_q: FloatArray) -> FloatArray:
    """``KL(p || q)`` in nats along the last axis; summed as ``p log p/q - p + q``, whose terms are not negative.

    The plain sum of ``p log p/q`` loses everything below 1e-16, and contraction is followed far below that.
    """
    ratio = log_q - log_p
    return np.asarray((np.exp(log_p) * (np.expm1(ratio) - ratio)).sum(axis=-1))


def log_softmax(logits: FloatArray) -> FloatArray:
    """Normalised log-policies along the last axis."""
    top = logits.max(axis=-1, keepdims=True)
    return np.asarray(logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True)))


def spread(values: FloatArray) -> FloatArray:
    """Largest less smallest along the last axis: how far log-ratios differ, whatever their constant."""
    return np.asarray(np.ptp(values, axis=-1))
