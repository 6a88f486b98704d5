"""Magnets: fixed ones make the last iterate converge, at a bias; moving ones take the bias away.

`p` is the equilibrium regularised by tau towards the magnet, ``L = max|A|``, ``mu`` the rotation of play around a point
of rest, `eta` the step size. Every KL is of one player and in nats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice, product
from pathlib import Path

import numpy as np

import rebel_pref as rp
from rebel_pref.games import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers import initial_state, iterates, step
from rebel_pref.solvers.step_size import effective_scale, rotation
from rebel_pref.theory.checks import Check, Scale, at_least, at_most, within
from rebel_pref.theory.contraction import distances, equilibrium, from_winner, growth, nearby, starts, worst_ratio
from rebel_pref.theory.divergence import kl, log_softmax
from rebel_pref.theory.games import RPS, WEIGHTED_RPS, leaning_start, random_game, suite, weighted_rps
from rebel_pref.theory.magnets_figures import draw
from rebel_pref.theory.magnets_moving import moving_magnets
from rebel_pref.theory.magnets_nash_md import nash_md
from rebel_pref.theory.magnets_nested import nested

__all__ = ["TAUS", "bias", "extragradient", "fixed_magnet", "magnet_games", "section", "step_limits"]

TAUS = (0.02, 0.1, 0.5)

_FIXED, _LOCAL, _BIAS = "magnetic REBEL, fixed magnet", "magnetic REBEL, near rest", "bias of a fixed magnet"
_EXTRA = "extragradient (EGPO)"


def section(scale: Scale, out: Path) -> list[Check]:
    """Fixed, nested and moving magnets; draws figures 3, 4, 9 and 10."""
    draw(scale, out)
    return [
        *fixed_magnet(scale),
        *step_limits(scale),
        *bias(scale),
        *extragradient(scale),
        *nested(scale),
        *nash_md(scale),
        *moving_magnets(scale),
    ]


def magnet_games(scale: Scale) -> Mapping[str, PreferenceGame]:
    """The quick suite, and two random games more on a full run."""
    more = {"R(10,1)": random_game(10, 1), "R(50,0)": random_game(50, 0)}
    return {**suite(quick=True), **scale.pick(more, {})}


def fixed_magnet(scale: Scale) -> list[Check]:
    """The identity behind the contraction, and the contraction at eta = tau / L^2 and at tau / L_eff^2."""
    games = magnet_games(scale)
    rng = np.random.default_rng([scale.seed, 3])
    identity = 0.0
    for game, tau, eta in product(games.values(), TAUS, (0.05, 0.5, 3.0)):
        n, payoff = len(game), game.payoff
        magnet, policy = np.exp(log_softmax(rng.normal(size=(2, n))))
        star = equilibrium(payoff, tau, magnet)
        state = initial_state(policy, magnet)
        after = step(rp.magnetic_rebel(eta, tau), payoff, state).current
        turned = payoff @ (np.exp(state.current) - np.exp(star)) @ (np.exp(after) - np.exp(star))
        right = kl(star, state.current) - kl(after, state.current) - eta * tau * kl(after, star) + eta * turned
        identity = max(identity, abs(float((1.0 + eta * tau) * kl(star, after) - right)))
    largest = {"L": 0.0, "L_eff": 0.0}
    rounds = scale.pick(1500, 60)
    for game, tau in product(games.values(), TAUS):
        magnet = leaning_start(len(game), 1.0)
        star = equilibrium(game.payoff, tau, magnet)
        for name, size in (("L", game.scale), ("L_eff", effective_scale(game.payoff))):
            eta = tau / size**2
            kls = distances(rp.magnetic_rebel(eta, tau), game.payoff, star, starts(star), magnet, rounds)
            largest[name] = max(largest[name], worst_ratio(kls) * (1.0 + eta * tau))
    where, taus = ", ".join(games), ", ".join(f"{tau:g}" for tau in TAUS)
    quantity = (
        "(1 + eta tau) KL(p||next) = KL(p||pi) - KL(next||pi) - eta tau KL(next||p) + eta <A(pi-p), next-p>: error"
    )
    words = "largest (1 + eta tau) KL(p||next) / KL(p||pi) at eta = tau / {}^2, tau = {}, KL > 1e-8"
    return [
        at_most(_FIXED, quantity, where, identity, 1e-12, kind="identity"),
        *(at_most(_FIXED, words.format(name, taus), where, largest[name], 1.0 + 1e-9) for name in largest),
    ]


def step_limits(scale: Scale) -> list[Check]:
    """Near rest the factor is (1 + eta^2 mu^2) / (1 + eta tau)^2: tight at tau / mu^2, 1 at 2 tau / (mu^2 - tau^2)."""
    games = {RPS: weighted_rps(1.0, 1.0, 1.0), WEIGHTED_RPS: weighted_rps(1.0, 0.5, 0.2)}
    rounds = scale.pick(200, 60)
    tight = local = 0.0
    above, below = math.inf, 0.0
    for game, share in product(games.values(), (0.2, 0.5)):
        winner = rp.solve(game).policy
        star, mu = np.log(winner), rotation(game.payoff, winner)
        tau = share * mu
        limit = 2.0 * tau / (mu**2 - tau**2)
        start = nearby(star, 1e-4)

        def factor(
            eta: float,
            game: PreferenceGame = game,
            star: FloatArray = star,
            tau: float = tau,
            start: FloatArray = start,
            winner: FloatArray = winner,
        ) -> float:
            return growth(distances(rp.magnetic_rebel(eta, tau), game.payoff, star, start, winner, rounds))

        eta = tau / mu**2
        tight = max(tight, abs(factor(eta) * (1.0 + eta * tau) - 1.0))
        for part in (0.3, 0.7, 0.9, 1.1):
            eta = part * limit
            found = factor(eta)
            local = max(local, abs(found * (1.0 + eta * tau) ** 2 / (1.0 + eta**2 * mu**2) - 1.0))
            above = min(above, found) if part > 1.0 else above
            below = max(below, found) if part < 1.0 else below
    where = ", ".join(games)
    long = scale.pick(1000, 400)
    far = _ends(games, long)
    quantity = "KL a round at eta = tau / mu^2 against 1 / (1 + eta tau): the bound is tight, relative error"
    factors = "KL a round against (1 + eta^2 mu^2) / (1 + eta tau)^2, eta = .3 .. 1.1 of the limit, relative error"
    return [
        at_most(_LOCAL, quantity, where, tight, 1e-4, kind="prediction"),
        at_most(_LOCAL, factors, where, local, 1e-4, kind="prediction"),
        at_most(_LOCAL, "eta = .9 x 2 tau / (mu^2 - tau^2): largest KL a round", where, below, 1.0),
        at_least(
            _LOCAL,
            "eta = 1.1 x 2 tau / (mu^2 - tau^2): least growth of KL a round, less 1",
            where,
            above - 1.0,
            1e-3,
            negative=True,
        ),
        at_least(
            _FIXED,
            f"eta = 1.5 x 2 tau / (mu^2 - tau^2), {long} rounds: KL(p||last iterate), least, nats",
            where,
            far,
            0.1,
            negative=True,
        ),
    ]


def _ends(games: Mapping[str, PreferenceGame], rounds: int) -> float:
    """Least ``KL(p || pi_t)`` at the end above the limit, from a start close to rest."""
    ends = []
    for game in games.values():
        winner = rp.solve(game).policy
        mu = rotation(game.payoff, winner)
        tau = 0.2 * mu
        row = rp.magnetic_rebel(1.5 * 2.0 * tau / (mu**2 - tau**2), tau)
        start = nearby(np.log(winner), 1e-2)
        ends.append(float(distances(row, game.payoff, np.log(winner), start, winner, rounds)[-1]))
    return min(ends)


def bias(scale: Scale) -> list[Check]:
    """What a fixed magnet leaves: r_p(y) = tau (log p(y)/m(y) - KL(p||m)), at most tau log(1 / min m)."""
    games = magnet_games(scale)
    rng = np.random.default_rng([scale.seed, 4])
    stationary = exact = bounded = reached = 0.0
    for game, tau in product(games.values(), TAUS):
        n = len(game)
        for magnet in (np.full(n, 1.0 / n), np.exp(log_softmax(rng.normal(size=n)))):
            log_star = equilibrium(game.payoff, tau, magnet)
            star = np.exp(log_star)
            predicted = tau * (log_star - np.log(magnet) - kl(log_star, np.log(magnet)))
            found = rp.certify(game, star).exploitability
            stationary = max(stationary, float(np.abs(game.payoffs_against(star) - predicted).max()))
            exact = max(exact, abs(found - float(predicted.max())))
            bounded = max(bounded, found / (tau * math.log(1.0 / magnet.min())))
    tau = 0.5
    for game in games.values():
        uniform = np.full(len(game), 1.0 / len(game))
        row = rp.suggest_step(game, tau).magnetic(rp.FixedMagnet())
        run = rp.self_play(game, row, steps=400, start=leaning_start(len(game)), magnet=uniform)
        log_star = equilibrium(game.payoff, tau, uniform)
        left = tau * float(log_star.max() + math.log(len(game)) - kl(log_star, np.log(uniform)))
        reached = max(reached, abs(run.certificate.exploitability - left))
    where = ", ".join(games)
    return [
        at_most(
            _BIAS,
            "payoff of y against p less tau (log p(y)/m(y) - KL(p||m)), largest",
            where,
            stationary,
            1e-12,
            kind="identity",
        ),
        at_most(_BIAS, "Expl(p) less tau (max log p/m - KL(p||m)), largest", where, exact, 1e-12, kind="identity"),
        at_most(_BIAS, "Expl(p) / (tau log(1 / min m)), uniform and random magnets", where, bounded, 1.0),
        at_most(
            _BIAS,
            "suggested step, tau = .5, round 400: Expl(last iterate) less that of p by the same formula",
            where,
            reached,
            1e-9,
            kind="identity",
        ),
    ]


def extragradient(scale: Scale) -> list[Check]:
    """Two evaluations a round: the same factor at eta = 1 / L, where one evaluation needs eta = tau / L^2."""
    games = magnet_games(scale)
    rounds = scale.pick(500, 60)
    ratio = {"1 / L": 0.0, "the root of eta^2 L^2 = 1 + eta tau": 0.0}
    for game, tau in product(games.values(), TAUS):
        magnet, size = leaning_start(len(game), 1.0), game.scale
        star = equilibrium(game.payoff, tau, magnet)
        root = (tau + math.sqrt(tau**2 + 4.0 * size**2)) / (2.0 * size**2)
        for name, eta in zip(ratio, (1.0 / size, root), strict=True):
            row = rp.egpo(eta / (1.0 + eta * tau), tau)
            kls = distances(row, game.payoff, star, starts(star), magnet, rounds)
            ratio[name] = max(ratio[name], worst_ratio(kls) * (1.0 + eta * tau))
    rise = 0.0
    for game in games.values():
        winner = rp.solve(game).policy
        state = initial_state(leaning_start(len(game), 3.0))
        run = islice(iterates(rp.egpo(1.0 / game.scale, 0.0), game.payoff, state), scale.pick(1000, 150))
        found = [from_winner(winner, log) for log in (state.current, *(after.current for after in run))]
        rise = max(rise, float(np.diff(found).max()))
    where = ", ".join(games)
    return [
        *(
            at_most(
                _EXTRA,
                f"largest (1 + eta tau) KL(p||next) / KL(p||pi), eta = {name}, tau = .02, .1, .5, KL > 1e-8",
                where,
                value,
                1.0 + 1e-9,
            )
            for name, value in ratio.items()
        ),
        at_most(_EXTRA, "tau = 0, eta = 1 / L: largest rise of KL(winner||pi_t) in a round", where, rise, 1e-12),
        *_rounds_to(scale, games if not scale.quick else {name: games[name] for name in (WEIGHTED_RPS, "R(10,0)")}),
    ]


def _rounds_to(scale: Scale, games: Mapping[str, PreferenceGame]) -> list[Check]:
    """Rounds until ``KL(p || pi_t)`` is 1e-9: as tau^-2 at eta = tau / L^2, no faster than 1 / tau by extragradient."""
    taus = scale.pick((0.2, 0.1, 0.05), (0.2, 0.1))
    slopes, steepest, share, gain = [], 0.0, 0.0, math.inf
    for game in games.values():
        magnetic, extra = {}, {}
        for tau in (*taus, 0.02):
            magnet, size = leaning_start(len(game), 1.0), game.scale
            star = equilibrium(game.payoff, tau, magnet)
            eta = 1.0 / size
            rounds, first = _rounds_until(rp.egpo(eta / (1.0 + eta * tau), tau), game, star, magnet)
            extra[tau] = rounds
            # The bound allows so many rounds, and the last of them is not full.
            share = max(share, (rounds - 1) / (math.log(first / 1e-9) / math.log1p(eta * tau)))
            if tau in taus:
                magnetic[tau], _ = _rounds_until(rp.magnetic_rebel(tau / size**2, tau), game, star, magnet)
                gain = min(gain, magnetic[tau] / rounds * tau / size)
        across = math.log(taus[0] / taus[-1])
        slopes.append(math.log(magnetic[taus[0]] / magnetic[taus[-1]]) / across)
        steepest = min(steepest, math.log(extra[0.2] / extra[0.02]) / math.log(10.0))
    where, words = ", ".join(games), ", ".join(f"{tau:g}" for tau in taus)
    farthest = max(slopes, key=lambda slope: abs(slope + 2.0))
    return [
        at_most(
            _EXTRA,
            f"rounds to KL 1e-9 over log(KL_0 / 1e-9) / log(1 + tau / L), tau = {words}, .02",
            where,
            share,
            1.0,
        ),
        at_least(_EXTRA, "rounds to KL 1e-9: steepest slope in log tau, tau = .2 to .02", where, steepest, -1.05),
        within(
            _FIXED,
            f"rounds to KL 1e-9 at eta = tau / L^2: slope in log tau, tau = {words}, farthest from -2",
            where,
            farthest,
            -2.15,
            -1.85,
        ),
        at_least(
            "magnetic REBEL against extragradient",
            f"rounds of the one over rounds of the other, times tau / L, to KL 1e-9, tau = {words}: least",
            where,
            gain,
            0.5,
            kind="observation",
        ),
    ]


def _rounds_until(row: rp.Algorithm, game: PreferenceGame, star: FloatArray, magnet: FloatArray) -> tuple[int, float]:
    """Rounds until ``KL(p || pi_t) <= 1e-9``, and ``KL(p || pi_0)``."""
    state = initial_state(leaning_start(len(game), 3.0), magnet)
    first = float(kl(star, state.current))
    for after in islice(iterates(row, game.payoff, state), 20_000):
        if float(kl(star, after.current)) <= 1e-9:
            return after.round, first
    return 20_000, first
