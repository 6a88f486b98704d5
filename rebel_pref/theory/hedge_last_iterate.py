"""Where last iterates of Hedge, optimistic Hedge and the logit response go, and how: outward, round, or home.

`p*` is a winner that plays every action, ``mu`` the rotation of play around it, ``L = max|A|``. Source: Mertikopoulos,
Papadimitriou and Piliouras 2018 (cycles).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice

import numpy as np

import rebel_pref as rp
from rebel_pref.algorithms import Algorithm
from rebel_pref.games import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers import initial_state, iterates
from rebel_pref.solvers.step_size import rotation
from rebel_pref.theory.checks import Check, Scale, at_least, at_most, near
from rebel_pref.theory.contraction import distances, growth
from rebel_pref.theory.divergence import log_softmax
from rebel_pref.theory.games import RPS, WEIGHTED_RPS, leaning_start, suite

__all__ = ["last_iterates", "local_rates", "logit_response", "outward"]

_CYCLIC = (RPS, WEIGHTED_RPS, "RPS(1,1,.1)", "lizard-spock", "cycle(7)")
"""Games whose winner plays every action: only there must the last iterate of Hedge go outward."""

_HEDGE, _OPTIMISTIC = "Hedge, last iterate", "optimistic Hedge, last iterate"
_LOGIT = "logit response (online IPO)"


def last_iterates(scale: Scale) -> list[Check]:
    """Outward by an exact amount, and at what rates near the winner."""
    return [*outward(scale), *local_rates(), *logit_response()]


def outward(scale: Scale) -> list[Check]:
    """``KL(p* || pi_t)`` grows by exactly ``log E exp(eta r_t)``: in (0, eta^2 / 2], in fact below eta^2 / 6 or so."""
    games = _cyclic()
    rounds = scale.pick(2000, 300)
    identity, falls, most, own, last, first = 0.0, 0, 0.0, 0.0, {}, {}
    for name, game in games.items():
        winner = rp.solve(game).policy
        for eta in (0.05, 0.3):
            state = initial_state(leaning_start(len(game)))
            first[name] = _exploitability(game, state.current)
            for after in islice(iterates(rp.rebel(eta), game.payoff, state), rounds):
                # KL(p* || .) itself is not needed: its constant cancels, and with it most of the rounding.
                grown = float(winner @ (state.current - after.current))
                policy = np.exp(state.current)
                exact = math.log1p(policy @ np.expm1(eta * (game.payoff @ policy)))
                identity = max(identity, abs(grown - exact))
                falls += grown <= 0.0
                most = max(most, grown / (eta**2 * game.scale**2 / 2.0))
                own = max(own, 3.0 * grown / (math.expm1(eta * game.scale) - eta * game.scale))
                state = after
            last[name, eta] = _exploitability(game, state.current)
    where = ", ".join(games)
    spins = suite(quick=scale.quick)
    tilt = 0.0
    for game in spins.values():
        winner = rp.solve(game).policy
        square = float(winner @ game.payoff**2 @ winner)
        if square > 0.0:
            tilt = max(tilt, rotation(game.payoff, winner) ** 2 / (square / 2.0))
    return [
        at_most(
            _HEDGE,
            "KL(p*||next) - KL(p*||pi) less log E exp(eta r), eta = .05, .3: largest",
            where,
            identity,
            1e-12,
            kind="identity",
        ),
        at_most(
            _HEDGE,
            f"rounds in which KL(p*||pi) does not grow, of {2 * rounds * len(games)}",
            where,
            falls,
            0,
            negative=True,
        ),
        at_most(_HEDGE, "largest growth of KL(p*||pi) in a round, over eta^2 L^2 / 2", where, most, 1.0),
        at_most(
            _HEDGE,
            "the same over (exp(eta L) - 1 - eta L) / 3, which uses E r^2 <= L^2 / 3",
            where,
            own,
            1.0,
        ),
        at_least(
            _HEDGE,
            f"exploitability, eta = .3, round {rounds}, less that of the start (payoff units)",
            RPS,
            last[RPS, 0.3] - first[RPS],
            0.4,
            negative=True,
        ),
        at_most(
            "rotation at a winner",
            "mu^2 over half of E A^2 between two draws from the winner (at most L^2 / 2)",
            ", ".join(spins),
            tilt,
            1.0 + 1e-9,
        ),
    ]


def local_rates() -> list[Check]:
    """KL a round close to the winner: ``1 + eta^2 mu^2`` for Hedge, ``|lambda|^2`` for optimistic Hedge."""
    games = _cyclic()
    hedge, optimistic = [], []
    for game in games.values():
        mu = rotation(game.payoff, rp.solve(game).policy)
        hedge += [_factor(rp.rebel(eta), game, 0) / (1.0 + (eta * mu) ** 2) for eta in (0.1, 0.3)]
        optimistic += [_factor(rp.optimistic_rebel(eta), game, 60) / _root(eta * mu) for eta in (0.1, 0.25, 0.5)]
    where = ", ".join(games)
    return [
        near(
            _HEDGE,
            "growth of KL a round at distance 1e-4 over 1 + eta^2 mu^2, eta = .1, .3: farthest from 1",
            where,
            _farthest(hedge),
            1.0,
            relative=1e-4,
        ),
        near(
            _OPTIMISTIC,
            "factor of KL a round over |(1 + 2x + sqrt(1 + 4x^2)) / 2|^2, x = i eta mu, eta = .1, .25, .5",
            where,
            _farthest(optimistic),
            1.0,
            relative=1e-4,
        ),
        near(
            _OPTIMISTIC,
            "eta = 1: factor of KL a round, which neither falls nor grows",
            RPS,
            _factor(rp.optimistic_rebel(1.0), games[RPS], 60),
            1.0,
            relative=1e-4,
            negative=True,
        ),
    ]


def logit_response() -> list[Check]:
    """Answering oneself, ``pi = p* exp(A pi / tau) / Z``: KL a round is ``(mu / tau)^2``, so it needs tau > mu."""
    games = _cyclic()
    ratios = []
    for game in games.values():
        mu = rotation(game.payoff, rp.solve(game).policy)
        ratios += [_factor(rp.online_ipo(share * mu), game, 0) * share**2 for share in (0.95, 1.05)]
    rps = games[RPS]
    return [
        near(
            _LOGIT,
            "factor of KL a round over (mu / tau)^2, tau = .95 mu, 1.05 mu: farthest from 1",
            ", ".join(games),
            _farthest(ratios),
            1.0,
            relative=1e-4,
        ),
        near(
            _LOGIT,
            "tau = 1 / sqrt 3: factor of KL a round",
            RPS,
            _factor(rp.online_ipo(1.0 / math.sqrt(3.0)), rps, 0),
            1.0,
            relative=1e-6,
        ),
        near(
            _LOGIT,
            "tau = .57 < 1 / sqrt 3: growth of KL a round",
            RPS,
            _factor(rp.online_ipo(0.57), rps, 0),
            1.0 / (3.0 * 0.57**2),
            relative=1e-4,
            negative=True,
        ),
        near(
            _LOGIT,
            "tau = .58 > 1 / sqrt 3: factor of KL a round",
            RPS,
            _factor(rp.online_ipo(0.58), rps, 0),
            1.0 / (3.0 * 0.58**2),
            relative=1e-4,
        ),
    ]


def _cyclic() -> Mapping[str, PreferenceGame]:
    return {name: game for name, game in suite(quick=False).items() if name in _CYCLIC}


def _factor(row: Algorithm, game: PreferenceGame, settle: int) -> float:
    """KL(p* || pi) a round, from a start 1e-4 from p* in the plane that turns by mu, after `settle` rounds.

    In that plane the linearised play is a rotation in the metric of the KL, so that its factor is the same every round
    but for what optimism's second root leaves. The magnet, for a row that has one, is p*.
    """
    winner = rp.solve(game).policy
    values, vectors = np.linalg.eig(game.payoff @ (np.diag(winner) - np.outer(winner, winner)))
    away = vectors[:, int(np.argmax(values.imag))].real
    log_star = np.log(winner)
    start = np.exp(log_softmax(log_star + 1e-4 * away / np.abs(away).max()))
    kls = distances(row, game.payoff, log_star, start, winner, settle + 40)
    return growth(kls[settle:])


def _root(turn: float) -> float:
    """``|lambda|^2`` of the larger root of ``lambda^2 - (1 + 2x) lambda + x``, x = i eta mu."""
    x = 1j * turn
    return float(abs((1.0 + 2.0 * x + np.sqrt(1.0 + 4.0 * x * x)) / 2.0) ** 2)


def _farthest(ratios: list[float]) -> float:
    return max(ratios, key=lambda ratio: abs(ratio - 1.0))


def _exploitability(game: PreferenceGame, log_policy: FloatArray) -> float:
    return rp.certify(game, np.exp(log_policy)).exploitability
