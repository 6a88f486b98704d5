"""Comparison rows, one verdict or one tally each: from delimited text, JSON records, or a frame."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rebel_pref.games.comparisons import Comparisons
from rebel_pref.games.files.columns import PAIRS, TALLIES, Columns
from rebel_pref.games.files.pandalm import expanded, is_pandalm
from rebel_pref.games.files.text import numbered_lines
from rebel_pref.games.frames import Frame
from rebel_pref.preferences import FloatArray, half_character

__all__ = ["Rows", "frame_rows", "has_comparisons", "json_rows", "tally"]

_CLUSTERS = ("cluster", "ballot", "voter", "annotator", "worker", "rater", "user", "prompt", "question_id")
_WEIGHTS = ("count", "weight")
_TIES = frozenset(("tie", "tie (bothbad)", "both_bad", "bothbad", "both", "draw", "equal"))
_SIDES = tuple(frozenset(pair[side] for pair in PAIRS) for side in (0, 1))
_USED = {name for names in (*PAIRS, *TALLIES, _CLUSTERS, _WEIGHTS) for name in names} | {"winner", "loser", "tie"}


_FOUND = Columns()


@dataclass(frozen=True, eq=False)
class Rows:
    """Columns of text, and where each row came from.

    Attributes
    ----------
    source : the file, for messages.
    unit, numbers : a row is "`unit` `numbers[row]`" of the source.
    columns : cells [rows] by the column's name in lower case; "" where there is no value.
    sides : two more words, lower case, by which a verdict may call the first and the second item.
    """

    source: str
    unit: str
    numbers: Sequence[int]
    columns: Mapping[str, Sequence[str]]
    sides: tuple[str, str] = ("first", "second")

    def fault(self, row: int, message: str) -> ValueError:
        """The error to raise about a row."""
        return ValueError(f"{self.source}, {self.unit} {self.numbers[row]}: {message}")


def has_comparisons(names: Sequence[str]) -> bool:
    """Whether columns of these names (lower case) hold comparisons."""
    present = set(names)
    named = _among(PAIRS, present) is not None
    return {"winner", "loser"} <= present or (named and ("winner" in present or _tallies(present) is not None))


def tally(rows: Rows, cluster: str | None) -> Comparisons:
    """Comparisons from rows, in the order of the rows; items in the order of their first appearance.

    ``winner`` and ``loser`` name two items, who tied if ``tie`` (or ``ties``) is true. With two named items, ``winner``
    is one of these names, or else the name of its column (``model_a``), "a" or "b", "left" or "right", or a tie:
    "tie", "tie (bothbad)", "both_bad", "draw", "equal". Where the column holds a 2, the numbers 1, 2 and 0 are the
    first item, the second and a tie. Tallies are how often the first item won, lost and neither.

    Parameters
    ----------
    rows : with columns for which :func:`has_comparisons` holds.
    cluster : as in ``load_game``.

    Raises
    ------
    ValueError
        For a cell that is empty or not understood, an item compared with itself, or an unknown cluster column.
    """
    columns = rows.columns
    present = set(columns)
    clusters = _clusters(rows, cluster)
    pair = _among(PAIRS, present)
    if {"winner", "loser"} <= present:
        first, second = columns["winner"], columns["loser"]
        outcomes = _ties(rows)
    elif pair is not None and "winner" in present:
        first, second = columns[pair[0]], columns[pair[1]]
        outcomes = _verdicts(rows, first, second)
    else:
        assert pair is not None
        first, second = columns[pair[0]], columns[pair[1]]
        names = _tallies(present)
        assert names is not None
        outcomes = np.stack([_numbers(rows, name) for name in names if name in present])
        outcomes = np.vstack([outcomes, np.zeros((3 - len(outcomes), len(first)))])
    for name in _WEIGHTS:
        if name in present:
            outcomes = outcomes * _numbers(rows, name)
    for row, (one, other) in enumerate(zip(first, second, strict=True)):
        if not one or not other or one == other:
            raise rows.fault(row, f"expected the names of two different items, got {one!r} and {other!r}")
    interleaved = [name for both in zip(first, second, strict=True) for name in both]
    labels, codes = _encode(interleaved)
    for label in labels:
        if half_character(label) is not None:
            place = interleaved.index(label) // 2
            raise rows.fault(place, f"expected text, got half a character in the name {label!r}")
    wins, losses, ties = outcomes
    return Comparisons(labels, codes[::2], codes[1::2], wins, losses, ties, clusters)


def json_rows(path: Path, text: str, cluster: str | None, named: Columns = _FOUND) -> Rows:
    """Rows from JSON objects: one a line, or all in one array.

    Objects of the layout of PandaLM's human test set, which hold the verdicts of several annotators each, become one
    row a verdict (:mod:`rebel_pref.games.files.pandalm`).

    Raises
    ------
    ValueError
        With line (or record) number, for what is no JSON object, or objects without comparisons.
    """
    records: list[tuple[int, Any]]
    if text.lstrip().startswith("["):
        unit, records = "record", list(enumerate(_parsed(text, f"{path}"), start=1))
    else:
        unit = "line"
        records = [(line, _parsed(cell, f"{path}, line {line}")) for line, cell in numbered_lines(text)]
    if not records:
        raise ValueError(f"{path}: the file is empty; expected comparisons")
    for number, record in records:
        if not isinstance(record, dict):
            raise ValueError(f"{path}, {unit} {number}: expected a JSON object, got {str(record)[:40]!r}")
    if named == _FOUND and is_pandalm(records[0][1]):
        records = expanded(f"{path}, {unit}", records)
    present = {str(key).strip().lower(): key for key in records[0][1]}
    keys = dict(zip(named.canonical(list(present), str(path)), present.values(), strict=True))
    if not has_comparisons(list(keys)):
        raise ValueError(
            f"{path}, {unit} {records[0][0]}: expected the keys winner and loser, or two names and a verdict such as "
            f"model_a, model_b and winner; got {', '.join(present)}; name them with Columns (--first, --second, "
            "--winner)"
        )
    columns = {
        name: [_text(record.get(key)) for _, record in records] for name, key in keys.items() if _used(name, cluster)
    }
    return Rows(str(path), unit, [number for number, _ in records], columns, named.sides)


def frame_rows(frame: Frame, cluster: str | None, named: Columns = _FOUND) -> Rows:
    """Rows of a DataFrame, counted from 0."""
    present = {str(column).strip().lower(): column for column in frame.columns}
    names = dict(zip(named.canonical(list(present), "the frame"), present.values(), strict=True))
    columns = {name: [_text(cell) for cell in frame[key]] for name, key in names.items() if _used(name, cluster)}
    return Rows("the frame", "row", range(len(next(iter(columns.values())))), columns, named.sides)


def _used(name: str, cluster: str | None) -> bool:
    return name in _USED or (cluster is not None and name == cluster.lower())


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error})") from None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    text = "" if value is None else str(value)
    return "" if text in ("nan", "<NA>", "NaT") else text


def _among(options: Sequence[tuple[str, str]], present: set[str]) -> tuple[str, str] | None:
    return next((names for names in options if present.issuperset(names)), None)


def _tallies(present: set[str]) -> tuple[str, str, str] | None:
    return next((names for names in TALLIES if present.issuperset(names[:2])), None)


def _numbers(rows: Rows, name: str) -> FloatArray:
    return _read(rows, name, "a number, not negative", lambda cell: float(cell) if 0 <= float(cell) < np.inf else None)


def _ties(rows: Rows) -> FloatArray:
    """Wins, losses and ties [3, m] of rows that name winner and loser."""
    size = len(rows.columns["winner"])
    words = {"": 0.0, "0": 0.0, "0.0": 0.0, "false": 0.0, "no": 0.0, "1": 1.0, "1.0": 1.0, "true": 1.0, "yes": 1.0}
    tied = np.zeros(size)
    for name in ("tie", "ties"):
        if name in rows.columns:
            tied = _read(rows, name, "true or false", lambda cell: words.get(cell.lower()))
    return np.stack([1.0 - tied, np.zeros(size), tied])


def _verdicts(rows: Rows, first: Sequence[str], second: Sequence[str]) -> FloatArray:
    """Wins, losses and ties [3, m] of rows that name two items and say who won."""
    outcomes = np.zeros((3, len(first)))
    # Without a 2, the numbers 0 and 1 may be places counted from 0, or a win and a loss: not understood.
    numbered = "2" in rows.columns["winner"]
    for row, verdict in enumerate(rows.columns["winner"]):
        word = verdict.lower()
        # Names come first: an item may be called "a", whatever its side.
        if verdict in (first[row], second[row]):
            outcome = int(verdict == second[row])
        elif word in rows.sides:
            outcome = rows.sides.index(word)
        elif word in _SIDES[0] | _SIDES[1]:
            outcome = int(word in _SIDES[1])
        elif numbered and word in ("0", "1", "2"):
            outcome = (2, 0, 1)[int(word)]
        elif word in _TIES:
            outcome = 2
        else:
            raise rows.fault(
                row,
                f"winner {verdict!r} is not understood; expected {first[row]!r}, {second[row]!r}, model_a, model_b, "
                "left, right, a, b or tie",
            )
        outcomes[outcome, row] = 1.0
    return outcomes


def _read(rows: Rows, name: str, expected: str, read: Callable[[str], float | None]) -> FloatArray:
    result = np.empty(len(rows.columns[name]))
    for row, cell in enumerate(rows.columns[name]):
        try:
            value = read(cell)
        except ValueError:
            value = None
        if value is None:
            raise rows.fault(row, f"column {name!r} holds {cell!r}, expected {expected}")
        result[row] = value
    return result


def _clusters(rows: Rows, cluster: str | None) -> NDArray[np.int64] | None:
    if cluster is None:
        return None
    if cluster == "auto":
        names = (name for name in _CLUSTERS if len(set(rows.columns.get(name, ()))) > 1)
        name = next(names, None)
        if name is None:
            return None
    else:
        name = cluster.lower()
        if name not in rows.columns:
            raise ValueError(f"{rows.source}: no column is called {cluster!r}; columns: {', '.join(rows.columns)}")
    cells = rows.columns[name]
    if "" in cells:
        raise rows.fault(list(cells).index(""), f"column {name!r} is empty; pass cluster=None for independent rows")
    return _encode(cells)[1]


def _encode(cells: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Distinct cells in the order of their first appearance, and the number of each cell among them."""
    place: dict[str, int] = {}
    codes = np.array([place.setdefault(cell, len(place)) for cell in cells], dtype=np.int64)
    return tuple(place), codes
