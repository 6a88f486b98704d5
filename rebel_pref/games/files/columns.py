"""Which columns hold a comparison: the names that are known, and the names that the caller gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["PAIRS", "TALLIES", "Columns"]

PAIRS = (
    ("model_a", "model_b"),
    ("item_a", "item_b"),
    ("player_a", "player_b"),
    ("option_a", "option_b"),
    ("left", "right"),
    ("first", "second"),
    ("a", "b"),
    ("x", "y"),
    ("model_x", "model_y"),
    ("model_1", "model_2"),
    ("player1", "player2"),
)
TALLIES = (
    ("wins", "losses", "ties"),
    ("wins_a", "wins_b", "ties"),
    ("winner_model_a", "winner_model_b", "winner_tie"),
)


@dataclass(frozen=True)
class Columns:
    """Names of the columns that hold a comparison, for files whose names are not known; None: found by name.

    Attributes
    ----------
    first, second : the two items. Name both or neither.
    winner : the verdict: the name of an item or of its column, "left", "a", "first", ..., a tie; or 1, 2 and 0 for a
        tie, in a column that holds a 2.

    Raises
    ------
    ValueError
        If only one of the two items is named, or one column is named twice.
    """

    first: str | None = None
    second: str | None = None
    winner: str | None = None

    def __post_init__(self) -> None:
        if (self.first is None) != (self.second is None):
            raise ValueError(f"name the columns of both items or of neither, got {self.first!r} and {self.second!r}")
        named = [name.strip().lower() for name in (self.first, self.second, self.winner) if name is not None]
        if len(set(named)) < len(named):
            raise ValueError(f"expected different columns for the items and the verdict, got {', '.join(named)}")

    def canonical(self, names: Sequence[str], where: str) -> list[str]:
        """`names` (lower case) with the columns named here as "first", "second", "winner".

        Columns that would otherwise be taken for these get a name that is not, in brackets.

        Raises
        ------
        ValueError
            For a column that is not there.
        """
        given = {"first": self.first, "second": self.second, "winner": self.winner}
        target = {name.strip().lower(): role for role, name in given.items() if name is not None}
        missing = [name for name in target if name not in names]
        if missing:
            raise ValueError(f"{where}: no column is called {missing[0]!r}; columns: {', '.join(names)}")
        displaced = {name for found in TALLIES for name in found} if target else set()
        if self.first is not None:
            displaced |= {name for pair in PAIRS for name in pair} | {"loser", "tie"}
        if self.winner is not None:
            displaced |= {"winner", "loser", "tie"}
        return [target.get(name, f"({name})" if name in displaced else name) for name in names]

    @property
    def sides(self) -> tuple[str, str]:
        """What a verdict may call the two sides: the names of their columns."""
        return (self.first or "first").strip().lower(), (self.second or "second").strip().lower()
