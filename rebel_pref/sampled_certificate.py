"""The certificate of a game that can only be sampled: an interval that holds with a stated probability."""

from __future__ import annotations

from dataclasses import dataclass, field

from rebel_pref.certificates import exploitability
from rebel_pref.games.game import Game
from rebel_pref.preferences import FloatArray

__all__ = ["SampledCertificate"]


@dataclass(frozen=True)
class SampledCertificate:
    """What the best responder gets against a policy, as far as duels can tell.

    With probability at least ``1 - delta`` over the duels, ``lower <= exploitability of the policy <= upper``.

    Attributes
    ----------
    exploitability : point estimate of ``max_y (A pi)(y)``, within the interval; it carries no guarantee.
    lower, upper : the interval, payoff units, ``0 <= lower <= upper <= 1``.
    delta : probability with which the interval may miss.
    duels : played in all, for the policy and for the interval.
    best_response : label of the action that is estimated to get most against the policy.
    policy : the policy that was measured, [n].
    """

    exploitability: float
    lower: float
    upper: float
    delta: float
    duels: int
    best_response: str
    policy: FloatArray = field(repr=False, compare=False)

    @property
    def duality_gap(self) -> float:
        """Twice the estimated exploitability (NashConv of the symmetric game)."""
        return 2.0 * self.exploitability

    @property
    def upper_bound(self) -> float:
        """No best responder gets more than this, with probability ``1 - delta``."""
        return self.upper

    @property
    def best_response_win_rate(self) -> float:
        """``1/2 + exploitability / 2``, an estimate too."""
        return 0.5 + 0.5 * self.exploitability

    def verify(self, game: Game) -> bool:
        """Whether the interval holds on `game`, where the game behind the duels is known after all."""
        return len(self.policy) == len(game) and self.lower <= exploitability(game, self.policy) <= self.upper

    def __str__(self) -> str:
        return (
            f"exploitability in [{self.lower:.3g}, {self.upper:.3g}] at level {1 - self.delta:g}, about"
            f" {self.exploitability:.3g}, from {self.duels} duels; the best response is {self.best_response!r}"
        )
