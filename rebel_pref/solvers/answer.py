"""What a solver hands to :func:`rebel_pref.solve`, which certifies it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rebel_pref.preferences import FloatArray

__all__ = ["Answer", "Progress"]

Progress = Callable[[int, float], None]
"""Called now and then with the steps taken and the exploitability reached, for progress bars."""


@dataclass(frozen=True, eq=False)
class Answer:
    """A policy that has not been certified yet.

    Attributes
    ----------
    policy : float64 [n], probabilities.
    method : what ran, as `solution.method` will say it.
    steps : iterations, pivots or rounds taken.
    message : empty where the method came to its end, else what fell short and what to do about it.
    """

    policy: FloatArray
    method: str
    steps: int
    message: str = ""
