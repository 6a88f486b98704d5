"""Games of dividing an army: Colonel Blotto and Colonel Lotto."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Literal

import numpy as np

from rebel_pref.games.game import PreferenceGame
from rebel_pref.games.named.sizes import check_actions

__all__ = ["blotto", "blotto_allocations", "colonel_lotto"]


def blotto_allocations(soldiers: int, fields: int) -> tuple[tuple[int, ...], ...]:
    """Every way to put `soldiers` on `fields`, in lexicographic order.

    There are C(soldiers + fields - 1, fields - 1) of them: 66 for 10 soldiers and 3 fields.

    >>> blotto_allocations(2, 2)
    ((0, 2), (1, 1), (2, 0))
    """
    if soldiers < 0 or fields < 1:
        raise ValueError(f"expected soldiers >= 0 and fields >= 1, got {soldiers} soldiers on {fields} fields")
    if fields == 1:
        return ((soldiers,),)
    return tuple(
        (first, *rest) for first in range(soldiers + 1) for rest in blotto_allocations(soldiers - first, fields - 1)
    )


def blotto(
    soldiers: int = 10, values: Sequence[float] = (1, 1, 1), payoff: Literal["win", "margin"] = "win"
) -> PreferenceGame:
    """Colonel Blotto: each field goes to the larger allocation; an equal field counts for nobody.

    Labels are the allocations written with spaces, "3 4 3". Source: Borel 1921; the discrete form of Hart 2008,
    with field values.

    Parameters
    ----------
    soldiers : soldiers of each side, all of them used.
    values : value of each field, positive; their number is the number of fields.
    payoff : "win": 1, 0 or -1 where the fields won are worth more, as much or less than the fields lost. "margin":
        value won minus value lost, as a share of the value of all fields, which puts it in [-1, 1].
    """
    worth = np.asarray(values, dtype=np.float64)
    if worth.ndim != 1 or len(worth) == 0 or not np.isfinite(worth).all() or (worth <= 0).any():
        raise ValueError(f"expected one positive value for each field, got {values!r}")
    if payoff not in ("win", "margin"):
        raise ValueError(f"expected payoff 'win' or 'margin', got {payoff!r}")
    check_actions(_allocations(soldiers, len(worth)))
    allocations = blotto_allocations(soldiers, len(worth))
    balance = np.zeros((len(allocations), len(allocations)))
    for value, field in zip(worth, np.array(allocations).T, strict=True):
        balance += value * np.sign(field[:, None] - field[None, :])
    if payoff == "margin":
        payoffs = balance / worth.sum()
    else:
        # Values such as .1 + .2 - .3 must tie: below one part in 1e9 of the total nobody is ahead.
        payoffs = np.sign(np.where(np.abs(balance) > 1e-9 * worth.sum(), balance, 0.0))
    return PreferenceGame.from_payoffs(payoffs, labels=[" ".join(map(str, row)) for row in allocations])


def colonel_lotto(soldiers: int = 6, fields: int = 3) -> PreferenceGame:
    """Colonel Lotto: Blotto where each side's fields are shuffled before they meet.

    An action is a division of the army into `fields` parts without order, written smallest first, "0 2 4". Payoff:
    the chance that a random part of mine is larger than a random part of yours, minus the chance that it is
    smaller. It is Blotto with equal values and payoff "margin", for players who shuffle. Source: Hart 2008.
    """
    check_actions(_allocations(soldiers, fields))
    divisions = [row for row in blotto_allocations(soldiers, fields) if list(row) == sorted(row)]
    parts = np.array(divisions).T
    payoffs = np.zeros((len(divisions), len(divisions)))
    for mine in parts:
        for yours in parts:
            payoffs += np.sign(mine[:, None] - yours[None, :])
    return PreferenceGame.from_payoffs(payoffs / fields**2, labels=[" ".join(map(str, row)) for row in divisions])


def _allocations(soldiers: int, fields: int) -> int:
    """How many allocations there are; a lower bound, far beyond what can be built, where both numbers are large."""
    if min(soldiers, fields) > 100:
        soldiers = fields = 100
    return comb(max(soldiers, 0) + fields - 1, fields - 1) if fields > 0 else 1
