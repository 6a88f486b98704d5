"""Nash-MD against INPO: the same anchors, another opponent, another point of rest at a constant step."""

from __future__ import annotations

from itertools import islice, product

import numpy as np

import rebel_pref as rp
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers import initial_state, iterates
from rebel_pref.theory.checks import Check, Scale, at_least, at_most, within
from rebel_pref.theory.contraction import distances, equilibrium
from rebel_pref.theory.divergence import kl, log_softmax
from rebel_pref.theory.games import RPS, WEIGHTED_RPS, leaning_start, random_game, suite

__all__ = ["falling_nash_md", "floor_of_nash_md", "nash_md"]

_NAME = "Nash-MD"


def falling_nash_md(tau: float) -> rp.Schedule:
    """Nash-MD at the steps ``eta_t = 2 / (tau (t + 2))``, t = 0, 1, ..."""
    return rp.annealed(rp.nash_md, step_size=1.0 / tau, regularization=tau, after=2.0, step_power=1.0)


def floor_of_nash_md(payoff: FloatArray, eta: float, tau: float, magnet: FloatArray) -> float:
    """``KL(p || fixed point)`` at a constant step: there the mixture q is in equilibrium at ``tau / (1 - eta tau)``.

    The policy itself is ``m exp(A q / tau) / Z``, and p the equilibrium at tau.
    """
    mixture = equilibrium(payoff, tau / (1.0 - eta * tau), magnet)
    rest = log_softmax(np.log(magnet) + payoff @ np.exp(mixture) / tau)
    return float(kl(equilibrium(payoff, tau, magnet), rest))


def nash_md(scale: Scale) -> list[Check]:
    """The recursion, falling steps, the floor of a constant one, and INPO, which has none and is magnetic REBEL."""
    games = {**suite(quick=True), "R(10,1)": random_game(10, 1)}
    if scale.quick:
        games = {name: games[name] for name in (RPS, WEIGHTED_RPS, "R(10,0)", "R(10,1)")}
    else:
        games |= {"R(20,3)": random_game(20, 3), "R(50,0)": random_game(50, 0)}
    taus, eta = (0.1, 0.5), 0.05
    rounds, constant = scale.pick(2000, 250), scale.pick(3000, 300)
    recursion = bounded = floor_error = under = same = 0.0
    slopes, every_slope, floors, none = [], [], [], 0.0
    for game, tau in product(games.values(), taus):
        payoff, size = game.payoff, game.scale
        magnet, start = leaning_start(len(game), 1.0), leaning_start(len(game), 3.0)
        star = equilibrium(payoff, tau, magnet)
        falling = distances(falling_nash_md(tau), payoff, star, start, magnet, rounds)
        round_ = np.arange(1, rounds + 1)
        bounded = max(bounded, float((falling[1:] * tau**2 * (round_ + 1) / (2.0 * size**2)).max()))
        # Early rounds still forget the first, huge steps: the slope is of the last decade.
        late = round_ >= rounds // 10
        slope = float(np.polyfit(np.log(round_[late]), np.log(falling[1:][late]), 1)[0])
        every_slope.append(slope)
        if tau > 0.1:  # At tau = .1 some runs still spiral in, and fall faster than they will.
            slopes.append(slope)
        for step_size in (eta, 0.5):
            kept = distances(rp.nash_md(step_size, tau), payoff, star, start, magnet, scale.pick(300, 40))
            allowed = (1.0 - step_size * tau) * kept[:-1] + step_size**2 * size**2 / 2.0
            recursion = max(recursion, float((kept[1:] / allowed).max()))
        if tau > 0.1:
            rest = floor_of_nash_md(payoff, eta, tau, magnet)
            stays = float(distances(rp.nash_md(eta, tau), payoff, star, start, magnet, constant + 300)[-1])
            floor_error = max(floor_error, abs(stays / rest - 1.0))
            floors.append(stays)
            under = max(under, stays * 2.0 * tau / (eta * size**2))
            none = max(none, float(distances(rp.inpo(eta, tau), payoff, star, start, magnet, constant + 300)[-1]))
    for game in games.values():
        state = initial_state(leaning_start(len(game), 3.0), leaning_start(len(game), 1.0))
        left = iterates(rp.inpo(0.3 / (1.0 + 0.3 * 0.2), 0.2), game.payoff, state)
        right = iterates(rp.magnetic_rebel(0.3, 0.2), game.payoff, state)
        for one, other in islice(zip(left, right, strict=True), scale.pick(500, 100)):
            same = max(same, float(np.abs(one.current - other.current).max()))
    where = ", ".join(games)
    return [
        at_most(
            _NAME,
            "largest KL(p||next) / ((1 - eta tau) KL(p||pi) + eta^2 L^2 / 2), eta = .05, .5, tau = .1, .5",
            where,
            recursion,
            1.0,
        ),
        at_most(
            _NAME,
            f"eta_t = 2 / (tau (t + 2)): largest KL(p||pi_T) tau^2 (T + 1) / (2 L^2), T <= {rounds}",
            where,
            bounded,
            1.0,
        ),
        within(
            _NAME,
            f"the same, tau = .5: slope of log KL in log T, T = {rounds // 10} .. {rounds}, farthest from -2",
            where,
            max(slopes, key=lambda slope: abs(slope + 2.0)),
            -2.2,
            -1.8,
        ),
        at_most(
            _NAME,
            "the same, tau = .1 and .5: flattest slope (that of the bound is -1)",
            where,
            max(every_slope),
            -1.0,
            kind="observation",
        ),
        at_least(
            "Nash-MD, constant step",
            "eta = .05, tau = .5: least KL(p||last iterate) it stops at, nats",
            where,
            min(floors),
            1e-8,
            negative=True,
        ),
        at_most(
            "Nash-MD, constant step",
            "that floor against KL(p||m exp(A q/tau)/Z), q in equilibrium at tau / (1 - eta tau): relative error",
            where,
            floor_error,
            1e-2,
            kind="prediction",
        ),
        at_most(
            "Nash-MD, constant step",
            "largest floor over eta L^2 / (2 tau)",
            where,
            under,
            1.0,
        ),
        at_most(
            "INPO, constant step",
            f"no floor: the same steps, KL(p||last iterate), {constant + 300} rounds, nats",
            where,
            none,
            scale.pick(1e-15, min(floors) * 1e-2),
        ),
        at_most(
            "INPO = magnetic REBEL",
            f"inpo at eta / (1 + eta tau) against magnetic_rebel at eta, {scale.pick(500, 100)} rounds, nats",
            where,
            same,
            1e-12,
            kind="identity",
        ),
    ]
