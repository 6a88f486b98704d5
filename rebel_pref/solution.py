"""The answer of every solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rebel_pref.certificates import Certificate
from rebel_pref.preferences import FloatArray

__all__ = ["SOLVED", "Solution"]

SOLVED = "solved"


@dataclass(frozen=True, eq=False)
class Solution:
    """A policy and the proof of how good it is.

    Attributes
    ----------
    policy : float64 [n] in the order of ``game.labels``.
    support : labels with a probability above 1e-9, likeliest first.
    certificate : of `policy`, from game and policy alone.
    method : what ran.
    steps : iterations or rounds taken.
    status : "solved", or what fell short and what to do about it.
    settings : what the method was run with, so that the result can be reprinted.
    average_policy, average_certificate : mean of the iterates pi_1..pi_T, for learning dynamics only;
        there `policy` is the last iterate.
    """

    policy: FloatArray
    support: tuple[str, ...]
    certificate: Certificate
    method: str
    steps: int
    status: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    average_policy: FloatArray | None = None
    average_certificate: Certificate | None = None

    @property
    def solved(self) -> bool:
        """Whether the method reached its tolerance."""
        return self.status == SOLVED
