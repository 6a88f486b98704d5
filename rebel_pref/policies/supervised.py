"""Supervised fine-tuning on given responses: the starting model of self-play, and distillation later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rebel_pref.policies.policy import Policy

__all__ = ["SupervisedConfig", "fit_supervised"]


@dataclass(frozen=True)
class SupervisedConfig:
    """How the starting model is supervised.

    Attributes
    ----------
    steps
        optimizer steps.
    batch_size
        responses a step, drawn evenly over the prompts.
    learning_rate
        peak of AdamW's rate, which falls linearly to 0.
    """

    steps: int = 600
    batch_size: int = 128
    learning_rate: float = 3e-3


def fit_supervised(
    policy: Policy,
    prompts: Sequence[str],
    responses: Sequence[Sequence[str]],
    config: SupervisedConfig,
    *,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> float:
    """Maximise the log-likelihood of responses drawn uniformly from each prompt's list.

    Parameters
    ----------
    responses : B lists of strings; a repeated string counts as often as it stands there.
    progress : called with 1 after every step.

    Returns
    -------
    Mean loss of the last tenth of the steps, nats a response.
    """
    if config.steps < 1:
        raise ValueError(f"supervised steps must be at least 1, got {config.steps}")
    rng = np.random.default_rng([seed, 1])
    everything = policy.encode(prompts, responses)
    by_prompt = [[i for i, b in enumerate(everything.prompt_index) if b == k] for k in range(len(prompts))]
    optimizer = torch.optim.AdamW(policy.module.parameters(), lr=config.learning_rate, weight_decay=0.0)
    losses = []
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * (1.0 - step / config.steps)
        chosen = [int(rng.choice(by_prompt[i % len(prompts)])) for i in range(config.batch_size)]
        loss = -policy.log_probs(everything.take(chosen)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.module.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if progress is not None:
            progress(1)
    return float(np.mean(losses[-max(1, len(losses) // 10) :]))
