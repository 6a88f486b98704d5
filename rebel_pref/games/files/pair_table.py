"""Mean returns, one ordered pair a line: ``('rockbot', 'copybot', -998.967)``, the way OpenSpiel's data has them."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np

from rebel_pref.games.game import PreferenceGame

__all__ = ["read_pair_table"]

_NOISE = 0.1


def read_pair_table(path: Path, lines: list[tuple[int, str]]) -> PreferenceGame:
    """The skew part ``A = (R - R^T) / 2`` of mean returns R, in the units of the file.

    Returns that were estimated by play are skew only up to noise, and half of what both orders of a pair add up to
    is averaged away. That may be up to a tenth of the largest return; more is no zero-sum game. A pair given in one
    order only is taken at its word. What an agent earns against itself is noise and left out.

    Raises
    ------
    ValueError
        With the line of what is no pair, or is there twice; for a pair that is missing or not zero-sum.
    """
    returns: dict[tuple[str, str], float] = {}
    for line, text in lines:
        first, second, value = _pair(path, line, text)
        if (first, second) in returns:
            raise ValueError(f"{path}, line {line}: the pair {first!r}, {second!r} is there twice")
        returns[first, second] = value
    labels = list(dict.fromkeys(name for pair in returns for name in pair))
    place = {label: i for i, label in enumerate(labels)}
    table = np.full((len(labels), len(labels)), np.nan)
    for (first, second), value in returns.items():
        table[place[first], place[second]] = value
    table = np.where(np.isnan(table), -table.T, table)
    np.fill_diagonal(table, 0.0)
    if np.isnan(table).any():
        i, j = np.argwhere(np.isnan(table))[0]
        raise ValueError(f"{path}: no line has the pair {labels[i]!r}, {labels[j]!r}, in either order")
    total = np.abs(table + table.T)
    i, j = divmod(int(total.argmax()), len(labels))
    if total[i, j] > 2.0 * _NOISE * np.abs(table).max():
        raise ValueError(
            f"{path}: the returns of {labels[i]!r} against {labels[j]!r} and back, {table[i, j]:g} and "
            f"{table[j, i]:g}, do not cancel; expected a zero-sum game"
        )
    return PreferenceGame.from_payoffs(0.5 * (table - table.T), labels=labels)


def _pair(path: Path, line: int, text: str) -> tuple[str, str, float]:
    value: Any
    try:
        value = ast.literal_eval(text.rstrip(","))
        match value:
            case (str(first), str(second), int() | float() as number) if np.isfinite(float(number)):
                return first, second, float(number)
    except (ValueError, SyntaxError, OverflowError, MemoryError, RecursionError):
        pass
    raise ValueError(f"{path}, line {line}: expected ('first', 'second', return of first), got {text[:60]!r}")
