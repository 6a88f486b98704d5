"""Hedge and optimistic Hedge (REBEL and ONPO in a table): averages converge, last iterates circle.

Constants are for payoffs in [-1, 1], whose range is 2; `eta` is the step size, ``r_t = A pi_t``, ``Z_t = E exp(eta
r_t)`` under pi_t. Sources: Freund and Schapire 1999 (averages), Syrgkanis et al. 2015, arXiv:1507.00407 (optimism).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import rebel_pref as rp
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers import initial_state, iterates
from rebel_pref.theory.checks import Check, Scale, at_most, near, within
from rebel_pref.theory.games import leaning_start, random_game
from rebel_pref.theory.hedge_failures import failures
from rebel_pref.theory.hedge_figures import draw_averages, draw_trajectories
from rebel_pref.theory.hedge_last_iterate import last_iterates

__all__ = ["averages", "contexts", "optimism", "section", "sharpness"]

_HEDGE, _OPTIMISTIC = "Hedge, average iterate", "optimistic Hedge, average iterate"
_SELF, _CONTEXTS = "Hedge against itself", "contextual games"


def section(scale: Scale, out: Path) -> list[Check]:
    """Averages, last iterates, and what fails; draws ``theory_01_trajectories`` and ``theory_02_averages``."""
    draw_trajectories(scale, out)
    draw_averages(scale, out)
    return [
        *averages(scale),
        *sharpness(scale),
        *optimism(scale),
        *contexts(scale),
        *last_iterates(scale),
        *failures(scale),
    ]


def averages(scale: Scale) -> list[Check]:
    """``Expl(average) <= log(1/min pi_1) / (eta T) + eta R^2 / 8`` with R = 2, and the mean payoff behind it.

    Payoffs against oneself know more: ``E r_t = 0`` and ``E r_t^2 <= 1/3`` by skew symmetry (see :func:`sharpness`), so
    that Bennett's inequality has ``log Z_t <= (e^eta - 1 - eta) / 3`` where Hoeffding's has ``eta^2 / 2``.
    """
    horizons = scale.pick(np.geomspace(1e2, 1e4, 9), np.geomspace(1e2, 1e3, 4)).round().astype(int).tolist()
    batches = _batches(scale)
    tuned = general = own = identity = 0.0
    slopes: list[float] = []
    for payoffs in batches.values():
        n = payoffs.shape[-1]
        uniform, leaning = np.full(n, 1.0 / n), leaning_start(n, 3.0)
        reached = []
        for horizon in horizons:
            eta = math.sqrt(2.0 * math.log(n) / horizon)
            average, error = _hedge(payoffs, uniform, eta, horizon)
            reached.append(average)
            tuned = max(tuned, float(average.max()) / math.sqrt(2.0 * math.log(n) / horizon))
            own = max(own, float(average.max()) / (math.log(n) / (eta * horizon) + _bennett(eta) / eta))
            identity = max(identity, error)
        slopes += np.polyfit(np.log(horizons), np.log(np.array(reached)), 1)[0].tolist()
        for eta in (0.05, 0.3, 1.0):
            average, error = _hedge(payoffs, leaning, eta, horizons[1])
            general = max(general, float(average.max()) / (-math.log(leaning.min()) / (eta * horizons[1]) + eta / 2.0))
            identity = max(identity, error)
    where = ", ".join(batches)
    until = f"T = {horizons[0]} .. {horizons[-1]}"
    words = "eta = sqrt(2 log n / T), uniform start"
    return [
        at_most(_HEDGE, f"Expl(average) / sqrt(2 log n / T), {words}, {until}", where, tuned, 1.0),
        at_most(
            _HEDGE,
            f"Expl(average) / (log(1 / min pi_1) / (eta T) + eta / 2), eta = .05, .3, 1, T = {horizons[1]}",
            where,
            general,
            1.0,
        ),
        at_most(
            _HEDGE,
            "payoff of y against the average less (log pi_(T+1)(y)/pi_1(y) + sum of log Z_t) / (eta T): largest",
            where,
            identity,
            1e-12,
            kind="identity",
        ),
        within(
            _HEDGE,
            f"slope of log Expl(average) in log T, {words}, {until}: median of games",
            where,
            float(np.median(slopes)),
            -0.55,
            -0.45,
        ),
        within(_HEDGE, "the same slope, steepest game", where, min(slopes), -0.70, -0.35, reference=-0.5),
        within(_HEDGE, "the same slope, flattest game", where, max(slopes), -0.70, -0.35, reference=-0.5),
        at_most(
            _SELF,
            f"Expl(average) / (log n / (eta T) + (e^eta - 1 - eta) / (3 eta)), {words}, {until}",
            where,
            own,
            1.0,
        ),
    ]


def sharpness(scale: Scale) -> list[Check]:
    """Where the terms of the bounds are met: one action that beats all, and an order of actions.

    ``E r^2 = E A(x,y) A(x,z)`` for three independent draws; over the three roles the products sum to at most 1, since
    ``-(ab + bc + ca) <= 1`` on the cube. With ``A = sign(x - y)``, uniform, it is ``(1 - 1/n^2) / 3``.
    """
    rng = np.random.default_rng([scale.seed, 11])
    batches = _batches(scale)
    n = 100
    order = np.sign(np.subtract.outer(np.arange(n), np.arange(n))).astype(float)
    largest = float(((order @ np.full(n, 1.0 / n)) ** 2).mean())
    for payoffs in batches.values():
        size = payoffs.shape[-1]
        for spread in (0.5, 2.0, 8.0):
            policies = rng.dirichlet(np.full(size, 1.0 / spread), size=(len(payoffs), 50))
            against = policies @ payoffs.swapaxes(-1, -2)
            largest = max(largest, float((policies * against**2).sum(axis=-1).max()))
    # Logits of the one action rise by eta a round: sum (1 - pi_t) is log(n) / eta, but for the sum's first half step.
    eta, size = 0.02, 50
    best = np.zeros((1, size, size))
    best[0, 0, 1:], best[0, 1:, 0] = 1.0, -1.0
    horizon = round((math.log(size) + 8.0) / eta)
    average, _ = _hedge(best, np.full(size, 1.0 / size), eta, horizon)
    return [
        at_most(
            _SELF,
            "E r^2 under the policy itself, over L^2 / 3",
            f"{', '.join(batches)}, a strict order of {n}",
            largest * 3.0,
            1.0,
        ),
        near(
            _HEDGE,
            f"the first term is met: eta T Expl(average) / log n, eta = {eta:g}, T = {horizon}",
            f"one of {size} actions beats all",
            eta * horizon * float(average[0]) / math.log(size),
            1.0,
            relative=0.01,
        ),
    ]


def optimism(scale: Scale) -> list[Check]:
    """``T Expl(average) <= log n / eta + eta |r_1|^2`` for ``eta <= 1 / (2 L)``, largest entry of r_1: like 1/T."""
    longest = scale.pick(30_000, 2000)
    marks = np.unique(np.geomspace(1, longest, 80).round().astype(int))
    # The average circles too: its slope is fitted on many rounds of two decades or three.
    late = marks >= 100
    batches = _batches(scale)
    general = simple = 0.0
    slopes: list[float] = []
    for payoffs in batches.values():
        n = payoffs.shape[-1]
        for eta in (0.1, 0.5):
            due = marks if eta == 0.5 else marks[marks <= 500]
            averages_at, first = _optimistic(payoffs, eta, due)
            bound = (math.log(n) / eta + eta * first**2) / due[:, None]
            general = max(general, float((averages_at / bound).max()))
        simple = max(simple, float((averages_at.max(axis=-1) * marks).max()) / (2.0 * math.log(n) + 0.5))
        slopes += np.polyfit(np.log(marks[late]), np.log(averages_at[late]), 1)[0].tolist()
    where = ", ".join(batches)
    until = f"T = 1 .. {longest}"
    return [
        at_most(
            _OPTIMISTIC,
            f"T Expl(average) / (log n / eta + eta max|r_1|^2), eta = .1, 1/2, {until}",
            where,
            general,
            1.0,
        ),
        at_most(_OPTIMISTIC, f"T Expl(average) / (2 log n + 1/2), eta = 1/2, L = 1, {until}", where, simple, 1.0),
        within(
            _OPTIMISTIC,
            f"slope of log Expl(average) in log T, eta = 1/2, T = 100 .. {longest}: steepest game",
            where,
            min(slopes),
            -1.1,
            -0.9,
        ),
        within(_OPTIMISTIC, "the same slope, flattest game", where, max(slopes), -1.1, -0.9),
    ]


def contexts(scale: Scale) -> list[Check]:
    """A matrix a context and a distribution of contexts: the bound holds for each, so for their mean."""
    seeds = range(4)
    games = [random_game(10, seed) for seed in seeds]
    weights, rounds = np.array([0.4, 0.3, 0.2, 0.1]), scale.pick(2000, 400)
    together = rp.ContextualGame.from_payoffs(np.stack([game.payoff for game in games]), weights)
    bound = math.sqrt(2.0 * math.log(10) / rounds)
    played = rp.self_play(together, rp.rebel(bound), steps=rounds)
    alone = [rp.self_play(game, rp.rebel(bound), steps=rounds) for game in games]
    apart = weighted = 0.0
    for c, (game, solution) in enumerate(zip(games, alone, strict=True)):
        average = np.asarray(solution.average_policy)
        apart = max(apart, float(np.abs(solution.policy - played.policies[c]).max()))
        apart = max(apart, float(np.abs(average - played.average_policies[c]).max()))
        weighted += float(weights[c]) * rp.certify(game, average).exploitability
    where = ", ".join(f"R(10,{seed})" for seed in seeds)
    return [
        at_most(
            _CONTEXTS,
            f"sum of w_c Expl_c(average) / sqrt(2 log n / T), four contexts with weights .4 .. .1, T = {rounds}",
            where,
            played.average_exploitability / bound,
            1.0,
        ),
        at_most(
            _CONTEXTS,
            "last and average policies, contexts together less each context alone: largest entry",
            where,
            apart,
            1e-15,
            kind="identity",
        ),
        at_most(
            _CONTEXTS,
            "weighted exploitability together less the weighted mean of the certificates alone",
            where,
            abs(played.average_exploitability - weighted),
            1e-12,
            kind="identity",
        ),
    ]


def _batches(scale: Scale) -> Mapping[str, FloatArray]:
    """Random games of a size side by side: names -> payoffs [G, n, n]; the same whatever the seed of the run."""
    sizes = scale.pick({5: 5, 10: 5, 20: 5, 50: 5}, {5: 3, 10: 3})
    return {
        ", ".join(f"R({n},{s})" for s in range(count)): np.stack([random_game(n, s).payoff for s in range(count)])
        for n, count in sizes.items()
    }


def _bennett(eta: float) -> float:
    """Largest ``log Z`` of payoffs against oneself in [-1, 1]."""
    return (math.expm1(eta) - eta) / 3.0


def _against(payoffs: FloatArray, policies: FloatArray) -> FloatArray:
    """Payoffs [G, n] of policies [G, n], a game each."""
    return np.asarray((payoffs @ policies[..., None])[..., 0])


def _hedge(payoffs: FloatArray, start: FloatArray, eta: float, horizon: int) -> tuple[FloatArray, float]:
    """Exploitability [G] of the average of T rounds from one start [n], and the error of its payoffs' formula."""
    state = initial_state(np.broadcast_to(start, payoffs.shape[:2]))
    first, states = state.current, iterates(rp.rebel(eta), payoffs, state)
    total, normalisers = np.zeros(first.shape), np.zeros(len(first))
    for _ in range(horizon):
        policy = np.exp(state.current)
        total += policy
        normalisers += np.log((policy * np.exp(eta * _against(payoffs, policy))).sum(axis=-1))
        state = next(states)
    predicted = (state.current - first + normalisers[:, None]) / (eta * horizon)
    found = _against(payoffs, total / horizon)
    return found.max(axis=-1), float(np.abs(predicted - found).max())


def _optimistic(payoffs: FloatArray, eta: float, marks: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Exploitability [m, G] of the averages of T rounds from uniform, T in `marks`, and max|r_1| [G]."""
    due = set(marks.tolist())
    state = initial_state(np.full(payoffs.shape[:2], 1.0 / payoffs.shape[-1]))
    first = np.abs(_against(payoffs, np.exp(state.current))).max(axis=-1)
    total, found = np.zeros(payoffs.shape[:2]), []
    for after in islice(iterates(rp.optimistic_rebel(eta), payoffs, state), int(marks[-1])):
        total += np.exp(state.current)
        state = after
        if after.round in due:
            found.append(_against(payoffs, total / after.round).max(axis=-1))
    return np.array(found), first
