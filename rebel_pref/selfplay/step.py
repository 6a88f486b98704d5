"""Fourth arrow: move the learner so that its log-ratios meet the target."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from rebel_pref.policies.policy import Policy, Rollouts
from rebel_pref.regression import group_gradient_weights, pointwise_loss, weighted_pairwise_loss
from rebel_pref.selfplay.config import OptimizationConfig

__all__ = ["RegressionBatch", "regress"]


@dataclass(frozen=True, eq=False)
class RegressionBatch:
    """What one process regresses in a round: groups of its prompts, flat.

    Attributes
    ----------
    rollouts : N responses.
    rows, columns : int [N], where each response stands in the padded [B, M] arrays.
    log_current : float32 [N], log pi_t, the base of the log-ratio.
    target : float32 [B, M]; weights : float32 [B, M], v, sum to 1 along a row, 0 where not regressed.
    """

    rollouts: Rollouts
    rows: torch.Tensor
    columns: torch.Tensor
    log_current: torch.Tensor
    target: torch.Tensor
    weights: torch.Tensor

    def padded(self, values: torch.Tensor) -> torch.Tensor:
        """Flat [N] -> [B, M], 0 in the padding."""
        return torch.zeros_like(self.target).index_put((self.rows, self.columns), values.to(self.target.dtype))


def regress(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    batch: RegressionBatch,
    config: OptimizationConfig,
    *,
    residual: str,
    total_prompts: int,
) -> dict[str, float]:
    """Take `inner_steps` optimizer steps on the mean loss of the round's prompts, over all processes.

    A group that does not fit one microbatch is split: its coefficients come from a pass without gradients at
    the parameters of that step, so the gradient is exactly the one of the whole group.

    Returns
    -------
    This process's sums over its prompts: "loss" before the first step, "wanted" (variance of the target) and
    "left" (what is left of it after the last step); and "grad_norm" of the last step.
    """
    parts = list(batch.rollouts.microbatches(config.microbatch_tokens))
    # accelerate averages gradients over processes; the loss is the mean over the prompts of all of them.
    scale = accelerator.num_processes / total_prompts
    first_loss, grad_norm = 0.0, 0.0
    for inner in range(config.inner_steps):
        optimizer.zero_grad()
        if len(parts) == 1:
            losses = _losses(batch, policy.log_probs(batch.rollouts) - batch.log_current, residual)
            accelerator.backward(scale * losses.sum())
            loss = float(losses.detach().sum())
        else:
            loss = _backward_in_parts(policy, accelerator, batch, parts, residual, scale)
        if inner == 0:
            first_loss = loss
        norm = accelerator.clip_grad_norm_(policy.module.parameters(), config.max_grad_norm)
        grad_norm = float(norm) if norm is not None else 0.0
        if not grad_norm < float("inf"):
            raise FloatingPointError(
                f"the gradient is not finite (norm {grad_norm}) at inner step {inner + 1}: lower learning_rate or "
                "step_size; the last checkpoint is intact"
            )
        optimizer.step()
    with torch.no_grad():
        log_ratio = batch.padded(policy.log_probs(batch.rollouts) - batch.log_current)
        left = weighted_pairwise_loss(log_ratio - batch.target, batch.weights).sum()
        wanted = weighted_pairwise_loss(batch.target, batch.weights).sum()
    return {"loss": first_loss, "left": float(left), "wanted": float(wanted), "grad_norm": grad_norm}


def _losses(batch: RegressionBatch, log_ratio: torch.Tensor, residual: str) -> torch.Tensor:
    error = batch.padded(log_ratio) - batch.target
    losses = (weighted_pairwise_loss if residual == "pairwise" else pointwise_loss)(error, batch.weights)
    assert isinstance(losses, torch.Tensor)
    return losses


def _backward_in_parts(
    policy: Policy,
    accelerator: Accelerator,
    batch: RegressionBatch,
    parts: list[list[int]],
    residual: str,
    scale: float,
) -> float:
    with torch.no_grad():
        log_ratio = policy.log_probs(batch.rollouts) - batch.log_current
        losses = _losses(batch, log_ratio, residual)
        error = batch.padded(log_ratio) - batch.target
        coefficients = group_gradient_weights(error, batch.weights, residual=residual)[batch.rows, batch.columns]
    for number, rows in enumerate(parts):
        last = number == len(parts) - 1
        # Gradients are exchanged once, with the last part: processes may have different numbers of parts.
        with accelerator.no_sync(policy.module) if not last else nullcontext():
            log_probs = policy.log_probs(batch.rollouts.take(rows))
            accelerator.backward(scale * (coefficients[rows] * log_probs).sum())
    return float(losses.sum())
