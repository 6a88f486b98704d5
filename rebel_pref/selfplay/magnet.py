"""Fifth arrow: what the magnet does after a round."""

from __future__ import annotations

import torch

from rebel_pref.algorithms import EMAMagnet, FixedMagnet, MagnetRule, ResetMagnet
from rebel_pref.policies.policy import Policy

__all__ = ["move_magnet"]


@torch.no_grad()
def move_magnet(rule: MagnetRule, magnet: Policy, policy: Policy, rounds_done: int) -> None:
    """Apply the rule to the magnet's parameters, in place.

    "ema" averages **weights**: first-order equal to averaging log-probabilities, exact only for log-linear
    policies and tables.
    """
    match rule:
        case FixedMagnet():
            return
        case EMAMagnet(rate):
            share = rate
        case ResetMagnet(every):
            if rounds_done % every:
                return
            share = 1.0
    for ours, theirs in zip(magnet.module.parameters(), policy.module.parameters(), strict=True):
        ours.lerp_(theirs.to(ours.dtype), share)
