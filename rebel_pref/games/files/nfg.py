"""Gambit's strategic games (.nfg): payoffs or outcomes of two players; only symmetric zero-sum games are read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeVar

import numpy as np

from rebel_pref.games.factored import FactoredGame
from rebel_pref.games.frames import order_of
from rebel_pref.games.game import PreferenceGame
from rebel_pref.games.labels import NumberLabels
from rebel_pref.preferences import FloatArray

__all__ = ["read_nfg", "write_nfg"]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}]|[^\s,{}"]+|"', re.DOTALL)
_TOLERANCE = 1e-9
T = TypeVar("T")


def read_nfg(path: Path, text: str) -> PreferenceGame:
    """The payoffs of the first player; actions are named by its strategies.

    Both ways to write a game are read, numbers as decimals or fractions. Where both players name the same strategies
    in different orders, the names say which belong together; where the names differ, the order does.

    Raises
    ------
    ValueError
        With the line of what is malformed, or the profile that shows the game not to be symmetric and zero-sum.
    """
    tokens = _Tokens(path, text)
    tokens.take("NFG", lambda token: token == "NFG")
    tokens.take("version 1", lambda token: token == "1")
    tokens.take("R or D", lambda token: token in ("R", "D"))
    tokens.text("the title")
    players = tokens.listed("the names of the players", lambda: tokens.text("the name of a player"))
    if len(players) != 2:
        raise ValueError(f"{path}: expected a game of two players, got {len(players)}")
    labels, columns = _strategies(tokens)
    if len(labels) != len(columns) or not labels:
        raise ValueError(f"{path}: no symmetric game: the players have {len(labels)} and {len(columns)} strategies")
    if tokens.next.startswith('"'):
        tokens.text("a comment")
    size = len(labels)
    if tokens.next == "{":
        # Outcome 0 pays nothing.
        outcomes = [[0.0, 0.0], *tokens.listed("the outcomes", lambda: _outcome(tokens))]
        chosen = [tokens.index(len(outcomes)) for _ in range(size * size)]
        values = np.array(outcomes)[chosen]
    else:
        values = np.array([tokens.number("a payoff") for _ in range(2 * size * size)]).reshape(-1, 2)
    if tokens.next:
        tokens.fail(f"the end of the file after {size} x {size} profiles")
    # The strategy of the first player varies fastest.
    own, other = (values[:, player].reshape(size, size).T for player in (0, 1))
    if set(labels) == set(columns) and len(set(labels)) == size:
        order = order_of(columns, labels)
        own, other = own[:, order], other[:, order]
    named = labels if any(labels) else tuple(NumberLabels(size))
    _check(path, own, other, named)
    return PreferenceGame.from_payoffs(own, labels=named)


def write_nfg(game: PreferenceGame | FactoredGame, stream: BinaryIO) -> None:
    """Payoffs of both players, as the shortest decimals that give the same floats, never with an exponent."""
    if not isinstance(game, PreferenceGame):
        raise ValueError(f"an .nfg file holds a matrix, got {game!r}; save it as .npz")
    names = " ".join(_quoted(label) for label in game.labels)
    stream.write(f'NFG 1 R "" {{ "1" "2" }}\n\n{{ {{ {names} }}\n{{ {names} }}\n}}\n""\n\n'.encode())
    for column in game.payoff.T:
        pairs = (f"{_decimal(value)} {_decimal(-value)}" for value in column)
        stream.write((" ".join(pairs) + "\n").encode())


def _decimal(value: float) -> str:
    return np.format_float_positional(value + 0.0, unique=True, trim="-")


def _quoted(label: str) -> str:
    return '"' + label.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Tokens:
    """The words of a file, taken one after another."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.source = path, text
        self.words = _TOKEN.findall(text)
        self.position = 0

    @property
    def next(self) -> str:
        """The word to come; "" at the end."""
        return self.words[self.position] if self.position < len(self.words) else ""

    def fail(self, expected: str) -> NoReturn:
        """Say where something else was expected."""
        got, place = "the end of the file", len(self.source.rstrip())
        for match in islice(_TOKEN.finditer(self.source), self.position, self.position + 1):
            got, place = match.group()[:40], match.start()
        line = self.source.count("\n", 0, place) + 1
        raise ValueError(f"{self.path}, line {line}: expected {expected}, got {got}")

    def take(self, expected: str, fits: Callable[[str], bool]) -> str:
        """The next word, which must fit."""
        word = self.next
        if not word or not fits(word):
            self.fail(expected)
        self.position += 1
        return word

    def text(self, expected: str) -> str:
        """A quoted text."""
        word = self.take(f"{expected} in quotes", lambda token: len(token) > 1 and token[0] == token[-1] == '"')
        return re.sub(r"\\(.)", r"\1", word[1:-1], flags=re.DOTALL)

    def number(self, expected: str) -> float:
        """A finite decimal or fraction."""
        try:
            word = self.next
            value = float(Fraction(word)) if "/" in word else float(word)
        except (ValueError, ZeroDivisionError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            self.fail(expected)
        self.position += 1
        return value

    def index(self, size: int) -> int:
        """A whole number below `size`."""
        word = self.take(f"an outcome from 0 to {size - 1}", lambda token: token.isdecimal() and int(token) < size)
        return int(word)

    def listed(self, expected: str, read: Callable[[], T]) -> list[T]:
        """What is read until a closing brace."""
        self.take(f"{expected} in braces", lambda token: token == "{")
        found = []
        while self.next != "}":
            found.append(read())
        self.position += 1
        return found


def _strategies(tokens: _Tokens) -> tuple[list[str], list[str]]:
    """Names of both players' strategies; empty ones where the file only counts them."""
    expected = "the strategies of two players"
    start = tokens.position

    def one_player() -> list[str]:
        if tokens.next == "{":
            return tokens.listed(expected, lambda: tokens.text("the name of a strategy"))
        return [""] * int(
            tokens.take(expected, lambda token: token.isdecimal() and 0 < int(token) <= len(tokens.words))
        )

    lists = tokens.listed(expected, one_player)
    if len(lists) != 2:
        tokens.position = start
        tokens.fail(expected)
    return lists[0], lists[1]


def _outcome(tokens: _Tokens) -> list[float]:
    tokens.take("an outcome in braces", lambda token: token == "{")
    tokens.text("the name of an outcome")
    values = [tokens.number("a payoff"), tokens.number("a payoff")]
    tokens.take("two payoffs and a closing brace", lambda token: token == "}")
    return values


def _check(path: Path, own: FloatArray, other: FloatArray, labels: Sequence[str]) -> None:
    """Whether ``own = -other`` and ``own = -own.T``; if not, the worst profile."""
    allowed = _TOLERANCE * max(1.0, float(np.abs(own).max()))
    excess = np.abs(own + other)
    i, j = divmod(int(excess.argmax()), len(labels))
    if excess[i, j] > allowed:
        raise ValueError(
            f"{path}: no zero-sum game: where the players choose {labels[i]!r} and {labels[j]!r} they get "
            f"{own[i, j]:g} and {other[i, j]:g}, expected a sum of 0"
        )
    excess = np.abs(own + own.T)
    i, j = divmod(int(excess.argmax()), len(labels))
    if excess[i, j] > allowed:
        raise ValueError(
            f"{path}: no symmetric game: player 1 gets {own[i, j]:g} with {labels[i]!r} against {labels[j]!r} and "
            f"{own[j, i]:g} the other way round, expected {-own[i, j]:g}"
        )
