"""Last arrow: checkpoints that a killed run resumes from to the bit. Safetensors, npz and JSON; no pickle.

A checkpoint is written to a temporary folder and renamed, so one that exists is whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rebel_pref.atomic import new_numbered, numbered, write_text
from rebel_pref.preferences import FloatArray
from rebel_pref.selfplay.pool import PromptPool

__all__ = [
    "Checkpoint",
    "difference",
    "latest_checkpoint",
    "read_checkpoint",
    "trim_log",
    "what_matters",
    "write_checkpoint",
]


@dataclass(frozen=True)
class Checkpoint:
    """Everything that the next round depends on.

    Attributes
    ----------
    progress : JSON object: rounds done, counters, settings.
    tensors : parameters by group, "module", "magnet", "reference", "previous": name -> tensor.
    optimizer : AdamW's state as flat tensors.
    pools : by prompt index.
    evaluator : arrays.
    """

    progress: Mapping[str, Any]
    tensors: Mapping[str, Mapping[str, torch.Tensor]]
    optimizer: Mapping[str, torch.Tensor]
    pools: Mapping[int, PromptPool]
    evaluator: Mapping[str, FloatArray]


def write_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write ``folder/round-NNNNNN`` atomically and delete all but the latest `keep`."""
    final = folder / f"round-{checkpoint.progress['rounds_done']:06d}"
    with new_numbered(final, keep=keep) as staging:
        _write_into(staging, checkpoint)
    return final


def _write_into(staging: Path, checkpoint: Checkpoint) -> None:
    for name, tensors in {**checkpoint.tensors, "optimizer": checkpoint.optimizer}.items():
        # Tied weights share memory, which safetensors refuses: every name gets its own copy.
        save_file({k: v.detach().cpu().clone() for k, v in tensors.items()}, staging / f"{name}.safetensors")
    plain: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for index, pool in checkpoint.pools.items():
        plain[str(index)], pool_arrays = pool.state()
        arrays |= {f"{index}/{name}": value for name, value in pool_arrays.items()}
    np.savez(staging / "pools.npz", **arrays)
    evaluator: dict[str, Any] = dict(checkpoint.evaluator)
    np.savez(staging / "evaluator.npz", **evaluator)
    state = {"progress": dict(checkpoint.progress), "tensors": sorted(checkpoint.tensors), "pools": plain}
    write_text(staging / "state.json", json.dumps(state))


def latest_checkpoint(folder: Path) -> Path | None:
    """The whole checkpoint of the latest round, or None."""
    return next(reversed(numbered(folder, "round").values()), None)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what :func:`write_checkpoint` wrote."""
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        arrays, evaluator = _read_arrays(path / "pools.npz"), _read_arrays(path / "evaluator.npz")
        tensors = {name: load_file(path / f"{name}.safetensors") for name in state["tensors"]}
        optimizer = load_file(path / "optimizer.safetensors")
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, SafetensorError) as error:
        raise ValueError(
            f"{path} is not a whole checkpoint ({error}); delete it to resume from the one before"
        ) from error
    pools = {}
    for index, plain in state["pools"].items():
        own = {name.split("/", 1)[1]: value for name, value in arrays.items() if name.startswith(f"{index}/")}
        pools[int(index)] = PromptPool.from_state(plain, own)
    return Checkpoint(state["progress"], tensors, optimizer, pools, evaluator)


def trim_log(path: Path, rounds_done: int) -> None:
    """Drop lines of a JSON-lines log that belong to rounds after the checkpoint, or that a kill cut short."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["round"] <= rounds_done:
                kept.append(line)
        except (json.JSONDecodeError, KeyError):
            continue
    write_text(path, "".join(f"{line}\n" for line in kept))


def what_matters(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a trainer, as JSON, without those that may change when a run goes on."""
    kept = {k: v for k, v in config.items() if k not in ("checkpoint_every", "keep_checkpoints", "trackers")}
    kept["optimization"] = {k: v for k, v in config["optimization"].items() if k != "microbatch_tokens"}
    return kept


def difference(stored: Any, wanted: Any, path: str = "") -> str:
    """The first place where two settings differ, in words."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in {**wanted, **stored}:
            if key not in stored or key not in wanted or stored[key] != wanted[key]:
                return difference(stored.get(key), wanted.get(key), f"{path}.{key}" if path else str(key))
    return f"{path + ' = ' if path else ''}{stored!r}, now {wanted!r}"[:200]


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


def _read_arrays(path: Path) -> dict[str, Any]:
    # Opened here: np.load leaves a damaged file open.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
