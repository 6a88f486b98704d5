"""Learning dynamics: any row of :mod:`rebel_pref.algorithms`, run on a matrix or on one matrix a context.

All in log-space; the target comes from the same function that a language-model trainer calls, and in a table
the regression is solved exactly: ``pi_next = softmax(log pi_t + target)``. What a round sees of the game, all of it or
a few noisy comparisons, is its :mod:`~rebel_pref.solvers.feedback`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args, overload

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.algorithms import Algorithm, EMAMagnet, FixedMagnet, ResetMagnet
from rebel_pref.certificates import certify, check_policy
from rebel_pref.games.contextual import ContextualGame
from rebel_pref.games.game import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.schedules import Schedule
from rebel_pref.solution import SOLVED, ContextualSolution, Solution, support_of
from rebel_pref.solvers.automatic import automatic_algorithm
from rebel_pref.solvers.feedback import ExactPayoffs, Feedback, Observation

__all__ = [
    "DynamicsState",
    "IterateAverage",
    "drawn_start",
    "fit_pointwise",
    "initial_state",
    "iterates",
    "self_play",
    "step",
]

IterateAverage = Literal["uniform", "linear", "last"]
"""Weights of pi_1..pi_T in the average: 1, t, or the last alone."""


@dataclass(frozen=True, eq=False)
class DynamicsState:
    """Where the dynamics stand: log-policies [..., n], normalised. Leading axes are runs or contexts."""

    current: FloatArray
    magnet: FloatArray
    previous: FloatArray | None
    round: int


def initial_state(start: ArrayLike, magnet: ArrayLike | None = None) -> DynamicsState:
    """State of round 0 from probabilities [..., n] with full support; the magnet is the start unless given."""
    with np.errstate(divide="ignore"):
        current = np.log(np.asarray(start, dtype=np.float64))
        anchor = current if magnet is None else np.log(np.asarray(magnet, dtype=np.float64))
    if not (np.isfinite(current).all() and np.isfinite(anchor).all()):
        raise ValueError("dynamics in log-space need a start and a magnet with full support: every probability > 0")
    return DynamicsState(_normalized(current), _normalized(anchor), None, 0)


def step(
    algorithm: Algorithm | Schedule, payoffs: FloatArray, state: DynamicsState, seen: Observation | None = None
) -> DynamicsState:
    """One round: every stage of the row, then the magnet rule.

    Parameters
    ----------
    payoffs : [n, n], or [..., n, n] with a matrix for each policy of the state.
    seen : what the round sees of the payoffs; all of them unless given.
    """
    row = algorithm.at(state.round)
    if seen is None:
        seen = ExactPayoffs().begin(payoffs, np.random.default_rng(0))(state.current)
    log_probs = {"current": state.current, "magnet": state.magnet}
    if state.previous is not None:
        log_probs["previous"] = state.previous
    for stage in row.stages:
        target = seen.log_ratio(stage, log_probs)
        if row.residual == "pointwise":
            result = fit_pointwise(state.current, target)
        else:
            result = _normalized(state.current + target)
        log_probs["lookahead"] = result
    return DynamicsState(result, _moved_magnet(row, state, result), state.current, state.round + 1)


def iterates(
    algorithm: Algorithm | Schedule,
    payoffs: FloatArray,
    state: DynamicsState,
    *,
    feedback: Feedback | None = None,
    rng: np.random.Generator | None = None,
) -> Iterator[DynamicsState]:
    """The states after `state`, without end.

    Parameters
    ----------
    payoffs : [n, n], or [..., n, n] with a matrix for each policy of the state.
    feedback : what a round sees; exact payoffs unless given.
    rng : of what the feedback draws; a fixed one where none is given.

    Raises
    ------
    FloatingPointError
        When a log-policy is no longer finite.
    """
    observe = (feedback or ExactPayoffs()).begin(payoffs, rng or np.random.default_rng(0))
    while True:
        state = step(algorithm, payoffs, state, observe(state.current))
        if not np.isfinite(state.current).all():
            raise FloatingPointError(
                f"{algorithm.name} left the simplex in round {state.round}: log-policy is not finite; lower step_size"
            )
        yield state


@overload
def self_play(
    game: PreferenceGame,
    algorithm: Algorithm | Schedule | None = None,
    *,
    steps: int,
    start: ArrayLike | None = None,
    magnet: ArrayLike | None = None,
    seed: int | None = None,
    tol: float = 1e-9,
    feedback: Feedback | None = None,
    averaging: IterateAverage = "uniform",
    record: Callable[[int, FloatArray], None] | None = None,
) -> Solution: ...
@overload
def self_play(
    game: ContextualGame,
    algorithm: Algorithm | Schedule | None = None,
    *,
    steps: int,
    start: ArrayLike | None = None,
    magnet: ArrayLike | None = None,
    seed: int | None = None,
    tol: float = 1e-9,
    feedback: Feedback | None = None,
    averaging: IterateAverage = "uniform",
    record: Callable[[int, FloatArray], None] | None = None,
) -> ContextualSolution: ...
def self_play(
    game: PreferenceGame | ContextualGame,
    algorithm: Algorithm | Schedule | None = None,
    *,
    steps: int,
    start: ArrayLike | None = None,
    magnet: ArrayLike | None = None,
    seed: int | None = None,
    tol: float = 1e-9,
    feedback: Feedback | None = None,
    averaging: IterateAverage = "uniform",
    record: Callable[[int, FloatArray], None] | None = None,
) -> Solution | ContextualSolution:
    """Run a row of weights against itself on a matrix game, or on every context of a contextual game.

    Parameters
    ----------
    algorithm : a row, or a schedule of rows; chosen by the noise of the feedback where none is given, see
        :func:`rebel_pref.solvers.automatic.automatic_algorithm`.
    steps : rounds T.
    start : [n] probabilities, full support; uniform unless given. A random start needs `seed` instead. For a
        contextual game [n] or [C, n].
    magnet : [n] probabilities; the start unless given.
    seed : draws a random start (a softmax of standard normals) where none is given, and what the feedback draws;
        None starts from uniform.
    tol : exploitability of the last iterate, as a share of ``max|A|``, below which `status` is "solved".
    feedback : what a round sees of the game, see :mod:`rebel_pref.solvers.feedback`; the whole matrix unless given.
    averaging : weights of pi_1..pi_T in the average policy: 1 ("uniform"), t ("linear"), or "last", pi_T alone.
    record : called with the round and the policy [n] (or policies [C, n]) after every round.

    Returns
    -------
    Solution with the **last** iterate in `policy` and the mean of pi_1..pi_T (the start is pi_1) in
    `average_policy`, each with its certificate. For `rebel` the guarantee is the average's. Certificates are of the
    game itself, whatever was seen of it.

    >>> from rebel_pref import games, proximal_rebel
    >>> game = games.rock_paper_scissors(.1, .3, .6)
    >>> self_play(game, proximal_rebel(10.0, .001), steps=400).policy.round(2)
    array([0.6, 0.3, 0.1])
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if averaging not in get_args(IterateAverage):
        raise ValueError(f"no averaging is called {averaging!r}; known ways: {', '.join(get_args(IterateAverage))}")
    scale = float(np.abs(game.payoff).max())
    if algorithm is None:
        algorithm = automatic_algorithm((feedback or ExactPayoffs()).opponents, scale=scale or 1.0)
    shape = game.payoff.shape[:-1]
    if start is None:
        start = drawn_start(shape, seed)
    state = initial_state(_policies(game, start), None if magnet is None else _policies(game, magnet))
    # The start has a stream of its own: with and without noise it is the same.
    rng = np.random.default_rng([0 if seed is None else seed, 1])
    total, weight = np.zeros(shape), 0.0
    states = iterates(algorithm, game.payoff, state, feedback=feedback, rng=rng)
    for number in range(1, steps + 1):
        share = {"uniform": 1.0, "linear": float(number), "last": float(number == steps)}[averaging]
        total += share * np.exp(state.current)
        weight += share
        state = next(states)
        if record is not None:
            record(state.round, np.exp(state.current))
    policy, average = np.exp(state.current), total / weight
    settings: Mapping[str, object] = {
        "algorithm": algorithm.name,
        "step_size": algorithm.at(0).step_size,
        "regularization": algorithm.at(0).regularization,
        "magnet": repr(algorithm.at(0).magnet),
        "steps": steps,
        "seed": seed,
        "start": np.asarray(start).tolist(),
        "tol": tol,
        "feedback": repr(feedback or ExactPayoffs()),
        "averaging": averaging,
    }
    allowed = tol * max(scale, np.finfo(float).tiny)
    if isinstance(game, ContextualGame):
        status = _status(algorithm, steps, game.exploitability(policy), allowed)
        return ContextualSolution.of(game, policy, average, algorithm.name, steps, status, settings)
    certificate = certify(game, policy)
    return Solution(
        policy=policy,
        support=support_of(game, policy),
        certificate=certificate,
        method=algorithm.name,
        steps=steps,
        status=_status(algorithm, steps, certificate.exploitability, allowed),
        settings=settings,
        average_policy=average,
        average_certificate=certify(game, average),
    )


