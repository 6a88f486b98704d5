"""One step of a fit: the loss of a batch, its gradient (over all processes), AdamW, the schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from preference_models.batching import PreparedComparisons
from preference_models.fit_config import FitConfig
from preference_models.losses import loss_of
from preference_models.sharding import sharded_copy, whole

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Processes", "learning_rate_share", "make_optimizer", "take_step"]


class Processes:
    """The processes that fit one model together: each reads its parts of every batch, and gradients are summed.

    Sums, not the averages of DDP: a batch then has the gradient that one process would compute, whatever the weights
    of the rows and whichever responses they share.

    Parameters
    ----------
    accelerator : None for this process alone.
    shard : whether each keeps a part of the model only, see :mod:`preference_models.sharding`. So it is, too, if the
        accelerator was launched to shard. One process has nothing to split.
    """

    def __init__(self, accelerator: Accelerator | None, *, shard: bool = False) -> None:
        self.accelerator = accelerator
        self.world: int = 1 if accelerator is None else accelerator.num_processes
        self.rank: int = 0 if accelerator is None else accelerator.process_index
        launched = accelerator is not None and getattr(accelerator.state, "fsdp_plugin", None) is not None
        self.shard = (shard or launched) and self.world > 1

    def worker(self, model: torch.nn.Module) -> torch.nn.Module:
        """What is fitted: the model, on the accelerator's device and alike on all processes, or a sharded copy."""
        if self.accelerator is None:
            return model
        if not self.shard:
            model.to(self.accelerator.device)
        if self.world > 1:
            from accelerate.utils import broadcast

            # A sharded copy takes the main process's weights by itself.
            for tensor in (*(() if self.shard else model.parameters()), *model.buffers()):
                there = broadcast(tensor.data.to(self.accelerator.device, copy=True))
                tensor.data.copy_(there)
        return sharded_copy(model, self.accelerator.device, self.world) if self.shard else model

    def autocast(self) -> Any:
        """The precision that the accelerator was made with."""
        return nullcontext() if self.accelerator is None else self.accelerator.autocast()

    def same(self, value: float) -> float:
        """The main process's number, on every process, so that all decide alike."""
        if self.world == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return float(broadcast_object_list([value])[0])

    def require_same(self, value: int, name: str) -> None:
        """Refuse to go on where processes have different numbers, rather than wait for each other for ever."""
        if self.world == 1:
            return
        from accelerate.utils import gather_object

        found = gather_object([value])
        if len(set(found)) > 1:
            raise ValueError(
                f"expected all processes to have the same {name}, got {', '.join(map(str, found))}: put the folder "
                "where every process sees it"
            )

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter], loss: Tensor) -> Tensor:
        """Sum the gradients over the processes, in place; the loss summed likewise."""
        if self.world == 1:
            return loss
        from accelerate.utils import reduce

        # Those of a sharded model are summed already.
        gradients = [] if self.shard else [p.grad for p in parameters if p.grad is not None]
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
    config: FitConfig,
    step: int,
) -> tuple[float, float]:
    """Optimiser step number `step` on comparisons `rows`, the same on every process: the loss, and the gradient's norm.

    The rows are cut into parts, as many for each process, and each part is one forward pass; the gradient is that of
    the batch as a whole, up to rounding.

    Raises
    ------
    FloatingPointError
        If loss or gradient is not finite. No step is taken then.
    """
    for group in optimizer.param_groups:
        share = learning_rate_share(step, steps=config.steps, warmup_steps=config.warmup_steps)
        group["lr"] = config.learning_rate * share
    passes = 1 if config.micro_batch_size is None else -(-len(rows) // (processes.world * config.micro_batch_size))
    parts = torch.tensor_split(rows, processes.world * passes)
    mine = parts[processes.rank * passes : (processes.rank + 1) * passes]
    shares = data.shares(parts) if config.disc_shrinkage > 0.0 else None
    total_weight = data.weight[rows].sum()
    optimizer.zero_grad()
    value = torch.zeros((), device=data.weight.device)
    for number, part in enumerate(mine, start=processes.rank * passes):
        # All processes make the same calls and sum gradients: one without rows left reads one that counts nothing.
        idle = len(part) == 0
        read = rows[:1] if idle else part
        with processes.autocast():
            embeddings, logits = data.pair_logits(model, read)
        weight = data.weight[read]
        own = loss_of(
            config.loss,
            logits.float(),
            data.outcome[read],
            weight,
            margin=config.margin,
            label_noise=config.label_noise,
        )
        own = own * (0.0 if idle else weight.sum() / total_weight)
        objective = own
        if hasattr(embeddings, "left") and shares is not None:
            energy = embeddings.left.square().sum(-1) + embeddings.right.square().sum(-1)
            objective = own + config.disc_shrinkage * (energy * (0.0 if idle else shares[number])).sum()
        if not objective.requires_grad:
            raise ValueError(
                f"{type(model).__name__} gives logits without gradients, by which nothing can be fitted; fit with soft "
                "votes rather than hard ones"
            )
        torch.autograd.backward(objective)
        value += own.detach()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    found = processes.sum_gradients(parameters, value).item()
    norm = whole(torch.nn.utils.clip_grad_norm_(parameters, config.gradient_clip)).item()
    if not (math.isfinite(found) and math.isfinite(norm)):
        raise FloatingPointError(
            f"loss {found}, gradient norm {norm} at step {step}: lower learning_rate (now {config.learning_rate}), or "
            "raise warmup_steps or disc_shrinkage"
        )
    optimizer.step()
    return found, norm


def make_optimizer(model: torch.nn.Module, *, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW; biases and norms (vectors) do not decay. beta2 is .99: short runs cannot wait for .999."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(
            f"{type(model).__name__} has nothing to fit: every parameter is frozen (requires_grad is False)"
        )
    half = next((p.dtype for p in parameters if p.dtype in (torch.float16, torch.bfloat16)), None)
    if half is not None:
        raise ValueError(
            f"expected weights in float32 to fit, got {half}, in which small steps round away; call model.float(), and "
            "take an accelerator with mixed precision for speed"
        )
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.99))


def learning_rate_share(step: int, *, steps: int, warmup_steps: int) -> float:
    """Share of the peak learning rate at a step (from 1): linear warm-up times cosine decay."""
    warm = min(1.0, step / warmup_steps) if warmup_steps > 0 else 1.0
    return warm * 0.5 * (1.0 + math.cos(math.pi * (step - 1) / steps))
