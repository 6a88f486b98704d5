"""Which pairs to regress: on-policy, offline data, or a mixture of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

import rebel_pref as rp
from rebel_pref.policies.parametric import LogLinearPolicy, ParametricPolicy, fit_least_squares
from rebel_pref.preferences import FloatArray
from rebel_pref.targets import regression_target
from rebel_pref.theory.checks import Check, Scale, at_least, at_most
from rebel_pref.theory.games import WEIGHTED_RPS, weighted_rps
from rebel_pref.theory.regression_fits import log_target, play
from rebel_pref.theory.scalar_rewards import normalized, scalar_log_ratio

__all__ = ["checks"]

_OFFLINE = "Offline data"
_MIXED = 0.5
"""Share nu of the data in the mixture (1 - nu) pi_t + nu data."""


def checks(scale: Scale) -> list[Check]:
    """Log-linear policies that start off the winner, and opponents from the data."""
    return [*_offline(scale), *_opponents_from_data()]


@dataclass(frozen=True, eq=False)
class _Problem:
    """Thirteen responses; the last is the winner, not seen at the start (less than e^-10), and only the data holds it.

    Two features, length and style. Among the other twelve style counts against a response, so that pairs of
    those alone teach a log-linear policy to avoid the winner, which has much of it.
    """

    features: FloatArray
    data: FloatArray
    payoffs: FloatArray
    rewards: FloatArray
    start: LogLinearPolicy


def _problem(seed: int) -> _Problem:
    rng = np.random.default_rng([15, seed])
    length, manner = np.append(rng.uniform(-1, 1, 12), 0.0), np.append(rng.uniform(-0.5, 0.5, 12), 2.0)
    features = np.stack([length, manner], axis=-1)
    rewards = length - manner + rng.normal(scale=0.1, size=13)
    rewards[-1] = rewards[:-1].max() + 1.0
    noise = np.triu(rng.normal(scale=0.2, size=(13, 13)), 1)
    payoffs = np.tanh(0.5 * (rewards[:, None] - rewards[None, :]) + noise - noise.T)
    payoffs[-1, :-1], payoffs[:-1, -1] = 0.8, -0.8
    data = np.append(np.full(12, 0.75 / 12), 0.25)
    return _Problem(features, data, payoffs, rewards, LogLinearPolicy(features, [0.0, -6.0]))


@dataclass(frozen=True, eq=False)
class _Outcome:
    average: FloatArray
    coverage: float
    ratio: float
    transfer: float


def _learned(
    problem: _Problem,
    target: Callable[[ParametricPolicy], torch.Tensor],
    payoff: Callable[[FloatArray], FloatArray],
    share: float,
    step_size: float,
    rounds: int,
) -> _Outcome:
    """Self-play with pairs from ``(1 - share) pi_t + share data``, and its bound with the winner as comparator."""

    def base(current: torch.Tensor) -> torch.Tensor:
        return (1.0 - share) * current + share * torch.as_tensor(problem.data)

    def fit(policy: ParametricPolicy, goal: torch.Tensor, mu: torch.Tensor) -> ParametricPolicy:
        assert isinstance(policy, LogLinearPolicy)
        return fit_least_squares(policy, goal, mu)

    played = play(problem.start, fit, target, base)
    policy = next(played)
    first = float(policy.log_probs()[-1])
    winner = np.eye(13)[-1]
    total, coverage, regret, error_term, spread, transfer = np.zeros(13), 0.0, 0.0, 0.0, 0.0, 0.0
    for _ in range(rounds):
        current, after = policy.log_probs(), next(played)
        pi = current.exp().numpy()
        mu = np.maximum(base(current.exp()).numpy(), 1e-300)  # Numbers end there: C is capped at 1e300.
        fitted = (after.log_probs() - current).numpy() / step_size
        values = payoff(pi)
        error = fitted - values
        total += pi
        regret += float((winner - pi) @ values)
        spread += float(np.ptp(fitted)) ** 2
        variance = float(mu @ (error - mu @ error) ** 2)
        chi = [max(float(((b / mu) * b).sum()) - 1.0, 0.0) for b in (winner, pi)]
        error_term += sum(np.sqrt(value * variance) for value in chi)
        level = float(winner @ (1.0 / mu))
        coverage = max(coverage, level)
        # Pairs (y, y') from pi_t x mu: |E_b e - E_pi e| <= (1 + sqrt C) sqrt(eps).
        epsilon = float(pi @ ((error[:, None] - error[None, :]) ** 2) @ mu)
        transfer = max(transfer, abs(float((winner - pi) @ error)) / ((1.0 + np.sqrt(level)) * np.sqrt(epsilon)))
        policy = after
    bound = (-first / step_size + step_size / 8.0 * spread + error_term) / rounds
    return _Outcome(total / rounds, coverage, regret / rounds / bound, transfer)


def _offline(scale: Scale) -> list[Check]:
    seeds, rounds, step_size = range(scale.seed, scale.seed + scale.pick(5, 1)), scale.pick(400, 120), 1.0
    found: dict[tuple[str, float], list[_Outcome]] = {}
    exploited: dict[float, list[float]] = {}
    short: dict[float, list[float]] = {}
    for seed in seeds:
        problem = _problem(seed)
        game = rp.PreferenceGame.from_payoffs(problem.payoffs)
        for share in (0.0, _MIXED, 1.0):

            def preference(policy: ParametricPolicy, problem: _Problem = problem) -> torch.Tensor:
                return log_target(policy, rp.rebel(step_size), problem.payoffs)

            def reward(policy: ParametricPolicy, problem: _Problem = problem) -> torch.Tensor:
                current = policy.log_probs()
                return current + torch.as_tensor(scalar_log_ratio(current.numpy(), step_size, problem.rewards))

            def payoff(pi: FloatArray, problem: _Problem = problem) -> FloatArray:
                return np.asarray(problem.payoffs @ pi)

            def value(pi: FloatArray, problem: _Problem = problem) -> FloatArray:
                return problem.rewards

            played = _learned(problem, preference, payoff, share, step_size, rounds)
            scored = _learned(problem, reward, value, share, step_size, rounds)
            found.setdefault(("preference", share), []).append(played)
            found.setdefault(("reward", share), []).append(scored)
            exploited.setdefault(share, []).append(rp.exploitability(game, played.average / played.average.sum()))
            short.setdefault(share, []).append(float(problem.rewards.max() - scored.average @ problem.rewards))
    games = f"13 responses of 2 features: winner in the data only; {len(exploited[0.0])} draws of {rounds} rounds"
    limit = 1.0 / (0.25 * _MIXED)
    everything = [outcome for outcomes in found.values() for outcome in outcomes]
    mixed = [*found["preference", _MIXED], *found["reward", _MIXED]]
    alone = [*found["preference", 0.0], *found["reward", 0.0]]
    return [
        at_least(
            _OFFLINE,
            "pairs from pi_t alone: Expl(average)",
            games,
            min(exploited[0.0]),
            0.5,
            kind="observation",
            negative=True,
        ),
        at_least(
            _OFFLINE,
            "pairs from pi_t alone: J(best) - J(average)",
            games,
            min(short[0.0]),
            0.5,
            kind="observation",
            negative=True,
        ),
        at_least(
            _OFFLINE,
            "pairs from pi_t alone: coverage C = max b/mu, least over draws",
            games,
            min(outcome.coverage for outcome in alone),
            1e4,
            kind="observation",
            negative=True,
        ),
        at_most(
            _OFFLINE, "mixture of half data: Expl(average)", games, max(exploited[_MIXED]), 0.25, kind="observation"
        ),
        at_most(
            _OFFLINE, "mixture of half data: J(best) - J(average)", games, max(short[_MIXED]), 0.25, kind="observation"
        ),
        at_most(
            _OFFLINE,
            "mixture of half data: C over rounds, at most C_data / nu",
            games,
            max(outcome.coverage for outcome in mixed),
            limit,
        ),
        at_most(_OFFLINE, "data alone: Expl(average)", games, max(exploited[1.0]), 0.25, kind="observation"),
        at_most(
            _OFFLINE,
            "|E_b e - E_pi e| / [(1 + sqrt C) sqrt(eps)], pairs from pi_t x mu",
            games,
            max(outcome.transfer for outcome in everything),
            1.0,
        ),
        at_most(
            _OFFLINE,
            "regret against the winner b / [KL/(eta T) + (eta/8) mean R_f^2 + "
            "mean (sqrt(chi^2(b||mu)) + sqrt(chi^2(pi_t||mu))) sd_mu(e_t)]",
            games,
            max(outcome.ratio for outcome in everything),
            1.0,
        ),
    ]


def _opponents_from_data() -> list[Check]:
    """In a table any pairs do, but opponents have to be pi_t: others teach a best response to the data."""
    game, step_size, rounds = weighted_rps(1.0, 0.5, 0.2), 0.2, 200
    data = np.full(3, 1 / 3)
    row = rp.rebel(step_size).stages[0]
    exploited = {}
    for name in ("current", "data"):
        log_policy, total = normalized(np.array([0.0, 1.0, 2.0])), np.zeros(3)
        for _ in range(rounds):
            total += np.exp(log_policy)
            opponents = log_policy if name == "current" else np.log(data)
            # The weights that stand for pi_t: in the second run, wrongly, the data's.
            asked = regression_target(row, opponents, {"current": log_policy}, game.payoff).log_ratio
            policy = LogLinearPolicy(np.eye(3), log_policy)
            fitted = fit_least_squares(policy, torch.as_tensor(log_policy + asked), torch.as_tensor(data))
            log_policy = fitted.log_probs().numpy()
        exploited[name] = rp.exploitability(game, total / total.sum())
    return [
        at_most(
            _OFFLINE,
            "table, pairs from the data, opponents from pi_t: Expl(average)",
            WEIGHTED_RPS,
            exploited["current"],
            np.log(11.2) / (step_size * rounds) + step_size / 2.0,
        ),
        at_least(
            _OFFLINE,
            "the same with opponents from the data: Expl(average)",
            WEIGHTED_RPS,
            exploited["data"],
            0.15,
            kind="observation",
            negative=True,
        ),
    ]
