"""Payoffs inside a group of draws: what K and K - 1 each are right for, duels, fresh opponents; all enumerated."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from rebel_pref import payoffs as estimators
from rebel_pref import rebel
from rebel_pref.preferences import FloatArray
from rebel_pref.regression import group_gradient_weights
from rebel_pref.solvers import SampledGroups
from rebel_pref.theory.checks import Check, Scale, at_least, at_most, near
from rebel_pref.theory.enumeration import IntArray, groups, population_minimiser, verdict_patterns
from rebel_pref.theory.games import WEIGHTED_RPS, leaning_start, random_game, weighted_rps

__all__ = ["checks", "inflation", "problems"]

_GROUP, _TRAP, _GRADIENT = "group estimator", "pairs inside a group", "policy gradient of a group"
_FRESH, _DUEL = "fresh opponents", "duel target"


def checks(scale: Scale) -> list[Check]:
    """Every statement on groups and duels."""
    return [*_unbiased(scale), *_trap(scale), *_gradient(scale), *_fresh(scale), *_regressed(scale), *_duels(scale)]


def problems(scale: Scale) -> Iterator[tuple[str, FloatArray, FloatArray]]:
    """Games of three actions, and policies far from uniform: name, payoffs, policy."""
    rng = np.random.default_rng([scale.seed, 7])
    named = {WEIGHTED_RPS: weighted_rps(1.0, 0.5, 0.2), "R(3,0)": random_game(3, 0), "R(3,4)": random_game(3, 4)}
    for name, game in named.items():
        for _ in range(scale.pick(4, 2)):
            yield name, game.payoff, 0.9 * rng.dirichlet(np.ones(len(game))) + 0.1 / len(game)


def inflation(payoffs: FloatArray, policy: FloatArray, size: int, divisor: int) -> tuple[float, float]:
    """How the minimiser of pairs regressed inside groups of K compares with the payoff differences.

    Returns its slope on them, and the largest error of the minimiser over that slope.
    """
    draws, probability = groups(policy, size)
    among = payoffs[draws[:, :, None], draws[:, None, :]]
    targets = estimators.in_group_payoffs(among) * (size / divisor)
    found = population_minimiser(draws, probability, targets, len(policy))
    truth = _centred(payoffs @ policy)
    slope = float(found @ truth / (truth @ truth))
    return slope, float(np.abs(found - truth * (size / divisor)).max())


def _unbiased(scale: Scale) -> list[Check]:
    """Given one's own draw: the mean, and the variance with and without coins against oneself."""
    bias = coins = zeros = 0.0
    for (_, payoffs, policy), size in product(problems(scale), range(2, scale.pick(6, 5))):
        rivals, chance = groups(policy, size - 1)
        truth = payoffs @ policy
        for own in range(len(policy)):
            for tied in (False, True):  # A verdict between equal responses: 0, or a coin.
                mean = square = 0.0
                for opponents, weight in zip(rivals, chance, strict=True):
                    verdicts, share = verdict_patterns(payoffs[own, opponents])
                    if tied:
                        verdicts = np.where(opponents == own, 0.0, verdicts)
                    matrix = np.zeros((len(share), size, size))
                    matrix[:, 0, 1:], matrix[:, 1:, 0] = verdicts, -verdicts
                    estimate = estimators.in_group_payoffs(matrix)[:, 0] * (size / (size - 1))
                    mean += weight * float(share @ estimate)
                    square += weight * float(share @ estimate**2)
                bias = max(bias, abs(mean - truth[own]))
                spread = 1.0 - truth[own] ** 2 - (policy[own] if tied else 0.0)
                error = abs(square - mean**2 - spread / (size - 1))
                coins, zeros = (coins, max(zeros, error)) if tied else (max(coins, error), zeros)
    where, sizes = _names(scale), f"K = 2 to {scale.pick(5, 4)}"
    return [
        at_most(_GROUP, f"bias of the mean over the K - 1 others, {sizes}", where, bias, 1e-12, kind="identity"),
        at_most(
            _GROUP,
            f"error of its variance (1 - r^2)/(K - 1), verdicts +-1 between equal responses too, {sizes}",
            where,
            coins,
            1e-12,
            kind="identity",
        ),
        at_most(
            _GROUP,
            f"error of its variance (1 - pi(y) - r^2)/(K - 1), equal responses judged 0, {sizes}",
            where,
            zeros,
            1e-12,
            kind="identity",
        ),
    ]


