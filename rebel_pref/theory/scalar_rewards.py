"""REBEL with a scalar reward: the row whose payoff has no opponent, on bandits."""

from __future__ import annotations

import numpy as np
import torch

import rebel_pref as rp
from rebel_pref.policies.parametric import LogLinearPolicy, fit_least_squares
from rebel_pref.preferences import FloatArray
from rebel_pref.regression import weighted_pairwise_loss
from rebel_pref.targets import regression_target
from rebel_pref.theory.checks import Check, Scale, at_least, at_most

__all__ = ["checks", "normalized", "scalar_log_ratio"]

_SCALAR = "Scalar-reward REBEL"


def scalar_log_ratio(log_policy: FloatArray, step_size: float, rewards: FloatArray) -> FloatArray:
    """The log-ratio that REBEL asks for where the payoff is a reward, of no opponent."""
    row, unused = rp.scalar_rebel(step_size).stages[0], np.zeros((rewards.shape[-1],) * 2)
    return np.asarray(regression_target(row, log_policy, {"current": log_policy}, unused, rewards=rewards).log_ratio)


def normalized(log_policy: FloatArray) -> FloatArray:
    """Log-probabilities that sum to 1 along the last axis."""
    return np.asarray(log_policy - np.logaddexp.reduce(log_policy, axis=-1, keepdims=True))


def checks(scale: Scale) -> list[Check]:
    """Bandits: closed form, regret, last iterate, shifts, and the two scales of the loss."""
    sizes, horizons = (2, 5, 20, 100), scale.pick((10, 100, 1000, 4000), (10, 100, 1000))
    runs, largest = scale.pick(20, 10), 3.0
    rng = np.random.default_rng([14, scale.seed])
    regrets: list[float] = []
    fixed: list[float] = []
    identity, best, shifts, losses = 0.0, 1.0, 0.0, 0.0
    for size in sizes:
        for rounds in horizons:
            step_size = float(np.sqrt(2.0 * np.log(size) / (rounds * largest**2)))
            bound = largest * np.sqrt(2.0 * np.log(size) / rounds)
            drawn = rng.uniform(-largest, largest, size=(runs, size))
            adverse = rng.choice([-largest, largest], size=(rounds, runs, size))
            for kept, rewards in ((fixed, [drawn] * rounds), (regrets, adverse)):
                log_policy = np.full((runs, size), -np.log(size))
                gained, offered = np.zeros(runs), np.zeros((runs, size))
                for reward in rewards:
                    gained += (np.exp(log_policy) * reward).sum(-1)
                    offered += reward
                    log_policy = normalized(log_policy + scalar_log_ratio(log_policy, step_size, reward))
                mean = (offered.max(-1) - gained) / rounds
                kept.append(float((mean / bound).max()))
                # pi_{T+1} = pi_1 exp(eta sum of rewards) / Z.
                closed = normalized(step_size * offered)
                identity = max(identity, float(np.abs(log_policy - closed).max()))
    for _ in range(runs):
        size, step_size = 8, 0.3
        reward, start = rng.normal(size=size), rng.dirichlet(np.ones(size))
        log_policy = np.log(start)
        policy = LogLinearPolicy(np.eye(size), log_policy)
        asked = scalar_log_ratio(log_policy, step_size, reward)
        target = torch.as_tensor(log_policy + asked)
        base = torch.as_tensor(rng.dirichlet(np.ones(size)))
        fitted = fit_least_squares(policy, target, base).log_probs().exp().numpy()
        expected = start * np.exp(step_size * reward) / (start * np.exp(step_size * reward)).sum()
        moved = normalized(log_policy + scalar_log_ratio(log_policy, step_size, reward + rng.normal()))
        shifts = max(shifts, *(float(np.abs(found - expected).max()) for found in (fitted, np.exp(moved))))
        ratio = rng.normal(size=size)
        ours = weighted_pairwise_loss(ratio - asked, start)
        paper = weighted_pairwise_loss(ratio / step_size - reward, start)
        losses = max(losses, abs(ours / (step_size**2 * paper) - 1.0))
        gap = np.diff(np.sort(reward)[-2:])[0]
        rounds = int(np.ceil((np.log(1.0 / start.min()) + np.log(1e4)) / (step_size * gap)))
        state = normalized(log_policy + rounds * asked)
        best = min(best, float(np.exp(state)[reward.argmax()]))
    arms = "/".join(map(str, sizes))
    bandits = f"{runs} bandits each of {arms} arms: |r| <= {largest:g}; T = {horizons[0]} to {horizons[-1]}"
    small = f"{runs} bandits of 8 arms with normal rewards"
    return [
        at_most(
            _SCALAR,
            "table: max |policy - pi exp(eta r)/Z|, by least squares and with r + c(x)",
            small,
            shifts,
            1e-12,
            kind="identity",
        ),
        at_most(
            _SCALAR, "log pi_{T+1} against log pi_1 + eta sum of rewards", bandits, identity, 1e-9, kind="identity"
        ),
        at_most(_SCALAR, "average regret / [A sqrt(2 ln|Y| / T)], fixed rewards", bandits, max(fixed), 1.0),
        at_most(_SCALAR, "the same with rewards +-A drawn anew in every round", bandits, max(regrets), 1.0),
        at_most(_SCALAR, "loss in nats / (eta^2 loss of the paper) - 1", small, losses, 1e-12, kind="identity"),
        at_least(
            _SCALAR,
            "last iterate: least probability of the best arm after ln(1e4 / min pi_1) / (eta gap) rounds",
            small,
            best,
            1.0 - 7e-4,
        ),
    ]
