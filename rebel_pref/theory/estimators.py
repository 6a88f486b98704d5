"""Payoffs from samples: one opponent a round, reweighted opponents, groups, budgets; and what errors cost.

The statements on groups are in :mod:`~rebel_pref.theory.group_estimators`, those on variances and budgets in
:mod:`~rebel_pref.theory.budgets`, those on the judge in :mod:`~rebel_pref.theory.judgements`; all three enumerate
every draw (:mod:`~rebel_pref.theory.enumeration`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np

import rebel_pref as rp
from rebel_pref import Update
from rebel_pref.games import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.proximal import regularized_equilibrium
from rebel_pref.solvers import initial_state, iterates, step
from rebel_pref.solvers.feedback import Observation, Observer, SampledOpponents
from rebel_pref.theory import budgets, estimator_figure, group_estimators, judgements
from rebel_pref.theory.checks import Check, Scale, at_least, at_most, near, within
from rebel_pref.theory.divergence import kl, log_softmax
from rebel_pref.theory.enumeration import Prescribed, multisets, places
from rebel_pref.theory.games import RPS, WEIGHTED_RPS, leaning_start, random_game, weighted_rps
from rebel_pref.theory.group_estimators import problems

__all__ = ["section"]

_SAMPLED, _VERDICTS, _REWEIGHTED = "one sampled opponent", "verdicts or payoffs", "reweighted opponents"
_COVERAGE, _FAST = "coverage", "error of the game"
_SEEN = Update({"current": 1.0}, {"current": 1.0})
"""A row whose log-ratio is the estimated payoff itself."""


def section(scale: Scale, out: Path) -> list[Check]:
    """Every statement on sampled payoffs; draws ``theory_07_estimators``."""
    found = [
        *_one_opponent(scale),
        *_verdicts(scale),
        *_reweighted(scale),
        *group_estimators.checks(scale),
        *budgets.checks(scale),
        *judgements.checks(scale),
        *_coverage(scale),
        *_fast(scale),
    ]
    estimator_figure.draw(scale, out)
    return found


def _one_opponent(scale: Scale) -> list[Check]:
    """Hedge against one draw of itself a round: the mix of the drawn opponents is the certified policy."""
    seeds, tail = 30, 0.2
    games = {"R(10,0)": random_game(10, 0), "R(100,1)": random_game(100, 1)}
    rounds = scale.pick((1_000, 10_000), (300, 1_000))
    ratios, sure, pathwise, queries, beyond, standard = [], [], 0.0, 0.0, [], []
    for game in games.values():
        for count in rounds:
            n = len(game)
            bound = float(np.sqrt(2.0 * np.log(n) / count))
            mixes, luck, judged = _drawn_opponents(game, bound, count, seeds, scale.seed)
            found = np.array([rp.certify(game, mix).exploitability for mix in mixes])
            ratios.append(float(found.mean()) / bound)
            slack = np.sqrt(2.0 * np.log(1.0 / tail) / count)
            sure.append(float((found > bound + slack).mean()))
            beyond.append(float((luck > slack).mean()))
            pathwise = max(pathwise, float((found - luck).max()) / bound)
            standard.append(abs(float(luck.mean())) / (float(luck.std(ddof=1)) / np.sqrt(seeds)))
            queries = max(queries, abs(judged / (n * 2.0 * np.log(n) / bound**2) - 1.0))
    where = f"{', '.join(games)}; T = {', '.join(f'{t:g}' for t in rounds)}; {seeds} seeds"
    return [
        within(
            _SAMPLED,
            "mean exploitability of the drawn opponents' mix over sqrt(2 log n / T): largest",
            where,
            max(ratios),
            0.2,
            1.0,
            reference=1.0,
        ),
        at_least(_SAMPLED, "the same: least", where, min(ratios), 0.2, kind="observation"),
        at_most(
            _SAMPLED,
            "every run, less its own luck mean_t A(pi_t, y_t): exploitability over sqrt(2 log n / T)",
            where,
            pathwise,
            1.0,
        ),
        at_most(_SAMPLED, "that luck has mean 0: |mean| over its standard error", where, max(standard), 4.0),
        at_most(_SAMPLED, f"share of runs with luck above sqrt(2 log(1/{tail}) / T)", where, max(beyond), tail),
        at_most(
            _SAMPLED,
            f"share of runs beyond sqrt(2 log n / T) + sqrt(2 log(1/{tail}) / T)",
            where,
            max(sure),
            tail,
        ),
        at_most(
            _SAMPLED,
            "relative error of n 2 log n / eps^2 judgements for an exploitability of eps in the mean",
            where,
            queries,
            1e-9,
            kind="identity",
        ),
    ]


def _drawn_opponents(
    game: PreferenceGame, eta: float, rounds: int, seeds: int, seed: int
) -> tuple[FloatArray, FloatArray, float]:
    """Mixes of the drawn opponents [S, n], ``mean_t A(pi_t, y_t)`` [S], and judgements of one run.

    The opponent of a round is read off what the round saw: the action whose payoff against it is 0 is itself.
    """
    n = len(game)
    counts, luck, judgements = np.zeros((seeds, n)), np.zeros(seeds), 0.0

    class Recorded:
        opponents = 1.0  # Of exact payoffs, as of the feedback inside.

        def begin(self, payoffs: FloatArray, rng: np.random.Generator) -> Observer:
            inner = SampledOpponents(1).begin(payoffs, rng)

            def observe(log_current: FloatArray) -> Observation:
                nonlocal judgements
                seen = inner(log_current)
                judgements += seen.judgements
                column = seen.log_ratio(_SEEN, {"current": log_current})
                luck[:] += (np.exp(log_current) * column).sum(axis=-1)
                counts[np.arange(seeds), np.abs(column).argmin(axis=-1)] += 1.0
                return seen

            return observe

    start = initial_state(np.full((seeds, n), 1.0 / n))
    rng = np.random.default_rng([seed, n, rounds])
    for _ in islice(iterates(rp.rebel(eta), game.payoff, start, feedback=Recorded(), rng=rng), rounds):
        pass
    return counts / rounds, luck / rounds, judgements


def _verdicts(scale: Scale) -> list[Check]:
    """One opponent, a verdict or the payoff itself: the mean is the same, the noise is not."""
    bias = coins = payoffs_only = 0.0
    saved = 1.0
    for _, payoffs, policy in problems(scale):
        n, truth = len(policy), payoffs @ policy
        log_policy = np.tile(np.log(policy), (2 * n, 1))
        drawn = np.repeat(np.arange(n), 2)
        # A uniform number of 0 is a win of every action, one just below 1 a loss.
        coin = np.tile([0.0, 1.0 - 1e-12], n)
        shown = np.broadcast_to(coin[:, None, None], (2 * n, n, 1))
        sign = np.where(coin < 0.5, 1.0, -1.0)
        chance = policy[drawn, None] * 0.5 * (1.0 + sign[:, None] * payoffs[:, drawn].T)
        noise = {}
        for labels in (True, False):
            rng = Prescribed([places(policy, drawn), shown])
            seen = SampledOpponents(1, labels=labels).begin(payoffs, rng)(log_policy)
            value = seen.log_ratio(_SEEN, {"current": log_policy})
            mean = (chance * value).sum(axis=0)
            bias = max(bias, float(np.abs(mean - truth).max()))
            noise[labels] = (chance * value**2).sum(axis=0) - mean**2
        coins = max(coins, float(np.abs(noise[True] - (1.0 - policy - truth**2)).max()))
        payoffs_only = max(payoffs_only, float(np.abs(noise[False] - (payoffs**2 @ policy - truth**2)).max()))
        saved = min(saved, float((noise[True] - noise[False]).min()))
    where = ", ".join(dict.fromkeys(name for name, _, _ in problems(scale)))
    return [
        at_most(_VERDICTS, "sampled opponent: bias of either", where, bias, 1e-9, kind="identity"),
        at_most(_VERDICTS, "variance of verdicts: error of 1 - pi(y) - r^2", where, coins, 1e-9, kind="identity"),
        at_most(
            _VERDICTS, "variance of payoffs: error of Var over opponents", where, payoffs_only, 1e-9, kind="identity"
        ),
        at_least(_VERDICTS, "what a known win rate saves: least difference of variances", where, saved, -1e-9),
    ]


def _moments(
    payoffs: FloatArray, update: Update, log_probs: Mapping[str, FloatArray], count: int
) -> tuple[FloatArray, FloatArray]:
    """Mean and variance [n] of the centred log-ratio that `count` sampled opponents give a row, enumerated."""
    policy = np.exp(log_probs["current"])
    draws, chance = multisets(policy, count)
    tiled = {name: np.tile(value, (len(draws), 1)) for name, value in log_probs.items()}
    seen = SampledOpponents(count).begin(payoffs, Prescribed([places(policy, draws)]))(tiled["current"])
    value = seen.log_ratio(update, tiled)
    value = value - value.mean(axis=-1, keepdims=True)
    mean = chance @ value
    return mean, chance @ (value - mean) ** 2


def _reweighted(scale: Scale) -> list[Check]:
    """One set of draws for every opponent that a row names; exact at the current policy, else a bias of O(1/K)."""
    sizes = scale.pick((8, 16, 32, 64, 96), (8, 16, 32))
    exact, slopes, common, separate, worth = 0.0, [], [], 0.0, []
    for _, payoffs, policy in problems(scale):
        tau, eta = 0.3, 0.3
        base = initial_state(policy, leaning_start(len(policy), 1.0))
        now = step(rp.optimistic_rebel(eta), payoffs, base)
        log_probs = {"current": now.current, "previous": base.current, "magnet": now.magnet}
        look = step(rp.inpo(eta, tau), payoffs, now)
        log_probs["lookahead"] = look.current
        for row, opponent in (
            (Update({"current": 1.0}, {"current": 1.0}), "current"),
            (Update({"current": 1.0}, {"previous": 1.0}), "previous"),
            (Update({"current": 1.0}, {"lookahead": 1.0}), "lookahead"),
            (rp.nash_md(eta, tau).stages[0], "mixture"),
        ):
            exactly = rp.ExactPayoffs().begin(payoffs, np.random.default_rng(0))(now.current).log_ratio(row, log_probs)
            exactly = exactly - exactly.mean()
            errors = [float(np.abs(_moments(payoffs, row, log_probs, size)[0] - exactly).max()) for size in sizes]
            if opponent == "current":
                exact = max(exact, *errors)
            else:
                slopes.append(float(np.polyfit(np.log(sizes), np.log(errors), 1)[0]))
        single = _moments(payoffs, rp.rebel(1.0).stages[0], log_probs, 8)[1]
        common.append(
            float(_moments(payoffs, rp.optimistic_rebel(1.0).stages[0], log_probs, 8)[1].sum() / single.sum())
        )
        before = {"current": base.current}
        apart = 4.0 * single + _moments(payoffs, rp.rebel(1.0).stages[0], before, 8)[1]
        separate = max(separate, abs(float(apart.sum() / single.sum()) / 5.0 - 1.0))
        worth.append(float(apart.sum() / single.sum()) / common[-1])
    where = ", ".join(dict.fromkeys(name for name, _, _ in problems(scale)))
    text = f"K = {sizes[0]} to {sizes[-1]}"
    return [
        at_most(_REWEIGHTED, f"opponent pi_t: bias, {text}", where, exact, 1e-10, kind="identity"),
        within(
            _REWEIGHTED,
            f"previous, lookahead, mixture from draws of pi_t: log-log slope of the bias in K, steepest, {text}",
            where,
            min(slopes),
            -1.15,
            -0.85,
            reference=-1.0,
        ),
        within(_REWEIGHTED, "the same, flattest", where, max(slopes), -1.15, -0.85, reference=-1.0),
        at_most(
            _REWEIGHTED,
            "2 r_t - r_{t-1} from two sets of draws: variance over that of r_t, relative distance from 5",
            where,
            separate,
            0.5,
            kind="observation",
        ),
        at_most(
            _REWEIGHTED,
            "2 r_t - r_{t-1} from one set of draws: variance over that of r_t, largest",
            where,
            max(common),
            2.0,
            kind="observation",
        ),
        at_least(_REWEIGHTED, "two sets over one set: least", where, min(worth), 2.0, kind="observation"),
    ]


def _coverage(scale: Scale) -> list[Check]:
    """``max_y b/mu``: on policy it grows as REBEL's last iterate circles; a share of the reference bounds it."""
    share = 0.1
    worst, grown = 0.0, np.inf
    games = {
        RPS: weighted_rps(1.0, 1.0, 1.0),
        WEIGHTED_RPS: weighted_rps(1.0, 0.5, 0.2),
        "R(10,0)": random_game(10, 0),
    }
    for game in games.values():
        best, reference = rp.solve(game).policy, leaning_start(len(game), 1.0)
        largest = float((best / reference).max())
        on_policy = 0.0
        states = iterates(rp.rebel(0.3), game.payoff, initial_state(reference))
        for state in islice(states, scale.pick(2000, 500)):
            policy = np.exp(state.current)
            mixed = (1.0 - share) * policy + share * reference
            worst = max(worst, float((best / mixed).max()) * share / largest)
            on_policy = max(on_policy, float((best / policy).max()))
        grown = min(grown, on_policy * share / largest)
    where = ", ".join(games)
    return [
        at_most(
            _COVERAGE,
            "mu = .9 pi_t + .1 rho: max p*/mu over (max p*/rho)/.1, rounds of rebel",
            where,
            worst,
            1.0 + 1e-12,
        ),
        at_least(
            _COVERAGE,
            "mu = pi_t: the same, least of the games' largest",
            where,
            grown,
            1.0,
            kind="observation",
            negative=True,
        ),
    ]


