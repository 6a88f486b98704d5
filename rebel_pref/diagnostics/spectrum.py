"""Disc spectrum: a skew matrix as a sum of planes in which actions chase each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rebel_pref.preferences import FloatArray

__all__ = ["DiscSpectrum", "disc_spectrum", "disc_strengths", "effective_discs"]


@dataclass(frozen=True, eq=False)
class DiscSpectrum:
    """Strengths of the discs of a flow, before and after the scores are taken out.

    Attributes
    ----------
    strengths : mu_1 >= mu_2 >= ... >= 0, float64 [n // 2], of the whole flow; scores alone take one disc.
    cyclic_strengths : the same of what scores do not explain.
    """

    strengths: FloatArray
    cyclic_strengths: FloatArray

    @property
    def effective_discs(self) -> float:
        """How many equal discs would spread the energy of the whole flow as widely (see :func:`effective_discs`)."""
        return float(effective_discs(self.strengths))

    @property
    def effective_cyclic_discs(self) -> float:
        """The same of what scores do not explain."""
        return float(effective_discs(self.cyclic_strengths))


def disc_strengths(skew: FloatArray) -> FloatArray:
    """The mu of the real Schur form, blocks ``[[0, mu], [-mu, 0]]``: [..., n, n] -> [..., n // 2], falling.

    Eigenvalues of a skew matrix are ``+-i mu``, so every singular value but a last 0 comes twice.
    """
    return np.asarray(np.linalg.svd(skew, compute_uv=False)[..., : 2 * (skew.shape[-1] // 2) : 2])


def effective_discs(strengths: FloatArray) -> FloatArray:
    """``exp(entropy)`` of the energy shares ``mu^2 / sum mu^2``: [..., m] -> [...]; 0 for the zero flow."""
    energy = strengths**2
    total = energy.sum(-1, keepdims=True)
    shares = np.divide(energy, total, out=np.zeros_like(energy), where=total > 0)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(-1)
    return np.where(total[..., 0] > 0, np.exp(entropy), 0.0)


def disc_spectrum(flow: FloatArray, cyclic_flow: FloatArray) -> DiscSpectrum:
    """Spectra of a skew flow [n, n] and of its part without a gradient."""
    # A potential fitted in floating point leaves 1e-16 of the flow: that is no disc.
    cyclic = disc_strengths(cyclic_flow)
    strengths = disc_strengths(flow)
    noise = 1e-12 * strengths.max(initial=0.0)
    return DiscSpectrum(strengths, np.where(cyclic > noise, cyclic, 0.0))
