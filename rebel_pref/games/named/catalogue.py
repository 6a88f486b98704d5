"""The games that have a name, and how a name is spelled with parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from inspect import signature

from rebel_pref.games.factored import FactoredGame
from rebel_pref.games.game import PreferenceGame
from rebel_pref.games.named.allocations import blotto, colonel_lotto
from rebel_pref.games.named.classics import cycle_game, lizard_spock, morra, penney, rock_paper_scissors
from rebel_pref.games.named.dice import EFRON_DICE, GRIME_DICE, MIWIN_DICE, dice_game
from rebel_pref.games.named.families import bradley_terry_game, disc_game, hybrid_game, mixed_game, random_game
from rebel_pref.games.named.poker import kuhn_poker
from rebel_pref.games.named.voting import majority_game, mcgarvey_game

__all__ = ["GAMES", "named_game"]

_Value = int | float | str | tuple[float, ...]

GAMES: dict[str, Callable[..., PreferenceGame | FactoredGame]] = {
    "blotto": blotto,
    "rock-paper-scissors": rock_paper_scissors,
    "weighted-blotto": partial(blotto, soldiers=6, values=(2, 3, 4)),
    "weighted-rock-paper-scissors": partial(
        rock_paper_scissors, paper_over_rock=0.1, rock_over_scissors=0.3, scissors_over_paper=0.6
    ),
    "lizard-spock": lizard_spock,
    "cycle": cycle_game,
    "morra": morra,
    "penney": penney,
    "efron-dice": partial(dice_game, EFRON_DICE),
    "grime-dice": partial(dice_game, GRIME_DICE),
    "miwin-dice": partial(dice_game, MIWIN_DICE),
    "colonel-lotto": colonel_lotto,
    "kuhn-poker": kuhn_poker,
    "condorcet-paradox": majority_game,
    "mcgarvey": mcgarvey_game,
    "bradley-terry": bradley_terry_game,
    "hybrid": hybrid_game,
    "random": random_game,
    "disc": disc_game,
    "mixed": mixed_game,
}
"""Games that the command line knows by name. None needs an argument."""


def named_game(text: str) -> PreferenceGame | FactoredGame:
    """The game that ``NAME`` or ``NAME:key=value,...`` spells.

    Keys are the parameters of ``GAMES[NAME]``. A value is a number (6, 0.5, 1/3, -2), a word (margin), or numbers
    that are not negative, joined by dashes (2-3-4), as the parameter's default is one or the other.

    Raises
    ------
    ValueError
        For an unknown name or key (lists the known ones), a value of another kind, a key given twice, or whatever
        the game itself refuses.

    >>> named_game("blotto:soldiers=6,values=2-3-4,payoff=margin")
    PreferenceGame(28 actions: 0 0 6, 0 1 5, 0 2 4, 0 3 3, ...)
    """
    name, colon, spelled = text.partition(":")
    if name not in GAMES:
        raise ValueError(f"no game is called {name!r}; known games: {', '.join(GAMES)}")
    known = _parameters(GAMES[name])
    chosen: dict[str, _Value] = {}
    for entry in spelled.split(",") if colon else ():
        key, equals, value = (part.strip() for part in entry.partition("="))
        if not (key and equals and value):
            raise ValueError(f"expected {name}:key=value,key=value, got {entry!r} in {text!r}; {_told(name, known)}")
        if key not in known:
            raise ValueError(f"{name!r} has no parameter {key!r}; {_told(name, known)}")
        if key in chosen:
            raise ValueError(f"{key!r} is given twice in {text!r}")
        chosen[key] = _read(value, known[key], f"{key} of {name!r}")
    return GAMES[name](**chosen)


def _parameters(build: Callable[..., object]) -> dict[str, _Value]:
    """Parameters that a word can spell, with their defaults: matrices and labels are left to Python."""
    defaults = {key: parameter.default for key, parameter in signature(build).parameters.items()}
    return {
        key: default
        for key, default in defaults.items()
        if isinstance(default, int | float | str)
        or (isinstance(default, tuple) and all(isinstance(entry, int | float) for entry in default))
    }


def _told(name: str, known: dict[str, _Value]) -> str:
    if not known:
        return f"{name!r} has no parameters"
    spelled = (
        f"{key}={'-'.join(f'{entry:g}' for entry in value) if isinstance(value, tuple) else value}"
        for key, value in known.items()
    )
    return f"parameters of {name!r} and their defaults: {', '.join(spelled)}"


def _read(text: str, default: _Value, what: str) -> _Value:
    """`text` as a value of the default's kind."""
    if isinstance(default, str):
        return text
    kind = "a whole number"
    try:
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            kind = "a number such as 0.5 or 1/3"
            return _number(text)
        kind = "numbers joined by dashes, none of them negative, such as 2-3-4,"
        return tuple(_number(entry) for entry in text.split("-"))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"expected {kind} for {what}, got {text!r}") from None


def _number(text: str) -> float:
    """A finite decimal or fraction."""
    # Fraction would write out every digit of 1e999999999.
    value = float(Fraction(text)) if "/" in text else float(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value
