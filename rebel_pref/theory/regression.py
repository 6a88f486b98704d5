"""What an inexact regression costs: REBEL's guarantee with its error term, biases against noise."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

import rebel_pref as rp
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers.dynamics import initial_state, iterates
from rebel_pref.theory import npg, offline, regression_fits, scalar_rewards, style
from rebel_pref.theory.checks import Check, Scale, at_least, at_most, within
from rebel_pref.theory.games import leaning_start, random_game
from rebel_pref.theory.regression_error import ERROR, best_responder, bounds, run_with_errors, shifted

__all__ = ["section"]

_BIAS = "REBEL with a fixed bias"
_NOISE = "REBEL with zero-mean error"


def section(scale: Scale, out: Path) -> list[Check]:
    """Regression error, natural gradients, scalar rewards and offline data."""
    return [
        *bounds(scale),
        *_biases(scale),
        *_horizons(scale, out),
        *npg.checks(scale, out),
        *regression_fits.checks(scale),
        *scalar_rewards.checks(scale),
        *offline.checks(scale),
    ]


def _biases(scale: Scale) -> list[Check]:
    """A bias plays the shifted game, whose winner is exploitable in proportion to it."""
    name, payoffs = "R(20,3)", np.asarray(random_game(20, 3).payoff)
    game = rp.PreferenceGame.from_payoffs(payoffs)
    slopes, ranges, views = [], [], 0.0
    sizes = _sizes(scale)
    for seed in range(scale.seed, scale.seed + 12):
        bias = np.random.default_rng(7 + seed).normal(size=20)
        found = [
            rp.exploitability(game, rp.solve(rp.PreferenceGame.from_payoffs(shifted(payoffs, s * bias))).policy)
            for s in sizes
        ]
        ranges += [value / (s * np.ptp(bias)) for s, value in zip(sizes, found, strict=True)]
        slopes.append(float(np.polyfit(np.log(sizes), np.log(found), 1)[0]))
        state = initial_state(leaning_start(20))
        two = (
            iterates(rp.rebel(0.2), payoffs, state, feedback=rp.RegressionError(bias=0.3 * bias)),
            iterates(rp.rebel(0.2), shifted(payoffs, 0.3 * bias), state),
        )
        for _ in range(50):
            fitted, played = (next(states).current for states in two)
            views = max(views, float(np.abs(fitted - played).max()))
    games = f"{name} with {len(slopes)} biases s N(0,1); s = {sizes[0]:g} to {sizes[-1]:g}"
    return [
        at_most(
            _BIAS,
            "log-policies: fitted payoff + e on A against exact payoffs on A + e1' - 1e', 50 rounds",
            games,
            views,
            1e-10,
            kind="identity",
        ),
        at_most(_BIAS, "Expl_A(winner of A + e1' - 1e') / range(e)", games, max(ranges), 1.0),
        within(
            _BIAS,
            "log-log slope of that exploitability in s (1/2 in eps), median over biases",
            games,
            float(np.median(slopes)),
            0.9,
            1.1,
            reference=1.0,
        ),
    ]


def _sizes(scale: Scale) -> FloatArray:
    return np.geomspace(0.001, 0.3, scale.pick(8, 5))


def _horizons(scale: Scale, out: Path) -> list[Check]:
    """Zero-mean error averages out, a tenth of it as a bias does not; the figure."""
    payoffs = np.asarray(random_game(20, 3).payoff)
    game = rp.PreferenceGame.from_payoffs(payoffs)
    bias = np.random.default_rng(7 + scale.seed).normal(size=20)
    horizons = scale.pick((100, 316, 1000, 3162, 10_000, 100_000), (100, 316, 1000))
    seeds, noise, share = 4, 1.0, 0.1
    noisy, biased, exact, noise_bounds = [], [], [], []
    for rounds in horizons:
        step_size = float(np.sqrt(2.0 * np.log(20) / rounds))
        rng = np.random.default_rng([13, scale.seed, rounds])
        average, spread = _averaged(payoffs, step_size, rounds, rp.RegressionError(noise=noise), rng, seeds)
        noisy.append(float(np.mean([rp.exploitability(game, policy) for policy in average])))
        start = -np.log(leaning_start(20).min()) / (step_size * rounds)
        # E max_y of the summed errors is at most noise sqrt(2 T log n); Hedge runs on the fitted payoffs.
        noise_bounds.append(start + step_size / 8.0 * spread + noise * np.sqrt(2.0 * np.log(20) / rounds))
        if rounds <= 10_000:  # Noise alone needs the longest run to be seen averaging out.
            both = np.stack([payoffs, shifted(payoffs, share * bias)])
            average, _ = _averaged(both, step_size, rounds, rp.ExactPayoffs(), rng, 2)
            exact.append(rp.exploitability(game, average[0]))
            biased.append(rp.exploitability(game, average[1]))
    sizes = _sizes(scale)
    rounds = scale.pick(10_000, 500)
    step_size = float(np.sqrt(2.0 * np.log(20) / rounds))
    run = run_with_errors(
        payoffs,
        step_size,
        rounds,
        rng=np.random.default_rng(0),
        played=shifted(payoffs, sizes[:, None] * bias),
    )
    averages = [rp.exploitability(game, policy) for policy in run.average]
    bound = [float(run.bound[k, best_responder(payoffs, run.average[k])]) for k in range(len(sizes))]
    winners = [
        rp.exploitability(game, rp.solve(rp.PreferenceGame.from_payoffs(shifted(payoffs, s * bias))).policy)
        for s in sizes
    ]
    _figure(
        out,
        np.sqrt(run.epsilon),
        {"average": averages, "bound": bound, "winners": winners, "range": list(sizes * np.ptp(bias))},
        horizons,
        {"noise": noisy, "bias": biased, "exact": exact, "bound": noise_bounds},
        rounds,
    )
    games = "R(20,3): errors N(0,1); mean of 4 seeds"
    falls = [later / earlier for earlier, later in pairwise(noisy[i] for i in scale.pick((0, 2, 4, 5), (0, 1, 2)))]
    slope = float(np.polyfit(np.log(horizons), np.log(noisy), 1)[0])
    shorter = scale.pick(1000, 316)
    return [
        at_most(
            ERROR,
            f"Expl(average) / bound for s = {sizes[0]:g} to {sizes[-1]:g}, {rounds} rounds (figure 5)",
            "R(20,3): biases s N(0,1)",
            float(np.max(np.divide(averages, bound))),
            1.0,
        ),
        at_most(
            _NOISE,
            "Expl(average) / [KL/(eta T) + (eta/8) mean R_f^2 + sd sqrt(2 log n / T)]",
            games,
            float(np.max(np.divide(noisy, noise_bounds))),
            1.0,
        ),
        at_most(
            _NOISE,
            f"Expl(average): worst ratio from one horizon to one {scale.pick(10, 3)}+ times as long, to {horizons[-1]}",
            games,
            max(falls),
            0.9,
            kind="observation",
        ),
        within(_NOISE, "log-log slope of Expl(average) in T", games, slope, -0.7, -0.3, reference=-0.5),
        at_least(
            _BIAS,
            f"Expl(average) at T = {min(horizons[-1], 10_000)} / at T = {shorter}, bias of standard deviation .1",
            "R(20,3)",
            biased[-1] / biased[horizons.index(shorter)],
            0.7,
            kind="observation",
            negative=True,
        ),
        at_least(
            _BIAS,
            "Expl(average) of the longest run / Expl(winner of the shifted game)",
            "R(20,3): bias .1 N(0,1)",
            biased[-1] / rp.exploitability(game, _winner(payoffs, share * bias)),
            0.5,
            kind="observation",
            negative=True,
        ),
    ]


def _winner(payoffs: FloatArray, bias: FloatArray) -> FloatArray:
    return rp.solve(rp.PreferenceGame.from_payoffs(shifted(payoffs, bias))).policy


def _averaged(
    payoffs: FloatArray,
    step_size: float,
    rounds: int,
    feedback: rp.RegressionError | rp.ExactPayoffs,
    rng: np.random.Generator,
    runs: int,
) -> tuple[FloatArray, float]:
    """Averages [runs, n] of REBEL from the leaning start, and the mean squared range of what was fitted."""
    size = payoffs.shape[-1]
    state = initial_state(np.broadcast_to(leaning_start(size), (runs, size)))
    total, spread = np.zeros((runs, size)), 0.0
    states = iterates(rp.rebel(step_size), payoffs, state, feedback=feedback, rng=rng)
    for _ in range(rounds):
        total += np.exp(state.current)
        after = next(states)
        moved = (after.current - state.current) / step_size
        spread += float(((moved.max(-1) - moved.min(-1)) ** 2).mean())
        state = after
    return total / rounds, spread / rounds


def _figure(
    out: Path,
    root: FloatArray,
    curves: dict[str, list[float]],
    horizons: tuple[int, ...],
    over_time: dict[str, list[float]],
    rounds: int,
) -> None:
    figure, (left, right) = style.panels(
        1, 2, title="Regression error: biases stay, zero-mean errors average out; R(20,3)", width=4.4, height=3.6
    )
    hue = style.colour("rebel")
    left.loglog(
        root,
        curves["bound"],
        color=style.BOUND,
        linewidth=0.9,
        label=r"bound on the average, by $\chi^2(b\,\|\,\pi_t)$",
    )
    left.loglog(root, curves["range"], ":", color=style.BOUND, linewidth=1.0, label="bound on the limit: range(e)")
    left.loglog(root, curves["average"], "o--", color=hue, markersize=4, label=f"average, {rounds} rounds")
    left.loglog(root, curves["winners"], "s-", color=hue, markersize=3.5, label="limit: winner of $A + e1^T - 1e^T$")
    left.set_xlabel(r"root mean squared pair residual $\sqrt{\epsilon}$ (payoff units)")
    left.legend(fontsize=style.SMALL, frameon=False, loc="lower right")
    right.loglog(horizons, over_time["bound"], color=style.BOUND, linewidth=0.9, label="bound with noise")
    right.loglog(
        horizons, over_time["noise"], "o--", color=hue, markersize=4, label="average, noise of standard deviation 1"
    )
    shorter = horizons[: len(over_time["bias"])]
    right.loglog(
        shorter, over_time["bias"], "s-", color="#4d4d4d", markersize=3.5, label="average, fixed bias, a tenth of it"
    )
    right.loglog(shorter, over_time["exact"], "-", color=hue, linewidth=1.0, alpha=0.5, label="average, exact payoffs")
    right.set_xlabel("rounds T")
    right.legend(fontsize=style.SMALL, frameon=False, loc="upper right")
    for axis in (left, right):
        axis.set_ylabel("exploitability (payoff units)")
        axis.minorticks_off()
    style.save(figure, out, "theory_05_regression_error")
