"""REBEL is the natural policy gradient: where exactly, to which order, and where not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import rebel_pref as rp
from rebel_pref.policies.parametric import (
    LogLinearPolicy,
    NetworkPolicy,
    ParametricPolicy,
    fit_least_squares,
    gauss_newton_step,
    natural_gradient_step,
    regression_loss,
)
from rebel_pref.preferences import FloatArray
from rebel_pref.theory import style
from rebel_pref.theory.checks import Check, Scale, at_least, at_most, within
from rebel_pref.theory.games import random_game
from rebel_pref.theory.regression_fits import log_target

__all__ = ["checks"]

_NPG = "REBEL = natural policy gradient"
_STEP = 2.0


def checks(scale: Scale, out: Path) -> list[Check]:
    """Table, log-linear policies and networks; figure 6."""
    return [*_steps(scale, out), *_networks(scale)]


def _log_linear(seed: int) -> LogLinearPolicy:
    """Six responses, three features of which one is constant, so that F is singular."""
    rng = np.random.default_rng([7, seed])
    features = rng.normal(size=(6, 3))
    features[:, 2] = 1.0
    return LogLinearPolicy(features, rng.normal(size=3))


def _network(seed: int, size: int = 20) -> tuple[NetworkPolicy, FloatArray]:
    """Ten contexts of `size` responses, four inputs, four tanh units (24 weights), and a game a context."""
    rng = np.random.default_rng([8, seed])
    payoffs = np.stack([random_game(size, 10 * seed + c).payoff for c in range(10)])
    drawn = NetworkPolicy(rng.normal(size=(10, size, 4)), (4,), seed)
    return drawn.with_parameters(drawn.parameters + torch.as_tensor(rng.normal(scale=0.5, size=24))), payoffs


def _moved(after: ParametricPolicy, before: ParametricPolicy) -> torch.Tensor:
    return after.parameters - before.parameters


def _relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def _steps(scale: Scale, out: Path) -> list[Check]:
    seeds = range(scale.seed, scale.seed + scale.pick(20, 6))
    table = 0.0
    on, off, realisable = [], [], []
    points: dict[str, list[torch.Tensor]] = {"npg": [], "on": [], "off": []}
    for seed in seeds:
        rng = np.random.default_rng([9, seed])
        game = random_game(6, seed)
        start = rng.dirichlet(np.ones(6))
        policy = LogLinearPolicy(np.eye(6), np.log(start))
        solved = rp.self_play(game, rp.rebel(_STEP), steps=1, start=start).policy
        target = log_target(policy, rp.rebel(_STEP), game.payoff)
        for base in (start, np.full(6, 1 / 6), rng.dirichlet(np.ones(6))):
            fitted = fit_least_squares(policy, target, torch.as_tensor(base)).log_probs().exp().numpy()
            table = max(table, float(np.abs(fitted - solved).max()))
        uniform = torch.full((6,), 1 / 6, dtype=torch.float64)
        natural = natural_gradient_step(policy, target)
        realisable.append(float((natural.log_probs().exp() - torch.as_tensor(solved)).abs().max()))
        policy = _log_linear(seed)
        target = log_target(policy, rp.rebel(_STEP), game.payoff)
        npg = _moved(natural_gradient_step(policy, target), policy)
        least_squares = _moved(fit_least_squares(policy, target, policy.log_probs().exp()), policy)
        elsewhere = _moved(fit_least_squares(policy, target, uniform), policy)
        on.append(_relative(least_squares, npg))
        off.append(_relative(elsewhere, npg))
        for name, step in (("npg", npg), ("on", least_squares), ("off", elsewhere)):
            points[name].append(step)
    etas = [0.001, 0.002, 0.004, 0.008]
    gaps = np.array([[_gap(seed, eta) for eta in etas] for seed in seeds[: scale.pick(8, 2)]])
    slopes = [float(np.polyfit(np.log(etas), np.log(row), 1)[0]) for row in gaps]
    _figure(out, {name: torch.cat(steps).numpy() for name, steps in points.items()}, np.array(etas), gaps)
    games = f"R(6,s): {len(seeds)} seeds"
    return [
        at_most(
            _NPG,
            "table, pairs from pi x pi, uniform, random: max |least squares - pi exp(eta A pi)/Z|",
            games,
            table,
            1e-12,
            kind="identity",
        ),
        at_most(
            _NPG,
            "table: max |natural gradient step - pi exp(eta A pi)/Z|",
            games,
            max(realisable),
            1e-12,
            kind="identity",
        ),
        at_most(
            _NPG,
            "3 features for 6 responses, on-policy: |step of least squares - eta F^+ grad J| / |step|",
            games,
            max(on),
            1e-12,
            kind="identity",
        ),
        at_least(
            _NPG,
            "the same with uniform pairs (off-policy and misspecified): median relative difference",
            games,
            float(np.median(off)),
            0.2,
            kind="observation",
            negative=True,
        ),
        within(
            _NPG,
            "network: log-log slope in eta of |minimiser of the loss - NPG step|, median",
            f"10 x R(20,s) a network: {len(slopes)} networks",
            float(np.median(slopes)),
            1.8,
            2.2,
            reference=2.0,
        ),
    ]


def _gap(seed: int, eta: float) -> float:
    """Distance in parameters between REBEL's minimiser, nothing linearised, and one natural gradient step."""
    policy, payoffs = _network(seed)
    target = log_target(policy, rp.rebel(eta), payoffs)
    base, fitted = policy.log_probs().exp(), policy
    for _ in range(6):
        fitted = gauss_newton_step(fitted, target, base)
    return float(_moved(fitted, natural_gradient_step(policy, target)).norm())


