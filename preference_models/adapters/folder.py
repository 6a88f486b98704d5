"""A checkpoint folder: its configuration, the names of its tensors, and errors that say what is missing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from preference_models.base import is_causal
from preference_models.chat import has_chat_template

__all__ = [
    "CheckpointFolder",
    "check_loading",
    "load_chat_tokenizer",
    "load_tokenizer",
    "load_weights",
    "open_folder",
    "read_tensors",
    "require_causal",
    "require_tensors",
]

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class CheckpointFolder:
    """What lies in a folder.

    Attributes
    ----------
    path : the folder.
    config : its ``config.json``, as Hugging Face reads it.
    files : the safetensors file of each tensor; a checkpoint may be in several.
    """

    path: Path
    config: PreTrainedConfig
    files: Mapping[str, Path]


def open_folder(directory: str | os.PathLike[str], layout: str) -> CheckpointFolder:
    """Look into a folder without reading weights.

    Parameters
    ----------
    layout : what is expected there, for errors.

    Raises
    ------
    ValueError
        If it is no folder, has no configuration of a known model, or no safetensors (pickles are refused).
    """
    path = Path(directory)
    if not path.is_dir():
        raise ValueError(f"expected a local folder with {layout}, got {str(path)!r}; download the checkpoint first")
    found = ", ".join(sorted(entry.name for entry in path.iterdir())[:20]) or "nothing"
    if not (path / "config.json").is_file():
        raise ValueError(f"{path} has no config.json (found: {found}); expected {layout}")
    try:
        settings = json.loads((path / "config.json").read_text(encoding="utf-8"))
        kind = settings.get("model_type") if isinstance(settings, dict) else None
        if not isinstance(kind, str):
            raise ValueError("it has no model_type; take the checkpoint in the layout of transformers")
        config: PreTrainedConfig = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path / 'config.json'} cannot be used as {layout}: {error}") from error
    files: dict[str, Path] = {}
    for file in sorted(path.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as tensors:
                files.update(dict.fromkeys(tensors.keys(), file))
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{file} is not a whole safetensors file ({error}); copy it again") from error
    if not files:
        pickles = sorted(entry.name for entry in path.iterdir() if entry.suffix in PICKLES)
        if pickles:
            raise ValueError(
                f"{path} holds its weights as a pickle ({', '.join(pickles)}), which may run any code and is not read: "
                "convert it to safetensors where you trust it (torch.load(..., weights_only=True), then "
                "safetensors.torch.save_file)"
            )
        raise ValueError(f"{path} has no weights in safetensors (found: {found}); expected {layout}")
    return CheckpointFolder(path, config, files)


def require_causal(folder: CheckpointFolder, layout: str) -> None:
    """Refuse a checkpoint of anything but a causal language model."""
    if not is_causal(folder.config):
        raise ValueError(
            f"{folder.path} holds a {folder.config.model_type}, which is no causal model; expected {layout}"
        )


def require_tensors(folder: CheckpointFolder, names: Iterable[str], layout: str) -> None:
    """Refuse a checkpoint that lacks tensors."""
    missing = [name for name in names if name not in folder.files]
    if missing:
        raise ValueError(
            f"{folder.path} is no checkpoint of {layout}: missing {_some(missing)}; found {_shown(folder.files)}"
        )


def check_loading(folder: CheckpointFolder, missing: Iterable[str], layout: str) -> None:
    """Refuse a model some of whose weights the checkpoint did not have: they would be random."""
    names = sorted(map(str, missing))
    if names:
        raise ValueError(
            f"{folder.path} is no whole checkpoint of {layout}: the model lacks or cannot take {_some(names)}; found "
            f"{_shown(folder.files)}"
        )


def load_weights(
    kind: type[AutoModel] | type[AutoModelForCausalLM], folder: CheckpointFolder, layout: str, dtype: torch.dtype | None
) -> PreTrainedModel:
    """A model of transformers, whole; `dtype` None keeps that of the checkpoint."""
    model, info = kind.from_pretrained(
        folder.path,
        dtype="auto" if dtype is None else dtype,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
    )
    check_loading(folder, info["missing_keys"], layout)
    loaded: PreTrainedModel = model
    return loaded


def read_tensors(folder: CheckpointFolder, names: Iterable[str]) -> dict[str, Tensor]:
    """Read tensors by name."""
    result = {}
    with ExitStack() as stack:
        opened: dict[Path, Any] = {}
        for name in names:
            file = folder.files[name]
            if file not in opened:
                opened[file] = stack.enter_context(safe_open(file, framework="pt"))
            result[name] = opened[file].get_tensor(name)
    return result


def load_tokenizer(folder: CheckpointFolder) -> PreTrainedTokenizerBase:
    """The tokenizer beside the weights."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder.path, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder.path} has no tokenizer that transformers can read: {error}") from error
    return tokenizer


def load_chat_tokenizer(folder: CheckpointFolder) -> PreTrainedTokenizerBase:
    """The tokenizer beside the weights, with the chat template that the model was trained on."""
    tokenizer = load_tokenizer(folder)
    if not has_chat_template(tokenizer):
        raise ValueError(
            f"the tokenizer of {folder.path} has no chat template, in which the model reads its texts: put the one "
            "it was trained with beside the weights (chat_template.jinja)"
        )
    return tokenizer


def _shown(names: Iterable[str]) -> str:
    """Names by their first part, so that a head is not lost among the layers of a language model."""
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(name.split(".")[0], []).append(name)
    return _some(
        name
        for part, own in parts.items()
        for name in (own if len(own) <= 4 else [f"{part}.* ({len(own)} tensors, as {own[0]})"])
    )


def _some(names: Iterable[str], most: int = 8) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
