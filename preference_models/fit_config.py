"""What a fit is asked for, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass

from preference_models.losses import LOSSES, Loss

__all__ = ["FitConfig", "FitReport"]


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
        peak; linear warm-up over `warmup_steps`, then cosine decay to 0. The default is for small models from scratch:
        pretrained weights want some 2e-5, adapters 2e-4.
    warmup_steps
        steps of the linear warm-up.
    weight_decay
        of AdamW, on matrices only.
    disc_shrinkage
        gamma of the penalty ``gamma * mean_y sum_l (lambda_l a_l)^2 + b_l^2``, which pulls the
        model towards Bradley-Terry.
    loss
        "logistic", "regression", "hinge" or "margin", see :mod:`losses`. Only the logistic one fits probabilities; a
        temperature (:func:`fit_temperature`) mends the others as far as it can.
    margin
        m of the other three.
    label_noise
        nu in [0, 1/2), the probability of a flipped vote that the loss reckons with:
        P(vote) = nu + (1 - 2 nu) sigmoid(s). The fitted logits are then those of the judge without the flips.
        0 fits the votes as they are. The loss is flat where a logit is large and wrong, so that a learning
        rate which is too high leaves confident mistakes behind; lower it, or add a little disc_shrinkage.
    gradient_clip
        largest gradient norm.
    evaluate_every
        steps between looks at the held-out loss; None means only at the end.
    patience
        looks without progress after which to stop; None means never. With looks, the best weights
        are kept.
    micro_batch_size
        most comparisons in one forward pass; None reads a process's share of the batch at once. The gradient is that
        of the batch either way.
    share_prompt
        whether the responses to a prompt in a batch share one reading of it (:mod:`packing`); None where the backbone
        allows it and it saves a fifth of the tokens.
    seed
        order of the batches, and dropout where the backbone has any.
    """

    steps: int = 2500
    batch_size: int = 1024
    comparisons_per_prompt: int = 512
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    disc_shrinkage: float = 0.0
    loss: Loss = "logistic"
    margin: float = 1.0
    label_noise: float = 0.0
    warmup_steps: int = 50
    gradient_clip: float = 1.0
    evaluate_every: int | None = None
    patience: int | None = None
    micro_batch_size: int | None = None
    share_prompt: bool | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        for name in ("steps", "batch_size", "comparisons_per_prompt"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {self.loss!r}")
        for name in ("learning_rate", "gradient_clip", "margin"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("weight_decay", "disc_shrinkage", "warmup_steps"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0.0 <= self.label_noise < 0.5:
            raise ValueError(f"label_noise is the probability of a flipped vote, in [0, 0.5), got {self.label_noise}")
        if self.label_noise > 0 and self.loss != "logistic":
            raise ValueError(f"label_noise is about probabilities, and so about the logistic loss, not {self.loss!r}")
        for name in ("evaluate_every", "micro_batch_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1 or None, got {getattr(self, name)}")
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
