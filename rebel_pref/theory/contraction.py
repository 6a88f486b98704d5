"""How fast the last iterate comes to a point of rest: ``KL(p || pi_t)`` along a run, and how it falls."""

from __future__ import annotations

from itertools import islice

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.algorithms import Algorithm
from rebel_pref.preferences import FloatArray
from rebel_pref.proximal import proximal_step
from rebel_pref.schedules import Schedule
from rebel_pref.solvers import initial_state, iterates
from rebel_pref.theory.divergence import kl, log_softmax
from rebel_pref.theory.games import leaning_start

__all__ = ["FLOOR", "distances", "equilibrium", "from_winner", "growth", "nearby", "starts", "worst_ratio"]

FLOOR = 1e-8
"""KL below which a ratio of two is no longer judged: rounding takes over."""


def starts(log_star: FloatArray) -> FloatArray:
    """Three starts [3, n]: leaning one way, leaning the other, and close to `log_star` [n]."""
    n = len(log_star)
    lean = leaning_start(n, 3.0)
    return np.stack([lean, lean[::-1], nearby(log_star, 1e-3)])


def nearby(log_star: FloatArray, distance: float) -> FloatArray:
    """A policy [n] whose log-probabilities differ from `log_star` by about `distance`."""
    shift = distance * np.cos(1.0 + 2.0 * np.arange(len(log_star)))
    return np.asarray(np.exp(log_softmax(log_star + shift)))


def equilibrium(payoff: FloatArray, tau: float, magnet: FloatArray) -> FloatArray:
    """Log-probabilities [n] of the equilibrium regularised by tau towards `magnet` [n]."""
    log_magnet = np.log(magnet)
    # A KL of 1e-20 leaves 1e-10 in the logarithms; identities are checked to 1e-12.
    policy = proximal_step(log_magnet, payoff, 1.0 / tau, tolerance=1e-30).policy
    with np.errstate(divide="ignore"):
        return np.where(policy > 1e-300, np.log(policy), log_softmax(log_magnet + payoff @ policy / tau))


def distances(
    row: Algorithm | Schedule,
    payoff: FloatArray,
    log_star: FloatArray,
    start: ArrayLike,
    magnet: FloatArray | None,
    rounds: int,
) -> FloatArray:
    """``KL(p || pi_t)`` for t = 0..rounds, [rounds + 1] or [rounds + 1, S] for S starts at once."""
    policies = np.asarray(start)
    anchor = policies if magnet is None else np.broadcast_to(magnet, policies.shape)
    state = initial_state(policies, anchor)
    found = [kl(log_star, state.current)]
    found += [kl(log_star, after.current) for after in islice(iterates(row, payoff, state), rounds)]
    return np.array(found)


def worst_ratio(kls: FloatArray, floor: float = FLOOR) -> float:
    """Largest ``KL_(t+1) / KL_t`` over rounds and starts while ``KL_t > floor``."""
    judged = kls[:-1] > floor
    ratios = np.divide(kls[1:], kls[:-1], out=np.zeros_like(kls[1:]), where=judged)
    return float(ratios.max())


def growth(kls: FloatArray) -> float:
    """Factor a round, from the first to the last: geometric mean; the largest of several starts."""
    return float(np.max((kls[-1] / kls[0]) ** (1.0 / (len(kls) - 1))))


def from_winner(winner: FloatArray, log_policy: FloatArray) -> float:
    """``KL(p* || pi)`` of a winner [n] that may not play every action."""
    played = winner > 0.0
    ratio = log_policy[played] - np.log(winner[played])
    inside = winner[played] @ (np.expm1(ratio) - ratio)
    return float(inside + np.exp(log_policy[~played]).sum())
