"""One step of a fit: the loss of a batch, its gradient (over all processes), AdamW, the schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from preference_models.batching import PreparedComparisons
from preference_models.losses import Loss, loss_of

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Processes", "learning_rate_share", "make_optimizer", "take_step"]


class Processes:
    """The processes that fit one model together: each reads its part of every batch, and gradients are summed.

    Sums, not the averages of DDP: a batch then has the gradient that one process would compute, whatever the weights
    of the rows and whichever responses they share.
    """

    def __init__(self, accelerator: Accelerator | None) -> None:
        self.accelerator = accelerator
        self.world: int = 1 if accelerator is None else accelerator.num_processes
        self.rank: int = 0 if accelerator is None else accelerator.process_index

    def autocast(self) -> Any:
        """The precision that the accelerator was made with."""
        return nullcontext() if self.accelerator is None else self.accelerator.autocast()

    def same(self, value: float) -> float:
        """The main process's number, on every process, so that all decide alike."""
        if self.world == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return float(broadcast_object_list([value])[0])

    def start_alike(self, model: torch.nn.Module) -> None:
        """Give every process the main one's weights."""
        if self.world > 1:
            from accelerate.utils import broadcast

            for tensor in (*model.parameters(), *model.buffers()):
                tensor.data.copy_(broadcast(tensor.data.clone()))

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter], loss: Tensor) -> Tensor:
        """Sum the gradients over the processes, in place; the loss summed likewise."""
        if self.world == 1:
            return loss
        from accelerate.utils import reduce

        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([loss.detach().reshape(1).float(), *(g.flatten().float() for g in gradients)])
        total, *parts = torch.split(reduce(flat, "sum"), [1, *(g.numel() for g in gradients)])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return total[0]

    def log(self, values: dict[str, float], step: int) -> None:
        """To the accelerator's trackers, if it has any."""
        if self.accelerator is not None:
            self.accelerator.log(values, step=step)

    def wait(self) -> None:
        """Until every process is here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()


def take_step(
    model: Any,
    data: PreparedComparisons,
    rows: Tensor,
    optimizer: torch.optim.Optimizer,
    processes: Processes,
    *,
    loss: Loss,
    margin: float,
    label_noise: float,
    disc_shrinkage: float,
    gradient_clip: float,
) -> tuple[float, float]:
    """One optimiser step on comparisons `rows` (the same on every process): the loss, and the gradient's norm.

    Where either is not finite, no step is taken.
    """
    rank, world = processes.rank, processes.world
    mine = rows[rank::world]
    idle = len(mine) == 0
    if idle:  # The sum over the processes needs a gradient from each: a row that counts nothing.
        mine = rows[:1]
    with processes.autocast():
        embeddings, logits = data.pair_logits(model, mine)
    value = loss_of(loss, logits.float(), data.outcome[mine], data.weight[mine], margin=margin, label_noise=label_noise)
    total = value
    if world > 1:
        value = value * (0.0 if idle else float(data.weight[mine].sum() / data.weight[rows].sum()))
        total = value
    if hasattr(embeddings, "left"):
        if world == 1:
            penalty = embeddings.left.square().sum(-1).mean() + embeddings.right.square().sum(-1).mean()
        else:
            shares = None if idle else data.shares(rows, rank, world)
            energy = embeddings.left.square().sum(-1) + embeddings.right.square().sum(-1)
            penalty = (energy * (0.0 if shares is None else shares)).sum()
        total = value + disc_shrinkage * penalty
    optimizer.zero_grad()
    torch.autograd.backward(total)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    value = processes.sum_gradients(parameters, value)
    norm = torch.nn.utils.clip_grad_norm_(parameters, gradient_clip).item()
    found = value.item()
    if math.isfinite(found) and math.isfinite(norm):
        optimizer.step()
    return found, norm


def make_optimizer(model: torch.nn.Module, *, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW; biases and norms (vectors) do not decay. beta2 is .99: short runs cannot wait for .999."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.99))


def learning_rate_share(step: int, *, steps: int, warmup_steps: int) -> float:
    """Share of the peak learning rate at a step (from 1): linear warm-up times cosine decay."""
    warm = min(1.0, step / warmup_steps) if warmup_steps > 0 else 1.0
    return warm * 0.5 * (1.0 + math.cos(math.pi * (step - 1) / steps))
