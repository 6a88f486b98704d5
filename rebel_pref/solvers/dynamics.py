"""Learning dynamics: any row of :mod:`rebel_pref.algorithms`, run on a matrix with exact payoffs.

All in log-space; the target comes from the same function that a language-model trainer calls, and in a table
the regression is solved exactly: ``pi_next = softmax(log pi_t + target)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.algorithms import Algorithm, EMAMagnet, FixedMagnet, ResetMagnet
from rebel_pref.certificates import certify, check_policy
from rebel_pref.games.game import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.solution import SOLVED, Solution, support_of
from rebel_pref.targets import regression_target

__all__ = ["DynamicsState", "fit_pointwise", "initial_state", "self_play", "step"]


@dataclass(frozen=True, eq=False)
class DynamicsState:
    """Where the dynamics stand: log-policies [n], normalised."""

    current: FloatArray
    magnet: FloatArray
    previous: FloatArray | None
    round: int


def initial_state(start: ArrayLike, magnet: ArrayLike | None = None) -> DynamicsState:
    """State of round 0 from probabilities [n] with full support; the magnet is the start unless given."""
    with np.errstate(divide="ignore"):
        current = np.log(np.asarray(start, dtype=np.float64))
        anchor = current if magnet is None else np.log(np.asarray(magnet, dtype=np.float64))
    if not (np.isfinite(current).all() and np.isfinite(anchor).all()):
        raise ValueError("dynamics in log-space need a start and a magnet with full support: every probability > 0")
    return DynamicsState(_normalized(current), _normalized(anchor), None, 0)


def step(algorithm: Algorithm, payoffs: FloatArray, state: DynamicsState) -> DynamicsState:
    """One round: every stage of the row, then the magnet rule."""
    log_probs = {"current": state.current, "magnet": state.magnet}
    if state.previous is not None:
        log_probs["previous"] = state.previous
    for stage in algorithm.stages:
        target = regression_target(stage, state.current, log_probs, payoffs).log_ratio
        if algorithm.residual == "pointwise":
            result = fit_pointwise(state.current, target)
        else:
            result = _normalized(state.current + target)
        log_probs["lookahead"] = result
    return DynamicsState(result, _moved_magnet(algorithm, state, result), state.current, state.round + 1)


def self_play(
    game: PreferenceGame,
    algorithm: Algorithm,
    *,
    steps: int,
    start: ArrayLike | None = None,
    magnet: ArrayLike | None = None,
    seed: int | None = None,
    tol: float = 1e-9,
    record: Callable[[int, FloatArray], None] | None = None,
) -> Solution:
    """Run a row of weights against itself on a matrix game.

    Parameters
    ----------
    steps : rounds T.
    start : [n] probabilities, full support; uniform unless given. A random start needs `seed` instead.
    magnet : [n] probabilities; the start unless given.
    seed : draws a random start (a softmax of standard normals); None starts from uniform.
    tol : exploitability of the last iterate, as a share of ``max|A|``, below which `status` is "solved".
    record : called with the round and the policy [n] after every round.

    Returns
    -------
    Solution with the **last** iterate in `policy` and the mean of pi_1..pi_T (the start is pi_1) in
    `average_policy`, each with its certificate. For `rebel` the guarantee is the average's.

    >>> from rebel_pref import games, proximal_rebel
    >>> game = games.rock_paper_scissors(.1, .3, .6)
    >>> self_play(game, proximal_rebel(10.0, .001), steps=400).policy.round(2)
    array([0.6, 0.3, 0.1])
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if start is None:
        noise = np.zeros(len(game)) if seed is None else np.random.default_rng(seed).normal(size=len(game))
        start = np.exp(_normalized(noise))
    state = initial_state(check_policy(game, start), None if magnet is None else check_policy(game, magnet))
    total = np.zeros(len(game))
    for _ in range(steps):
        total += np.exp(state.current)
        state = step(algorithm, game.payoff, state)
        if not np.isfinite(state.current).all():
            raise FloatingPointError(
                f"{algorithm.name} left the simplex in round {state.round}: log-policy is not finite; lower step_size"
            )
        if record is not None:
            record(state.round, np.exp(state.current))
    policy, average = np.exp(state.current), total / steps
    certificate = certify(game, policy)
    allowed = tol * max(float(np.abs(game.payoff).max()), np.finfo(float).tiny)
    status = SOLVED
    if certificate.exploitability > allowed:
        status = (
            f"stopped after {steps} rounds: exploitability of the last iterate {certificate.exploitability:.3g} > "
            f"{allowed:.3g}; {_advice(algorithm)}, or rp.solve for the exact winner"
        )
    settings: Mapping[str, object] = {
        "algorithm": algorithm.name,
        "step_size": algorithm.step_size,
        "regularization": algorithm.regularization,
        "magnet": repr(algorithm.magnet),
        "steps": steps,
        "seed": seed,
        "start": np.asarray(start).tolist(),
        "tol": tol,
    }
    return Solution(
        policy=policy,
        support=support_of(game, policy),
        certificate=certificate,
        method=algorithm.name,
        steps=steps,
        status=status,
        settings=settings,
        average_policy=average,
        average_certificate=certify(game, average),
    )


def fit_pointwise(log_current: FloatArray, target: FloatArray) -> FloatArray:
    """The normalised policy closest to a pointwise target: ``min E_{pi_t} (log pi / pi_t - target)^2``.

    Stationarity gives ``d + c exp(d) = target`` for the log-ratio d, with one number c that normalises;
    c = 0 if the target happens to be normalised. This is what SPPO's regression reaches in a table.
    """
    from scipy.optimize import brentq  # Slow to import, and only SPPO needs it.
    from scipy.special import logsumexp, wrightomega

    def log_ratio(multiplier: float) -> FloatArray:
        # d + c e^d = t: with u = c e^d, u e^u = c e^t, so u = W(c e^t) and d = t - u. Omega(x) = W(e^x).
        if multiplier == 0.0:
            return target
        return np.asarray(target - wrightomega(np.log(multiplier) + target).real)

    def mass(multiplier: float) -> float:
        return float(logsumexp(log_current + log_ratio(multiplier)))

    # A target with mean 0 under pi_t has log Z >= 0 (Jensen), so the multiplier is not negative and the
    # mass falls as it grows.
    if float(logsumexp(log_current + target)) <= 1e-15:
        return _normalized(log_current + target)
    low, high = 1.0, 1.0
    while mass(high) > 0.0:
        high *= 2.0
    while mass(low) < 0.0 and low > 1e-300:
        low *= 0.5
    multiplier = low if low == high else float(brentq(mass, low, high, xtol=1e-300, rtol=8.9e-16))
    return _normalized(log_current + log_ratio(multiplier))


def _advice(algorithm: Algorithm) -> str:
    if not algorithm.uses("magnet"):
        return "the guarantee is the average iterate's: read average_policy"
    if isinstance(algorithm.magnet, FixedMagnet):
        return "a fixed magnet leaves a bias of up to tau log(1 / min magnet): lower regularization, move the magnet"
    return "take more steps"


def _moved_magnet(algorithm: Algorithm, state: DynamicsState, result: FloatArray) -> FloatArray:
    match algorithm.magnet:
        case FixedMagnet():
            return state.magnet
        case EMAMagnet(rate):
            return _normalized((1.0 - rate) * state.magnet + rate * result)
        case ResetMagnet(every):
            return result if (state.round + 1) % every == 0 else state.magnet


def _normalized(log_policy: FloatArray) -> FloatArray:
    top = log_policy.max()
    return np.asarray(log_policy - top - np.log(np.exp(log_policy - top).sum()))
