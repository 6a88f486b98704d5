"""Single rows: where Nash-MD rests, what SPPO drops, how far INPO and EGPO may step, when online IPO diverges."""

from __future__ import annotations

import math
from itertools import islice, product

import numpy as np

import rebel_pref as rp
from rebel_pref.proximal import regularized_equilibrium
from rebel_pref.solvers import initial_state, iterates, step
from rebel_pref.theory.checks import Check, Scale, at_least, at_most, near, within
from rebel_pref.theory.divergence import kl, log_softmax
from rebel_pref.theory.games import RPS, WEIGHTED_RPS, leaning_start, suite, weighted_rps

__all__ = ["checks"]

_NASH_MD, _SPPO, _RATES = "Nash-MD, constant step", "SPPO without log Z", "largest proved step"
_IPO = "online IPO, fitted exactly"


def checks(scale: Scale) -> list[Check]:
    """Nash-MD, SPPO, the largest steps of INPO and EGPO, and online IPO."""
    return [*_nash_md(scale), *_sppo(scale), *_contraction(scale), *_online_ipo()]


def _nash_md(scale: Scale) -> list[Check]:
    """At a constant step the mixture, not the policy, is a regularised equilibrium, and at another tau."""
    games = {name: game for name, game in suite(quick=scale.quick).items() if len(game) <= 20}
    tau, eta = 0.5, 0.4
    pull = eta * tau
    mixture = response = 0.0
    elsewhere = np.inf
    for game in games.values():
        payoff, n = game.payoff, len(game)
        magnet = leaning_start(n, 1.0)
        states = iterates(rp.nash_md(eta, tau), payoff, initial_state(leaning_start(n, 3.0), magnet))
        end = next(islice(states, 400, None))
        q = log_softmax((1 - pull) * end.current + pull * end.magnet)
        wanted = np.log(regularized_equilibrium(end.magnet, payoff, tau / (1 - pull)).policy)
        mixture = max(mixture, float(np.abs(q - wanted).max()))
        answer = log_softmax(end.magnet + payoff @ np.exp(q) / tau)
        response = max(response, float(np.abs(end.current - answer).max()))
        star = np.log(regularized_equilibrium(end.magnet, payoff, tau).policy)
        elsewhere = min(elsewhere, float(np.abs(end.current - star).max()))
    where = ", ".join(games)
    return [
        at_most(
            _NASH_MD,
            "at rest the mixture is the regularised equilibrium at tau / (1 - eta tau), nats",
            where,
            mixture,
            1e-9,
            kind="identity",
        ),
        at_most(
            _NASH_MD,
            "at rest pi is m exp(A q / tau) / Z, nats",
            where,
            response,
            1e-9,
            kind="identity",
        ),
        at_least(
            _NASH_MD,
            "at rest pi is not the regularised equilibrium at tau: nats away, least",
            where,
            elsewhere,
            1e-3,
            negative=True,
        ),
    ]


def _sppo(scale: Scale) -> list[Check]:
    """Dropping log Z moves SPPO away from REBEL by O(eta^3); with log Z in the target it is REBEL."""
    games = {name: game for name, game in suite(quick=scale.quick).items() if len(game) <= 20}
    etas = (0.05, 0.1, 0.2)
    slopes, large = [], 0.0
    for game in games.values():
        start = initial_state(leaning_start(len(game), 3.0))
        apart = {
            eta: float(
                np.abs(
                    step(rp.sppo(eta), game.payoff, start).current - step(rp.rebel(eta), game.payoff, start).current
                ).max()
            )
            for eta in (*etas, 5.0)
        }
        slopes.append(math.log(apart[etas[-1]] / apart[etas[0]]) / math.log(etas[-1] / etas[0]))
        large = max(large, apart[5.0])
    where = ", ".join(games)
    return [
        within(
            _SPPO,
            "slope of log |log sppo - log rebel| in log eta, least",
            where,
            min(slopes),
            2.8,
            3.2,
        ),
        within(
            _SPPO,
            "slope of log |log sppo - log rebel| in log eta, largest",
            where,
            max(slopes),
            2.8,
            3.2,
        ),
        at_least(
            _SPPO,
            "|log sppo - log rebel| at eta = 5, largest, nats",
            where,
            large,
            0.1,
            kind="observation",
            negative=True,
        ),
    ]


