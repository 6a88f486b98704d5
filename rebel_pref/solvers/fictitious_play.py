"""Fictitious play: the best response to the past, one column of the game a step."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.games.game import Game
from rebel_pref.solvers.answer import Answer, Progress
from rebel_pref.solvers.stopping import allowed_exploitability, fell_short, starting_policy

__all__ = ["fictitious_play"]


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
    totals = np.zeros(len(game))  # payoffs against all plays so far
    action = int(game.payoffs_against(starting_policy(game, start)).argmax())
    for step in range(1, max_steps + 1):
        plays[action] += 1
        totals += game.columns(np.array([action]))[:, 0]
        action = int(totals.argmax())
        reached = float(totals[action]) / step
        if reached <= allowed:
            # Sums of many columns drift: only fresh payoffs may end the play.
            fresh = game.payoffs_against(plays / step)
            reached = float(fresh.max())
            if reached <= allowed:
                return Answer(plays / step, "fictitious_play", step)
            totals = step * fresh
        if progress is not None and step % 100 == 0:
            progress(step, reached)
    advice = "raise max_steps or tol; regret_matching gets further in as many steps"
    message = fell_short(f"{max_steps} plays", reached, allowed, advice)
    return Answer(plays / max_steps, "fictitious_play", max_steps, message)
