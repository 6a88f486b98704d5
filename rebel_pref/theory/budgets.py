"""How many responses and judgements to buy: the variance of the group's gradient, and the best K."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rebel_pref import ContextualGame
from rebel_pref import payoffs as estimators
from rebel_pref.preferences import FloatArray
from rebel_pref.regression import group_gradient_weights
from rebel_pref.theory.checks import Check, Scale, at_most
from rebel_pref.theory.enumeration import groups, verdict_patterns
from rebel_pref.theory.games import random_game
from rebel_pref.theory.group_estimators import problems

__all__ = [
    "Budget",
    "best_size",
    "budget",
    "checks",
    "cost",
    "disjoint_moments",
    "enumerated",
    "group_moments",
    "prompts",
    "variance",
]

_U, _BUDGET = "U-statistic", "budget"


@dataclass(frozen=True)
class Budget:
    """The three variances of a gradient from groups of verdicts, in its own units squared.

    Attributes
    ----------
    between : V_x, variance of the true gradient over prompts.
    one, two : zeta_1 and zeta_2, variances of the pair's kernel given one response, and in full; means over prompts.
    """

    between: float
    one: float
    two: float


def checks(scale: Scale) -> list[Check]:
    """Every statement on variances and budgets."""
    return [*_u_statistic(scale), *_budgets(scale)]


def variance(one: float, two: float, size: float | FloatArray) -> FloatArray:
    """``[4 (K - 2) zeta_1 + 2 zeta_2] / (K (K - 1))``."""
    return np.asarray((4.0 * (size - 2) * one + 2.0 * two) / (size * (size - 1.0)))


def best_size(parts: Budget) -> float:
    """``K* = 1 + sqrt((2 zeta_2 - 4 zeta_1) / V_x)``, for generations at a price and comparisons for nothing."""
    return 1.0 + float(np.sqrt((2.0 * parts.two - 4.0 * parts.one) / parts.between))


def cost(parts: Budget, size: float | FloatArray, judgement: float = 0.0) -> FloatArray:
    """Price times variance of one prompt's group, a generation at price 1: what a budget is divided by."""
    price = size + judgement * size * (size - 1.0) / 2.0
    return np.asarray(price * (parts.between + variance(parts.one, parts.two, size)))


def group_moments(payoffs: FloatArray, policy: FloatArray, scores: FloatArray, size: int) -> tuple[float, float]:
    """Mean and mean square of the gradient from a group of K draws and a verdict a pair, all enumerated.

    The gradient is that of the library's pairwise loss over -4 eta, at the policy that drew the group.
    """
    mean = square = 0.0
    upper = np.triu_indices(size, 1)
    draws, chance = groups(policy, size)
    for actions, weight in zip(draws, chance, strict=True):
        verdicts, share = verdict_patterns(payoffs[actions[upper[0]], actions[upper[1]]])
        verdicts = np.where(actions[upper[0]] == actions[upper[1]], 0.0, verdicts)
        among = np.zeros((len(share), size, size))
        among[:, upper[0], upper[1]], among[:, upper[1], upper[0]] = verdicts, -verdicts
        error = -estimators.in_group_payoffs(among)
        gradient = -0.25 * np.asarray(group_gradient_weights(error)) @ scores[actions]
        mean += weight * float(share @ gradient)
        square += weight * float(share @ gradient**2)
    return mean, square


def budget(game: ContextualGame, policy: FloatArray, scores: FloatArray) -> Budget:
    """The variances of the kernel ``(s - s') l / 2`` from their definitions; prompts weighted as the game has them."""
    differences = 0.5 * (scores[:, None] - scores)
    given = (differences * game.payoff) @ policy  # [C, n], mean given one response
    truth = given @ policy
    one = given**2 @ policy - truth**2
    two = policy @ differences**2 @ policy - truth**2
    between = float(game.weights @ truth**2 - (game.weights @ truth) ** 2)
    return Budget(between, float(game.weights @ one), float(game.weights @ two))


def prompts(strength: float, seed: int = 5) -> tuple[ContextualGame, FloatArray, FloatArray]:
    """Four prompts on three responses, payoffs scaled by `strength`; a policy and centred scores."""
    payoffs = strength * np.stack([random_game(3, seed + prompt).payoff for prompt in range(4)])
    policy = np.array([0.5, 0.3, 0.2])
    features = np.array([1.0, -0.5, -1.5])
    return ContextualGame.from_payoffs(payoffs), policy, features - features @ policy


def enumerated(game: ContextualGame, policy: FloatArray, scores: FloatArray, size: int) -> float:
    """Generations times variance of one prompt's group, K Var, over the draw of the prompt and of all else."""
    moments = np.array([group_moments(payoffs, policy, scores, size) for payoffs in game.payoff])
    mean, square = game.weights @ moments
    return float(size * (square - mean**2))


