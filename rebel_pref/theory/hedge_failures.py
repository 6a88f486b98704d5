"""What does not reach a winner, or not soon: mean logits, a winner near the boundary, many actions; SPPO's log Z."""

from __future__ import annotations

import math
from itertools import islice, permutations

import numpy as np

import rebel_pref as rp
from rebel_pref.solvers import initial_state, iterates, step
from rebel_pref.theory.checks import Check, Scale, at_least, at_most, within
from rebel_pref.theory.divergence import log_softmax
from rebel_pref.theory.games import RPS, WEIGHTED_RPS, leaning_start, random_game, weighted_rps

__all__ = ["boundary", "failures", "many_actions", "mean_logits", "without_normaliser"]

_WEIGHTS, _HARD, _MANY = "averaging weights", "optimistic Hedge near the boundary", "many actions"
_SPPO = "SPPO without log Z"


def failures(scale: Scale) -> list[Check]:
    """What does not reach a winner, or not soon."""
    return [*mean_logits(scale), *boundary(), *many_actions(scale), *without_normaliser(scale)]


def mean_logits(scale: Scale) -> list[Check]:
    """The mean of log-policies, which averaging the weights of a log-linear policy gives, is not the average policy."""
    small = {RPS: weighted_rps(1.0, 1.0, 1.0), WEIGHTED_RPS: weighted_rps(1.0, 0.5, 0.2)}
    random = {name: random_game(10, seed) for seed, name in enumerate(("R(10,0)", "R(10,1)"))}
    groups = (small, *scale.pick((random, {"R(50,0)": random_game(50, 0)}), ()))
    eta, rounds = 0.1, scale.pick(10_000, 5000)
    ratio, least, bound = math.inf, math.inf, 0.0
    for group in groups:
        payoffs = np.stack([game.payoff for game in group.values()])
        state = initial_state(np.broadcast_to(leaning_start(payoffs.shape[-1]), payoffs.shape[:2]))
        start, total, mean = state.current, np.zeros(payoffs.shape[:2]), np.zeros(payoffs.shape[:2])
        for after in islice(iterates(rp.rebel(eta), payoffs, state), rounds):
            total += np.exp(state.current)
            mean += state.current
            state = after
        largest = -float(start.min()) / (eta * rounds) + eta / 2.0
        for game, policies, logits in zip(group.values(), total / rounds, log_softmax(mean / rounds), strict=True):
            average, wrong = (rp.certify(game, policy).exploitability for policy in (policies, np.exp(logits)))
            bound = max(bound, average / largest)
            ratio, least = min(ratio, wrong / average), min(least, wrong)
    where = ", ".join(name for group in groups for name in group)
    return [
        at_least(
            _WEIGHTS,
            f"Hedge, eta = {eta:g}, round {rounds}: Expl(mean of log-policies) over Expl(average policy), least",
            where,
            ratio,
            3.0,
            kind="observation",
            negative=True,
        ),
        at_least(
            _WEIGHTS,
            "the same run: Expl(mean of log-policies), least (payoff units)",
            where,
            least,
            0.02,
            kind="observation",
            negative=True,
        ),
        at_most(_WEIGHTS, "the same run: Expl(average policy) over its bound, largest", where, bound, 1.0),
    ]


def boundary() -> list[Check]:
    """A winner with mass .015 on an action: optimism comes, but a thousand rounds do not see it."""
    hard, easy, name = weighted_rps(1.0, 1.0, 0.03), weighted_rps(1.0, 1.0, 1.0), "RPS(1,1,.03)"
    state = initial_state(np.array(list(permutations(leaning_start(3)))))
    marks, reached = (1000, 5000), {}
    for after in islice(iterates(rp.optimistic_rebel(0.5), hard.payoff, state), marks[-1]):
        if after.round in marks:
            reached[after.round] = (np.exp(after.current) @ hard.payoff.T).max(axis=-1)
    end = next(islice(iterates(rp.optimistic_rebel(0.5), easy.payoff, state), marks[0] - 1, None))
    words = "eta = .5, six starts, round"
    return [
        at_least(
            _HARD,
            f"exploitability of the last iterate, {words} {marks[0]}, least (payoff units)",
            name,
            reached[marks[0]].min(),
            0.005,
            kind="observation",
            negative=True,
        ),
        at_most(
            _HARD,
            f"the same, {words} {marks[1]}, largest",
            name,
            reached[marks[1]].max(),
            1e-3,
            kind="observation",
        ),
        at_most(
            _HARD,
            f"the same with the winner in the middle, {words} {marks[0]}, largest",
            RPS,
            (np.exp(end.current) @ easy.payoff.T).max(),
            1e-9,
            kind="observation",
        ),
    ]


def many_actions(scale: Scale) -> list[Check]:
    """Fifty actions turn at many frequencies, the slow ones slowly: no explicit row is there in 3000 evaluations."""
    name, game, evaluations = "R(50,0)", random_game(50, 0), scale.pick(3000, 200)
    rows = (
        rp.rebel(0.1),
        rp.optimistic_rebel(0.5),
        rp.magnetic_rebel(0.1, 0.1),
        rp.magnetic_rebel(0.2, 0.2, magnet=rp.ResetMagnet(50)),
        rp.magnetic_rebel(0.3, 0.3, magnet=rp.EMAMagnet(0.05)),
        rp.optimistic_magnetic_rebel(0.5, 0.1, magnet=rp.EMAMagnet(0.05)),
        rp.egpo(1.0, 0.0),
        rp.egpo(1.0 / 1.1, 0.1, magnet=rp.ResetMagnet(20)),
    )
    lowest = math.inf
    for row in rows:
        steps = evaluations // len(row.stages)
        curve = rp.learning_curve(game, row, steps=steps, at=range(1, steps + 1), start=leaning_start(50))
        lowest = min(lowest, float(curve.last.min()))
    implicit = rp.learning_curve(game, rp.proximal_rebel(300.0, 0.0), steps=10, start=leaning_start(50))
    return [
        at_least(
            _MANY,
            f"exploitability, least over {evaluations} evaluations and rows: Hedge, optimistic, magnets fixed, reset, "
            "moving, moving and optimistic, extragradient without and with a reset magnet",
            name,
            lowest,
            0.005,
            kind="observation",
            negative=True,
        ),
        at_most(
            _MANY,
            "the implicit step, eta = 300, tau = 0: exploitability of the last iterate, round 10",
            name,
            implicit.last[-1],
            0.005,
            kind="observation",
        ),
    ]


def without_normaliser(scale: Scale) -> list[Check]:
    """SPPO drops ``log Z``, which is ``eta^2 E r^2 / 2``: in the fitted policy an error of the next order."""
    steps = (0.02, 0.04, 0.08)
    orders = []
    seeds = range(scale.pick(10, 4))
    for seed in seeds:
        payoff = random_game(6, seed).payoff
        state = initial_state(np.random.default_rng([scale.seed, seed]).dirichlet(np.ones(6)))
        gaps = [
            np.abs(step(rp.sppo(eta), payoff, state).current - step(rp.rebel(eta), payoff, state).current).max()
            for eta in steps
        ]
        orders.append(float(np.polyfit(np.log(steps), np.log(gaps), 1)[0]))
    where = ", ".join(f"R(6,{seed})" for seed in seeds)
    words = "slope of log |log sppo - log rebel| in log eta, one step from a random policy, eta = .02 .. .08: "
    return [
        within(_SPPO, f"{words}{word}", where, pick(orders), 2.9, 3.1)
        for word, pick in (("least", min), ("largest", max))
    ]
