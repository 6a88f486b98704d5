"""Labels of actions: strings, or the numbers of the rows where nobody named them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

__all__ = ["NumberLabels", "checked_labels"]


class NumberLabels(Sequence[str]):
    """The labels "0", "1", ... of n unnamed actions, made when asked for: a million of them cost nothing."""

    def __init__(self, size: int) -> None:
        self._numbers = range(size)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(map(str, self._numbers[index]))
        return str(self._numbers[index])

    def __len__(self) -> int:
        return len(self._numbers)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, NumberLabels):
            return len(self) == len(other)
        return isinstance(other, tuple) and tuple(self) == other

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"NumberLabels({len(self)})"


def checked_labels(labels: Sequence[str] | None, size: int) -> Sequence[str]:
    """`size` distinct strings, or the numbers of the rows where `labels` is None."""
    if labels is None:
        return NumberLabels(size)
    named = tuple(str(label) for label in labels)
    if len(named) != size:
        raise ValueError(f"expected {size} labels, one for each row, got {len(named)}")
    if len(set(named)) != size:
        seen: set[str] = set()
        twice = next(label for label in named if label in seen or seen.add(label))  # type: ignore[func-returns-value]
        raise ValueError(f"labels must be distinct, got {twice!r} twice")
    return named
