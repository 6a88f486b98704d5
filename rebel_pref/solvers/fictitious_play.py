"""Fictitious play: the best response to the past, one column of the game a step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.games.game import Game
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers.answer import Answer, Progress
from rebel_pref.solvers.stopping import allowed_exploitability, fell_short, starting_policy

__all__ = ["best_responses", "fictitious_play", "smooth_responses"]


def fictitious_play(
    game: Game,
    *,
    tol: float = 1e-2,
    max_steps: int = 100_000,
    start: ArrayLike | None = None,
    progress: Progress | None = None,
) -> Answer:
    """Play the best response to the frequencies played so far; the frequencies tend to a minimax winner.

    In a symmetric game both players are one. Of several best responses the first in the order of the labels is
    played: the rule matters, because the rate hangs on it (Karlin's conjecture of ``T^(-1/2)`` is false for
    adversarial ties, Daskalakis and Pan 2014, and in general there is no useful rate).

    Parameters
    ----------
    tol : exploitability of the frequencies at which to stop, as a share of ``game.scale``.
    max_steps : plays at most. Each costs one column: O(n) in a dense game, O(n rank) by factors.
    start : [n] probabilities that the first play responds to, and that are then forgotten; uniform unless given.
    progress : called every 100 steps.

    Source: Brown 1951; convergence: Robinson 1951.
    """
    allowed = allowed_exploitability(game, tol, max_steps)
    plays = np.zeros(len(game), dtype=np.int64)
    played = best_responses(game, starting_policy(game, start))
    for step, (action, response, totals) in zip(range(1, max_steps + 1), played, strict=False):
        plays[action] += 1
        reached = float(totals[response]) / step
        if reached <= allowed:
            # Sums of many columns drift: only fresh payoffs may end the play.
            fresh = game.payoffs_against(plays / step)
            reached = float(fresh.max())
            if reached <= allowed:
                return Answer(plays / step, "fictitious_play", step)
            totals[:] = step * fresh
        if progress is not None and step % 100 == 0:
            progress(step, reached)
    advice = "raise max_steps or tol; regret_matching gets further in as many steps"
    message = fell_short(f"{max_steps} plays", reached, allowed, advice)
    return Answer(plays / max_steps, "fictitious_play", max_steps, message)


def best_responses(game: Game, start: FloatArray) -> Iterator[tuple[int, int, FloatArray]]:
    """The plays of fictitious play, without end: action t, the best response to plays 1..t, their payoffs [n].

    The payoffs are sums over all plays, in place from play to play: who finds that they have drifted may overwrite
    them. The first play responds to `start` [n].
    """
    totals = np.zeros(len(game))
    response = int(game.payoffs_against(start).argmax())
    while True:
        action = response
        totals += game.columns(np.array([action]))[:, 0]
        response = int(totals.argmax())
        yield action, response, totals


def smooth_responses(game: Game, start: FloatArray, regularization: float) -> Iterator[FloatArray]:
    """The policies of smooth fictitious play, without end: ``pi_t = softmax(A q / tau)``, q the mean of those before.

    The first responds to `start` [n], which is then forgotten. The frequencies q tend to the equilibrium regularised
    by tau towards uniform, the one policy with ``q = softmax(A q / tau)``, not to a minimax winner.

    Source: Fudenberg and Kreps 1993; convergence in zero-sum games: Hofbauer and Sandholm 2002.
    """
    if not 0.0 < regularization < float("inf"):
        raise ValueError(f"smooth fictitious play needs a finite regularization > 0, got {regularization}")
    return _smooth_responses(game, start, regularization)


def _smooth_responses(game: Game, start: FloatArray, regularization: float) -> Iterator[FloatArray]:
    payoffs = game.payoffs_against(start)
    totals, count = np.zeros(len(game)), 0
    while True:
        logits = payoffs / regularization
        weights = np.exp(logits - logits.max())
        policy = weights / weights.sum()
        yield policy
        count += 1
        totals += game.payoffs_against(policy)
        payoffs = totals / count
