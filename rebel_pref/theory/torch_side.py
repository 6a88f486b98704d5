"""The trainer's half of the bridge: the same functions on torch tensors, and gradients through a policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rebel_pref.algorithms import Update, log_target
from rebel_pref.policies.tabular import TabularPolicy
from rebel_pref.preferences import FloatArray
from rebel_pref.targets import regression_target

__all__ = ["gradients", "row_sum", "target", "targets"]


def target(
    stage: Update,
    log_weights: FloatArray,
    logs: Mapping[str, FloatArray],
    payoffs: FloatArray,
    rewards: FloatArray,
    extra: Mapping[str, Any],
) -> FloatArray:
    """:func:`rebel_pref.targets.regression_target` of torch tensors; `extra` holds a mask or columns."""
    found = regression_target(
        stage,
        torch.tensor(log_weights),
        {name: torch.tensor(value) for name, value in logs.items()},
        torch.tensor(payoffs),
        rewards=torch.tensor(rewards),
        **{name: torch.tensor(value) for name, value in extra.items()},
    )
    return np.asarray(found.log_ratio.numpy())


def targets(
    stages: Sequence[Update],
    log_current: FloatArray,
    logs: Mapping[str, FloatArray],
    payoffs: FloatArray,
    rewards: FloatArray,
) -> list[FloatArray]:
    """Targets of every stage of a row, each lookahead made from the stage before."""
    named = dict(logs)
    found: list[FloatArray] = []
    for stage in stages:
        found.append(target(stage, log_current, named, payoffs, rewards, {}))
        ahead = torch.log_softmax(torch.tensor(log_current + found[-1]), dim=-1)
        named["lookahead"] = np.asarray(ahead.numpy())
    return found


def row_sum(stage: Update, logs: Mapping[str, FloatArray], payoffs: Mapping[str, FloatArray]) -> FloatArray:
    """:func:`rebel_pref.algorithms.log_target` of torch tensors."""
    tensors = [{name: torch.tensor(value) for name, value in group.items()} for group in (logs, payoffs)]
    return np.asarray(log_target(stage, *tensors).numpy())


def gradients(
    losses: Sequence[tuple[Any, bool]],
    wanted: FloatArray,
    log_current: FloatArray,
    log_next: FloatArray,
    base: FloatArray,
) -> tuple[float, float]:
    """Gradients in the logits of a tabular policy of each loss on whole groups [B, K].

    Parameters
    ----------
    losses : (loss, whether it takes weights). Pairs are weighted by `base`; single responses by the current policy,
        under which SPPO's expectation is.

    Returns
    -------
    Largest entry over losses and groups at `log_next`; and at `log_current`, the least over losses of it.
    """
    groups, size = wanted.shape
    prompts = [f"prompt {b}" for b in range(groups)]
    responses = [[f"response {k}" for k in range(size)]] * groups
    at_next, at_current = 0.0, float("inf")
    for loss, weighted in losses:
        weights = base if loss.__name__ != "pointwise_loss" else np.exp(log_current)
        for place in (log_next, log_current):
            policy = TabularPolicy(prompts, responses, logits=torch.tensor(place))
            rollouts = policy.encode(prompts, responses)
            log_ratio = policy.log_probs(rollouts).reshape(groups, size) - torch.tensor(log_current)
            error = log_ratio - torch.tensor(wanted)
            value = loss(error, torch.tensor(weights)) if weighted else loss(error)
            value.sum().backward()
            gradient = policy.logits.grad
            assert gradient is not None
            largest = gradient.abs().amax(dim=-1)
            if place is log_next:
                at_next = max(at_next, float(largest.max()))
            else:
                at_current = min(at_current, float(largest.max()))
    return at_next, at_current
