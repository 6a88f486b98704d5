"""One definition: for every row the NumPy solver and the trainer's regression, on torch, ask for the same policy.

The solver takes a target as its next policy; a trainer takes gradient steps on a loss made of that target. They are one
method if the targets are equal and the loss is stationary at the solver's next policy, whatever the base of its pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import rebel_pref as rp
from rebel_pref.algorithms import Algorithm, Update, log_target
from rebel_pref.preferences import FloatArray
from rebel_pref.regression import pairwise_loss, pointwise_loss, weighted_pairwise_loss
from rebel_pref.solvers import initial_state, step
from rebel_pref.solvers.dynamics import DynamicsState
from rebel_pref.solvers.feedback import Observation
from rebel_pref.targets import regression_target
from rebel_pref.theory import torch_side
from rebel_pref.theory.checks import Check, Scale, at_least, at_most
from rebel_pref.theory.divergence import log_softmax

__all__ = ["section"]

_TARGET, _GRADIENT = "bridge, target", "bridge, stationary loss"


def section(scale: Scale, out: Path) -> list[Check]:
    """A check of targets and one of gradients for each row; draws nothing."""
    checks, bitwise, start = [], 0, np.inf
    for name, row in _rows().items():
        rng = np.random.default_rng([scale.seed, 14])
        games = [_game(rng, size, scale.pick(16, 4)) for size in scale.pick((3, 8, 20), (3, 8))]
        sizes = ", ".join(str(payoffs.shape[-1]) for payoffs, _ in games)
        where = f"{len(games[0][0])} random games each of {sizes} responses, 5 rounds"
        target = gradient = 0.0
        for payoffs, rewards in games:
            bitwise += _differing(row, payoffs, rewards, rng)
            target = max(target, _columns(row, payoffs, rewards, rng))
            for before, after in _run(row, payoffs, rewards, rng):
                mine, theirs = _targets(row, payoffs, rewards, before)
                target = max(target, *(float(np.abs(a - b).max()) for a, b in zip(mine, theirs, strict=True)))
                base = np.exp(log_softmax(rng.normal(size=before.current.shape)))
                found = torch_side.gradients(_losses(row), theirs[-1], before.current, after.current, base)
                gradient = max(gradient, found[0])
                if before.round == 0:  # Later a policy may be at rest, and nothing is left to descend.
                    start = min(start, found[1])
        checks += [
            at_most(
                _TARGET,
                f"{name}: NumPy against torch float64, whole games, masked and with sampled columns, nats",
                where,
                target,
                1e-12,
                kind="identity",
            ),
            at_most(
                _GRADIENT,
                f"{name}: gradient in the logits of the torch loss at the NumPy solver's next policy",
                where,
                gradient,
                1e-12,
                kind="identity",
            ),
        ]
    where = "all rows and games above"
    return [
        *checks,
        at_most(
            _TARGET,
            "entries of a row's sum, given log-policies and payoffs, that differ in any bit",
            where,
            bitwise,
            0,
            kind="identity",
        ),
        at_least(
            _GRADIENT,
            "largest entry of the same gradient at the current policy, first round, least over rows and sizes",
            where,
            start,
            1e-3,
            kind="observation",
        ),
    ]


def _rows() -> Mapping[str, Algorithm]:
    """Every row by its configuration name, and the two that a configuration cannot name."""
    free = ("rebel", "optimistic_rebel", "sppo")
    rows: dict[str, Algorithm] = {}
    for name in rp.ALGORITHMS:
        if name == "online_ipo":
            rows[name] = rp.make_algorithm(name, step_size=0.0, regularization=1.5)
        else:
            rows[name] = rp.make_algorithm(name, step_size=0.5, regularization=0.0 if name in free else 0.4)
    rows["comal"] = rp.comal(rp.egpo(0.5, 0.4), every=2)
    rows["scalar_rebel"] = rp.scalar_rebel(0.5)
    return rows


def _losses(row: Algorithm) -> list[tuple[Any, bool]]:
    """Losses of the row's residual, and whether they take weights: of pairs any, of points the current policy's."""
    if row.residual == "pointwise":
        return [(pointwise_loss, True)]
    return [(pairwise_loss, False), (weighted_pairwise_loss, True)]


def _game(rng: np.random.Generator, size: int, count: int) -> tuple[FloatArray, FloatArray]:
    upper = np.triu(rng.uniform(-1.0, 1.0, (count, size, size)), 1)
    return upper - upper.swapaxes(-1, -2), rng.normal(size=(count, size))


def _run(
    row: Algorithm, payoffs: FloatArray, rewards: FloatArray, rng: np.random.Generator
) -> list[tuple[DynamicsState, DynamicsState]]:
    """Five rounds of the solver from a random start and magnet, as (before, after)."""

    def states() -> Any:
        shape = payoffs.shape[:-1]
        policies = (np.exp(log_softmax(rng.normal(size=shape))) for _ in range(2))
        before = initial_state(*policies)
        while True:
            # The solver's own observation of the whole game knows no rewards.
            now = before.current

            def log_ratio(update: Update, logs: Mapping[str, FloatArray], now: FloatArray = now) -> FloatArray:
                return np.asarray(regression_target(update, now, logs, payoffs, rewards=rewards).log_ratio)

            seen = Observation(log_ratio, 0.0) if row.uses("reward") else None
            after = step(row, payoffs, before, seen)
            yield before, after
            before = after

    return list(islice(states(), 5))


def _named(state: DynamicsState) -> dict[str, FloatArray]:
    logs = {"current": state.current, "magnet": state.magnet}
    return logs if state.previous is None else {**logs, "previous": state.previous}


def _targets(
    row: Algorithm, payoffs: FloatArray, rewards: FloatArray, before: DynamicsState
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Targets of every stage by NumPy and by torch, each with the lookahead of its own making."""
    mine: list[FloatArray] = []
    logs = _named(before)
    for stage in row.stages:
        found = regression_target(stage, before.current, logs, payoffs, rewards=rewards)
        mine.append(np.asarray(found.log_ratio))
        logs["lookahead"] = log_softmax(before.current + mine[-1])
    return mine, torch_side.targets(row.stages, before.current, _named(before), payoffs, rewards)