def drawn_start(shape: tuple[int, ...], seed: int | None) -> FloatArray:
    """Probabilities [..., n]: a softmax of standard normals; uniform where `seed` is None."""
    noise = np.zeros(shape) if seed is None else np.random.default_rng(seed).normal(size=shape)
    return np.exp(_normalized(noise))


def fit_pointwise(log_current: FloatArray, target: FloatArray) -> FloatArray:
    """The normalised policy closest to a pointwise target: ``min E_{pi_t} (log pi / pi_t - target)^2``, [..., n].

    Stationarity gives ``d + c exp(d) = target`` for the log-ratio d, with one number c that normalises;
    c = 0 if the target happens to be normalised. This is what SPPO's regression reaches in a table. Where noise leaves
    a target of less mass than 1, which exact payoffs never do, the normalised target is taken for it.
    """
    from scipy.optimize import brentq  # Slow to import, and only SPPO needs it.
    from scipy.special import logsumexp, wrightomega

    if log_current.ndim > 1:
        return np.stack([fit_pointwise(row, goal) for row, goal in zip(log_current, target, strict=True)])

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


def _policies(game: PreferenceGame | ContextualGame, policy: ArrayLike) -> FloatArray:
    """Checked probabilities: [n], or [C, n] of a contextual game."""
    if isinstance(game, PreferenceGame):
        return check_policy(game, policy)
    table = np.asarray(policy, dtype=np.float64)
    rows = [table] * len(game) if table.ndim == 1 else list(table)
    if len(rows) != len(game):
        raise ValueError(f"expected a policy for each of {len(game)} contexts, got {len(rows)}")
    return np.stack([check_policy(game.games[c], row) for c, row in enumerate(rows)])


def _status(algorithm: Algorithm | Schedule, steps: int, exploitability: float, allowed: float) -> str:
    if exploitability <= allowed:
        return SOLVED
    return (
        f"stopped after {steps} rounds: exploitability of the last iterate {exploitability:.3g} > "
        f"{allowed:.3g}; {_advice(algorithm.at(steps))}, or rp.solve for the exact winner"
    )


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
    top = log_policy.max(axis=-1, keepdims=True)
    return np.asarray(log_policy - top - np.log(np.exp(log_policy - top).sum(axis=-1, keepdims=True)))