def _contraction(scale: Scale) -> list[Check]:
    """The largest steps that are proved: inpo at tau / (L^2 + tau^2), egpo at eta^2 L^2 = 1 + eta tau."""
    games = {name: game for name, game in suite(quick=scale.quick).items() if len(game) <= 50}
    inpo = egpo = 0.0
    for game, tau in product(games.values(), (0.1, 0.5)):
        n, largest = len(game), float(np.abs(game.payoff).max())
        magnet = leaning_start(n, 1.0)
        log_star = np.log(regularized_equilibrium(np.log(magnet), game.payoff, tau).policy)
        start = initial_state(leaning_start(n, 3.0), magnet)
        eta = tau / (largest**2 + tau**2)
        implicit = (tau + math.sqrt(tau**2 + 4 * largest**2)) / (2 * largest**2)
        for row, q in (
            (rp.inpo(eta, tau), 1 - eta * tau),
            (rp.egpo(implicit / (1 + implicit * tau), tau), 1 / (1 + implicit * tau)),
        ):
            before = float(kl(log_star, start.current))
            for state in islice(iterates(row, game.payoff, start), scale.pick(300, 100)):
                after = float(kl(log_star, state.current))
                if before < 1e-8:
                    break
                ratio = after / before / q
                before = after
                if row.name == "inpo":
                    inpo = max(inpo, ratio)
                else:
                    egpo = max(egpo, ratio)
    where = ", ".join(games)
    return [
        at_most(
            _RATES,
            "inpo at eta = tau / (L^2 + tau^2): KL_next / KL over 1 - eta tau",
            where,
            inpo,
            1.0 + 1e-9,
        ),
        at_most(
            _RATES,
            "egpo in its proximal form at eta^2 L^2 = 1 + eta tau: (1 + eta tau) KL_next / KL",
            where,
            egpo,
            1.0 + 1e-9,
        ),
    ]


def _online_ipo() -> list[Check]:
    """Fitted exactly, the response to oneself: its KL falls by (mu / tau)^2 a round, or grows where tau < mu."""
    found, checks = {}, []
    for name, game in ((RPS, weighted_rps(1.0, 1.0, 1.0)), (WEIGHTED_RPS, weighted_rps(1.0, 0.5, 0.2))):
        payoff = game.payoff
        star = np.array([payoff[2, 1], payoff[0, 2], payoff[1, 0]])
        star = star / star.sum()
        mu = float(np.abs(np.linalg.eigvals((np.diag(star) - np.outer(star, star)) @ payoff).imag).max())
        for share in (0.95, 1.05):
            tau = share * mu
            # Towards the winner itself, so that the point of rest is known and the same for every tau.
            state = initial_state(np.exp(log_softmax(np.log(star) + np.array([2e-5, -1e-5, 0.0]))), star)
            first = float(kl(np.log(star), state.current))
            rounds = 40
            end = next(islice(iterates(rp.online_ipo(tau), payoff, state), rounds - 1, None))
            found[name, share] = (float(kl(np.log(star), end.current)) / first) ** (1 / rounds)
        error = max(abs(found[name, share] * share**2 - 1) for share in (0.95, 1.05))
        checks.append(
            at_most(
                _IPO,
                "KL_next / KL near the winner against (mu / tau)^2 at tau = .95 mu and 1.05 mu, relative error",
                name,
                error,
                1e-3,
                kind="observation",
            )
        )
    game = weighted_rps(1.0, 1.0, 1.0)
    uniform = np.full(3, 1 / 3)
    ends = {}
    for tau in (0.57, 0.58):
        state = initial_state(np.exp(log_softmax(np.array([1e-2, -1e-2, 0.0]))), uniform)
        end = next(islice(iterates(rp.online_ipo(tau), game.payoff, state), 2000, None))
        ends[tau] = rp.certify(game, np.exp(end.current)).exploitability
    return [
        *checks,
        at_least(
            _IPO,
            "tau = .57 < 1/sqrt 3: exploitability of the last iterate (payoff units)",
            RPS,
            ends[0.57],
            0.1,
            negative=True,
        ),
        near(
            _IPO,
            "tau = .58 > 1/sqrt 3: exploitability of the last iterate (payoff units)",
            RPS,
            ends[0.58],
            0.0,
            absolute=1e-4,
        ),
    ]
