"""The game that a command's first argument means, and the order in which its actions are shown."""

from __future__ import annotations

import os

import numpy as np
from jsonargparse import ArgumentParser, Namespace
from numpy.typing import NDArray

from rebel_pref.games import GAMES, Game, named_game
from rebel_pref.games.files import Columns, load_game
from rebel_pref.preferences import FloatArray

__all__ = ["GAME_HELP", "add_column_options", "open_game", "ranked_actions"]

GAME_HELP = f"file of a game, or its name, NAME or NAME:key=value,...: {', '.join(GAMES)}"
"""What the argument is, for ``--help``."""


def open_game(text: str, options: Namespace | None = None) -> Game:
    """The game in the file `text` if there is such a path, else the named game, ``NAME`` or ``NAME:key=value,...``.

    Parameters
    ----------
    options : of :func:`add_column_options`; they are for files of comparison rows.

    Raises
    ------
    FileNotFoundError
        For a text that can only be a path, and there is nothing.
    ValueError
        For a malformed file, columns of what has none, an unknown name (lists the known ones) or a bad parameter of a
        named game.
    """
    columns, group = Columns(), "auto"
    if options is not None:
        columns = Columns(options.first, options.second, options.winner)
        group = options.group or "auto"
    if os.path.exists(text):
        return load_game(text, cluster=None if group == "none" else group, columns=columns)
    if columns != Columns() or group != "auto":
        raise ValueError(f"--first, --second, --winner and --group are for files; there is no file {text!r}")
    name = text.partition(":")[0]  # Values may hold dots and slashes: 1/3, 0.5.
    if name not in GAMES and (os.sep in name or "." in name):
        raise FileNotFoundError(f"no such file: {text}")
    try:
        return named_game(text)
    except ValueError as error:
        if name in GAMES:
            raise
        raise ValueError(f"no file and {error}") from None


def add_column_options(parser: ArgumentParser) -> None:
    """The options that name the columns of a file with one comparison a row: read by :func:`open_game`."""
    parser.add_argument("--first", type=str, metavar="NAME", help="column of the first item, where it is not found")
    parser.add_argument("--second", type=str, metavar="NAME", help="column of the second item")
    parser.add_argument("--winner", type=str, metavar="NAME", help="column of the verdict")
    parser.add_argument(
        "--group",
        type=str,
        metavar="NAME",
        help="column whose rows depend on each other and are drawn again together, such as prompt or voter; none: "
        "every row is independent; by default the first that is found of several such names",
    )


def ranked_actions(policy: FloatArray, payoffs: FloatArray) -> NDArray[np.int64]:
    """All actions [n], the likeliest first; those of probability 0 (to 1e-9) by their payoff against the policy."""
    # Rounded, so that ties stay in the order of the game's labels.
    return np.lexsort((-payoffs.round(12), -np.where(policy > 1e-9, policy, 0.0).round(12)))
