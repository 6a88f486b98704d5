"""The proximal point (a magnet that is reset after every solved inner game) and COMAL with inner solves cut off.

``rho_(k+1)`` is the equilibrium regularised by tau towards ``rho_k``: one step of ``proximal_rebel(1 / tau, 0)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice, pairwise, product

import numpy as np

import rebel_pref as rp
from rebel_pref.games import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers import initial_state, iterates
from rebel_pref.solvers.step_size import rotation
from rebel_pref.theory.checks import Check, Scale, at_least, at_most
from rebel_pref.theory.contraction import distances, from_winner, growth, nearby
from rebel_pref.theory.divergence import kl
from rebel_pref.theory.games import RPS, WEIGHTED_RPS, leaning_start, random_game, suite, weighted_rps

__all__ = ["nested"]

_POINT, _COMAL = "proximal point, exact", "COMAL, inner solves cut off"


@dataclass(frozen=True)
class _Path:
    """One run on one game: worst over its steps."""

    identity: float
    rise: float
    spent: float
    mean: float
    jump: float


def nested(scale: Scale) -> list[Check]:
    """The identity of one outer step, what it implies, and inner solves that are not exact."""
    return [*_exact(scale), *_factors(), *_inexact(scale)]


def _exact(scale: Scale) -> list[Check]:
    games = {**suite(quick=True), "R(10,1)": random_game(10, 1)}
    if not scale.quick:
        games["R(50,0)"] = random_game(50, 0)
    taus, steps = (0.1, 1.0, 10.0), scale.pick(60, 15)
    paths = [_path(game, tau, steps) for game, tau in product(games.values(), taus)]
    where = ", ".join(games)
    identity = "KL(p*||next) = KL(p*||rho) - KL(next||rho) - <p*, A next>/tau: error, tau = .1, 1, 10"
    return [
        at_most(_POINT, identity, where, max(path.identity for path in paths), 1e-10, kind="identity"),
        at_most(_POINT, "largest rise of KL(winner||rho_k) in a step", where, max(path.rise for path in paths), 1e-12),
        at_most(
            _POINT,
            "sum of KL(rho_(k+1)||rho_k) from uniform over log n",
            where,
            max(path.spent for path in paths),
            1.0,
        ),
        at_most(
            _POINT,
            "K Expl(mean of rho_1..rho_K) / (tau log(1 / min rho_0)), any K, any tau",
            where,
            max(path.mean for path in paths),
            1.0,
        ),
        at_least(
            _POINT,
            "Expl(rho_k) is not monotone: largest rise in a step (payoff units)",
            where,
            max(path.jump for path in paths),
            0.01,
            negative=True,
        ),
    ]


def _path(game: PreferenceGame, tau: float, steps: int) -> _Path:
    winner, n = rp.solve(game).policy, len(game)
    row = rp.proximal_rebel(1.0 / tau, 0.0)
    start = leaning_start(n, 3.0)
    logs = _run(row, game, start, steps)
    far = np.array([from_winner(winner, log) for log in logs])
    moved = np.array([kl(after, before) for before, after in pairwise(logs)])
    gained = np.array([winner @ game.payoffs_against(np.exp(log)) for log in logs[1:]]) / tau
    from_uniform = _run(row, game, np.full(n, 1.0 / n), steps)
    spent = sum(float(kl(after, before)) for before, after in pairwise(from_uniform))
    count = np.arange(1, steps + 1)
    means = np.cumsum(np.exp(logs[1:]), axis=0) / count[:, None]
    exploitable = [rp.certify(game, mean).exploitability for mean in means]
    last = [rp.certify(game, np.exp(log)).exploitability for log in logs]
    return _Path(
        identity=float(np.abs(far[1:] - far[:-1] + moved + gained).max()),
        rise=float(np.diff(far).max()),
        spent=spent / math.log(n),
        mean=float((count * exploitable).max() / (tau * math.log(1.0 / start.min()))),
        jump=float(np.diff(last).max()),
    )


def _run(row: rp.Algorithm, game: PreferenceGame, start: FloatArray, steps: int) -> FloatArray:
    state = initial_state(start)
    later = islice(iterates(row, game.payoff, state), steps)
    return np.stack([state.current, *(after.current for after in later)])


def _factors() -> list[Check]:
    """Near an interior winner with one pair of eigenvalues, KL falls by 1 / (1 + mu^2 / tau^2) a step."""
    error = 0.0
    games = {RPS: weighted_rps(1.0, 1.0, 1.0), WEIGHTED_RPS: weighted_rps(1.0, 0.5, 0.2)}
    for game, tau in product(games.values(), (0.1, 0.3, 1.0)):
        winner = rp.solve(game).policy
        mu, star = rotation(game.payoff, winner), np.log(winner)
        kls = distances(rp.proximal_rebel(1.0 / tau, 0.0), game.payoff, star, nearby(star, 1e-4), None, 3)
        error = max(error, abs(growth(kls) * (1.0 + mu**2 / tau**2) - 1.0))
    quantity = "KL a step near the winner against 1 / (1 + mu^2 / tau^2), tau = .1, .3, 1: relative error"
    return [at_most(_POINT, quantity, ", ".join(games), error, 1e-3, kind="prediction")]


def _inexact(scale: Scale) -> list[Check]:
    games = {RPS: weighted_rps(1.0, 1.0, 1.0), WEIGHTED_RPS: weighted_rps(1.0, 0.5, 0.2), "R(10,1)": random_game(10, 1)}
    # Long inner solves are the exact step: the magnet then walks the proximal point's path.
    tau, every, outer = 0.3, 150, scale.pick(4, 2)
    apart = 0.0
    for game in games.values():
        start = leaning_start(len(game))
        row = rp.comal(rp.egpo(1.0 / (1.0 + tau), tau), every=every)
        run = _run(row, game, start, outer * every)[::every]
        exact = _run(rp.proximal_rebel(1.0 / tau, 0.0), game, start, outer)
        apart = max(apart, float(np.abs(np.exp(run) - np.exp(exact)).max()))
    inner = {
        "inpo (.2, .2), m = 50": (rp.comal(rp.inpo(0.2, 0.2), every=50), scale.pick(3000, 800), scale.pick(1e-8, 1e-2)),
        "egpo (1/1.1, .1), m = 20": (rp.comal(rp.egpo(1.0 / 1.1, 0.1), every=20), scale.pick(1500, 200),
                                     scale.pick(1e-13, 1e-2)),
    }  # fmt: skip
    checks = [
        at_most(
            "COMAL, long inner solves",
            f"egpo, tau = .3, m = {every}: largest |magnet - exact proximal point| over {outer} resets",
            ", ".join(games),
            apart,
            1e-8,
            kind="prediction",
        )
    ]
    for name, (row, rounds, bar) in inner.items():
        worst = 0.0
        for game in games.values():
            found = rp.self_play(game, row, steps=rounds, start=leaning_start(len(game)))
            worst = max(worst, found.certificate.exploitability)
        quantity = f"inner {name}, {rounds} rounds: Expl(last iterate) in the game itself, payoff units"
        checks.append(at_most(_COMAL, quantity, ", ".join(games), worst, bar, kind="observation"))
    return checks
