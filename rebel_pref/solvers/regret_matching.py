"""Regret matching in symmetric self-play: one matvec a step, no step size, the winner in the average."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.games.game import Game
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers.answer import Answer, Progress
from rebel_pref.solvers.stopping import allowed_exploitability, fell_short, starting_policy

__all__ = ["Averaging", "Variant", "matched_policies", "regret_matching"]

Variant = Literal["plain", "plus", "predictive_plus"]
Averaging = Literal["uniform", "linear", "quadratic", "last"]

# The share of step t in the average of steps 1..t: t^k / (1^k + ... + t^k) for k = 0, 1, 2.
_SHARES: Mapping[Averaging, Callable[[int], float]] = {
    "uniform": lambda t: 1.0 / t,
    "linear": lambda t: 2.0 / (t + 1.0),
    "quadratic": lambda t: 6.0 * t / ((t + 1.0) * (2.0 * t + 1.0)),
    "last": lambda t: 1.0,
}
_REFRESH = 1000  # steps after which the payoffs against the average are computed anew, against drift


def regret_matching(
    game: Game,
    *,
    variant: Variant = "predictive_plus",
    averaging: Averaging = "quadratic",
    tol: float = 1e-4,
    max_steps: int = 100_000,
    start: ArrayLike | None = None,
    progress: Progress | None = None,
) -> Answer:
    """Play each action in proportion to how much it is regretted.

    With ``p . A p = 0`` the instantaneous regret of action y against oneself is its payoff ``(A p)(y)``, and
    both players are one. With cumulative regrets z and the last payoffs g as the prediction,

        plain            p ~ max(z, 0)        z <- z + A p
        plus             p ~ z                z <- max(z + A p, 0)
        predictive_plus  p ~ max(z + g, 0)    z <- max(z + A p, 0),  g <- A p

    The uniform average of T policies is at most ``sqrt(sum_t |A p_t|^2) / T <= max|A| sqrt(n / T)`` exploitable
    (plain and plus). In practice predictive_plus with quadratic averaging is by far the fastest to 1e-4.

    Parameters
    ----------
    averaging : weights 1, t or t^2 of step t, or the last policy, which has no guarantee.
    tol : exploitability at which to stop, as a share of ``game.scale``.
    max_steps : steps at most; one matvec each.
    start : [n] probabilities of the first policy, and of every one at which no action is regretted; uniform
        unless given.
    progress : called every 100 steps.

    Returns
    -------
    Answer with the average policy; `steps` are matvecs, but for one to confirm the end and one in a thousand
    against drift.

    Source: Hart and Mas-Colell 2000 (plain); Tammelin 2014 (plus); Farina, Kroer and Sandholm 2021 (predictive).
    """
    if averaging not in _SHARES:
        raise ValueError(f"no averaging is called {averaging!r}; known ways: {', '.join(_SHARES)}")
    allowed = allowed_exploitability(game, tol, max_steps)
    played = matched_policies(game, variant, starting_policy(game, start))
    average, against_average = np.zeros(len(game)), np.zeros(len(game))
    share_of = _SHARES[averaging]
    for step, (policy, payoffs) in zip(range(1, max_steps + 1), played, strict=False):
        share = share_of(step)
        average += share * (policy - average)
        against_average += share * (payoffs - against_average)
        reached = float(against_average.max())
        if reached <= allowed or step % _REFRESH == 0:
            against_average = game.payoffs_against(average)
            reached = float(against_average.max())
            if reached <= allowed:
                return Answer(average / average.sum(), "regret_matching", step)
        if progress is not None and step % 100 == 0:
            progress(step, reached)
    advice = "raise max_steps or tol, or take a method that is exact"
    return Answer(
        average / average.sum(),
        "regret_matching",
        max_steps,
        fell_short(f"{max_steps} matvecs", reached, allowed, advice),
    )


def matched_policies(game: Game, variant: Variant, fallback: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
    """The policies pi_1, pi_2, ... of regret matching, each with its regrets ``A pi_t`` [n], without end.

    Parameters
    ----------
    fallback : [n] probabilities, played where no action is regretted: in the first round, for one.
    """
    if variant not in ("plain", "plus", "predictive_plus"):
        raise ValueError(f"no variant is called {variant!r}; known variants: plain, plus, predictive_plus")
    return _matched_policies(game, variant, fallback)


def _matched_policies(game: Game, variant: Variant, fallback: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
    regrets, prediction = np.zeros(len(game)), np.zeros(len(game))
    while True:
        policy = _matched(regrets + prediction, fallback)
        payoffs = game.payoffs_against(policy)
        yield policy, payoffs
        regrets += payoffs
        if variant != "plain":
            np.maximum(regrets, 0.0, out=regrets)
        if variant == "predictive_plus":
            prediction = payoffs


def _matched(regrets: FloatArray, fallback: FloatArray) -> FloatArray:
    positive = np.maximum(regrets, 0.0)
    total = positive.sum()
    return positive / total if total > 0.0 else fallback
