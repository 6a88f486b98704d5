"""The pool of past responses: what renormalising costs, which weights err least, when they collapse."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

import rebel_pref as rp
from rebel_pref.payoffs import (
    exact_pool_weights,
    fresh_payoffs,
    horvitz_thompson_weights,
    log_seen_after,
    opponent_payoffs,
    stratified_payoffs,
)
from rebel_pref.proximal import proximal_step
from rebel_pref.solvers import initial_state, step
from rebel_pref.theory.checks import Check, Scale, at_least, at_most
from rebel_pref.theory.divergence import log_softmax
from rebel_pref.theory.games import random_game

__all__ = ["checks"]

_POOL, _STRATIFIED, _WEIGHTS = "pool, coverage", "pool, stratified", "pool, weights"


def checks(scale: Scale) -> list[Check]:
    """Bias of a partial pool, the stratified estimator, and the errors of all weights."""
    return [
        *_coverage(scale),
        *_unbiased(),
        *_interval(scale),
        *_errors(scale),
        *_collapse(scale),
    ]


def _coverage(scale: Scale) -> list[Check]:
    """A partial pool S against the whole game: explicit payoffs, and the implicit step solved on S alone."""
    rng = np.random.default_rng([scale.seed, 8])
    n = 30
    bias = tight = apart = outside = 0.0
    for _ in range(scale.pick(100, 20)):
        payoff = random_game(n, int(rng.integers(2**31))).payoff
        log_policy = log_softmax(2.0 * rng.normal(size=n))
        seen = rng.random(n) < rng.uniform(0.1, 0.9)
        seen[:2] = True, False
        # One response, in nobody's pool, that loses all or nothing by whether the opponent is pooled.
        hard = payoff.copy()
        hard[-1] = np.where(seen, 1.0, -1.0)
        hard[:, -1] = -hard[-1]
        hard[-1, -1] = 0.0
        seen[-1] = False
        log_policy = log_softmax(np.where(np.arange(n) == n - 1, -20.0, log_policy))
        found = exact_pool_weights(log_policy, seen)
        for matrix in (payoff, hard):
            wrong = np.abs(opponent_payoffs(matrix, found.weights) - opponent_payoffs(matrix, np.exp(log_policy))).max()
            ratio = float(wrong / (2 * np.abs(matrix).max() * (1 - found.coverage)))
            bias, tight = max(bias, ratio), max(tight, ratio if matrix is hard else 0.0)
            for s in (0.1, 1.0, 10.0):
                full = proximal_step(log_policy, matrix, s).policy
                part = proximal_step(log_policy, matrix, s, mask=seen).policy
                missed, largest = float(full[~seen].sum()), float(np.abs(matrix).max())
                length = float(np.abs(part - np.where(seen, full, 0.0) / (1 - missed)).sum())
                apart = max(apart, length / (2 * s * largest * missed))
                allowed = math.exp(min(2 * s * largest, 50.0)) * float(1 - found.coverage)
                outside = max(outside, missed / allowed)
    where = f"R({n},.) and one with a response that plays the pool against the rest"
    return [
        at_most(_POOL, "payoff error of renormalising over 2 L (1 - c)", where, bias, 1.0 + 1e-9),
        at_least(_POOL, "the same ratio where a response plays the pool against the rest", where, tight, 0.99),
        at_most(_POOL, "|p_S - p(.|S)|_1 / (2 s L p(not S)), the implicit step on S alone", where, apart, 1.0 + 1e-6),
        at_most(_POOL, "p(not S) / (e^(2 s L) b(not S))", where, outside, 1.0 + 1e-9),
    ]


def _unbiased() -> list[Check]:
    """The stratified estimator by enumeration of all fresh draws; regressing a fresh draw against itself is not it."""
    n, count = 5, 3
    worst = inside = shared = kept_out = 0.0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        payoff, policy = random_game(n, seed).payoff, rng.dirichlet(np.ones(n))
        pool = rng.permutation(n)[: seed + 1]
        outside = ~np.isin(np.arange(n), pool)
        draws = np.array(list(product(range(n), repeat=count)))
        chance = policy[draws].prod(axis=-1)
        columns = payoff[:, draws].swapaxes(0, 1)  # [draws, n, count]
        estimate = stratified_payoffs(payoff[:, pool], policy[pool], columns, outside[draws].astype(float))
        exact = payoff @ policy
        worst = max(worst, float(np.abs(chance @ estimate - exact).max()))
        share = float(chance @ (~outside[draws]).mean(axis=-1))
        inside = max(inside, abs(share - float(policy[pool].sum())))
        # The pair (first, second draw) is regressed: with both among the opponents, and with both left out.
        rows = np.arange(len(draws))
        first, second = draws[:, 0], draws[:, 1]
        wanted = exact[first] - exact[second]
        rest = stratified_payoffs(payoff[:, pool], policy[pool], columns[:, :, 2:], outside[draws[:, 2:]].astype(float))
        for pair in product(range(n), repeat=2):
            chosen = (first == pair[0]) & (second == pair[1])
            weights = chance[chosen] / chance[chosen].sum()
            for values, keep in ((estimate, True), (rest, False)):
                error = abs(float(weights @ ((values[rows, first] - values[rows, second] - wanted)[chosen])))
                shared, kept_out = (max(shared, error), kept_out) if keep else (shared, max(kept_out, error))
    where = "R(5,0) to R(5,3), pools of 1 to 4, all 125 triples of draws"
    return [
        at_most(_STRATIFIED, "mean of the estimate less A pi (payoff units)", where, worst, 1e-13, kind="identity"),
        at_most(_STRATIFIED, "mean share of fresh draws in S less c", where, inside, 1e-13, kind="identity"),
        at_most(
            _STRATIFIED,
            "bias of a relative reward of two fresh draws that are left out of the opponents (payoff units)",
            where,
            kept_out,
            1e-13,
            kind="identity",
        ),
        at_least(
            _STRATIFIED,
            "the same with the two among the opponents",
            where,
            shared,
            0.1,
            negative=True,
        ),
    ]


def _interval(scale: Scale) -> list[Check]:
    """``+-(1 - c) sqrt(2 log(2 M / delta) / n_out)`` for all M responses at once.

    Hoeffding's, given n_out draws outside the pool: it is the interval of ``(1 - c)`` times their mean. The unbiased
    form, which divides their sum by n, also errs by ``n_out / n - (1 - c)``, and for that the interval has no room.
    """
    rng = np.random.default_rng([scale.seed, 9])
    repeats, delta = scale.pick(20000, 3000), 0.1
    missed: dict[str, float] = {"own": 0.0, "sum": 0.0}
    for size, mass, count, constant in ((20, 0.5, 16, False), (20, 0.05, 40, False), (2, 0.05, 14, True)):
        # S is the last response, of probability c; M responses that play it and the rest.
        policy = np.append(np.full(size, mass / size), 1 - mass)
        payoff = rng.choice([-1.0, 1.0], (size, size + 1)) if not constant else np.ones((1, size + 1))
        drawn = rng.choice(size + 1, p=policy, size=(repeats, count))
        outside = (drawn < size).astype(float)
        n_out = outside.sum(axis=-1)
        columns = payoff[:, drawn].swapaxes(0, 1)
        exact = opponent_payoffs(payoff, policy)
        m = len(payoff)
        some = np.maximum(n_out, 1.0)
        half = np.where(n_out > 0, mass * np.sqrt(2 * math.log(2 * m / delta) / some), np.inf)
        scaled = outside * (mass * count / some)[:, None]
        for name, weights in (("own", scaled), ("sum", outside)):
            estimate = stratified_payoffs(payoff[:, -1:], policy[-1:], columns, weights)
            left = np.abs(estimate - exact).max(axis=-1) > half + 1e-12
            missed[name] = max(missed[name], float(left.mean()))
    where = "+-1 payoffs, M = 20 at c = .5 and .95; M = 1 at c = .95, payoff 1 throughout"
    slack = 4 * math.sqrt(delta / repeats)
    return [
        at_most(
            _STRATIFIED,
            f"share of draws outside +-(1-c) sqrt(2 log(2M/delta)/n_out), estimate (1-c) x mean, delta = {delta}",
            where,
            missed["own"],
            delta + slack,
        ),
        at_least(
            _STRATIFIED,
            "the same interval around the unbiased form, sum / n: n_out / n is random, and the interval has no room",
            where,
            missed["sum"],
            delta + slack,
            negative=True,
        ),
    ]


def _errors(scale: Scale) -> list[Check]:
    """Error of the target by four estimators, from the same past and fresh draws of policies that move."""
    n, repeats, fresh_count = 400, scale.pick(200, 12), 16
    covers: dict[str, tuple[float, int]] = {"low": (0.3, 2), "middle": (1.7, 8), "high": (3.0, 50)}
    checks = []
    for number, (width, rounds) in enumerate(covers.values()):
        rng = np.random.default_rng([scale.seed, 10, number])
        squares: dict[str, list[float]] = {"horvitz_thompson": [], "pool": [], "fresh": [], "stratified": []}
        coverage = []
        for _ in range(repeats):
            payoff = random_game(n, int(rng.integers(2**31))).payoff
            state = initial_state(np.exp(log_softmax(width * rng.normal(size=n))))
            log_seen, drawn = np.full(n, -np.inf), np.zeros(n, dtype=bool)
            past = drawn
            for _ in range(rounds):
                now = state.current
                past = drawn.copy()
                fresh = rng.choice(n, p=np.exp(now), size=fresh_count)
                drawn[fresh] = True
                log_seen = np.asarray(log_seen_after(log_seen, now, fresh_count))
                # The policies that the pool comes from: a run of the game itself, seen exactly.
                state = step(rp.rebel(1.0), payoff, state)
            policy = np.exp(now)
            exact = opponent_payoffs(payoff, policy)
            pooled = exact_pool_weights(now, drawn)
            coverage.append(float(pooled.coverage))
            columns = payoff[:, fresh]
            estimates = {
                "pool": opponent_payoffs(payoff, pooled.weights),
                "horvitz_thompson": opponent_payoffs(payoff, horvitz_thompson_weights(now, log_seen, drawn).weights),
                "fresh": fresh_payoffs(columns),
                "stratified": stratified_payoffs(payoff[:, past], policy[past], columns, (~past[fresh]).astype(float)),
            }
            for name, value in estimates.items():
                # A constant drops out of the regression.
                error = value - exact
                squares[name].append(float(policy @ (error - policy @ error) ** 2))
        root = {name: math.sqrt(float(np.mean(values))) for name, values in squares.items()}
        words = ", ".join(f"{name} {value:.3f}" for name, value in root.items()).replace("_", "-")
        where = f"{repeats} games R({n},.), 16 draws x {rounds} rounds, coverage {np.mean(coverage):.2f}"
        checks += [
            at_most(
                _WEIGHTS,
                f"error of the target, Horvitz-Thompson over the better of fresh and stratified: {words}",
                where,
                root["horvitz_thompson"] / min(root["fresh"], root["stratified"]),
                0.85,
                kind="observation",
            ),
            # A pool that covers nearly all is nearly exact, and its own weights are as good.
            at_most(
                _WEIGHTS,
                "error of the target, Horvitz-Thompson over the pool's own weights",
                where,
                root["horvitz_thompson"] / root["pool"],
                scale.pick(1.1, 1.3),
                kind="observation",
            ),
        ]
    return checks


def _collapse(scale: Scale) -> list[Check]:
    """Weights proportional to pi over old samples of long responses: a few nats apart, and one of them is all."""
    rng = np.random.default_rng([scale.seed, 11])
    repeats, pooled, fresh = scale.pick(4000, 1000), 96, 32
    payoffs = rng.uniform(-1.0, 1.0, (repeats, 1, pooled))
    root = float(np.sqrt(np.mean(fresh_payoffs(payoffs[..., :fresh]) ** 2)))
    checks, errors = [], []
    for width, most in ((3.0, 8.0), (10.0, 2.0), (30.0, 1.1)):
        # Long responses are a negligible share of all: their payoff against pi is 0 up to the sampling.
        found = exact_pool_weights(-300.0 + width * rng.normal(size=(repeats, pooled)))
        error = float(np.sqrt(np.mean(opponent_payoffs(payoffs, found.weights) ** 2)))
        errors.append(error / root)
        checks.append(
            at_most(
                _WEIGHTS,
                f"log-probs {width:g} nats apart (sd): median effective sample size of 96; payoff error {error:.2f}, "
                f"32 fresh draws {root:.2f}",
                "payoffs uniform on [-1, 1]",
                float(np.median(found.effective_sample_size)),
                most,
                kind="observation",
                negative=True,
            )
        )
    return [
        *checks,
        at_least(
            _WEIGHTS,
            "payoff error of 96 old samples weighted by pi over that of 32 fresh draws, least over 3, 10, 30 nats",
            "payoffs uniform on [-1, 1]",
            min(errors),
            2.0,
            kind="observation",
            negative=True,
        ),
    ]
