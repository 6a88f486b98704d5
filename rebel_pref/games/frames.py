"""Frames: tables with names on both sides, such as pandas DataFrames, known by what they can do and never imported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.games.labels import checked_labels
from rebel_pref.preferences import FloatArray

__all__ = ["Frame", "matrix_of_frame", "order_of", "unframed"]


@runtime_checkable
class Frame(Protocol):
    """What is used of a DataFrame."""

    @property
    def index(self) -> Iterable[Any]:
        """Names of the rows."""
        ...

    @property
    def columns(self) -> Iterable[Any]:
        """Names of the columns."""
        ...

    def to_numpy(self) -> Any:
        """The values [rows, columns]."""
        ...

    def __getitem__(self, column: Any) -> Iterable[Any]:
        """The values of one column."""
        ...


def unframed(values: ArrayLike, labels: Sequence[str] | None) -> tuple[ArrayLike, Sequence[str] | None]:
    """`values` and `labels` as they are, or the matrix and the names of a frame; `labels` overrule those names."""
    # Arrays first: to ask whether something has all that a frame has takes longer than to solve a small game.
    if isinstance(values, np.ndarray | list) or not isinstance(values, Frame):
        return values, labels
    matrix, names = matrix_of_frame(values)
    return matrix, names if labels is None else labels


def matrix_of_frame(frame: Frame) -> tuple[FloatArray, tuple[str, ...]]:
    """Values [n, n] in the order of the index, and its names; the columns may come in another order.

    An index that only counts 0..n-1 beside named columns takes over their names.

    Raises
    ------
    ValueError
        For a frame that is not square, columns that are not the names of the index, or values that are no numbers.
    """
    rows, columns = tuple(map(str, frame.index)), tuple(map(str, frame.columns))
    if len(rows) != len(columns):
        shown = ", ".join(columns[:5]) + (", ..." if len(columns) > 5 else "")
        raise ValueError(f"expected a square frame, got {len(rows)} rows and {len(columns)} columns ({shown})")
    try:
        matrix = np.asarray(frame.to_numpy(), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected a frame of numbers ({error})") from None
    if rows == tuple(map(str, range(len(rows)))) and set(rows) != set(columns):
        return matrix, columns
    return matrix[:, order_of(columns, rows)], rows


def order_of(columns: Sequence[str], rows: Sequence[str]) -> list[int]:
    """Place among the columns of the name of each row.

    Raises
    ------
    ValueError
        Unless both hold the same distinct names.
    """
    place = {name: i for i, name in enumerate(checked_labels(columns, len(columns)))}
    if place.keys() != set(checked_labels(rows, len(rows))):
        raise ValueError(f"the column labels {list(columns)} do not match the rows {list(rows)}")
    return [place[name] for name in rows]
