"""Magnets that follow the policy: the bias goes; how fast they may follow; and what regularisation gives for errors."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

import rebel_pref as rp
from rebel_pref.algorithms import EMAMagnet, ResetMagnet, magnetic_rebel
from rebel_pref.games import PreferenceGame, cycle_game, lizard_spock
from rebel_pref.preferences import FloatArray
from rebel_pref.theory.checks import Check, Scale, at_least, at_most, within
from rebel_pref.theory.contraction import distances, equilibrium, nearby
from rebel_pref.theory.divergence import kl, log_softmax
from rebel_pref.theory.games import RPS, WEIGHTED_RPS, leaning_start, random_game, suite, weighted_rps

__all__ = ["moving_magnets"]

_MOVING, _RULE, _GAP = "moving magnet", "moving magnet, kappa = eta tau / 2", "error in the payoffs"


def moving_magnets(scale: Scale) -> list[Check]:
    """Winners of the game itself, the rule for the rate, and second-order regularised gaps."""
    return [*_reached(scale), *_stable(scale), *_errors(scale)]


def _reached(scale: Scale) -> list[Check]:
    """The last iterate itself wins, with numbers for L = 1 and with the suggested ones."""
    games = {RPS: weighted_rps(1.0, 1.0, 1.0), WEIGHTED_RPS: weighted_rps(1.0, 0.5, 0.2), "R(10,1)": random_game(10, 1)}
    where, rounds = ", ".join(games), scale.pick(3000, 600)
    rows = {
        "EMA, eta = tau = .3, kappa = .045": (magnetic_rebel(0.3, 0.3, magnet=EMAMagnet(0.045)), 1e-10),
        "EMA, eta = tau = .2, kappa = .02": (magnetic_rebel(0.2, 0.2, magnet=EMAMagnet(0.02)), 1e-7),
        "reset, eta = tau = .2, m = 50": (magnetic_rebel(0.2, 0.2, magnet=ResetMagnet(50)), 1e-7),
        "as rp.suggest_step says at tau = .3": (None, 1e-10),
    }
    checks = []
    for name, (row, bar) in rows.items():
        worst = 0.0
        for game in games.values():
            chosen = row or rp.suggest_step(game, 0.3).magnetic()
            run = rp.self_play(game, chosen, steps=rounds, start=leaning_start(len(game)))
            worst = max(worst, run.certificate.exploitability)
        quantity = f"{name}, {rounds} rounds: Expl(last iterate), payoff units"
        checks.append(at_most(_MOVING, quantity, where, worst, scale.pick(bar, 0.03), kind="observation"))
    fixed = min(
        rp.self_play(game, magnetic_rebel(0.2, 0.2), steps=rounds, start=leaning_start(len(game)))
        .certificate.exploitability
        for game in games.values()
    )  # fmt: skip
    quantity = f"eta = tau = .2, magnet fixed at the start, {rounds} rounds: least Expl(last iterate), payoff units"
    checks.append(at_least("fixed magnet", quantity, where, fixed, 0.05, negative=True))
    # Not everywhere so fast: where what loses by little is given up slowly, thousands of rounds are not enough.
    slow_game = random_game(10, 0)
    slow_run = rp.self_play(
        slow_game, magnetic_rebel(0.2, 0.2, magnet=EMAMagnet(0.02)), steps=rounds, start=leaning_start(10)
    )
    checks.append(
        at_least(
            _MOVING,
            f"EMA, eta = tau = .2, kappa = .02, {rounds} rounds: Expl(last iterate) where it is slow, payoff units",
            "R(10,0)",
            slow_run.certificate.exploitability,
            1e-3,
            kind="observation",
            negative=True,
        )
    )
    # A magnet that moves before its game is nearly solved gains less.
    game, length = random_game(10, 0), scale.pick(1000, 500)
    ends = {}
    for every in (math.ceil(0.9 / 0.04), math.ceil(2.0 / 0.04)):
        row = magnetic_rebel(0.2, 0.2, magnet=ResetMagnet(every))
        run = rp.self_play(game, row, steps=length, start=leaning_start(len(game)))
        ends[every] = run.certificate.exploitability
    fast, slow = ends.values()
    quantity = f"eta = tau = .2, {length} rounds: Expl(last iterate) at m = .9 / (eta tau) over that at 2 / (eta tau)"
    return [*checks, at_least(_MOVING, quantity, "R(10,0)", fast / slow, 1.5, kind="observation", negative=True)]


def _stable(scale: Scale) -> list[Check]:
    """Local growth near interior winners at eta = tau / L^2, with the rule and with a magnet that hurries."""
    games: dict[str, PreferenceGame] = {
        RPS: weighted_rps(1.0, 1.0, 1.0),
        WEIGHTED_RPS: weighted_rps(1.0, 0.5, 0.2),
        "RPS(1,1,.1)": weighted_rps(1.0, 1.0, 0.1),
        "lizard-spock": lizard_spock(),
        "cycle(7)": cycle_game(7),
    }
    if scale.quick:
        games = {name: games[name] for name in (RPS, "RPS(1,1,.1)", "cycle(7)")}
    pulls = scale.pick((0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5), (0.1, 0.5))
    rule, reset, hurried = -math.inf, -math.inf, math.inf
    for game, pull in product(games.values(), pulls):
        tau = math.sqrt(pull) * game.scale
        eta = pull / tau
        star = np.log(rp.solve(game, selection="max_entropy").policy)
        every = math.ceil(2.0 / pull * (1.0 - 1e-12))
        # Whole periods of the reset, and at least so many rounds that a slow mode shows.
        rounds = every * math.ceil(scale.pick(max(80.0, 12.0 / pull), 60.0) / every)
        start = nearby(star, 1e-3)

        def rate(magnet: EMAMagnet | ResetMagnet, star: FloatArray = star, game: PreferenceGame = game,
                 numbers: tuple[float, float] = (eta, tau), start: FloatArray = start,
                 rounds: int = rounds) -> float:  # fmt: skip
            kls = distances(magnetic_rebel(*numbers, magnet=magnet), game.payoff, star, start, None, 2 * rounds)
            return math.log(kls[-1] / kls[rounds]) / rounds

        rule = max(rule, rate(EMAMagnet(pull / 2.0)) / pull)
        reset = max(reset, rate(ResetMagnet(every)) / pull)
        hurried = min(hurried, rate(EMAMagnet(0.99)) / pull)
    where = ", ".join(games)
    words = ", ".join(f"{pull:g}" for pull in pulls)
    return [
        at_most(
            _RULE,
            f"eta = tau / L^2, eta tau = {words}: largest log growth of KL(winner||pi_t) a round over eta tau",
            where,
            rule,
            0.0,
            kind="observation",
        ),
        at_most("magnet reset every ceil(2 / (eta tau))", "the same", where, reset, 0.0, kind="observation"),
        at_least(
            "moving magnet, kappa = .99",
            "least log growth of KL a round over eta tau at the same steps: play spirals out",
            where,
            hurried,
            1e-4,
            negative=True,
        ),
    ]


def _errors(scale: Scale) -> list[Check]:
    """Solve A + s E, play A: the regularised gap is of second order in s, exploitability of the winner of first."""
    games = {**suite(quick=True), "R(10,1)": random_game(10, 1)}
    sizes = np.geomspace(1e-3, 3e-2, scale.pick(7, 4))
    second, first = [], []
    for game, draw in product(games.values(), range(scale.pick(4, 1))):
        n = len(game)
        magnet = np.full(n, 1.0 / n)
        error = random_game(n, 100 + draw + scale.seed).payoff
        shifted = [game.payoff + size * error for size in sizes]
        for tau in (0.1, 0.5):
            gaps = [_regularized_gap(game.payoff, equilibrium(payoff, tau, magnet), magnet, tau) for payoff in shifted]
            second.append(_slope(sizes, gaps))
        winners = [rp.solve(PreferenceGame.from_payoffs(payoff)).policy for payoff in shifted]
        first.append(_slope(sizes, [rp.certify(game, winner).exploitability for winner in winners]))
    where, span = ", ".join(games), f"s = {sizes[0]:g} .. {sizes[-1]:g}"
    return [
        within(
            _GAP,
            f"regularised equilibrium of A + s E, {span}, tau = .1, .5: slope of its regularised gap in A, farthest "
            "from 2",
            where,
            max(second, key=lambda slope: abs(slope - 2.0)),
            1.9,
            2.1,
        ),
        within(
            _GAP,
            f"winner of A + s E, {span}: slope of its exploitability in A, farthest from 1",
            where,
            max(first, key=lambda slope: abs(slope - 1.0)),
            0.9,
            1.1,
        ),
    ]


def _regularized_gap(payoff: FloatArray, log_policy: FloatArray, magnet: FloatArray, tau: float) -> float:
    """``max_q <q, A p> - tau KL(q||m) + tau KL(p||m)``; q = m exp(A p / tau) / Z, so that it is ``tau KL(p||q)``."""
    return tau * float(kl(log_policy, log_softmax(np.log(magnet) + payoff @ np.exp(log_policy) / tau)))


def _slope(sizes: FloatArray, values: list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
