"""Named games, each generated from its definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rebel_pref.games.game import PreferenceGame

__all__ = ["GAMES", "blotto", "blotto_allocations", "named_game", "rock_paper_scissors"]


def rock_paper_scissors(
    paper_over_rock: float = 1.0, rock_over_scissors: float = 1.0, scissors_over_paper: float = 1.0
) -> PreferenceGame:
    """Rock, paper, scissors with a payoff for each of the three wins.

    The minimax winner gives each action the weight of the win it takes no part in, normalised:
    rock : paper : scissors = scissors_over_paper : rock_over_scissors : paper_over_rock.

    >>> rock_paper_scissors().payoff[1, 0]          # paper beats rock
    np.float64(1.0)
    """
    a, b, c = paper_over_rock, rock_over_scissors, scissors_over_paper
    payoff = [[0.0, -a, b], [a, 0.0, -c], [-b, c, 0.0]]
    return PreferenceGame.from_payoffs(payoff, labels=("rock", "paper", "scissors"))


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


def blotto(soldiers: int = 10, values: Sequence[float] = (1, 1, 1)) -> PreferenceGame:
    """Colonel Blotto: each field goes to the larger allocation, the larger total value wins.

    Payoff 1, 0 or -1: win, tie, loss (an equal field counts for nobody). Labels are the allocations
    written with spaces, "3 4 3". Source: Borel 1921; the discrete form of Hart 2008, with field values.

    Parameters
    ----------
    soldiers : soldiers of each side, all of them used.
    values : value of each field, positive; their number is the number of fields.
    """
    worth = np.asarray(values, dtype=np.float64)
    if worth.ndim != 1 or len(worth) == 0 or not np.isfinite(worth).all() or (worth <= 0).any():
        raise ValueError(f"expected one positive value for each field, got {values!r}")
    allocations = blotto_allocations(soldiers, len(worth))
    table = np.array(allocations)
    balance = np.sign(table[:, None, :] - table[None, :, :]) @ worth
    # Values such as .1 + .2 - .3 must tie: below one part in 1e9 of the total nobody is ahead.
    payoff = np.sign(np.where(np.abs(balance) > 1e-9 * worth.sum(), balance, 0.0))
    return PreferenceGame.from_payoffs(payoff, labels=[" ".join(map(str, row)) for row in allocations])


GAMES: dict[str, Callable[[], PreferenceGame]] = {
    "rock-paper-scissors": rock_paper_scissors,
    "weighted-rock-paper-scissors": lambda: rock_paper_scissors(0.1, 0.3, 0.6),
    "blotto": blotto,
    "weighted-blotto": lambda: blotto(6, (2, 3, 4)),
}
"""Games that the command line knows by name."""


def named_game(name: str) -> PreferenceGame:
    """The game called `name`, or a ValueError that lists the names there are."""
    if name not in GAMES:
        raise ValueError(f"no game is called {name!r}; known games: {', '.join(sorted(GAMES))}")
    return GAMES[name]()
