"""Rows whose numbers change with the round: which :class:`~rebel_pref.algorithms.Algorithm` plays round t.

A constant step and a constant pull towards the magnet stop at a floor: the noise of the payoffs, or the bias of the
magnet. Numbers that fall with the round pass it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rebel_pref.algorithms import Algorithm, EMAMagnet, MagnetRule

__all__ = ["Schedule", "annealed"]


@dataclass(frozen=True)
class Schedule:
    """An algorithm by the round.

    Attributes
    ----------
    name : of the algorithm, with what was done to it.
    row : round t = 0, 1, ... -> the row that plays it.
    """

    name: str
    row: Callable[[int], Algorithm]

    def at(self, number: int) -> Algorithm:
        """The row of round `number`, counted from 0."""
        return self.row(number)

    def uses(self, policy: str) -> bool:
        """Whether its rows need this policy, as an anchor or as an opponent."""
        return self.at(0).uses(policy)


def annealed(
    row: Callable[..., Algorithm],
    *,
    step_size: float,
    regularization: float,
    after: float = 1.0,
    step_power: float = 0.5,
    regularization_power: float = 0.0,
    magnet: MagnetRule | None = None,
    magnet_share: float | None = None,
) -> Schedule:
    """A row with two numbers that fall: ``eta_t = eta (1 + t / after)^-a``, ``tau_t = tau (1 + t / after)^-b``.

    Parameters
    ----------
    row : constructor of a row with a magnet, ``row(step_size, regularization, magnet=...)``.
    step_size, regularization : eta and tau of round 0; nats per unit payoff, payoff per nat.
    after : rounds over which they stay about what they are.
    step_power, regularization_power : a and b; 0 keeps the number constant.
    magnet : rule of the magnet, fixed unless given.
    magnet_share : instead of `magnet`, an exponential moving average at the rate ``share eta_t tau_t``, so that the
        magnet slows down as the policy does.

    >>> from rebel_pref.algorithms import nash_md
    >>> falling = annealed(nash_md, step_size=10.0, regularization=0.1, after=2.0, step_power=1.0)  # 2 / (tau (t + 2))
    >>> falling.at(0).step_size, falling.at(18).step_size
    (10.0, 1.0)
    """
    if not after > 0.0:
        raise ValueError(f"after must be positive, a number of rounds, got {after}")
    if step_power < 0.0 or regularization_power < 0.0:
        raise ValueError(f"powers must not be negative, got {step_power} and {regularization_power}")
    if magnet_share is not None and (magnet is not None or not magnet_share > 0.0):
        raise ValueError(f"magnet_share is a positive number and takes the place of magnet, got {magnet_share}")

    def at(number: int) -> Algorithm:
        eta = step_size * (1.0 + number / after) ** -step_power
        tau = regularization * (1.0 + number / after) ** -regularization_power
        rule = magnet if magnet_share is None else EMAMagnet(min(1.0, magnet_share * eta * tau))
        return row(eta, tau, magnet=rule)

    return Schedule(f"annealed {at(0).name}", at)
