"""Checkpoints that a killed fit resumes from to the bit: safetensors and JSON, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from preference_models.comparisons import TextComparisons
from preference_models.fit_config import FitConfig
from preference_models.optimization import Processes
from preference_models.sharding import split_like, whole
from rebel_pref.atomic import new_numbered, numbered, write_text

__all__ = ["FitCheckpoint", "FitState", "FitStore", "fingerprint", "latest_fit", "read_fit", "write_fit"]

_NUMBERS = ("step", "best_loss", "best_step", "looks_since", "finished")


@dataclass
class FitState:
    """Where a fit is; random numbers are not in it, because each step seeds its own.

    Attributes
    ----------
    step : of the last one taken.
    best_loss, best_step, best_weights : of the best look at held-out comparisons so far.
    looks_since : looks without progress.
    finished : whether there is nothing left to do.
    """

    step: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    looks_since: int = 0
    finished: bool = False
    best_weights: dict[str, torch.Tensor] | None = None

    def look(self, model: torch.nn.Module, seen: float, patience: int | None) -> None:
        """Keep the weights if the loss that was seen is the best so far; finish when patience is out."""
        self.looks_since += 1
        if seen < self.best_loss:
            self.best_loss, self.best_step, self.looks_since = seen, self.step, 0
            self.best_weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self.finished = patience is not None and self.looks_since >= patience


@dataclass(frozen=True)
class FitCheckpoint:
    """Everything that the next step depends on, whole whatever processes share it.

    Attributes
    ----------
    progress : JSON object: the numbers of :class:`FitState`, and what the fit was asked for.
    weights : of the model.
    best : the weights with the best look so far, or None.
    optimizer : AdamW's state as flat tensors, "parameter number/name".
    """

    progress: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]
    best: Mapping[str, torch.Tensor] | None
    optimizer: Mapping[str, torch.Tensor]

    def resume(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> FitState:
        """Give the optimizer its state, and say where the fit is; `model` has its weights, and may be sharded."""
        load_optimizer_tensors(optimizer, self.optimizer)
        own = model.state_dict()
        best = None if self.best is None else {name: split_like(t, own[name]) for name, t in self.best.items()}
        return FitState(**{name: self.progress[name] for name in _NUMBERS}, best_weights=best)


class FitStore:
    """A folder of checkpoints of one fit: of these settings, on these comparisons."""

    def __init__(
        self, folder: Path, config: FitConfig, train: TextComparisons, held_out: TextComparisons | None
    ) -> None:
        self.folder = folder
        self.asked = {"config": asdict(config), "data": fingerprint(train, held_out)}

    def latest(self, model: torch.nn.Module) -> FitCheckpoint | None:
        """The latest checkpoint, whose weights `model` is given; None where there is none.

        Raises
        ------
        ValueError
            If it is not whole, or that of another fit.
        """
        path = latest_fit(self.folder)
        if path is None:
            return None
        stored = read_fit(path)
        for name, wanted in self.asked.items():
            if (found := stored.progress[name]) != wanted:
                difference = ""
                if isinstance(wanted, dict):
                    key = next(key for key in {**found, **wanted} if found.get(key) != wanted.get(key))
                    difference = f": {key} = {found.get(key)!r}, now {wanted.get(key)!r}"
                raise ValueError(f"{path} belongs to a fit with other {name}{difference}; give another folder")
        shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
        if shapes != {name: tensor.shape for name, tensor in stored.weights.items()}:
            raise ValueError(f"{path} belongs to another model: names or shapes of weights differ; give another folder")
        model.load_state_dict(dict(stored.weights))
        return stored

    def write(
        self, state: FitState, model: torch.nn.Module, optimizer: torch.optim.Optimizer, processes: Processes
    ) -> None:
        """Write where the fit is; called on every process, of which the main one writes."""
        processes.wait()
        if not processes.shard and processes.rank > 0:
            return
        # A sharded model is gathered by all.
        weights, best = _whole(model.state_dict()), None if state.best_weights is None else _whole(state.best_weights)
        moments = optimizer_tensors(optimizer)
        if processes.rank == 0:
            numbers = {name: getattr(state, name) for name in _NUMBERS}
            write_fit(self.folder, FitCheckpoint(numbers | self.asked, weights, best, moments))


def fingerprint(*parts: TextComparisons | None) -> str:
    """SHA-256 of comparisons, to tell whether a fit goes on with the data it began with."""
    digest = hashlib.sha256()
    for part in parts:
        rows = None
        if part is not None:
            rows = [part.prompts, part.first, part.second, part.outcome.tolist(), part.weight.tolist()]
        digest.update(json.dumps(rows).encode())
    return digest.hexdigest()


def write_fit(folder: Path, checkpoint: FitCheckpoint) -> Path:
    """Write ``folder/step-NNNNNNNN`` and delete those before it."""
    final = folder / f"step-{checkpoint.progress['step']:08d}"
    groups = {"weights": checkpoint.weights, "best": checkpoint.best, "optimizer": checkpoint.optimizer}
    with new_numbered(final, keep=1) as staging:
        for name, tensors in groups.items():
            if tensors is not None:
                # Tied weights share memory, which safetensors refuses: every name gets its own copy.
                save_file({k: v.detach().cpu().clone() for k, v in tensors.items()}, staging / f"{name}.safetensors")
        write_text(staging / "state.json", json.dumps(dict(checkpoint.progress)))
    return final


def latest_fit(folder: Path) -> Path | None:
    """The whole checkpoint of the latest step, or None."""
    return next(reversed(numbered(folder, "step").values()), None)


def read_fit(path: Path) -> FitCheckpoint:
    """Read what :func:`write_fit` wrote.

    Raises
    ------
    ValueError
        If it is not whole.
    """
    try:
        progress = json.loads((path / "state.json").read_text(encoding="utf-8"))
        best = load_file(path / "best.safetensors") if (path / "best.safetensors").exists() else None
        return FitCheckpoint(
            progress, load_file(path / "weights.safetensors"), best, load_file(path / "optimizer.safetensors")
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"{path} is not a whole checkpoint ({error}); delete it to start the fit anew") from error


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """An optimizer's state as flat tensors, "parameter number/name"."""
    state = optimizer.state_dict()["state"]
    return {f"{number}/{name}": whole(value) for number, entry in state.items() for name, value in entry.items()}


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give an optimizer the state that :func:`optimizer_tensors` made flat."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split("/", 1)
        like = parameters[int(number)]
        # Moments are split as their parameters are; a count of steps is one number.
        state.setdefault(int(number), {})[name] = split_like(value, like) if value.shape == like.shape else value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _whole(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: whole(tensor).cpu() for name, tensor in tensors.items()}
