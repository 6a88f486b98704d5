"""The game that a pool is: the implicit step on weighted atoms, and the rounds after which a pool is the whole game."""

from __future__ import annotations

import math

import numpy as np

import rebel_pref as rp
from rebel_pref.algorithms import Update
from rebel_pref.payoffs import draw_weights, normalized_weights, opponent_payoffs
from rebel_pref.preferences import FloatArray
from rebel_pref.proximal import proximal_step, regularized_equilibrium
from rebel_pref.solvers import OpponentPool, initial_state, step
from rebel_pref.targets import regression_target
from rebel_pref.theory.checks import Check, Scale, at_least, at_most, within
from rebel_pref.theory.divergence import kl, log_softmax
from rebel_pref.theory.games import random_game

__all__ = ["checks"]

_ATOMS, _COMPLETE = "pool, weighted atoms", "pool, completed"


def checks(scale: Scale) -> list[Check]:
    """Weighted atoms, and the pool's completion."""
    return [*_atoms(scale), *_complete(scale)]


def _atoms(scale: Scale) -> list[Check]:
    """The implicit step on weighted atoms: exact with exact weights, only ratios enter, bias O(1 / ESS)."""
    rng = np.random.default_rng([scale.seed, 12])
    eta, tau = 2.0, 0.3
    row = rp.proximal_rebel(eta, tau).stages[0]
    whole = shifted = by_formula = 0.0
    for seed in range(scale.pick(20, 5)):
        n = 8
        payoff = random_game(n, seed).payoff
        state = initial_state(np.exp(log_softmax(rng.normal(size=n))), np.exp(log_softmax(rng.normal(size=n))))
        logs = {"current": state.current, "magnet": state.magnet}
        # Every response twice, its weight split between the two: duplicates in a pool.
        twice, share = np.tile(np.arange(n), 2), rng.uniform(0.1, 0.9, n)
        split = state.current[twice] + np.log(np.concatenate([share, 1 - share]))
        copies = {name: value[twice] for name, value in logs.items()}
        target = np.asarray(regression_target(row, split, copies, payoff[np.ix_(twice, twice)]).log_ratio)
        after = step(rp.proximal_rebel(eta, tau), payoff, state).current
        whole = max(whole, float(np.abs(log_softmax(state.current + target[n:]) - after).max()))
        # Some atoms, any weights; the target is asked of all responses, pooled or not.
        seen = np.arange(n) < 5
        weights = rng.normal(size=n)
        pull = eta * tau
        target = np.asarray(regression_target(row, weights, logs, payoff, mask=seen).log_ratio)
        ratio = state.magnet - state.current
        p = proximal_step(weights + pull / (1 + pull) * ratio, payoff, eta / (1 + pull), mask=seen).policy
        wanted = (pull * ratio + eta * opponent_payoffs(payoff, p)) / (1 + pull)
        by_formula = max(by_formula, float(np.abs(target - wanted).max()))
        long = 30.0 * rng.normal(size=n) - 300.0
        moved = {name: value + long for name, value in logs.items()}
        again = np.asarray(regression_target(row, weights, moved, payoff, mask=seen).log_ratio)
        shifted = max(shifted, float(np.abs(again - target).max()))
    payoff = random_game(3, 1).payoff
    state = initial_state(np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5]))
    logs = {"current": state.current, "magnet": state.magnet}
    exact = np.asarray(regression_target(row, state.current, logs, payoff).log_ratio)
    biases = {size: _bias_of_draws(row, logs, payoff, exact, size) for size in (8, 16, 32, 64)}
    slope = math.log(biases[64] / biases[16]) / math.log(4.0)
    where = "R(8,.), 5 atoms of 8"
    return [
        at_most(
            _ATOMS,
            "every response twice, pi_t split between its copies: the tabular step, nats",
            where,
            whole,
            1e-9,
            kind="identity",
        ),
        at_most(
            _ATOMS,
            "target of pooled and of unseen responses against its closed form in density ratios, nats",
            where,
            by_formula,
            1e-12,
            kind="identity",
        ),
        at_most(
            _ATOMS,
            "change of the target when log pi_t and log m both move by the same hundreds of nats, nats",
            where,
            shifted,
            1e-8,
            kind="identity",
        ),
        within(
            _ATOMS,
            "slope of log bias in log n, n i.i.d. atoms, 16 to 64, by enumeration (O(1 / n): -1)",
            "R(3,1)",
            slope,
            -1.15,
            -0.85,
        ),
    ]


