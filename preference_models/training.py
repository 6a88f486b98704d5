"""Fit a preference model to comparisons: logistic loss on pair logits, AdamW, one device, plain PyTorch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from preference_models.batching import TokenizedComparisons, prompt_batches
from preference_models.comparisons import Comparisons
from preference_models.serving import PreferenceModel

__all__ = ["FitConfig", "FitReport", "fit_preference_model", "logistic_loss"]


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Settings of a fit.

    Attributes
    ----------
    steps
        optimiser steps.
    batch_size
        comparisons a step.
    comparisons_per_prompt
        comparisons of one prompt that travel in one batch, where there are as many. Each
        distinct response of a batch is encoded once, so a small pool of responses is cheaper in large groups.
    learning_rate
        peak; linear warm-up over `warmup_steps`, then cosine decay to 0.
    warmup_steps
        steps of the linear warm-up.
    weight_decay
        of AdamW, on matrices only.
    disc_shrinkage
        gamma of the penalty ``gamma * mean_y sum_l (lambda_l a_l)^2 + b_l^2``, which pulls the
        model towards Bradley-Terry.
    label_noise
        nu in [0, 1/2), the probability of a flipped vote that the loss reckons with:
        P(vote) = nu + (1 - 2 nu) sigmoid(s). The fitted logits are then those of the judge without the flips.
        0 fits the votes as they are. The loss is flat where a logit is large and wrong, so that a learning
        rate which is too high leaves confident mistakes behind; lower it, or add a little disc_shrinkage.
    gradient_clip
        largest gradient norm.
    evaluate_every
        steps between looks at the held-out log-loss; None means only at the end.
    patience
        looks without progress after which to stop; None means never. With looks, the best weights
        are kept.
    seed
        order of the batches, and dropout where the backbone has any.
    """

    steps: int = 2500
    batch_size: int = 1024
    comparisons_per_prompt: int = 512
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    disc_shrinkage: float = 0.0
    label_noise: float = 0.0
    warmup_steps: int = 50
    gradient_clip: float = 1.0
    evaluate_every: int | None = None
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        for name in ("steps", "batch_size", "comparisons_per_prompt"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "gradient_clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("weight_decay", "disc_shrinkage", "warmup_steps"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0.0 <= self.label_noise < 0.5:
            raise ValueError(f"label_noise is the probability of a flipped vote, in [0, 0.5), got {self.label_noise}")
        if self.evaluate_every is not None and self.evaluate_every < 1:
            raise ValueError(f"evaluate_every must be at least 1 or None, got {self.evaluate_every}")
        if self.patience is not None and (self.patience < 1 or self.evaluate_every is None):
            raise ValueError(f"patience must be at least 1 and needs evaluate_every, got {self.patience}")


@dataclass(frozen=True)
class FitReport:
    """How a fit went. Log-losses are in nats a vote, under ``nu + (1 - 2 nu) sigmoid(s)``; log 2 = 0.693 is chance.

    Attributes
    ----------
    held_out_accuracy : share of held-out votes (outcome not 1/2) whose winner the sign of the logit names;
        a judge that flips one vote in ten leaves at most 0.9 to reach. None without held-out comparisons.
    truth_accuracy : the same against the true preferences (decided ones); None without them.
    held_out_log_loss, train_log_loss : of the weights that are kept.
    steps : steps taken; fewer than ``settings.steps`` if the fit stopped early.
    best_step : the step whose weights are kept.
    seconds : wall-clock.
    settings : the settings.
    """

    held_out_accuracy: float | None
    truth_accuracy: float | None
    held_out_log_loss: float | None
    train_log_loss: float
    steps: int
    best_step: int
    seconds: float
    settings: FitConfig


def logistic_loss(logits: Tensor, outcome: Tensor, weight: Tensor, *, label_noise: float = 0.0) -> Tensor:
    """Weighted mean of ``-q log P - (1 - q) log(1 - P)``, where P = nu + (1 - 2 nu) sigmoid(s).

    Parameters
    ----------
    logits, outcome, weight : [P]; outcome q in [0, 1].
    label_noise : nu, the probability that a vote is flipped.
    """
    win, lose = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
    if label_noise > 0:
        # In probabilities, not log-sum-exp: both terms are at least nu, so nothing can underflow.
        win = torch.log(label_noise + (1 - 2 * label_noise) * win.exp())
        lose = torch.log(label_noise + (1 - 2 * label_noise) * lose.exp())
    return -(weight * (outcome * win + (1 - outcome) * lose)).sum() / weight.sum()


def fit_preference_model(
    model: PreferenceModel,
    train: Comparisons,
    held_out: Comparisons | None = None,
    config: FitConfig | None = None,
    *,
    truth: ArrayLike | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> FitReport:
    """Fit `model` in place, on the device where it is; the same seed gives the same weights on the same machine.

    Parameters
    ----------
    train : comparisons to fit.
    held_out : comparisons to judge the fit by (:func:`split_held_out_pairs`), or None.
    truth : true P(first wins) of the held-out comparisons [len(held_out)] (:func:`ask` a true judge), or None.
    progress : called after every step with its number (from 1) and its loss.

    Raises
    ------
    ValueError
        For an empty set, or `truth` that does not fit `held_out`.
    FloatingPointError
        If the loss or a gradient is not finite.
    """
    config = FitConfig() if config is None else config
    if len(train) == 0:
        raise ValueError("expected at least one comparison to train on, got an empty set")
    if held_out is not None and len(held_out) == 0:
        raise ValueError("held_out is empty; pass None to fit without held-out comparisons")
    if held_out is None and (truth is not None or config.evaluate_every is not None):
        raise ValueError("truth and evaluate_every are about held-out comparisons; pass held_out")
    if held_out is not None and truth is not None and np.shape(truth) != (len(held_out),):
        raise ValueError(f"expected truth of shape {(len(held_out),)}, got {np.shape(truth)}")
    assert isinstance(model, torch.nn.Module)

    started = time.perf_counter()
    data = TokenizedComparisons(model, train)
    check = None if held_out is None else TokenizedComparisons(model, held_out)
    batches = prompt_batches(
        data.prompt,
        batch_size=config.batch_size,
        group_size=config.comparisons_per_prompt,
        rng=np.random.default_rng(config.seed),
    )
    optimizer = _optimizer(model, config)
    best_loss, best_step, best_weights, looks_since, step = math.inf, 0, None, 0, 0
    was_training = model.training
    model.train()
    device = data.first.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        for step in range(1, config.steps + 1):
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * _schedule(step, config)
            loss = _step(model, data, torch.from_numpy(next(batches)).to(device), optimizer, config, step)
            if progress is not None:
                progress(step, loss)
            if check is None or config.evaluate_every is None or step % config.evaluate_every != 0:
                continue
            seen = _log_loss(model, check, config)
            looks_since += 1
            if seen < best_loss:
                best_loss, best_step, looks_since = seen, step, 0
                best_weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            if config.patience is not None and looks_since >= config.patience:
                break
    model.train(was_training)
    if best_weights is not None:
        model.load_state_dict(best_weights)

    return FitReport(
        held_out_accuracy=None if check is None else _accuracy(model, check, check.outcome),
        truth_accuracy=None if check is None or truth is None else _accuracy(model, check, torch.as_tensor(truth)),
        held_out_log_loss=None if check is None else _log_loss(model, check, config),
        train_log_loss=_log_loss(model, data, config),
        steps=step,
        best_step=step if best_weights is None else best_step,
        seconds=time.perf_counter() - started,
        settings=config,
    )


def _step(
    model: PreferenceModel,
    data: TokenizedComparisons,
    rows: Tensor,
    optimizer: torch.optim.Optimizer,
    config: FitConfig,
    step: int,
) -> float:
    """One optimiser step on comparisons `rows`; its loss."""
    embeddings, logits = data.pair_logits(model, rows)
    loss = logistic_loss(logits, data.outcome[rows], data.weight[rows], label_noise=config.label_noise)
    penalty = embeddings.left.square().sum(-1).mean() + embeddings.right.square().sum(-1).mean()
    optimizer.zero_grad()
    torch.autograd.backward(loss + config.disc_shrinkage * penalty)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(parameters, config.gradient_clip).item()
    value = loss.item()
    if not (math.isfinite(value) and math.isfinite(norm)):
        raise FloatingPointError(
            f"loss {value}, gradient norm {norm} at step {step}: lower learning_rate (now {config.learning_rate}), "
            "or raise warmup_steps or disc_shrinkage"
        )
    optimizer.step()
    return value


def _optimizer(model: torch.nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    """AdamW; biases and norms (vectors) do not decay. beta2 is .99: short runs cannot wait for .999."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99))


def _schedule(step: int, config: FitConfig) -> float:
    """Share of the peak learning rate at a step (from 1): linear warm-up times cosine decay."""
    warm = min(1.0, step / config.warmup_steps) if config.warmup_steps > 0 else 1.0
    return warm * 0.5 * (1.0 + math.cos(math.pi * (step - 1) / config.steps))


def _log_loss(model: PreferenceModel, data: TokenizedComparisons, config: FitConfig) -> float:
    return logistic_loss(data.logits(model), data.outcome, data.weight, label_noise=config.label_noise).item()


def _accuracy(model: PreferenceModel, data: TokenizedComparisons, preference: Tensor) -> float | None:
    """Share of decided rows whose winner the logit names (a logit of 0 names nobody); None if none is decided."""
    preference = preference.to(data.outcome)
    decided = preference != 0.5
    if not decided.any():
        return None
    right = data.logits(model)[decided].sign() == (preference[decided] - 0.5).sign()
    return ((right * data.weight[decided]).sum() / data.weight[decided].sum()).item()
