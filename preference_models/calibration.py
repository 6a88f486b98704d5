"""One temperature: the calibration that leaves a preference model skew-symmetric and its winners as they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import minimize_scalar

from preference_models.batching import prepare
from preference_models.comparisons import TextComparisons
from preference_models.losses import logistic_loss

__all__ = ["LARGEST_FACTOR", "Calibration", "best_temperature_factor", "fit_temperature"]

LARGEST_FACTOR = 20.0
"""A temperature changes at most by this factor."""


@dataclass(frozen=True)
class Calibration:
    """A temperature and what it brought, in nats a vote on the comparisons it was fitted to.

    Attributes
    ----------
    temperature : now in the model's configuration; logits are divided by it.
    before, after : log-loss at the temperature that the model had, and at this one.
    at_limit : whether the factor stopped at :data:`LARGEST_FACTOR`, up or down.
    """

    temperature: float
    before: float
    after: float
    at_limit: bool


def best_temperature_factor(
    logits: torch.Tensor, outcome: torch.Tensor, weight: torch.Tensor, *, label_noise: float = 0.0
) -> float:
    """The factor T in [1/20, 20] whose logits s / T have the lowest log-loss; convex in 1 / T without label noise."""
    logits, outcome, weight = (values.detach().double().cpu() for values in (logits, outcome, weight))

    def loss(log_factor: float) -> float:
        return logistic_loss(logits / math.exp(log_factor), outcome, weight, label_noise=label_noise).item()

    limit = math.log(LARGEST_FACTOR)
    found = float(minimize_scalar(loss, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-6}).x)
    # The search never tries its bounds, and must not make things worse where the loss is flat.
    return math.exp(min((found, -limit, limit, 0.0), key=loss))


def fit_temperature(model: Any, held_out: TextComparisons, *, label_noise: float = 0.0) -> Calibration:
    """Fit ``model.config.temperature`` to comparisons that the weights were not fitted to; saved with the model.

    A positive factor on the logits: an intercept would favour whichever response stands first. The W votes that it is
    fitted to get a doubt that shrinks with W (q becomes (W q + 1) / (W + 2), Platt 1999, equation 5): votes that agree
    with every logit do not show that the model is never wrong.

    Parameters
    ----------
    model : with ``config.temperature``.
    label_noise : as the model was fitted, see :class:`FitConfig`.
    """
    if len(held_out) == 0:
        raise ValueError("expected at least one comparison to calibrate on, got an empty set")
    data = prepare(model, held_out)
    logits = data.logits(model)

    def loss(factor: float) -> float:
        scaled = logits.double() / factor
        return logistic_loss(scaled, data.outcome.double(), data.weight.double(), label_noise=label_noise).item()

    votes = data.weight.double().sum()
    smoothed = (votes * data.outcome.double() + 1) / (votes + 2)
    factor = best_temperature_factor(logits, smoothed, data.weight, label_noise=label_noise)
    model.config.temperature = float(model.config.temperature) * factor
    at_limit = not 1.001 / LARGEST_FACTOR < factor < 0.999 * LARGEST_FACTOR
    return Calibration(model.config.temperature, loss(1.0), loss(factor), at_limit)
