"""A model split over processes while it is fitted: each keeps a part of weights, gradients and optimiser state.

Fully sharded data parallelism (``torch.distributed.fsdp.fully_shard``): the layers of the backbone are gathered one at
a time, and the gradients of a layer are summed and split as soon as it is done. The model that the caller gave is whole
before and after; what is split is a copy.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

__all__ = ["copy_back", "sharded_copy", "split_like", "whole"]


def sharded_copy(model: nn.Module, device: torch.device, world: int) -> nn.Module:
    """A copy of the main process's `model` on `device`, of which every process keeps a part.

    Weights are cut up and sent out one by one, so that there is never a second whole model. Gradients are sums over the
    processes, not means. Every process makes the same calls of the copy's forward.
    """
    mesh = init_device_mesh(device.type, (world,))
    weights = dict(model.named_parameters(remove_duplicate=False))
    # A copy without memory for its weights.
    hollow = {id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in weights.values()}
    split = copy.deepcopy(model, hollow)
    for layer in _layers(split):
        fully_shard(layer, mesh=mesh)
    fully_shard(split, mesh=mesh)
    for module in split.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no scaled sums
    parts: dict[int, nn.Parameter] = {}  # Tied weights stay tied.
    filled = {}
    for name, part in split.named_parameters(remove_duplicate=False):
        source = weights[name]
        if id(source) not in parts:
            parts[id(source)] = nn.Parameter(split_like(source.detach().to(device), part), source.requires_grad)
        filled[name] = parts[id(source)]
    split.load_state_dict(filled, strict=False, assign=True)
    return split


def copy_back(split: nn.Module, model: nn.Module) -> None:
    """Give `model` the weights of its sharded copy, one tensor at a time; called on every process."""
    own = model.state_dict()
    for name, tensor in split.state_dict().items():
        own[name].copy_(whole(tensor))


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, on every process that calls this; a tensor that is not split is itself."""
    if not isinstance(tensor, DTensor):
        return tensor
    gathered: Tensor = tensor.full_tensor()
    return gathered


def split_like(tensor: Tensor, like: Any) -> Tensor:
    """This process's part of a whole tensor, split as `like` is."""
    if not isinstance(like, DTensor):
        return tensor
    part: Tensor = distribute_tensor(tensor.to(like.device_mesh.device_type), like.device_mesh, like.placements)
    return part


def _layers(model: nn.Module) -> list[nn.Module]:
    """The backbone's blocks, as its class names them."""
    backbone: Any = getattr(model, "backbone", model)
    # An adapted backbone hides the class that knows its blocks.
    base = backbone.get_base_model() if hasattr(backbone, "get_base_model") else backbone
    names = set(getattr(base, "_no_split_modules", None) or ())
    return [module for module in base.modules() if type(module).__name__ in names]
