"""The guarantee of REBEL with an error in every round's regression, each part of it measured on the iterates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import rebel_pref as rp
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers.dynamics import initial_state, iterates
from rebel_pref.theory.checks import Check, Scale, at_most
from rebel_pref.theory.games import leaning_start, suite

__all__ = ["ERROR", "Run", "best_responder", "bounds", "run_with_errors", "shifted"]

ERROR = "REBEL with regression error"
_SLACK = 1e-9
"""Rounding in ratios that theory bounds by 1 and that reach it."""


@dataclass(frozen=True, eq=False)
class Run:
    """Measured on a run of REBEL, with or without leading axes [...].

    ``average`` [..., n]; ``bound`` [..., n] by best responder b: KL(b||pi_1)/(eta T) + (eta/8) mean R_f^2 +
    mean sqrt(chi^2(b||pi_t) eps_t / 2), and ``coverage_bound`` with C_t = max b/pi_t in the place of chi^2 / 2.
    ``epsilon`` [...]: mean of eps_t = 2 Var_{pi_t}(e_t). ``step_ratio``: worst of |<b - pi_t, e_t>| over
    sqrt(chi^2 Var) for b each single action and the pi_t tilted by e_t, which attains it: ``tight`` is how far from 1.
    ``fitted`` is how far the errors, measured on the iterates, are from the bias put in.
    """

    average: FloatArray
    bound: FloatArray
    coverage_bound: FloatArray
    epsilon: FloatArray
    step_ratio: float
    tight: float
    fitted: float


def run_with_errors(
    payoffs: FloatArray,
    step_size: float,
    rounds: int,
    *,
    bias: FloatArray | float = 0.0,
    noise: float = 0.0,
    rng: np.random.Generator,
    played: FloatArray | None = None,
) -> Run:
    """REBEL on `played` (the game itself unless given), errors measured on the iterates against `payoffs`."""
    size = payoffs.shape[-1]
    shape = payoffs.shape[:-1] if played is None else played.shape[:-1]
    state = initial_state(np.broadcast_to(leaning_start(size), shape))
    first = state.current
    feedback = rp.RegressionError(bias=bias, noise=noise)
    states = iterates(rp.rebel(step_size), payoffs if played is None else played, state, feedback=feedback, rng=rng)
    total, chi, cover = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    spread, epsilon = np.zeros(shape[:-1]), np.zeros(shape[:-1])
    ratio, tight, fitted = 0.0, 0.0, 0.0
    off = 1.0 - np.eye(size)
    for _ in range(rounds):
        after = next(states)
        policy = np.exp(state.current)
        # What the regression fitted, up to a constant, and how far it is from the payoff.
        target = (after.current - state.current) / step_size
        error = target - (payoffs @ policy[..., None])[..., 0]
        # Differences first: near a pure policy mean and variance of raw errors cancel.
        differences = error[..., :, None] - error[..., None, :]
        gain = (differences * policy[..., None, :]).sum(-1)  # <b - pi, e> for b a single action
        variance = 0.5 * (policy[..., :, None] * policy[..., None, :] * differences**2).sum((-1, -2))
        others = (policy[..., None, :] * off).sum(-1)
        deviation = np.sqrt(variance)[..., None]
        root_chi = np.sqrt(others / policy)
        total += policy
        chi += root_chi * deviation  # sqrt(chi^2 eps / 2) = sqrt(chi^2 Var)
        cover += np.sqrt(2.0 / policy) * deviation
        spread += (target.max(-1) - target.min(-1)) ** 2
        epsilon += 2.0 * variance
        if variance.min() > 1e-20:
            ratio = max(ratio, float((np.abs(gain) / (root_chi * deviation)).max()))
            tilted = policy * gain  # b - pi for b = pi (1 + c (e - E e)), any c: c cancels.
            attained = (tilted * gain).sum(-1) / np.sqrt((tilted**2 / policy).sum(-1) * variance)
            tight = max(tight, float(np.abs(attained - 1.0).max()))
        if noise == 0.0:
            off_by = error - bias
            fitted = max(fitted, float(np.ptp(off_by, axis=-1).max()))
        state = after
    start = -first / (step_size * rounds) + (step_size / 8.0) * (spread / rounds)[..., None]
    return Run(total / rounds, start + chi / rounds, start + cover / rounds, epsilon / rounds, ratio, tight, fitted)


def best_responder(payoffs: FloatArray, average: FloatArray) -> int:
    """The action that gets most against `average`."""
    return int((payoffs @ average).argmax())


def bounds(scale: Scale) -> list[Check]:
    """The inequality of a round, and the bound on the average, for biases, noise, and both."""
    rounds = scale.pick(800, 100)
    total, coverage, step_ratio, tight, fitted = [], [], [], [], []
    games = {name: game for name, game in suite(quick=scale.quick).items() if len(game) <= 30}
    for number, game in enumerate(games.values()):
        rng = np.random.default_rng([12, scale.seed, number])
        size, payoffs = len(game), np.asarray(game.payoff)
        step_size = float(np.sqrt(2.0 * np.log(size) / rounds))
        bias = rng.normal(size=size)
        for kind in ((0.1 * bias, 0.0), (0.5 * bias, 0.0), (0.0, 1.0), (0.2 * bias, 0.3)):
            run = run_with_errors(payoffs, step_size, rounds, bias=kind[0], noise=kind[1], rng=rng)
            responder = best_responder(payoffs, run.average)
            exploitability = rp.exploitability(game, run.average)
            total.append(exploitability / run.bound[responder])
            coverage.append(exploitability / run.coverage_bound[responder])
            step_ratio.append(run.step_ratio)
            tight.append(run.tight)
            fitted.append(run.fitted)
    names = ", ".join(games)
    return [
        at_most(
            ERROR,
            "|<b - pi_t, e_t>| / sqrt(chi^2(b||pi_t) Var(e_t)), every action b, every round",
            names,
            max(step_ratio),
            1.0 + _SLACK,
        ),
        at_most(
            ERROR,
            "the same at b = pi_t (1 + c (e_t - E e_t)), which attains it: |ratio - 1|",
            names,
            max(tight),
            1e-9,
            kind="identity",
        ),
        at_most(
            ERROR,
            "fitted less true payoff on the iterates = the bias put in, up to a constant",
            names,
            max(fitted),
            1e-9,
            kind="identity",
        ),
        at_most(
            ERROR,
            "Expl(average) / [KL(b||pi_1)/(eta T) + (eta/8) mean R_f^2 + mean sqrt(chi^2 eps_t/2)]",
            names,
            max(total),
            1.0,
        ),
        at_most(ERROR, "the same with sqrt(C_t eps_t), C_t = max b/pi_t, as the last term", names, max(coverage), 1.0),
    ]


def shifted(payoffs: FloatArray, bias: FloatArray) -> FloatArray:
    """``A + e 1^T - 1 e^T``: the game that REBEL plays when the payoff of y is always fitted e(y) too high."""
    return np.asarray(payoffs + bias[..., :, None] - bias[..., None, :])
