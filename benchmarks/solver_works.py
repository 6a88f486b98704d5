"""What `solver_speed` measures: each piece of work, whom to beat at it, and by how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks import suite
from benchmarks.suite import Problem
from rebel_pref import games

__all__ = ["Bar", "Work", "small_games", "works"]

SIMPLEX = ("HiGHS simplex",)
INTERIOR = ("HiGHS interior point", "scipy highs-ipm")
"""One solver by two doors: the quicker one counts."""


@dataclass(frozen=True)
class Bar:
    """Ours must be `at_least` times as fast as the fastest of `peers` that answers."""

    name: str
    peers: tuple[str, ...]
    at_least: float


@dataclass(frozen=True)
class Work:
    """One thing to solve.

    Attributes
    ----------
    accuracy : of our answer, as a share of max|A|.
    peer_accuracy : of theirs; looser where the aim is an exact answer, in their favour.
    bars : whom to beat and by how much; without any, the answer itself is the bar.
    most_memory : megabytes that `memory` may reach, or None.
    memory : "extra" while solving, or "peak" of the whole process.
    """

    name: str
    make: Callable[[], Problem]
    bars: tuple[Bar, ...] = ()
    accuracy: float = 1e-12
    peer_accuracy: float = 1e-9
    most_memory: float | None = None
    memory: str = "extra"
    checked: bool = True


def works(quick: bool) -> list[Work]:
    """Everything the table holds; `quick` keeps the shape and shrinks the sizes."""

    def size(full: int, small: int) -> int:
        return small if quick else full

    large = size(5000, 60)
    highs = Bar("HiGHS", SIMPLEX + INTERIOR, 1.0)
    listed = [
        Work(
            "random n=1000",
            partial(suite.random_dense, size(1000, 40), 0),
            (
                Bar("HiGHS simplex", SIMPLEX, 100.0),
                Bar("HiGHS interior point", INTERIOR, 40.0),
                Bar("quantecon minmax", ("quantecon minmax",), 130.0),
            ),
        ),
        Work(
            "random n=2000",
            partial(suite.random_dense, size(2000, 50), 0),
            (Bar("HiGHS interior point", INTERIOR, 30.0),),
        ),
        Work(
            "random n=5000",
            partial(suite.random_dense, large, 0),
            # The matrix itself is the other half of "under twice the matrix".
            most_memory=large**2 * 8 / 2**20,
            checked=False,
        ),
        Work(
            "Blotto margin, 4 fields, 16 soldiers",
            partial(suite.dense, games.blotto, size(16, 3), (1, 1, 1, 1), payoff="margin"),
            (Bar("HiGHS simplex", SIMPLEX, 5.0), Bar("HiGHS interior point", INTERIOR, 25.0)),
        ),
        Work(
            "one game n=100",
            partial(suite.random_dense, size(100, 20), 0),
            (Bar("quantecon minmax", ("quantecon minmax",), 4.0), Bar("HiGHS", SIMPLEX + INTERIOR, 20.0)),
        ),
        Work(
            "batch of 4096 games n=10",
            partial(suite.random_batch, size(4096, 16), 10, 0),
            (Bar("quantecon loop", ("quantecon loop",), 4.0), Bar("scipy loop", ("scipy loop",), 700.0)),
        ),
        Work(
            "1e-4 at n=1000",
            partial(suite.random_dense, size(1000, 40), 0),
            (Bar("ortools PDLP", ("ortools PDLP",), 30.0),),
            accuracy=1e-4,
            peer_accuracy=1e-4,
        ),
        Work(
            "1e-3 at n=100",
            partial(suite.random_dense, size(100, 20), 0),
            (Bar("open_spiel regret matching", ("open_spiel regret matching",), 1000.0),),
            accuracy=1e-3,
            peer_accuracy=1e-3,
        ),
        Work(
            "rank 12, n=1e5",
            partial(suite.mixed, size(100_000, 400), 5, 0),
            (Bar("HiGHS, factored LP", ("HiGHS simplex, factored", "HiGHS interior point, factored"), 100.0),),
        ),
        Work(
            "rank 12, n=1e6",
            partial(suite.mixed, size(1_000_000, 1000), 5, 0),
            most_memory=1000.0,
            memory="peak",
        ),
    ]
    structured: dict[str, Callable[[], Problem]] = {
        "Blotto margin, 4 fields, 10 soldiers": partial(
            suite.dense, games.blotto, size(10, 3), (1, 1, 1, 1), payoff="margin"
        ),
        "Blotto win, 4 fields, 10 soldiers": partial(suite.dense, games.blotto, size(10, 3), (1, 1, 1, 1)),
        "Blotto win, 4 fields, 16 soldiers": partial(suite.dense, games.blotto, size(16, 3), (1, 1, 1, 1)),
        "Blotto win, fields 2:3:4, 20 soldiers": partial(suite.dense, games.blotto, size(20, 6), (2, 3, 4)),
        "Lotto, 4 fields, 24 soldiers": partial(suite.dense, games.colonel_lotto, size(24, 8), 4),
        "discs, rank 10, n=1000": partial(suite.dense, games.disc_game, size(1000, 30), 5),
        "discs and scores, rank 12, n=1000": partial(suite.dense, games.mixed_game, size(1000, 30), 5),
        "majority of 101 raters, n=500": partial(suite.majority, size(500, 30), 101, 0),
        "majority of 3 raters, n=500": partial(suite.majority, size(500, 30), 3, 0),
        "dice with 6 faces, n=200": partial(suite.random_dice, size(200, 30), 6, 0),
        "Bradley-Terry, n=500": partial(suite.dense, games.bradley_terry_game, np.linspace(0.0, 5.0, size(500, 30))),
        "quality and cycle, n=500": partial(suite.dense, games.hybrid_game, size(500, 30)),
        "Penney, length 8": partial(suite.dense, games.penney, size(8, 3)),
    }
    structured |= {
        f"{name} (named)": partial(suite.dense, games.named_game, name)
        for name in games.GAMES
        if name not in ("random", *(("kuhn-poker", "mixed") if quick else ()))
    }
    return listed + [Work(f"structured: {name}", make, (highs,)) for name, make in structured.items()]


def small_games(quick: bool) -> dict[str, Callable[[], Problem]]:
    """Games for which every exact solver should have an answer; some are degenerate or in an awkward unit."""
    small: dict[str, Callable[[], Problem]] = {
        "weighted rock-paper-scissors": suite.rock_paper_scissors,
        "every action of it twice": partial(suite.duplicated, 2),
    }
    if not quick:
        small |= {
            "its payoffs times 1e-7": partial(suite.rock_paper_scissors, 1e-7),
            "its payoffs times 1e-10": partial(suite.rock_paper_scissors, 1e-10),
            "its payoffs times 1e16": partial(suite.rock_paper_scissors, 1e16),
            "every payoff 0, n=4": partial(suite.dense, games.bradley_terry_game, np.zeros(4)),
            "pure winner, n=20": partial(suite.dense, games.bradley_terry_game, np.linspace(0.0, 2.0, 20)),
            "majority of 3 raters, n=20": partial(suite.majority, 20, 3, 0),
            "random, n=20": partial(suite.random_dense, 20, 0),
            "random, n=100": partial(suite.random_dense, 100, 0),
            "Blotto margin, 4 fields, 10 soldiers": partial(
                suite.dense, games.blotto, 10, (1, 1, 1, 1), payoff="margin"
            ),
        }
    return small
