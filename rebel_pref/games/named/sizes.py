"""How many actions a dense game may have."""

from __future__ import annotations

__all__ = ["MOST_ACTIONS", "check_actions"]

MOST_ACTIONS = 2**15
"""A payoff matrix of this many actions takes 8 GiB."""


def check_actions(actions: int) -> int:
    """Return `actions` if a dense game of that many can be built, so that a slip of the pen fills no memory."""
    if actions < 1:
        raise ValueError(f"expected at least one action, got {actions}")
    if actions > 10**12:  # It may have more digits than a line or a float holds.
        raise ValueError(f"games of more than 10^12 actions are not written out; the most is {MOST_ACTIONS}")
    if actions > MOST_ACTIONS:
        told = f"{actions} actions takes {8 * actions**2 / 2**30:.0f} GiB"
        raise ValueError(
            f"a payoff matrix of {told}, and games of more than {MOST_ACTIONS} actions are not written out; take a "
            "smaller one, or a FactoredGame where there is one"
        )
    return actions
