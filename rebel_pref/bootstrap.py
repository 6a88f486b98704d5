"""How sure the minimax winner is: intervals from comparisons drawn again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rebel_pref.games.comparisons import Comparisons
from rebel_pref.games.game import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.solution import Solution
from rebel_pref.solvers.solve import solve as solve_game

__all__ = ["WinnerIntervals", "bootstrap_winner", "most_mixed_winner"]

_IN_SUPPORT = 1e-6


@dataclass(frozen=True, eq=False)
class WinnerIntervals:
    """The minimax winner of the comparisons, with percentile intervals over bootstrap replicates.

    Attributes
    ----------
    labels : n names.
    policy : float64 [n], winner of the comparisons as they are.
    lower, upper : float64 [n], bounds of its probabilities.
    probability_in_support : float64 [n], share of the replicates in which the action had a probability above 1e-6.
    win_rate : float64 [n], win rate of every action against the winner, at most 1/2 up to rounding.
    win_rate_lower, win_rate_upper : float64 [n], its bounds; each replicate's actions meet its own winner.
    level : what share of the replicates the bounds enclose.
    replicates : replicates behind the bounds.
    unsolved : replicates left out because no winner was found.
    one_sided : pairs of which one side won every comparison. Drawn again they come out the same, so the bounds show
        none of their uncertainty.
    """

    labels: Sequence[str]
    policy: FloatArray
    lower: FloatArray
    upper: FloatArray
    probability_in_support: FloatArray
    win_rate: FloatArray
    win_rate_lower: FloatArray
    win_rate_upper: FloatArray
    level: float
    replicates: int
    unsolved: int
    one_sided: int


def most_mixed_winner(game: PreferenceGame) -> Solution:
    """The minimax winner of maximal entropy: the only one of its kind, so replicates can be compared."""
    return solve_game(game, selection="max_entropy")


def bootstrap_winner(
    comparisons: Comparisons,
    *,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    solve: Callable[[PreferenceGame], Solution] = most_mixed_winner,
    progress: Callable[[int], None] | None = None,
) -> WinnerIntervals:
    """Solve the game again and again on comparisons drawn with replacement.

    With ``comparisons.cluster``, whole clusters are drawn, as many as there are: rows of one voter, prompt or
    annotator stay together. Without, the comparisons of each pair are drawn independently, as many as the pair
    had. A pair that a replicate does not meet is a tie, as everywhere.

    The winner jumps where another action enters the support, and a percentile interval is then only a picture of
    what more data of this kind might have said: read `probability_in_support` next to it. Pairs with very few
    comparisons make replicates more extreme than the truth.

    Parameters
    ----------
    replicates : how many, at least 1; bounds at a level of 95 % want a thousand.
    seed : of the draws.
    level : in (0, 1).
    solve : finds the winner of a replicate; it should choose among several winners by a rule.
    progress : called with the number of replicates done.

    Raises
    ------
    ValueError
        For no comparisons at all, or settings out of range.
    FloatingPointError
        If no replicate was solved.

    Source: Efron 1979; percentile bounds and the bootstrap of clusters in Davison and Hinkley 1997, 5.3 and 3.8.
    """
    if replicates < 1:
        raise ValueError(f"expected at least 1 replicate, got {replicates}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is the share of replicates inside the bounds, expected 0 < level < 1, got {level}")
    if not comparisons.total > 0:
        raise ValueError("there are no comparisons to draw from")
    game = PreferenceGame.from_comparisons(comparisons)
    policy = solve(game).policy
    cluster = comparisons.cluster
    draw = _by_pair(comparisons) if cluster is None else _by_cluster(comparisons, cluster)
    rng = np.random.default_rng(seed)
    policies, win_rates, status = [], [], ""
    for number in range(1, replicates + 1):
        replicate = PreferenceGame.from_comparisons(draw(rng))
        solution = solve(replicate)
        if solution.solved:
            policies.append(solution.policy)
            win_rates.append(_win_rates(replicate, solution.policy))
        else:
            status = solution.status
        if progress is not None:
            progress(number)
    if not policies:
        raise FloatingPointError(f"none of the {replicates} replicates was solved; the last one {status}")
    tails = np.array([0.5 - 0.5 * level, 0.5 + 0.5 * level])
    lower, upper = np.quantile(policies, tails, axis=0)
    win_rate_lower, win_rate_upper = np.quantile(win_rates, tails, axis=0)
    return WinnerIntervals(
        labels=comparisons.labels,
        policy=policy,
        lower=lower,
        upper=upper,
        probability_in_support=(np.array(policies) > _IN_SUPPORT).mean(axis=0),
        win_rate=_win_rates(game, policy),
        win_rate_lower=win_rate_lower,
        win_rate_upper=win_rate_upper,
        level=level,
        replicates=len(policies),
        unsolved=replicates - len(policies),
        one_sided=_one_sided(comparisons.counts),
    )


def _win_rates(game: PreferenceGame, policy: FloatArray) -> FloatArray:
    return np.asarray(0.5 + 0.5 * game.payoffs_against(policy))


def _one_sided(counts: FloatArray) -> int:
    """Pairs that were compared and have a share of 0 or 1, from the win counts [n, n]."""
    return int(((counts > 0.0) & (counts.T == 0.0)).sum())


def _by_cluster(comparisons: Comparisons, cluster: NDArray[np.int64]) -> Callable[[np.random.Generator], Comparisons]:
    """Draws as many clusters as there are, with replacement."""
    numbers, member = np.unique(cluster, return_inverse=True)
    even = np.full(len(numbers), 1.0 / len(numbers))

    def draw(rng: np.random.Generator) -> Comparisons:
        times = rng.multinomial(len(numbers), even)[member]
        return Comparisons(
            comparisons.labels,
            comparisons.first,
            comparisons.second,
            comparisons.wins * times,
            comparisons.losses * times,
            comparisons.ties * times,
        )

    return draw


def _by_pair(comparisons: Comparisons) -> Callable[[np.random.Generator], Comparisons]:
    """Draws wins, losses and ties of each pair anew from their shares, as many as the pair had."""
    size = len(comparisons.labels)
    turned = comparisons.first > comparisons.second
    low = np.where(turned, comparisons.second, comparisons.first)
    high = np.where(turned, comparisons.first, comparisons.second)
    pairs, row = np.unique(low * size + high, return_inverse=True)
    tallies = np.stack(
        [
            np.bincount(row, np.where(turned, comparisons.losses, comparisons.wins)),
            np.bincount(row, np.where(turned, comparisons.wins, comparisons.losses)),
            np.bincount(row, comparisons.ties),
        ],
        axis=1,
    )
    met = tallies.sum(axis=1) > 0
    first, second = np.divmod(pairs[met], size)
    total = tallies[met].sum(axis=1)
    shares = tallies[met] / total[:, None]
    # Weighted comparisons need not add up to a whole number; a pair that was met is met again.
    times = np.maximum(np.rint(total), 1.0).astype(np.int64)

    def draw(rng: np.random.Generator) -> Comparisons:
        wins, losses, ties = rng.multinomial(times, shares).T.astype(np.float64)
        return Comparisons(comparisons.labels, first, second, wins, losses, ties)

    return draw
