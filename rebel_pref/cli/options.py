"""How the options of a command are read, and what is said of those that cannot be."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jsonargparse import ArgumentError, ArgumentParser, Namespace

__all__ = ["parsed"]

_FAULT = re.compile(
    r"""Parser\ key\ "(?P<key>\w+)":\s+ (?:
        Expected\ a\ <class\ '(?P<kind>\w+)'>\.\ Got\ value:\ (?P<value>.*) |
        Not\ of\ type\ (?P<bounded>\w+):\ (?: invalid\ literal.*:\ '(?P<word>.*)' | (?P<number>\S+)\ does\ not.* )
    )""",
    re.VERBOSE | re.DOTALL,
)
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "NonNegativeInt": "a whole number, not negative",
    "PositiveInt": "a whole number from 1 on",
}


def parsed(parser: ArgumentParser, argv: Sequence[str]) -> Namespace:
    """The options of `parser` in `argv`; one that does not fit is named as it was typed, not by its place in a class.

    Raises
    ------
    ArgumentError
    ValueError
        For a number that is none, or out of range.
    """
    try:
        return parser.parse_args(list(argv))
    except ArgumentError as error:
        found = _FAULT.match(str(error))
        kind = found and _KINDS.get(found["kind"] or found["bounded"])
        if not found or not kind:
            raise
        value = next(text for text in found.group("value", "word", "number") if text is not None)
        raise ValueError(f"--{found['key'].replace('_', '-')}: expected {kind}, got {value!r}") from None
