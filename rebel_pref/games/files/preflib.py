"""PrefLib's ordinal files (.soc, .soi, .toc, .toi; Mattei and Walsh 2013): every ballot compares many pairs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from rebel_pref.games.comparisons import Comparisons
from rebel_pref.games.files.text import numbered_lines
from rebel_pref.games.game import PreferenceGame

__all__ = ["read_preflib"]

_MOST_ROWS = 20_000_000  # of 48 bytes, a gigabyte
_ORDINAL = ("soc", "soi", "toc", "toi")
_GROUP = r"(?:\d+|\{\s*\d+\s*(?:,\s*\d+\s*)*\})"
_ORDER = re.compile(rf"{_GROUP}(?:\s*,\s*{_GROUP})*")


def read_preflib(path: Path, text: str) -> PreferenceGame:
    """Head-to-head counts of ballots, each ballot a cluster of its own.

    An alternative that a ballot does not rank lost to all that it ranks; of two that it does not rank it says
    nothing, so they were not compared. (PrefLib's own tools skip all pairs with an unranked alternative.) Alternatives
    in one pair of braces tied. The format with ``# KEY: value`` lines and ``count: order`` is read, and the older one,
    which opens with the number of alternatives.

    Raises
    ------
    ValueError
        With the line of a malformed order; for ballots that do not add up to the number of voters in the header; for
        more than 20 million ballots x pairs.
    """
    lines = numbered_lines(text)
    if not lines:
        raise ValueError(f"{path}: the file is empty; expected PrefLib ballots")
    names, voters, ballots = _old_header(path, lines) if lines[0][1].isdecimal() else _header(path, lines)
    counts = np.empty(len(ballots), dtype=np.int64)
    # Rank 0 is best; all that are not ranked share the last.
    ranks = np.full((len(ballots), len(names)), len(names), dtype=np.int32)
    place = {number: column for column, number in enumerate(names)}
    for row, (line, count, order) in enumerate(ballots):
        if not count.isdecimal() or not 0 < int(count) < 2**31 or not _ORDER.fullmatch(order):
            raise ValueError(
                f"{path}, line {line}: expected a count and an order such as 12: 3,1,{{2,4}}, got "
                f"{count[:30]!r} and {order[:60]!r}"
            )
        counts[row] = int(count)
        for rank, group in enumerate(re.findall(_GROUP, order)):
            for number in map(int, re.findall(r"\d+", group)):
                if number not in place:
                    raise ValueError(f"{path}, line {line}: no alternative {number}; there are {sorted(place)}")
                if ranks[row, place[number]] < len(names):
                    raise ValueError(f"{path}, line {line}: alternative {number} is ranked twice")
                ranks[row, place[number]] = rank
    if voters is not None and counts.sum() != voters:
        raise ValueError(f"{path}: the header says {voters} voters, the ballots are {counts.sum()}; is the file whole?")
    pairs = len(names) * (len(names) - 1) // 2
    if counts.sum() * pairs > _MOST_ROWS:
        raise ValueError(
            f"{path}: {counts.sum()} ballots of {pairs} pairs are too many to keep ballot by ballot (at most "
            f"{_MOST_ROWS}); draw some of the ballots, or build the game with PreferenceGame.from_counts"
        )
    return PreferenceGame.from_comparisons(_compare(tuple(names.values()), ranks, counts))


def _compare(labels: tuple[str, ...], ranks: np.ndarray, counts: np.ndarray) -> Comparisons:
    """One row for every ballot and every pair that it compares."""
    first, second = np.triu_indices(len(labels), 1)
    one, other = ranks[:, first], ranks[:, second]
    compared = np.minimum(one, other) < len(labels)
    order, pair = np.nonzero(compared)
    # A ballot cast `count` times is so many ballots.
    repeats = np.repeat(np.arange(len(order)), counts[order])
    copies = np.arange(len(repeats)) - np.repeat(np.cumsum(counts[order]) - counts[order], counts[order])
    ballot = (np.cumsum(counts) - counts)[order][repeats] + copies
    margin = np.sign(other - one)[order, pair][repeats]
    wins, losses, ties = ((margin == sign).astype(np.float64) for sign in (1, -1, 0))
    return Comparisons(labels, first[pair][repeats], second[pair][repeats], wins, losses, ties, ballot)


Ballots = list[tuple[int, str, str]]


def _header(path: Path, lines: list[tuple[int, str]]) -> tuple[dict[int, str], int | None, Ballots]:
    """Names by number, number of voters if told, and (line, count, order) of every ballot."""
    names: dict[int, str] = {}
    told: dict[str, int] = {}
    ballots = []
    for line, text in lines:
        key, _, value = (part.strip() for part in text.lstrip("# ").partition(":"))
        if not text.startswith("#"):
            count, _, order = (part.strip() for part in text.partition(":"))
            ballots.append((line, count, order))
        elif key == "DATA TYPE" and value not in _ORDINAL:
            raise ValueError(
                f"{path}, line {line}: expected orders ({', '.join(_ORDINAL)}), got data of type {value!r}"
            )
        elif key in ("NUMBER ALTERNATIVES", "NUMBER VOTERS"):
            if not value.isdecimal():
                raise ValueError(f"{path}, line {line}: expected a number, got {value!r}")
            told[key] = int(value)
        elif named := re.fullmatch(r"ALTERNATIVE NAME (\d+)", key):
            names[int(named[1])] = value
    size = told.get("NUMBER ALTERNATIVES", len(names))
    names = names or {number: str(number) for number in range(1, size + 1)}
    if len(names) != size or not names:
        raise ValueError(f"{path}: the header says {size} alternatives and names {len(names)}")
    return names, told.get("NUMBER VOTERS"), ballots


def _old_header(path: Path, lines: list[tuple[int, str]]) -> tuple[dict[int, str], int | None, Ballots]:
    """The same of a file that opens with n, then n lines ``1,name``, then ``voters,sum of counts,unique orders``."""
    size = int(lines[0][1])
    if len(lines) < size + 2:
        raise ValueError(f"{path}: the file ends before the {size} alternatives of line {lines[0][0]} are named")
    names: dict[int, str] = {}
    for line, text in lines[1 : size + 1]:
        number, comma, name = text.partition(",")
        if not comma or not number.strip().isdecimal():
            raise ValueError(f"{path}, line {line}: expected the number and name of an alternative, got {text!r}")
        names[int(number)] = name.strip()
    line, text = lines[size + 1]
    if not re.fullmatch(r"\d+\s*,\s*\d+\s*,\s*\d+", text):
        raise ValueError(f"{path}, line {line}: expected voters, sum of counts and unique orders, got {text!r}")
    ballots = [
        (line, count.strip(), order.strip())
        for line, text in lines[size + 2 :]
        for count, _, order in [text.partition(",")]
    ]
    return names, int(text.split(",")[1]), ballots
