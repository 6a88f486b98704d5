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
    """A copy of `model` on `device`, of which every process keeps a part; layers move there one by one.

    Its gradients are sums over the processes, not means. Every process makes the same calls of its forward.
    """
    mesh = init_device_mesh(device.type, (world,))
    split = copy.deepcopy(model)
    for layer in _layers(split):
        fully_shard(layer, mesh=mesh)
    fully_shard(split, mesh=mesh)
    for module in split.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no scaled sums
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
    part: Tensor = distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return part


def _layers(model: nn.Module) -> list[nn.Module]:
    """The backbone's blocks, as its class names them."""
    backbone: Any = getattr(model, "backbone", model)
    # An adapted backbone hides the class that knows its blocks.
    base = backbone.get_base_model() if hasattr(backbone, "get_base_model") else backbone
    names = set(getattr(base, "_no_split_modules", None) or ())
    return [module for module in base.modules() if type(module).__name__ in names]
