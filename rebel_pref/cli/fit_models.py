"""The models that ``rebel-pref fit`` can make: small ones from scratch, or heads on a Hugging Face backbone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

from preference_models import (
    BradleyTerryConfig,
    BradleyTerryModel,
    Comparisons,
    HybridPreferenceConfig,
    HybridPreferenceModel,
    character_tokenizer,
    small_backbone,
)
from preference_models.cross_encoder import CrossEncoderPreferenceConfig, CrossEncoderPreferenceModel
from preference_models.disc import DiscPreferenceConfig, DiscPreferenceModel

__all__ = ["KINDS", "chat_tokenizer", "model_maker"]

KINDS = ("hybrid", "disc", "bradley_terry", "cross_encoder")
_CLASSES: dict[str, tuple[Any, Any]] = {
    "hybrid": (HybridPreferenceModel, HybridPreferenceConfig),
    "disc": (DiscPreferenceModel, DiscPreferenceConfig),
    "bradley_terry": (BradleyTerryModel, BradleyTerryConfig),
    "cross_encoder": (CrossEncoderPreferenceModel, CrossEncoderPreferenceConfig),
}


def chat_tokenizer(model: str) -> Any:
    """The tokenizer whose chat template writes out messages; None for a small model.

    Raises
    ------
    ValueError
        If `model` is neither "small" nor a folder.
    """
    if model == "small":
        return None
    if not Path(model).is_dir():
        raise ValueError(f'--model: expected "small" or the folder of a Hugging Face model, got {model!r}')
    return AutoTokenizer.from_pretrained(model)


def model_maker(model: str, kind: str, data: Comparisons, *, hidden: int, seed: int) -> Callable[[int], Any]:
    """From a number of discs to a fresh model of that kind; 0 discs are a Bradley-Terry model (unless they join texts).

    Parameters
    ----------
    model : "small", or the folder of an encoder or a causal language model.
    data : all comparisons, for the alphabet of a small model and its longest text.
    hidden : width of a small model.
    """

    def make(discs: int) -> Any:
        chosen = "bradley_terry" if discs == 0 and kind != "cross_encoder" else kind
        model_class, config_class = _CLASSES[chosen]
        own = {"num_discs": discs} if chosen in ("hybrid", "disc") else {}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            if model == "small":
                tokenizer = character_tokenizer(_alphabet(data))
                backbone = small_backbone(tokenizer, hidden=hidden, max_length=_longest(data, kind))
                return model_class(config_class(backbone_config=backbone, **own), tokenizer)
            config = config_class(backbone_config=AutoConfig.from_pretrained(model, trust_remote_code=False), **own)
            loaded = model_class.from_backbone(model, config)
        if loaded.tokenizer is not None and loaded.tokenizer.pad_token is None:
            loaded.tokenizer.pad_token = loaded.tokenizer.eos_token  # Padding is masked: any token will do.
        return loaded

    return make


def _alphabet(data: Comparisons) -> str:
    return "".join(sorted({c for texts in (data.prompts, data.first, data.second) for text in texts for c in text}))


def _longest(data: Comparisons, kind: str) -> int:
    """Most characters of a text that is read, with its ends."""
    rows = zip(data.prompts, data.first, data.second, strict=True)
    if kind == "cross_encoder":
        return max(len(prompt) + len(one) + len(other) for prompt, one, other in rows) + 3
    return max(len(prompt) + max(len(one), len(other)) for prompt, one, other in rows) + 2