def _trap(scale: Scale) -> list[Check]:
    """The comparison of i with j enters both targets: K, not K - 1."""
    sizes = range(2, scale.pick(6, 5))
    right, wrong, slopes = 0.0, 0.0, {}
    for (_, payoffs, policy), size in product(problems(scale), sizes):
        right = max(right, inflation(payoffs, policy, size, size)[1])
        slope, error = inflation(payoffs, policy, size, size - 1)
        wrong, slopes[size] = max(wrong, error), slope
    where, text = _names(scale), f"K = 2 to {sizes[-1]}"
    return [
        at_most(
            _TRAP,
            f"sums over K: error of the least-squares log-ratio against Delta r, {text}",
            where,
            right,
            1e-12,
            kind="identity",
        ),
        at_most(
            _TRAP,
            f"sums over K - 1: error against K/(K - 1) Delta r, {text}",
            where,
            wrong,
            1e-12,
            kind="identity",
        ),
        near(
            _TRAP,
            "sums over K - 1: factor on the step size at K = 2",
            where,
            slopes[2],
            2.0,
            absolute=1e-9,
            negative=True,
        ),
    ]


def _gradient(scale: Scale) -> list[Check]:
    """``mean_i s_i r_i`` with s the score: here K - 1 is right; the first gradient of the loss has K in it already."""
    sizes = range(2, scale.pick(6, 5))
    others = loss = 0.0
    biased = np.inf
    for (_, payoffs, policy), size in product(problems(scale), sizes):
        draws, probability = groups(policy, size)
        rewards = estimators.in_group_payoffs(payoffs[draws[:, :, None], draws[:, None, :]])
        scores = np.eye(len(policy))[draws] - policy
        ascent = policy * (payoffs @ policy)
        with_k = np.einsum("d,dk,dkn->n", probability, rewards, scores) / size
        others = max(others, float(np.abs(with_k * size / (size - 1) - ascent).max()))
        biased = min(biased, float(np.abs(with_k - ascent).max() / np.abs(ascent).max() * size))
        # At theta_t the error is the target alone, with a minus; one nat per unit payoff.
        coefficients = np.asarray(group_gradient_weights(-rewards))
        first = np.einsum("d,dk,dkn->n", probability, coefficients, scores)
        loss = max(loss, float(np.abs(first + 4.0 * ascent).max()))
    where, text = _names(scale), f"K = 2 to {sizes[-1]}"
    return [
        at_most(_GRADIENT, f"sums over K - 1: bias, {text}", where, others, 1e-12, kind="identity"),
        near(
            _GRADIENT,
            f"sums over K: relative bias times K, least of {text}",
            where,
            biased,
            1.0,
            absolute=1e-9,
            negative=True,
        ),
        at_most(
            _GRADIENT,
            f"first gradient of the pairwise loss, sums over K: error against -4 eta grad J, {text}",
            where,
            loss,
            1e-12,
            kind="identity",
        ),
    ]


def _fresh(scale: Scale) -> list[Check]:
    """Opponents drawn apart from the pair: no correction, and any base for the pair."""
    error = 0.0
    for _, payoffs, policy in problems(scale):
        n = len(policy)
        for base, count in product((policy, np.full(n, 1.0 / n), policy[::-1]), (1, 3)):
            pairs, chance = groups(base, 2)
            rivals, share = groups(policy, count)
            drawn = np.repeat(pairs, len(rivals), axis=0)
            against = np.tile(rivals, (len(pairs), 1))
            targets = estimators.fresh_payoffs(payoffs[drawn[:, :, None], against[:, None, :]])
            found = population_minimiser(drawn, np.outer(chance, share).ravel(), targets, n)
            error = max(error, float(np.abs(found - _centred(payoffs @ policy)).max()))
    quantity = "error of the least-squares log-ratio against Delta r, pairs on and off policy, M = 1 and 3"
    return [at_most(_FRESH, quantity, _names(scale), error, 1e-12, kind="identity")]