def _columns(row: Algorithm, payoffs: FloatArray, rewards: FloatArray, rng: np.random.Generator) -> float:
    """Largest difference of the targets where opponents are sampled columns, or part of the responses is padding."""
    count, size = payoffs.shape[:2]
    logs = {
        name: log_softmax(rng.normal(size=(count, size))) for name in ("current", "magnet", "previous", "lookahead")
    }
    columns = rng.integers(size, size=(count, 5))
    against = np.take_along_axis(payoffs, columns[:, None, :], axis=-1)
    mask = np.arange(size) < rng.integers(2, size + 1, size=(count, 1))
    weights = rng.normal(size=(count, size))
    worst = 0.0
    for stage in row.stages:
        for log_weights, matrix, extra in (
            (np.zeros((count, 5)), against, {"columns": columns}),
            (weights, payoffs, {"mask": mask}),
        ):
            mine = regression_target(stage, log_weights, logs, matrix, rewards=rewards, **extra).log_ratio
            theirs = torch_side.target(stage, log_weights, logs, matrix, rewards, extra)
            worst = max(worst, float(np.abs(np.asarray(mine) - theirs).max()))
    return worst


def _differing(row: Algorithm, payoffs: FloatArray, rewards: FloatArray, rng: np.random.Generator) -> int:
    """Entries of the row's plain sum in which NumPy and torch differ, given the same numbers."""
    shape = rewards.shape
    number = 0
    for stage in row.stages:
        logs: dict[str, FloatArray] = {name: log_softmax(rng.normal(size=shape)) for name in stage.anchor}
        given: dict[str, FloatArray] = {name: rng.uniform(-1.0, 1.0, shape) for name in stage.payoff}
        mine = np.asarray(log_target(stage, logs, given))
        number += int((mine != torch_side.row_sum(stage, logs, given)).sum())
    return number