def _networks(scale: Scale) -> list[Check]:
    seeds = range(scale.seed, scale.seed + scale.pick(8, 3))
    eta, width = 0.3, 1e-5
    plain, damped, halves, gradients = [], [], [], []
    for seed in seeds:
        policy, payoffs = _network(seed)
        target = log_target(policy, rp.rebel(eta), payoffs)
        base = policy.log_probs().exp()
        npg = _moved(natural_gradient_step(policy, target), policy)
        plain.append(_relative(_moved(gauss_newton_step(policy, target, base), policy), npg))
        held = _moved(gauss_newton_step(policy, target, base, damping=0.02), policy)
        damped.append(_relative(held, _moved(natural_gradient_step(policy, target, damping=0.01), policy)))
        halves.append(_relative(held, _moved(natural_gradient_step(policy, target, damping=0.02), policy)))
        # Central differences of both sides: no automatic gradient, and neither side knows of the other.
        against = (torch.as_tensor(payoffs) @ base[..., None])[..., 0]
        slopes = []
        for k in range(len(npg)):
            moves = width * torch.eye(len(npg), dtype=torch.float64)[k]
            ahead, behind = (policy.with_parameters(policy.parameters + sign * moves) for sign in (1, -1))
            losses = [float(regression_loss(p, target, base)) / eta**2 for p in (ahead, behind)]
            values = [float((p.log_probs().exp() * against).sum(-1).mean()) for p in (ahead, behind)]
            slopes.append([(losses[0] - losses[1]) / (2 * width), -4.0 / eta * (values[0] - values[1]) / (2 * width)])
        found, expected = torch.tensor(slopes, dtype=torch.float64).T
        gradients.append(_relative(found, expected))
    games = f"10 x R(20,s) a network: {len(seeds)} networks"
    return [
        at_most(
            _NPG,
            "network: |Gauss-Newton step - eta F^+ grad J| / |step|",
            games,
            max(plain),
            1e-8,
            kind="identity",
        ),
        at_most(
            _NPG,
            "network: |Gauss-Newton step damped by l - eta (F + l/2)^-1 grad J| / |step|",
            games,
            max(damped),
            1e-8,
            kind="identity",
        ),
        at_least(
            _NPG,
            "the same with l in the place of l/2: least relative difference",
            games,
            min(halves),
            1e-3,
            kind="observation",
            negative=True,
        ),
        at_most(
            _NPG,
            "first gradient of the loss / eta^2 (the paper's scale) against -(4/eta) grad J, by differences: relative",
            games,
            max(gradients),
            1e-6,
            kind="identity",
        ),
    ]


def _figure(out: Path, points: dict[str, FloatArray], etas: FloatArray, gaps: FloatArray) -> None:
    figure, (left, middle, right) = style.panels(1, 3, title="REBEL's regression and the natural policy gradient")
    reach = 1.15 * max(np.abs(points["npg"]).max(), np.abs(points["on"]).max())
    for axis, name, text in (
        (left, "on", "log-linear, on-policy pairs"),
        (middle, "off", "the same policies, uniform pairs"),
    ):
        axis.plot([-reach, reach], [-reach, reach], color=style.BOUND, linewidth=0.8, label="equal")
        axis.plot(points["npg"], points[name], ".", color=style.colour("rebel"), markersize=6, label=text)
        axis.set_xlim(-reach, reach)
        axis.set_xlabel(r"natural gradient step $\eta F^{+} \nabla J$, each parameter")
        axis.set_ylabel("step of REBEL's least squares")
        axis.legend(fontsize=style.SMALL, frameon=False, loc="upper left")
    left.set_ylim(-reach, reach)
    for number, row in enumerate(gaps):
        right.loglog(
            etas, row, "o-", color=style.colour("rebel"), markersize=3, linewidth=0.9, alpha=0.8,
            label="" if number else "networks, on-policy pairs",
        )  # fmt: skip
    right.loglog(etas, 0.5 * gaps.min() * (etas / etas[0]) ** 2, color=style.BOUND, linewidth=0.8, label="slope 2")
    right.set_xlabel(r"step size $\eta$ (nats per unit payoff)")
    right.set_ylabel("|minimiser - natural gradient step|")
    right.set_xticks(etas, [f"{eta:g}" for eta in etas])
    right.minorticks_off()
    right.legend(fontsize=style.SMALL, frameon=False, loc="upper left")
    style.save(figure, out, "theory_06_natural_gradient")
