"""The double oracle: solve a small game exactly, add the actions that beat its winner, until none does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rebel_pref.games.game import Game, PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers.answer import Answer, Progress
from rebel_pref.solvers.linear_program import linear_program
from rebel_pref.solvers.stopping import allowed_exploitability, fell_short, starting_policy

__all__ = ["double_oracle", "restricted_winners"]

Actions = NDArray[np.int64]

_CANDIDATES = 500  # best responses looked at more closely a round, and as many others that gain


def double_oracle(
    game: Game,
    *,
    solve_restricted: Callable[[FloatArray], FloatArray] | None = None,
    block: int = 32,
    tol: float = 1e-12,
    max_steps: int = 200,
    start: ArrayLike | None = None,
    progress: Progress | None = None,
) -> Answer:
    """Solve the game restricted to few actions, add up to `block` that gain against its winner, repeat.

    Meant for games of low rank: A of rank r has a winner on at most r + 1 actions (Caratheodory), however large
    n is, and a round costs one matvec, O(n r), beside the restricted game. No action is ever dropped, so the
    rounds are finite; dropping those out of use can cycle.

    The best responses alone would all be neighbours of one another where actions lie densely. A block is chosen
    to differ: candidates are rows of payoffs against the actions of the restricted game, weighted by what they
    gain, and are taken in the order of a pivoted QR factorisation, so that a row close to what earlier ones span counts
    for little. It never holds more actions than the rank.

    Parameters
    ----------
    solve_restricted : payoffs [k, k] -> winner [k] of the restricted game, exact to `tol`; a linear program
        polished on its support unless given.
    block : actions added a round, at most.
    tol : exploitability at which to stop, as a share of ``game.scale``.
    max_steps : rounds at most.
    start : [n] probabilities whose likeliest actions the restricted game begins with; the best response to
        uniform unless given.
    progress : called every round.

    Returns
    -------
    Answer with the least exploitable of the restricted winners; `steps` are rounds.

    Source: McMahan, Gordon and Blum 2003; pivoting: Businger and Golub 1965.
    """
    if block < 1:
        raise ValueError(f"block must hold at least 1 action, got {block}")
    allowed = allowed_exploitability(game, tol, max_steps)
    rng = np.random.default_rng(0)
    if start is None:
        actions = np.array([game.payoffs_against(starting_policy(game, None)).argmax()])
    else:
        policy = starting_policy(game, start)
        actions = _largest(policy, min(block, int(np.count_nonzero(policy))))
    respond = partial(_responses, game, block=block, least=0.5 * allowed, rng=rng)
    best, reached = starting_policy(game, start), np.inf
    found = restricted_winners(game, actions, solve_restricted, respond)
    for step, (policy, exploitability, gains) in zip(range(1, max_steps + 1), found, strict=False):
        if exploitability < reached:
            best, reached = policy, exploitability
        if progress is not None:
            progress(step, reached)
        if reached <= allowed:
            return Answer(best, "double_oracle", step)
        if gains.max() <= 0.5 * allowed:
            # Only actions that the restricted game knows gain: its winner is not one.
            advice = "the restricted game was not solved to this tolerance: raise tol, or pass solve_restricted"
            return Answer(best, "double_oracle", step, fell_short(f"{step} rounds", reached, allowed, advice))
    advice = "raise max_steps, block or tol"
    return Answer(best, "double_oracle", max_steps, fell_short(f"{max_steps} rounds", reached, allowed, advice))


def restricted_winners(
    game: Game,
    actions: Actions,
    solve: Callable[[FloatArray], FloatArray] | None,
    respond: Callable[[FloatArray, Actions], Actions],
) -> Iterator[tuple[FloatArray, float, FloatArray]]:
    """The rounds of the double oracle: the restricted game's winner [n], its exploitability, and what others gain [n].

    The last is 0 at the actions of the restricted game. It does not end by itself, unless nothing responds.

    Parameters
    ----------
    actions : of the first restricted game.
    solve : payoffs [k, k] -> winner [k]; a linear program polished on its support unless given.
    respond : (what others gain [n], actions of the restricted game) -> new actions, none where it is to end.
    """
    solve = solve or _restricted_winner
    table = game.among(actions)
    while True:
        policy = np.zeros(len(game))
        policy[actions] = solve(table)
        gains = game.payoffs_against(policy)
        exploitability = float(gains.max())
        gains[actions] = 0.0
        yield policy, exploitability, gains
        found = respond(gains, actions)
        if len(found) == 0:
            return
        table = _extended(game, table, actions, found)
        actions = np.append(actions, found)


def _responses(
    game: Game, gains: FloatArray, actions: Actions, block: int, least: float, rng: np.random.Generator
) -> Actions:
    """About `block` actions that gain more than `least` and whose payoffs differ."""
    from scipy.linalg import qr

    gaining = np.flatnonzero(gains > least)
    if len(gaining) > 2 * _CANDIDATES:
        # The best, and a random draw of the others: the best may all lie at one peak.
        best = gaining[_largest(gains[gaining], _CANDIDATES)]
        gaining = np.union1d(best, rng.choice(gaining, _CANDIDATES, replace=False))
    # The latest actions and a few at random span what A can tell apart.
    probes = np.union1d(actions[-block:], rng.choice(len(game), min(block, len(game)), replace=False))
    rows = game.among(gaining, probes)
    rows *= gains[gaining][:, None]
    # Businger and Golub's QR: pivots in the order of what they add to the span, the best response in any case.
    factor, order = qr(rows.T, mode="r", pivoting=True, check_finite=False, overwrite_a=True)
    lengths = np.abs(np.diagonal(factor))
    found = order[: len(lengths)][lengths > 1e-12 * lengths[0]][:block]
    return np.asarray(gaining[np.union1d(found, gains[gaining].argmax())])


def _extended(game: Game, table: FloatArray, actions: Actions, found: Actions) -> FloatArray:
    """The restricted game with the actions `found` as well; only payoffs that are new are computed."""
    rows = game.among(found, np.append(actions, found))
    old = len(actions)
    result = np.empty((old + len(found), old + len(found)))
    result[:old, :old] = table
    result[old:, :old] = rows[:, :old]
    result[:old, old:] = -rows[:, :old].T
    result[old:, old:] = 0.5 * (rows[:, old:] - rows[:, old:].T)
    return result


def _largest(values: FloatArray, count: int) -> Actions:
    return np.argpartition(-values, count - 1)[:count]


def _restricted_winner(payoffs: FloatArray) -> FloatArray:
    """A winner by linear programming; HiGHS stops near 1e-10, and one solve on its support ends the job."""
    policy = linear_program(PreferenceGame.from_payoffs(payoffs)).policy
    support = np.flatnonzero(policy > 1e-9)
    equations = np.vstack([payoffs[np.ix_(support, support)], np.ones(len(support))])
    shares = np.linalg.lstsq(equations, np.append(np.zeros(len(support)), 1.0), rcond=None)[0]
    polished = np.zeros(len(payoffs))
    polished[support] = np.maximum(shares, 0.0)
    polished /= polished.sum()
    return polished if (payoffs @ polished).max() <= (payoffs @ policy).max() else policy