def _bias_of_draws(row: Update, logs: dict[str, FloatArray], payoff: FloatArray, exact: FloatArray, size: int) -> float:
    """Largest |E target - exact target| of relative rewards over all multinomial counts of `size` draws."""
    counts = np.array([(i, j, size - i - j) for i in range(size + 1) for j in range(size + 1 - i)], dtype=np.float64)
    log_factorial = np.cumsum(np.log(np.maximum(np.arange(size + 1), 1)))
    log_chance = log_factorial[size] - log_factorial[counts.astype(int)].sum(axis=-1) + counts @ logs["current"]
    batch = {name: np.broadcast_to(value, counts.shape) for name, value in logs.items()}
    weights = draw_weights(counts, batch["current"])
    target = regression_target(row, weights.log_weights, batch, payoff, mask=counts > 0).log_ratio
    error = np.exp(log_chance) @ np.asarray(target) - exact
    return float(np.ptp(error))


def _complete(scale: Scale) -> list[Check]:
    """Coupons: log-ratios stay within 2 L / tau, so every response is drawn at last; then every step is exact."""
    size, count, tau, eta, copies = 6, 2, 0.5, 2.0, scale.pick(200, 50)
    rounds_ratio, floor, factor = 0.0, np.inf, 0.0
    q = 1.0 / (1.0 + eta * tau)
    row = rp.proximal_rebel(eta, tau)
    where = []
    for seed in (0, 1):
        payoff = random_game(size, seed).payoff
        where.append(f"R({size},{seed})")
        largest = float(np.abs(payoff).max())
        magnet = normalized_weights(np.linspace(0.0, 2.0, size))
        log_star = np.log(regularized_equilibrium(np.log(magnet), payoff, tau).policy)
        state = initial_state(np.tile(magnet, (copies, 1)))
        observe = OpponentPool(count, weights="exact").begin(payoff, np.random.default_rng([scale.seed, 13, seed]))
        lowest = np.log(magnet) - 2 * largest / tau
        allowed = (1 + math.log(size)) * math.exp(2 * largest / tau) / (float(magnet.min()) * count)
        done = np.full(copies, np.inf)
        for number in range(scale.pick(2000, 250)):
            seen = observe(state.current)
            assert observe.seen is not None
            full = observe.seen.all(axis=-1)
            done = np.where(full, np.minimum(done, number + 1), done)
            before = kl(log_star, state.current)
            state = step(row, payoff, state, seen)
            after = kl(log_star, state.current)
            floor = min(floor, float((state.current - lowest).min()))
            clear = full & (before > 1e-8)
            factor = max(factor, float((after[clear] / before[clear]).max(initial=0.0)) / q)
            if full.all() and (before < 1e-8).all():
                break
        rounds_ratio = max(rounds_ratio, float(done.mean()) / allowed)
    games = f"{', '.join(where)}, {copies} runs each"
    return [
        at_most(
            _COMPLETE,
            "mean rounds until all n are pooled over (1 + log n) e^(2L/tau) / (m_min n_fresh)",
            games,
            rounds_ratio,
            1.0,
        ),
        at_least(_COMPLETE, "log pi_t - log(m e^(-2L/tau)), least over responses and rounds, nats", games, floor, 0.0),
        at_most(
            _COMPLETE,
            "(1 + eta tau) KL_next / KL once the pool is complete",
            games,
            factor,
            1.0 + 1e-6,
        ),
    ]
