"""What a fit minimises, on the logits s of N comparisons with outcomes q in [0, 1]. All odd: swap and turn q round.

A loss is one number: the weighted mean over comparisons. With an outcome between 0 and 1 it is what the votes behind
it would give on average, up to a constant; a tie pulls a logit to 0.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["LOSSES", "Loss", "hinge_loss", "logistic_loss", "loss_of", "margin_loss", "regression_loss"]

Loss = Literal["logistic", "regression", "hinge", "margin"]
LOSSES: tuple[Loss, ...] = ("logistic", "regression", "hinge", "margin")


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


def regression_loss(logits: Tensor, outcome: Tensor, weight: Tensor, *, margin: float = 1.0) -> Tensor:
    """Weighted mean of ``(s - m (2 q - 1))^2``; its minimiser is ``s = m (2 P - 1)``, bounded where all votes agree.

    Source: Azar et al. 2023 (2310.12036, equation 17), whose target 1 / (2 tau) is m. The minimiser is the payoff
    times m, not the log-odds: its sign is right, its sigmoid needs the temperature that calibration fits.
    """
    return (weight * (logits - margin * (2 * outcome - 1)).square()).sum() / weight.sum()


def hinge_loss(logits: Tensor, outcome: Tensor, weight: Tensor, *, margin: float = 1.0) -> Tensor:
    """Weighted mean of ``q max(0, m - s) + (1 - q) max(0, m + s)``: zero once the winner leads by m.

    Source: Zhao et al. 2023 (2305.10425, equation 2). Its minimiser is m times a sign and knows no probabilities.
    """
    terms = outcome * (margin - logits).relu() + (1 - outcome) * (margin + logits).relu()
    return (weight * terms).sum() / weight.sum()


def margin_loss(logits: Tensor, outcome: Tensor, weight: Tensor, *, margin: float = 1.0) -> Tensor:
    """The logistic loss of ``s - m (2 q - 1)``: a decided vote must be won by m to count as much as it would at 0.

    Source: Touvron et al. 2023 (2307.09288, equation 2), whose margin grows with how clear the verdict was; here with
    how far the outcome is from a tie. The minimiser is m (2 q - 1) beyond the log-odds: calibrate it.
    """
    return logistic_loss(logits - margin * (2 * outcome - 1), outcome, weight)


def loss_of(
    name: Loss, logits: Tensor, outcome: Tensor, weight: Tensor, *, margin: float = 1.0, label_noise: float = 0.0
) -> Tensor:
    """The loss of that name; `margin` is for all but the logistic one, `label_noise` for that one alone."""
    if name == "logistic":
        return logistic_loss(logits, outcome, weight, label_noise=label_noise)
    functions = {"regression": regression_loss, "hinge": hinge_loss, "margin": margin_loss}
    return functions[name](logits, outcome, weight, margin=margin)