def _fast(scale: Scale) -> list[Check]:
    """Payoffs known with an error s E: the regularised equilibrium loses s^2 of its own game, the winner s of its."""
    tau = 0.1
    games = {"R(10,0)": random_game(10, 0), "R(10,1)": random_game(10, 1), "R(5,3)": random_game(5, 3)}
    sizes = np.geomspace(1e-4, 1e-2, scale.pick(9, 5))
    curved, straight = [], []
    for number, game in enumerate(games.values()):
        n, payoffs = len(game), game.payoff
        error = np.random.default_rng([scale.seed, 17, number]).normal(size=(n, n))
        error -= error.T
        magnet = log_softmax(np.zeros(n))
        gaps, exploited = [], []
        for size in sizes:
            p = regularized_equilibrium(magnet, payoffs + size * error, tau).policy
            # The best reply to p in the regularised game gains log Z; p itself pays its own divergence.
            gains = magnet + payoffs @ p / tau
            top = float(gains.max())
            reply = tau * (top + float(np.log(np.exp(gains - top).sum())))
            gaps.append(reply + tau * float(kl(np.log(p), magnet)))
            other = rp.PreferenceGame.from_payoffs(payoffs + size * error)
            exploited.append(rp.certify(game, rp.solve(other).policy).exploitability)
        curved.append(float(np.polyfit(np.log(sizes), np.log(gaps), 1)[0]))
        straight.append(float(np.polyfit(np.log(sizes), np.log(exploited), 1)[0]))
    where = ", ".join(games)
    ends = (("least", min), ("largest", max))
    return [
        near(
            _FAST,
            f"log-log slope of the regularised gap in the error, {word}",
            where,
            pick(curved),
            2.0,
            absolute=0.1,
        )
        for word, pick in ends
    ] + [
        near(
            _FAST,
            f"log-log slope of the winner's exploitability in the error, {word}",
            where,
            pick(straight),
            1.0,
            absolute=0.1,
        )
        for word, pick in ends
    ]
