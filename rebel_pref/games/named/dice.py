"""Dice that beat each other in circles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from rebel_pref.games.game import PreferenceGame
from rebel_pref.games.named.sizes import check_actions

__all__ = ["EFRON_DICE", "GRIME_DICE", "MIWIN_DICE", "dice_game"]

EFRON_DICE: dict[str, tuple[int, ...]] = {
    "A": (4, 4, 4, 4, 0, 0),
    "B": (3, 3, 3, 3, 3, 3),
    "C": (6, 6, 2, 2, 2, 2),
    "D": (5, 5, 5, 1, 1, 1),
}
"""A beats B beats C beats D beats A, each with probability 2/3. Source: Efron, in Gardner 1970."""

GRIME_DICE: dict[str, tuple[int, ...]] = {
    "red": (4, 4, 4, 4, 4, 9),
    "blue": (2, 2, 2, 7, 7, 7),
    "olive": (0, 5, 5, 5, 5, 5),
    "yellow": (3, 3, 3, 3, 8, 8),
    "magenta": (1, 1, 6, 6, 6, 6),
}
"""Red beats blue beats olive beats yellow beats magenta beats red; with two dice of a colour the circle turns round.

A second circle goes by the alphabet: blue, magenta, olive, red, yellow, blue. Source: Grime 2017.
"""

MIWIN_DICE: dict[str, tuple[int, ...]] = {
    "III": (1, 2, 5, 6, 7, 9),
    "IV": (1, 3, 4, 5, 8, 9),
    "V": (2, 3, 4, 6, 7, 8),
}
"""III beats IV beats V beats III, each by 17 rolls of 36 against 16. Source: Winkelmann 1975."""


def dice_game(
    dice: Mapping[str, Sequence[float]] | Sequence[Sequence[float]] = EFRON_DICE, rolls: int = 1
) -> PreferenceGame:
    """Each side picks a die, both roll, the higher number wins: payoff ``P(win) - P(loss)``.

    Parameters
    ----------
    dice : the faces of each die, all equally likely; a mapping names the dice. Dice may differ in their number of
        faces.
    rolls : how often each die is rolled; the sums are compared.

    Raises
    ------
    ValueError
        For no dice, a die without faces, a face that is not a finite number, or rolls < 1.

    >>> float(dice_game(EFRON_DICE).preferences[0, 1].round(6))
    0.666667
    """
    named = dict(dice) if isinstance(dice, Mapping) else {str(number): faces for number, faces in enumerate(dice)}
    check_actions(len(named))
    if rolls < 1:
        raise ValueError(f"expected at least one roll, got {rolls}")
    for name, faces in named.items():
        if len(faces) == 0 or not np.isfinite(np.asarray(faces, dtype=np.float64)).all():
            raise ValueError(f"expected finite numbers on the faces of die {name!r}, got {faces!r}")
    sums = [_sums(faces, rolls) for faces in named.values()]
    payoff = np.zeros((len(sums), len(sums)))
    for i, (mine, my_ways) in enumerate(sums):
        for j, (yours, your_ways) in enumerate(sums):
            # Ways are counted before the one division, so that 12 of 36 is the float 1/3.
            margin = my_ways @ np.sign(mine[:, None] - yours[None, :]) @ your_ways
            payoff[i, j] = margin / (my_ways.sum() * your_ways.sum())
    return PreferenceGame.from_payoffs(payoff, labels=list(named))


def _sums(faces: Sequence[float], rolls: int) -> tuple[np.ndarray, np.ndarray]:
    """The sums that `rolls` rolls may have, and in how many ways each."""
    ways: Counter[float] = Counter({0: 1})
    for _ in range(rolls):
        longer: Counter[float] = Counter()
        for total, count in ways.items():
            for face in faces:
                longer[total + face] += count
        ways = longer
    return np.array(list(ways), dtype=np.float64), np.array(list(ways.values()), dtype=np.float64)
