"""What errors of the regression do to the implicit step: bias leaves a radius, noise a variance, coverage a factor."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np

import rebel_pref as rp
from rebel_pref.payoffs import normalized_weights
from rebel_pref.preferences import FloatArray
from rebel_pref.proximal import regularized_equilibrium
from rebel_pref.regression import weighted_pairwise_loss
from rebel_pref.solvers import RegressionError, initial_state, iterates, step
from rebel_pref.theory.checks import Check, Scale, at_least, at_most, near, within
from rebel_pref.theory.divergence import kl, log_softmax, spread
from rebel_pref.theory.games import WEIGHTED_RPS, leaning_start, suite, weighted_rps

__all__ = ["checks"]

_ERROR, _BIAS = "implicit step, fitted with error", "implicit step, biased payoffs"
_NOISE, _COVERAGE = "implicit step, noisy payoffs", "regression error through coverage"


def checks(scale: Scale) -> list[Check]:
    """Errors of the fit, biases and noise of the payoffs, and how coverage turns one into the other."""
    return [*_recursion(scale), *_bias(scale), *_noise(scale), *_coverage(scale)]


def _worst_error(log_star: FloatArray, log_p: FloatArray, width: float) -> FloatArray:
    """The error of range `width` that takes p farthest from p* in KL.

    ``-<p*, e> + log E_p exp(e)`` is convex in e, so the worst is +-width / 2 in every coordinate; low where p* / p is
    high. Which threshold, is tried.
    """
    order = np.argsort(log_p - log_star)
    n = len(order)
    signs = np.where(np.arange(n)[None, :] < np.arange(1, n)[:, None], -0.5, 0.5) * width
    errors = np.empty_like(signs)
    errors[:, order] = signs
    return np.asarray(errors[int(kl(log_star, log_softmax(log_p + errors)).argmax())])


def _recursion(scale: Scale) -> list[Check]:
    games = {name: game for name, game in suite(quick=scale.quick).items() if len(game) <= 20}
    rng = np.random.default_rng([scale.seed, 3])
    one = far = 0.0
    for game, eta, tau in product(games.values(), (0.3, 3.0, 30.0), scale.pick((0.1, 0.5), (0.5,))):
        n, row, root = len(game), rp.proximal_rebel(eta, tau), math.sqrt(1.0 / (1.0 + eta * tau))
        magnet = leaning_start(n, 1.0)
        log_star = np.log(regularized_equilibrium(np.log(magnet), game.payoff, tau).policy)
        # Half of the runs start at p*, so that what is left at the end is the errors' and not the start's.
        cases = list(product((log_star, np.log(leaning_start(n, 3.0))), (True, False), (0.03, 0.5)))
        widths = np.array([width for _, _, width in cases])
        allowed_error = widths / (2.0 * math.sqrt(2.0))
        at_star = np.arange(len(cases)) < len(cases) // 2
        state = initial_state(np.exp([start for start, _, _ in cases]), np.tile(magnet, (len(cases), 1)))
        for _ in range(min(scale.pick(50, 20), 10 + int(12 / (1 - root)))):
            after = step(row, game.payoff, state)
            errors = [
                _worst_error(log_star, log_p, width) if adversarial else rng.choice([-0.5, 0.5], n) * width
                for log_p, (_, adversarial, width) in zip(after.current, cases, strict=True)
            ]
            fitted = replace(after, current=log_softmax(after.current + np.stack(errors)))
            distance = np.sqrt(kl(log_star, fitted.current))
            one = max(one, float((distance / (root * np.sqrt(kl(log_star, state.current)) + allowed_error)).max()))
            far = max(far, float((distance / allowed_error)[at_star].max() * (1 - root)))
            state = fitted
    where = ", ".join(games)
    return [
        at_most(
            _ERROR,
            "sqrt D_next / (sqrt q sqrt D + eps / (2 sqrt 2)), D = KL(p*||p), q = 1/(1 + eta tau), errors of range eps",
            where,
            one,
            1.0 + 1e-9,
        ),
        at_most(
            _ERROR,
            "largest D, from p* on, over eps^2 / (8 (1 - sqrt q)^2)",
            where,
            far**2,
            1.0 + 1e-9,
        ),
        at_least(
            _ERROR,
            "the step's constant is nearly met by the worst errors: the same ratio of sqrt D_next",
            where,
            one,
            0.9,
        ),
    ]


def _bias(scale: Scale) -> list[Check]:
    """A payoff bias of range d leaves the policy about d / tau away, and a larger step does not bring it nearer."""
    games = {name: game for name, game in suite(quick=True).items() if name in (WEIGHTED_RPS, "R(10,0)")}
    rng = np.random.default_rng([scale.seed, 4])
    ratio, slopes, nearer = 0.0, [], np.inf
    etas = (1.0, 10.0, 100.0)
    for game, tau in product(games.values(), scale.pick((0.1, 0.5), (0.5,))):
        n = len(game)
        magnet = leaning_start(n, 1.0)
        star = regularized_equilibrium(np.log(magnet), game.payoff, tau).policy
        drawn = rng.normal(size=n)
        halves = np.where(star > np.median(star), -0.5, 0.5)
        for direction in (drawn / spread(drawn), halves):
            widths = (0.001 * tau, 0.01 * tau)
            distance: dict[tuple[float, float], float] = {}
            for width, eta in product(widths, etas):
                pull = eta * tau
                feedback = RegressionError(bias=width * direction)
                start = initial_state(star, magnet)
                states = iterates(rp.proximal_rebel(eta, tau), game.payoff, start, feedback=feedback)
                for _ in range(5 + int(16 / math.log1p(pull))):
                    state = next(states)
                found = math.sqrt(float(kl(np.log(star), state.current)))
                constant = pull / (1 + pull) / (2 * math.sqrt(2) * (1 - math.sqrt(1 / (1 + pull))))
                ratio, distance[width, eta] = max(ratio, found / (constant * width / tau)), found
            slopes += [math.log(distance[widths[1], eta] / distance[widths[0], eta]) / math.log(10.0) for eta in etas]
            nearer = min(nearer, distance[widths[0], 100.0] / distance[widths[0], 1.0])
    where = ", ".join(games)
    return [
        at_most(
            _BIAS,
            "sqrt D at the end over (eta tau / (1 + eta tau)) / (2 sqrt 2 (1 - sqrt q)) d / tau, payoffs off by d",
            where,
            ratio,
            1.0 + 1e-9,
        ),
        within(_BIAS, "slope of log sqrt D in log d, smallest", where, min(slopes), 0.95, 1.05, reference=1.0),
        within(_BIAS, "slope of log sqrt D in log d, largest", where, max(slopes), 0.95, 1.05, reference=1.0),
        at_least(
            _BIAS,
            "a larger step does not mend it: sqrt D at eta = 100 over sqrt D at eta = 1, least",
            where,
            nearer,
            0.95,
            negative=True,
        ),
    ]


def _noise(scale: Scale) -> list[Check]:
    """Zero-mean noise around the equilibrium of rock-paper-scissors, whose local eigenvalues are +-i mu, mu = 1/sqrt 3.

    A deviation x of the log-policy turns and shrinks, ``x <- x / (1 + eta tau - i eta mu) + s sigma xi`` with
    s = eta / (1 + eta tau). Each coordinate keeps the variance ``s^2 sigma^2 / (1 - 1 / |1 + eta tau - i eta mu|^2)``,
    at most ``eta sigma^2 / (tau (2 + eta tau))``, which is the value without a game.
    """
    tau, sigma = 0.5, 0.01
    copies, kept = scale.pick(4000, 1000), scale.pick(40, 10)
    # Four standard errors of a variance from the runs alone, as if the rounds of a run told nothing new.
    allowed = 4.0 / math.sqrt(copies)
    game = weighted_rps(1.0, 1.0, 1.0)
    found, predicted, over = {}, {}, 0.0
    for eta in (0.05, 0.5, 2.0, 10.0):
        pull, gain = eta * tau, eta / (1 + eta * tau)
        factor = 1.0 / ((1 + pull) ** 2 + (eta / math.sqrt(3)) ** 2)
        predicted[eta] = (gain * sigma) ** 2 / (1 - factor)
        start = initial_state(np.full((copies, 3), 1 / 3))
        rng = np.random.default_rng([scale.seed, 5])
        feedback = RegressionError(noise=sigma)
        states = iterates(rp.proximal_rebel(eta, tau), game.payoff, start, feedback=feedback, rng=rng)
        settle = 5 + int(6 / -math.log(factor))
        variances = []
        for number in range(settle + kept):
            state = next(states)
            if number >= settle:
                x = state.current - state.current.mean(axis=-1, keepdims=True)
                # Centring takes one of three directions out.
                variances.append(float((x * x).sum(axis=-1).mean()) / 2.0)
        found[eta] = float(np.mean(variances))
        over = max(over, found[eta] / (eta * sigma**2 / (tau * (2 + pull))))
    off = max(abs(found[eta] / predicted[eta] - 1.0) for eta in found)
    slope, expected = (math.log(values[0.5] / values[0.05]) / math.log(10.0) for values in (found, predicted))
    where = "RPS, eta .05 to 10"
    return [
        at_most(
            _NOISE,
            "variance of a log-probability against s^2 sigma^2 / (1 - 1 / |1 + eta tau - i eta mu|^2), relative error",
            where,
            off,
            allowed,
            kind="observation",
        ),
        at_most(_NOISE, "the same variance over eta sigma^2 / (tau (2 + eta tau))", where, over, 1.0 + allowed),
        near(
            _NOISE,
            "a smaller step averages noise out: slope of log variance in log eta, eta .05 to .5",
            "RPS",
            slope,
            expected,
            absolute=allowed,
        ),
    ]


def _coverage(scale: Scale) -> list[Check]:
    """``|<p* - p, e>| <= sqrt(chi^2 eps_2^2 / 2)``: what an L2 error under the base mu costs where p* and p differ."""
    rng = np.random.default_rng([scale.seed, 6])
    worst = tight = 0.0
    games = {name: game for name, game in suite(quick=scale.quick).items() if len(game) <= 20}
    for game in games.values():
        n, tau = len(game), 0.2
        start = leaning_start(n, 3.0)
        star = regularized_equilibrium(np.log(start), game.payoff, tau).policy
        p = np.exp(step(rp.proximal_rebel(1.0, tau), game.payoff, initial_state(start)).current)
        for power in (1.0, 3.0):
            base = normalized_weights(power * rng.normal(size=n))
            ratio = (star - p) / base
            chi = float((base * ratio**2).sum())
            errors = np.concatenate([rng.normal(size=(scale.pick(200, 50), n)), ratio[None]])
            square = np.asarray(weighted_pairwise_loss(errors, base))
            ratios = np.abs(errors @ (star - p)) / np.sqrt(chi * square / 2.0)
            worst, tight = max(worst, float(ratios[:-1].max())), max(tight, abs(float(ratios[-1]) - 1.0))
    where = ", ".join(games)
    quantity = "|<p* - p, e>| / sqrt(chi^2 eps_2^2 / 2), eps_2^2 = E (e - e')^2 under the base"
    return [
        at_most(_COVERAGE, quantity, where, worst, 1.0 + 1e-9),
        at_most(_COVERAGE, "the same less 1 for the error (p* - p) / base", where, tight, 1e-9, kind="identity"),
    ]
