"""REBEL's regression in groups, and self-play of parametric policies by three ways to regress."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

import rebel_pref as rp
from rebel_pref.payoffs import in_group_payoffs
from rebel_pref.policies.parametric import (
    LogLinearPolicy,
    NetworkPolicy,
    ParametricPolicy,
    fit_adam,
    fit_least_squares,
    gauss_newton_step,
)
from rebel_pref.preferences import FloatArray
from rebel_pref.regression import group_gradient_weights, pairwise_loss, pairwise_residuals
from rebel_pref.targets import regression_target
from rebel_pref.theory.checks import Check, Scale, at_most
from rebel_pref.theory.games import WEIGHTED_RPS, leaning_start, weighted_rps

__all__ = ["Fit", "checks", "log_target", "play"]

_GROUP = "Group identities"
_FITS = "REBEL by regression"

Fit = Callable[[ParametricPolicy, torch.Tensor, torch.Tensor], ParametricPolicy]
"""(pi_t, log-target, base) -> pi_{t+1}."""


def log_target(policy: ParametricPolicy, algorithm: rp.Algorithm, payoffs: FloatArray) -> torch.Tensor:
    """Log-probabilities, up to a constant, that an explicit row without a magnet asks of the next policy."""
    log_probs = policy.log_probs()
    found = regression_target(algorithm.stages[0], log_probs, {"current": log_probs}, torch.tensor(payoffs))
    target: torch.Tensor = log_probs + found.log_ratio
    return target


def play(
    policy: ParametricPolicy,
    fit: Fit,
    target: Callable[[ParametricPolicy], torch.Tensor],
    base: Callable[[torch.Tensor], torch.Tensor] = lambda current: current,
) -> Iterator[ParametricPolicy]:
    """pi_1, pi_2, ...: self-play with a policy of few parameters, without end; `base` makes mu of pi_t."""
    while True:
        yield policy
        policy = fit(policy, target(policy), base(policy.log_probs().exp()))


def checks(scale: Scale) -> list[Check]:
    """What a group's loss and payoffs are equal to; least squares, Gauss-Newton and Adam in self-play."""
    return [*_groups(scale), *_fits(scale)]


def _groups(scale: Scale) -> list[Check]:
    rng = np.random.default_rng([10, scale.seed])
    pairs, loo, sums = 0.0, 0.0, 0.0
    sizes = (2, 3, 5, 8, 64)
    for size in sizes:
        error, scores = rng.normal(size=(2, 50, size))
        means = (pairwise_residuals(error) ** 2).sum((-1, -2)) / (size * (size - 1))
        variance = error.var(axis=-1, ddof=1)
        pairs = max(pairs, *(np.abs(pairwise_loss(error) / value - 1.0).max() for value in (means, 2.0 * variance)))
        # Leave-one-out REINFORCE on rewards r: mean_i s_i (r_i - mean of the others).
        others = (error.sum(-1, keepdims=True) - error) / (size - 1)
        reinforce = (scores * (error - others)).mean(-1)
        covariance = (pairwise_residuals(scores) * pairwise_residuals(error)).sum((-1, -2)) / (size * (size - 1))
        ours = (group_gradient_weights(-error) * scores).sum(-1)  # Log-ratios 0: the error is minus the target.
        loo = max(loo, np.abs(covariance - 2.0 * reinforce).max(), np.abs(ours + 4.0 * reinforce).max())
        labels = np.triu(rng.choice([-1.0, 1.0], size=(50, size, size)), 1)
        sums = max(sums, np.abs(in_group_payoffs(labels - labels.swapaxes(-1, -2)).sum(-1)).max())
    games = "normal draws and +-1 labels in groups of " + "/".join(map(str, sizes))
    return [
        at_most(
            _GROUP,
            "mean squared residual over pairs = 2 sample variance = the O(K) loss: relative",
            games,
            pairs,
            1e-12,
            kind="identity",
        ),
        at_most(
            _GROUP,
            "pair covariance = 2 RLOO, first group gradient = -4 RLOO: absolute",
            games,
            loo,
            1e-12,
            kind="identity",
        ),
        at_most(_GROUP, "sum of a group's payoffs: its own baseline", games, sums, 1e-12, kind="identity"),
    ]


def _newton(policy: ParametricPolicy, target: torch.Tensor, base: torch.Tensor) -> ParametricPolicy:
    for _ in range(3):
        policy = gauss_newton_step(policy, target, base)
    return policy


def _adam(policy: ParametricPolicy, target: torch.Tensor, base: torch.Tensor) -> ParametricPolicy:
    return fit_adam(policy, target, base, steps=50, learning_rate=0.03)


def _least_squares(policy: ParametricPolicy, target: torch.Tensor, base: torch.Tensor) -> ParametricPolicy:
    assert isinstance(policy, LogLinearPolicy)
    return fit_least_squares(policy, target, base)


def _fits(scale: Scale) -> list[Check]:
    game, eta, rounds = weighted_rps(1.0, 0.5, 0.2), 0.3, scale.pick(150, 15)
    start = leaning_start(3)
    features = np.random.default_rng([11, scale.seed]).normal(size=(3, 3)) + 2.0 * np.eye(3)
    uniform = torch.full((3,), 1 / 3, dtype=torch.float64)
    linear: ParametricPolicy = LogLinearPolicy(features, np.linalg.solve(features, np.log(start)))
    network: ParametricPolicy = NetworkPolicy(features, (8,), scale.seed)
    for _ in range(20):  # From the same start as the table.
        network = gauss_newton_step(network, torch.as_tensor(np.log(start)), uniform)
    average = rp.self_play(game, rp.rebel(eta), steps=rounds, start=start).average_policy
    bound = -np.log(start.min()) / (eta * rounds) + eta / 2.0
    found, worst = [], 0.0
    for name, policy, fit, bar in (
        ("log-linear, least squares", linear, _least_squares, 1e-10),
        ("log-linear, Gauss-Newton", linear, _newton, 1e-10),
        ("log-linear, Adam", linear, _adam, 1e-2),
        ("network, Gauss-Newton", network, _newton, 1e-6),
        ("network, Adam", network, _adam, 1e-2),
    ):
        played = play(policy, fit, lambda current: log_target(current, rp.rebel(eta), game.payoff))
        mean = np.mean([next(played).log_probs().exp().numpy() for _ in range(rounds)], axis=0)
        gap = float(np.abs(mean - average).max())
        found.append(
            at_most(_FITS, f"{name}: max |average policy - Hedge's|", WEIGHTED_RPS, gap, bar, kind="observation")
        )
        worst = max(worst, rp.exploitability(game, mean / mean.sum()))
    first = rp.exploitability(game, start)
    quantity = f"all five: exploitability of the average of {rounds} rounds (start {first:.2f})"
    return [*found, at_most(_FITS, quantity, WEIGHTED_RPS, worst, min(bound, first))]