def _u_statistic(scale: Scale) -> list[Check]:
    """The variance, and why all pairs of one group are worth more than as many groups of two."""
    sizes = range(2, scale.pick(6, 5))
    rng = np.random.default_rng([scale.seed, 11])
    error = dependence = disjoint = bias = 0.0
    falls = -np.inf
    names: dict[str, None] = {}
    for name, payoffs, policy in problems(scale):
        names[name] = None
        scores = rng.normal(size=len(policy))
        scores -= scores @ policy
        parts = budget(ContextualGame.from_payoffs(payoffs[None]), policy, scores)
        per_generation = []
        for size in sizes:
            mean, square = group_moments(payoffs, policy, scores, size)
            found = square - mean**2
            bias = max(bias, abs(mean - float((policy * scores) @ payoffs @ policy)))
            error = max(error, abs(found / float(variance(parts.one, parts.two, size)) - 1.0))
            per_generation.append(size * found)
        falls = max(falls, float(np.max(np.diff(per_generation))) / per_generation[0])
        mean, square = disjoint_moments(payoffs, policy, scores)
        disjoint = max(disjoint, abs(4.0 * (square - mean**2) / per_generation[0] - 1.0))
    for _ in range(scale.pick(2000, 300)):
        n = int(rng.integers(2, 12))
        policy, scores = rng.dirichlet(np.full(n, 0.5)), rng.normal(size=n)
        one = ContextualGame.from_payoffs(random_game(n, int(rng.integers(1 << 31))).payoff[None])
        parts = budget(one, policy, scores)
        dependence = max(dependence, 2.0 * parts.one / parts.two)
    where, text = ", ".join(names), f"K = 2 to {sizes[-1]}"
    return [
        at_most(_U, f"bias of the group's gradient, {text}", where, bias, 1e-12, kind="identity"),
        at_most(
            _U,
            f"relative error of Var = [4(K-2) zeta1 + 2 zeta2]/(K(K-1)), {text}",
            where,
            error,
            1e-11,
            kind="identity",
        ),
        at_most(_U, "2 zeta1 / zeta2", f"random, 2 to 11 actions, {scale.pick(2000, 300)}", dependence, 1.0 + 1e-12),
        at_most(_U, f"K Var falls with K: largest rise over its value at K = 2, {text}", where, falls, 0.0),
        at_most(
            _U,
            "disjoint pairs stay: relative change of K Var from one pair of 2 to two of 4",
            where,
            disjoint,
            1e-11,
            kind="identity",
        ),
    ]


def disjoint_moments(payoffs: FloatArray, policy: FloatArray, scores: FloatArray) -> tuple[float, float]:
    """Moments of the mean of two groups of two, enumerated together."""
    draws, chance = groups(policy, 4)
    mean = square = 0.0
    for actions, weight in zip(draws, chance, strict=True):
        pairs = actions.reshape(2, 2)
        verdicts, share = verdict_patterns(payoffs[pairs[:, 0], pairs[:, 1]])
        verdicts = np.where(pairs[:, 0] == pairs[:, 1], 0.0, verdicts)
        among = np.zeros((len(share), 2, 2, 2))
        among[..., 0, 1], among[..., 1, 0] = verdicts, -verdicts
        coefficients = np.asarray(group_gradient_weights(-estimators.in_group_payoffs(among)))
        gradient = -0.25 * (coefficients * scores[pairs]).sum(axis=-1).mean(axis=-1)
        mean += weight * float(share @ gradient)
        square += weight * float(share @ gradient**2)
    return mean, square


def _budgets(scale: Scale) -> list[Check]:
    """N = B K generations: the best K, against every K there is; then with a price on judgements."""
    error = continuous = rounding = 0.0
    rises, dearest = 0, 0
    strengths = (1.0, 0.6, 0.4)
    sizes = np.arange(2.0, 400.0)
    for strength in strengths:
        game, policy, scores = prompts(strength)
        parts = budget(game, policy, scores)
        for size in range(2, scale.pick(6, 5)):
            found = enumerated(game, policy, scores, size)
            error = max(error, abs(float(cost(parts, size)) / found - 1.0))
        star = best_size(parts)
        fine = np.linspace(1.5, 4.0 * star, 40001)
        continuous = max(continuous, abs(fine[cost(parts, fine).argmin()] / star - 1.0))
        rounding = max(rounding, abs(float(sizes[cost(parts, sizes).argmin()]) - star))
        prices = np.geomspace(1e-4, 1e3, 60)
        chosen = [int(sizes[cost(parts, sizes, price).argmin()]) for price in (0.0, *prices)]
        rises = max(rises, int(np.max(np.diff(chosen))))
        dearest = max(dearest, chosen[-1])
    where = f"four prompts on R(3,5..8) times {', '.join(f'{s:g}' for s in strengths)}"
    return [
        at_most(
            _BUDGET,
            "relative error of N Var = K V_x + 4 zeta1 + (2 zeta2 - 4 zeta1)/(K - 1), prompts enumerated too",
            where,
            error,
            1e-11,
            kind="identity",
        ),
        at_most(
            _BUDGET,
            "K* = 1 + sqrt((2 zeta2 - 4 zeta1)/V_x) against a scan of real K, relative",
            where,
            continuous,
            1e-3,
            kind="identity",
        ),
        at_most(_BUDGET, "distance from K* of the best whole K >= 2", where, rounding, 1.0),
        at_most(_BUDGET, "best K as judgements get dearer: largest rise", where, rises, 0.0),
        at_most(_BUDGET, "best K when a judgement costs 1000 generations", where, dearest, 2.0),
    ]
