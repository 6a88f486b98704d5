"""Checkpoints that a killed fit resumes from to the bit: safetensors and JSON, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from preference_models.comparisons import Comparisons

__all__ = ["FitCheckpoint", "fingerprint", "latest_fit", "read_fit", "write_fit"]

_NAME = re.compile(r"step-(\d{8})")


@dataclass(frozen=True)
class FitCheckpoint:
    """Everything that the next step depends on; random numbers are not in it, because each step seeds its own.

    Attributes
    ----------
    progress : JSON object: step, best_loss, best_step, looks_since, finished, and what the fit was asked for.
    weights : of the model.
    best : the weights with the best look so far, or None.
    optimizer : AdamW's state as flat tensors, "parameter number/name".
    """

    progress: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]
    best: Mapping[str, torch.Tensor] | None
    optimizer: Mapping[str, torch.Tensor]


def fingerprint(*parts: Comparisons | None) -> str:
    """SHA-256 of comparisons, to tell whether a fit goes on with the data it began with."""
    digest = hashlib.sha256()
    for part in parts:
        rows = None
        if part is not None and part.weight is not None:
            rows = [part.prompts, part.first, part.second, part.outcome.tolist(), part.weight.tolist()]
        digest.update(json.dumps(rows).encode())
    return digest.hexdigest()


def write_fit(folder: Path, checkpoint: FitCheckpoint) -> Path:
    """Write ``folder/step-NNNNNNNN`` and delete those before it."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{checkpoint.progress['step']:08d}"
    staging = folder / f".{final.name}.{os.getpid()}"
    for left_by_a_kill in folder.glob(".step-*"):
        shutil.rmtree(left_by_a_kill, ignore_errors=True)
    staging.mkdir()
    groups = {"weights": checkpoint.weights, "best": checkpoint.best, "optimizer": checkpoint.optimizer}
    for name, tensors in groups.items():
        if tensors is not None:
            # Tied weights share memory, which safetensors refuses: every name gets its own copy.
            save_file({k: v.detach().cpu().clone() for k, v in tensors.items()}, staging / f"{name}.safetensors")
    (staging / "state.json").write_text(json.dumps(dict(checkpoint.progress)), encoding="utf-8")
    if final.exists():
        shutil.rmtree(final)
    os.replace(staging, final)
    for step in _steps(folder):
        if step != checkpoint.progress["step"]:
            shutil.rmtree(folder / f"step-{step:08d}")
    return final


def latest_fit(folder: Path) -> Path | None:
    """The whole checkpoint of the latest step, or None."""
    steps = _steps(folder)
    return folder / f"step-{steps[-1]:08d}" if steps else None


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
    return {f"{number}/{name}": value for number, entry in state.items() for name, value in entry.items()}


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give an optimizer the state that :func:`optimizer_tensors` made flat."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split("/", 1)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _steps(folder: Path) -> list[int]:
    if not folder.exists():
        return []
    matches = (_NAME.fullmatch(entry.name) for entry in folder.iterdir())
    return sorted(int(match.group(1)) for match in matches if match)
