"""Which row, and which numbers, when nobody says: by how noisy what a round sees is."""

from __future__ import annotations

import math

from rebel_pref.algorithms import Algorithm, proximal_rebel
from rebel_pref.schedules import Schedule, annealed

__all__ = ["automatic_algorithm"]


def automatic_algorithm(opponents: float = math.inf, *, scale: float = 1.0) -> Algorithm | Schedule:
    """The row whose **last** iterate is meant to be read, for payoffs averaged over that many opponents a round.

    Exact payoffs (``opponents = inf``): :func:`~rebel_pref.algorithms.proximal_rebel` without a magnet at step
    ``100 / scale``, the exact proximal point, whose last iterate converges to a winner at any step size. The price of a
    large step is a few Newton iterations.

    Noisy payoffs: `proximal_rebel` with ``eta_t = (1 + 2 t / K)^(-1/2) / scale``, ``tau = scale / 10`` and a magnet
    that follows at the rate ``eta_t tau / 2``. The magnet moves, so no bias stays; it averages, and the step falls from
    where the noise, of variance about 1 / K, would set a floor. This has no published proof: ``rebel-pref theory``
    measures it against the other rows at their best, and prints where it loses.

    Parameters
    ----------
    opponents : K, how many exact payoffs against independent opponents the estimate of a round is worth, see
        ``opponents`` of :mod:`rebel_pref.solvers.feedback`.
    scale : ``max|A|``; 1 for preferences.
    """
    if not opponents > 0.0:
        raise ValueError(f"opponents must be positive, got {opponents}")
    if not 0.0 < scale < math.inf:
        raise ValueError(f"scale must be positive and finite, got {scale}")
    if math.isinf(opponents):
        return proximal_rebel(100.0 / scale, 0.0)
    return annealed(
        proximal_rebel,
        step_size=1.0 / scale,
        regularization=0.1 * scale,
        after=0.5 * opponents,
        magnet_share=0.5,
    )
