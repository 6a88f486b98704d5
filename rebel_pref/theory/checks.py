"""One row of the table of theorems: what was measured, what it is held against, and whether it holds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Check", "Scale", "at_least", "at_most", "near", "noted", "within"]


@dataclass(frozen=True)
class Scale:
    """How much is run: ``--quick`` checks the same inequalities on fewer seeds and smaller sizes.

    Attributes
    ----------
    quick : whether to take the small numbers.
    seed : first seed of everything that is drawn.
    """

    quick: bool = False
    seed: int = 0

    def pick(self, full: Any, quick: Any) -> Any:
        """`full`, or `quick` on a quick run."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Check:
    """A number and the interval that a theorem, or a measured law, puts it in.

    Attributes
    ----------
    theorem : short name, such as "Hedge, average".
    quantity : what was measured, in words and signs that stand alone.
    games : where, every game by name.
    observed : the number; the worst over games and seeds.
    low, high : the interval in which it has to lie; infinite where one side is free.
    reference : the bound or the prediction that is printed beside it.
    kind : what the reference is: "bound", "prediction" or "identity" of a theorem; "observation" of what was measured
        before, which has to come out again; "note" where there is none and nothing is claimed.
    negative : whether the row shows a method failing, as theory or measurement says it must.
    """

    theorem: str
    quantity: str
    games: str
    observed: float
    low: float
    high: float
    reference: float
    kind: str
    negative: bool = False

    @property
    def holds(self) -> bool:
        """Whether the number lies in its interval; one that is not finite never does."""
        return math.isfinite(self.observed) and self.low <= self.observed <= self.high

    @property
    def ratio(self) -> float:
        """Observed over reference; NaN where the reference is 0."""
        return self.observed / self.reference if self.reference != 0.0 else math.nan

    def as_row(self) -> dict[str, Any]:
        """What a file stores."""
        return {**asdict(self), "ratio": self.ratio, "holds": self.holds}


def at_most(
    theorem: str,
    quantity: str,
    games: str,
    observed: float,
    bound: float,
    *,
    kind: str = "bound",
    negative: bool = False,
) -> Check:
    """``observed <= bound``."""
    return Check(theorem, quantity, games, float(observed), -math.inf, float(bound), float(bound), kind, negative)


def at_least(
    theorem: str,
    quantity: str,
    games: str,
    observed: float,
    bound: float,
    *,
    kind: str = "bound",
    negative: bool = False,
) -> Check:
    """``observed >= bound``."""
    return Check(theorem, quantity, games, float(observed), float(bound), math.inf, float(bound), kind, negative)


def near(
    theorem: str,
    quantity: str,
    games: str,
    observed: float,
    prediction: float,
    *,
    relative: float = 0.0,
    absolute: float = 0.0,
    negative: bool = False,
) -> Check:
    """``|observed - prediction| <= relative |prediction| + absolute``."""
    slack = relative * abs(prediction) + absolute
    low, high = float(prediction) - slack, float(prediction) + slack
    return Check(theorem, quantity, games, float(observed), low, high, float(prediction), "prediction", negative)


def within(
    theorem: str,
    quantity: str,
    games: str,
    observed: float,
    low: float,
    high: float,
    *,
    reference: float | None = None,
    negative: bool = False,
) -> Check:
    """``low <= observed <= high``, with the middle as the reference unless one is given."""
    middle = 0.5 * (low + high) if reference is None else reference
    return Check(theorem, quantity, games, float(observed), low, high, float(middle), "prediction", negative)


def noted(theorem: str, quantity: str, games: str, observed: float) -> Check:
    """A number that the reader should know, of which nothing is claimed but that it is one."""
    return Check(theorem, quantity, games, float(observed), -math.inf, math.inf, 0.0, "note")
