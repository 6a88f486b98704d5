"""The models that ``rebel-pref fit`` can make: small ones from scratch, or heads on a Hugging Face backbone."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from preference_models import (
    BradleyTerryConfig,
    BradleyTerryModel,
    HybridPreferenceConfig,
    HybridPreferenceModel,
    MajorityPreferenceConfig,
    MajorityPreferenceModel,
    TextComparisons,
    character_tokenizer,
    small_backbone,
)
from preference_models.base import PairwiseConfig
from preference_models.cross_encoder import CrossEncoderPreferenceConfig, CrossEncoderPreferenceModel
from preference_models.disc import DiscPreferenceConfig, DiscPreferenceModel
from preference_models.messages import plain_text

__all__ = ["KINDS", "WITHOUT_DISCS", "merge_lora", "model_maker"]

WITHOUT_DISCS = ("bradley_terry", "cross_encoder", "majority")
_CLASSES: dict[str, tuple[Any, Any]] = {
    "hybrid": (HybridPreferenceModel, HybridPreferenceConfig),
    "disc": (DiscPreferenceModel, DiscPreferenceConfig),
    "bradley_terry": (BradleyTerryModel, BradleyTerryConfig),
    "cross_encoder": (CrossEncoderPreferenceModel, CrossEncoderPreferenceConfig),
    "majority": (MajorityPreferenceModel, MajorityPreferenceConfig),
}
KINDS = tuple(_CLASSES)


def model_maker(
    model: str, kind: str, data: TextComparisons, *, hidden: int, pooling: str | None, lora: int, seed: int
) -> Callable[[int], Any]:
    """From a number of discs to a fresh model of that kind; 0 discs are a Bradley-Terry model (of a kind with discs).

    A backbone whose tokenizer has a chat template reads texts in it.

    Parameters
    ----------
    model : "small", or the folder of an encoder or a causal language model.
    data : all comparisons, for the alphabet of a small model and its longest text.
    hidden : width of a small model.
    pooling : see :class:`preference_models.base.PairwiseConfig`.
    lora : rank of adapters on the linear layers of the backbone, which is frozen; 0 fits all of it.
        :func:`merge_lora` ends them.

    Raises
    ------
    ValueError
        If `model` is neither "small" nor a folder, or of a small model with adapters.
    """
    if model != "small" and not Path(model).is_dir():
        raise ValueError(f'--model: expected "small" or the folder of a Hugging Face model, got {model!r}')
    if model != "small" and isinstance(AutoConfig.from_pretrained(model, trust_remote_code=False), PairwiseConfig):
        raise ValueError(f"--model: {model} is a preference model already; give the backbone it was fitted from")
    if model == "small" and lora:
        raise ValueError("--lora: a small model starts from random weights, which adapters would leave as they are")

    def make(discs: int) -> Any:
        chosen = "bradley_terry" if discs == 0 and kind not in WITHOUT_DISCS else kind
        model_class, config_class = _CLASSES[chosen]
        own: dict[str, Any] = {"num_discs": discs} if chosen in ("hybrid", "disc") else {}
        if pooling is not None:
            own["pooling"] = pooling
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            if model == "small":
                tokenizer = character_tokenizer(_alphabet(data))
                backbone = small_backbone(tokenizer, hidden=hidden, max_length=_longest(data, kind))
                return model_class(config_class(backbone_config=backbone, **own), tokenizer)
            loaded = model_class.from_backbone(model, **own)
            if lora:
                loaded.backbone = _with_lora(loaded.backbone, lora)
        return loaded

    return make


def merge_lora(model: Any) -> None:
    """Add the adapters that :func:`model_maker` made to the weights they stand beside, in place."""
    if hasattr(model.backbone, "merge_and_unload"):
        model.backbone = model.backbone.merge_and_unload()


def _with_lora(backbone: Any, rank: int) -> Any:
    try:
        import peft
    except ImportError as error:
        raise ValueError("--lora needs the package peft: pip install 'rebel_pref[lora]'") from error
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="FEATURE_EXTRACTION")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)  # By peft.
        return peft.get_peft_model(backbone, config)


def _alphabet(data: TextComparisons) -> str:
    prompts = map(plain_text, dict.fromkeys(data.prompts))
    return "".join(sorted({c for texts in (prompts, data.first, data.second) for text in texts for c in text}))


def _longest(data: TextComparisons, kind: str) -> int:
    """Most characters of a text that is read, with its ends."""
    rows = zip(map(plain_text, data.prompts), data.first, data.second, strict=True)
    if kind == "cross_encoder":
        return max(len(prompt) + len(one) + len(other) for prompt, one, other in rows) + 3
    return max(len(prompt) + max(len(one), len(other)) for prompt, one, other in rows) + 2
