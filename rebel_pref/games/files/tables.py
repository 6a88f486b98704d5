"""Delimited text (CSV, TSV): a square matrix with or without labels, or one comparison a row."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from rebel_pref.games.files.columns import Columns
from rebel_pref.games.files.matrices import game_from_matrix
from rebel_pref.games.files.rows import Rows, has_comparisons, tally
from rebel_pref.games.files.text import format_of
from rebel_pref.games.frames import order_of
from rebel_pref.games.game import PreferenceGame
from rebel_pref.preferences import FloatArray

__all__ = ["read_table"]

Line = tuple[int, list[str]]

_BLANK = ("", "-", "na", "n/a")


def read_table(path: Path, text: str, cluster: str | None, given: Columns) -> PreferenceGame:
    """Comparison rows if the header names their columns, else a matrix.

    Cells are separated by commas; tabs in ``.tsv`` files; in others tabs, semicolons or blanks where the first line
    has no comma. A matrix may have its rows named (first column), its columns (first row), or both, which may then
    come in different orders. The diagonal may be blank, "-" or "NA".

    Raises
    ------
    ValueError
        With file and line number.
    """
    lines = _cells(path, text)
    if not lines:
        raise ValueError(f"{path}: the file is empty; expected a square matrix of numbers, or comparison rows")
    _, first = lines[0]
    if given != Columns():
        return PreferenceGame.from_comparisons(tally(_rows(path, lines, given), cluster))
    if has_comparisons([cell.lower() for cell in first]) and first[1:] != [cells[0] for _, cells in lines[1:]]:
        return PreferenceGame.from_comparisons(tally(_rows(path, lines, given), cluster))
    header = lines.pop(0) if _is_header(lines) else None
    if header is not None and lines and len(lines[0][1]) - len(lines) not in (0, 1):
        raise ValueError(
            f"{path}, line {header[0]}: {len(lines)} rows of {len(lines[0][1])} columns ({', '.join(header[1])}); "
            "expected a square matrix, or comparison rows with columns such as winner,loser or model_a,model_b,winner "
            "(name other columns with Columns: --first, --second, --winner)"
        )
    labels, matrix = _body(path, lines, bare=header is None)
    if header is not None:
        line, cells = header
        named = cells[-len(lines) :] if len(cells) >= len(lines) else cells
        try:
            if len(named) != len(lines):
                raise ValueError(f"the column labels {named} do not match the rows {labels or len(lines)}")
            matrix = matrix if labels is None else matrix[:, order_of(named, labels)]
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
        labels = named if labels is None else labels
    return game_from_matrix(matrix, labels)


def _cells(path: Path, text: str) -> list[Line]:
    opening = text.lstrip("\r\n").partition("\n")[0]
    usual = "\t" if format_of(path) == ".tsv" else ","
    delimiter = next((mark for mark in (usual, "\t", ";", " ") if mark in opening), usual)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter == " ")
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: not a CSV text file ({error})") from None
    return [(line, row) for line, row in rows if any(row)]


def _rows(path: Path, lines: list[Line], given: Columns) -> Rows:
    header = [cell.lower() for cell in lines[0][1]]
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{path}, line {lines[0][0]}: two columns are called {twice!r}; which of them counts?")
    names = given.canonical(header, f"{path}, line {lines[0][0]}")
    if not has_comparisons(names):
        raise ValueError(
            f"{path}, line {lines[0][0]}: no comparison can be read from the columns {', '.join(lines[0][1])}; name "
            "the two items and the verdict (--first, --second, --winner)"
        )
    if len(lines) == 1:
        raise ValueError(f"{path}, line {lines[0][0]}: the header is all there is; expected comparison rows below it")
    for line, cells in lines[1:]:
        if len(cells) != len(names):
            raise ValueError(f"{path}, line {line}: expected {len(names)} cells ({', '.join(names)}), got {len(cells)}")
    columns = zip(*(cells for _, cells in lines[1:]), strict=True)
    by_name = dict(zip(names, columns, strict=False))
    return Rows(str(path), "line", [line for line, _ in lines[1:]], by_name, given.sides)


def _is_header(lines: list[Line]) -> bool:
    first = lines[0][1]
    below = [cells[0] for _, cells in lines[1:]]
    if all(_is_number(cell) or cell.lower() in _BLANK for cell in first):
        # Numbers beside an empty corner: labels, as pandas writes those of an unnamed frame, or a blank diagonal.
        return first[0] == "" and (first[1:] == below or not all(_is_number(cell) for cell in below))
    return first[0] == "" or not _is_number(first[-1]) or len(lines) in (len(first), len(first) + 1)


def _body(path: Path, lines: list[Line], *, bare: bool) -> tuple[list[str] | None, FloatArray]:
    size = len(lines)
    labelled = size > 0 and len(lines[0][1]) == size + 1
    if labelled and bare and all(_is_number(cells[0]) for _, cells in lines):
        raise ValueError(
            f"{path}, line {lines[0][0]}: {size} rows of {size + 1} numbers are no square matrix; if the first column "
            "holds labels, name the columns too, in a first row with an empty first cell"
        )
    matrix = np.empty((size, size))
    for row, (line, cells) in enumerate(lines):
        numbers = cells[1:] if labelled else cells
        if len(numbers) != size:
            raise ValueError(
                f"{path}, line {line}: expected {size} numbers for the {size} rows of a square matrix"
                f"{' after the label' if labelled else ''}, got {len(numbers)}"
            )
        for column, cell in enumerate(numbers):
            if _is_number(cell):
                matrix[row, column] = float(cell)
            elif row == column and cell.lower() in _BLANK:
                matrix[row, column] = np.nan
            else:
                advice = "; give every pair a value, or win counts, where 0 both ways means never compared"
                raise ValueError(
                    f"{path}, line {line}: column {column + 1 + labelled} is not a number: {cell!r}"
                    f"{advice if cell.lower() in _BLANK else ''}"
                )
    return ([cells[0] for _, cells in lines] if labelled else None), matrix


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
