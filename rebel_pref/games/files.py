"""Games from files: a CSV matrix of win rates or payoffs, with or without labels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from rebel_pref.games.game import PreferenceGame
from rebel_pref.preferences import FloatArray

__all__ = ["load_game"]


def load_game(path: str | Path) -> PreferenceGame:
    """Read a square matrix from a CSV file.

    Rows may open with a label, and the first row may hold the labels of the columns. A matrix with zeros on
    the diagonal is read as payoffs ``A`` (skew-symmetric), one with 0.5 on the diagonal as win
    probabilities ``P`` (``P + P.T = 1``).

    Raises
    ------
    ValueError
        For a malformed file, with its name and the line number, or a matrix that is no game.
    FileNotFoundError
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    with path.open(newline="", encoding="utf-8-sig") as stream:
        try:
            reader = csv.reader(stream)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(c.strip() for c in row)]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a CSV text file ({error})") from None
    if not rows:
        raise ValueError(f"{path}: the file is empty; expected a square matrix of numbers")
    header: list[str] | None = None
    header_line, first = rows[0]
    # An empty corner marks a header even where the labels are numbers.
    if first[0] == "" or not _is_number(first[-1]):
        header, rows = first, rows[1:]
    labels, matrix = _read_body(path, rows)
    if header is not None:
        named = header[-len(rows) :] if len(header) >= len(rows) else header
        if len(named) != len(rows) or (labels is not None and labels != named):
            raise ValueError(
                f"{path}, line {header_line}: the column labels {named} do not match the rows {labels or len(rows)}"
            )
        labels = named
    try:
        if np.allclose(np.diagonal(matrix), 0.5):
            return PreferenceGame.from_preferences(matrix, labels=labels)
        return PreferenceGame.from_payoffs(matrix, labels=labels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read_body(path: Path, rows: list[tuple[int, list[str]]]) -> tuple[list[str] | None, FloatArray]:
    size = len(rows)
    labelled = size > 0 and len(rows[0][1]) == size + 1
    values, labels = [], []
    for line, cells in rows:
        numbers = cells[1:] if labelled else cells
        if len(numbers) != size:
            raise ValueError(
                f"{path}, line {line}: expected {size} numbers for the {size} rows of a square matrix"
                f"{' after the label' if labelled else ''}, got {len(numbers)}"
            )
        for column, cell in enumerate(numbers, start=1 + labelled):
            if not _is_number(cell):
                raise ValueError(f"{path}, line {line}: column {column} is not a number: {cell!r}")
        values.append([float(cell) for cell in numbers])
        labels.append(cells[0])
    return (labels if labelled else None), np.array(values, dtype=np.float64)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
