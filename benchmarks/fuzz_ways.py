"""The ways to ask `rp.solve` that are fuzzed, and what each answer claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

import rebel_pref as rp
from benchmarks.fuzz_games import INTEGER_KINDS, draw_factors, draw_game
from rebel_pref.games.game import Game
from rebel_pref.preferences import FloatArray

__all__ = ["WAYS", "Claim", "Way"]


@dataclass(frozen=True, eq=False)
class Claim:
    """One answer to hold to its word.

    Attributes
    ----------
    payoff : the true payoffs [n, n] in extended precision.
    tol : asked for, as a share of max|A|.
    """

    game: Game
    payoff: NDArray[np.longdouble]
    solution: rp.Solution
    tol: float


@dataclass(frozen=True)
class Way:
    """A way to solve a game.

    Attributes
    ----------
    name : as printed.
    claims : (kind, seed) -> the answers.
    kinds : the kinds of game it is for; empty for all.
    """

    name: str
    claims: Callable[[str, int], list[Claim]]
    kinds: tuple[str, ...] = ()

    def fits(self, kind: str) -> bool:
        """Whether it is for games of this kind."""
        return not self.kinds or kind in self.kinds


@dataclass(frozen=True)
class _Dense:
    """`rp.solve` on a dense game of at most `largest` actions."""

    tol: float
    method: str = "auto"
    selection: str = "any"
    exact: bool = False
    max_steps: int = 100_000
    largest: int = 300

    def __call__(self, kind: str, seed: int) -> list[Claim]:
        payoff = draw_game(kind, seed, self.largest)
        game = rp.PreferenceGame.from_payoffs(payoff)
        solution = rp.solve(
            game,
            method=self.method,
            tol=self.tol,
            selection=self.selection,
            exact=self.exact,
            max_steps=self.max_steps,
            seed=seed,
        )
        return [Claim(game, payoff.astype(np.longdouble), solution, self.tol)]


def _batch(kind: str, seed: int) -> list[Claim]:
    """The game and two of its shuffles, in one batch."""
    payoff = draw_game(kind, seed, 60)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(payoff)) for _ in range(2)]
    payoffs = np.stack([payoff, *(payoff[np.ix_(order, order)] for order in orders)])
    solution = rp.solve(rp.games.GameBatch.from_payoffs(payoffs), tol=1e-9)
    return [
        Claim(rp.PreferenceGame.from_payoffs(one), one.astype(np.longdouble), solution[b], 1e-9)
        for b, one in enumerate(payoffs)
    ]


def _factored(kind: str, seed: int) -> list[Claim]:
    """The discs by their factors."""
    left, right, scores = draw_factors(seed)
    game = rp.games.FactoredGame.from_factors(left, right, scores)
    u, v, r = (array.astype(np.longdouble) for array in (left, right, scores))
    payoff = u @ v.T - v @ u.T + r[:, None] - r
    return [Claim(game, payoff, rp.solve(game, tol=1e-9), 1e-9)]


def _matvec(kind: str, seed: int) -> list[Claim]:
    """The game behind a function, with a true bound on its error."""
    payoff = draw_game(kind, seed, 60)

    def against(policy: FloatArray) -> FloatArray:
        return np.asarray(payoff @ policy)

    error = float(len(payoff) * 2.3e-16 * np.abs(payoff).max())
    game = rp.games.MatvecGame.from_matvec(against, len(payoff), matvec_error=error)
    return [Claim(game, payoff.astype(np.longdouble), rp.solve(game, tol=1e-6, max_steps=5_000), 1e-6)]


_PROOF = (Way("exact", _Dense(1e-9, exact=True, largest=60), INTEGER_KINDS),) if find_spec("flint") else ()

WAYS: tuple[Way, ...] = (
    Way("auto", _Dense(1e-12)),
    Way("linear_program", _Dense(1e-9, "linear_program", largest=150)),
    Way("interior_point", _Dense(1e-9, "interior_point")),
    Way("active_set", _Dense(1e-9, "active_set")),
    Way("pivoting", _Dense(1e-9, "pivoting", largest=150)),
    Way("double_oracle", _Dense(1e-9, "double_oracle")),
    Way("primal_dual", _Dense(1e-6, "primal_dual", max_steps=5_000)),
    Way("regret_matching", _Dense(1e-3, "regret_matching", max_steps=5_000)),
    Way("fictitious_play", _Dense(1e-1, "fictitious_play", max_steps=5_000)),
    Way("vertex", _Dense(1e-9, selection="vertex")),
    Way("analytic_center", _Dense(1e-9, selection="analytic_center", largest=150)),
    Way("max_entropy", _Dense(1e-9, selection="max_entropy", largest=150)),
    Way("batch", _batch),
    Way("factored", _factored, ("disc",)),
    Way("matvec", _matvec),
    *_PROOF,
)
"""The first is asked of every game, the others in turn. Without python-flint, "exact" is left out."""