def _regressed(scale: Scale) -> list[Check]:
    """What the dynamics see: the log-ratio of regressed groups, in the mean over many rounds at one policy."""
    game, eta, seeds = random_game(5, 3), 1.0, scale.pick(1500, 500)
    policy = leaning_start(5, 1.0)
    update, truth = rebel(eta).stages[0], eta * _centred(game.payoff @ policy)
    log_policy = np.broadcast_to(np.log(policy), (seeds, 5))
    errors = []
    for count in (4, 256):
        rng = np.random.default_rng([scale.seed, count])
        seen = SampledGroups(count, 2, labels=True, ridge=1e-5).begin(game.payoff, rng)(log_policy)
        mean = _centred(seen.log_ratio(update, {"current": log_policy}).mean(axis=0))
        errors.append(float(np.abs(mean - truth).max()))
        slope = float(mean @ truth / (truth @ truth))
    where = "R(5,3)"
    return [
        near(
            _TRAP,
            f"256 regressed pairs of verdicts a round: slope of the mean log-ratio on eta A pi, {seeds} rounds",
            where,
            slope,
            1.0,
            absolute=0.05,
        ),
        at_most(
            _TRAP,
            "its error, over the error with 4 pairs a round (unseen actions and the ridge bias few pairs)",
            where,
            errors[1] / errors[0],
            0.3,
            kind="observation",
        ),
    ]


def _duels(scale: Scale) -> list[Check]:
    """One comparison for both targets: right for i.i.d. unselected pairs from the policy, and for nothing else."""
    on = other = 0.0
    off, selected = 0.0, np.inf
    for _, payoffs, policy in problems(scale):
        truth = _centred(payoffs @ policy)
        pairs, chance = groups(policy, 2)
        on = max(on, float(np.abs(_duel(payoffs, pairs, chance) - truth).max()))
        base = policy[::-1]
        pairs, chance = groups(base, 2)
        found = _duel(payoffs, pairs, chance)
        other = max(other, float(np.abs(found - _centred(payoffs @ base)).max()))
        off = max(off, float(np.abs(found - truth).max() / np.abs(truth).max()))
        draws, chance = groups(policy, 4)
        score = estimators.in_group_payoffs(payoffs[draws[:, :, None], draws[:, None, :]])
        ends = np.stack([score.argmax(axis=-1), score.argmin(axis=-1)], axis=-1)
        found = _duel(payoffs, np.take_along_axis(draws, ends, axis=-1), chance)
        selected = min(selected, float(np.abs(found - truth).max() / np.abs(truth).max()))
    where = _names(scale)
    return [
        at_most(_DUEL, "i.i.d. pairs from the policy: error against Delta r", where, on, 1e-12, kind="identity"),
        at_most(
            _DUEL,
            "pairs from another base: error against the payoffs that this base would meet",
            where,
            other,
            1e-12,
            kind="identity",
        ),
        at_least(
            _DUEL,
            "pairs from another base: largest relative error against Delta r",
            where,
            off,
            0.1,
            kind="observation",
            negative=True,
        ),
        at_least(
            _DUEL,
            "best against worst of 4: least relative error against Delta r",
            where,
            selected,
            0.1,
            kind="observation",
            negative=True,
        ),
    ]


def _duel(payoffs: FloatArray, pairs: IntArray, chance: FloatArray) -> FloatArray:
    among = payoffs[pairs[:, :, None], pairs[:, None, :]]
    targets = estimators.duel_payoffs(among, independent_current=True)
    return population_minimiser(pairs, chance, targets, len(payoffs))


def _centred(values: FloatArray) -> FloatArray:
    return np.asarray(values - values.mean())


def _names(scale: Scale) -> str:
    return ", ".join(dict.fromkeys(name for name, _, _ in problems(scale)))
