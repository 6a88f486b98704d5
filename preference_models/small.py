"""Small models from scratch: a two-layer BERT over characters, fitted in seconds on one CPU core."""

from __future__ import annotations

import torch
from transformers import BertConfig, PreTrainedTokenizerFast

from preference_models.bradley_terry import BradleyTerryConfig, BradleyTerryModel
from preference_models.hybrid import HybridPreferenceConfig, HybridPreferenceModel
from preference_models.text import character_tokenizer

__all__ = ["small_backbone", "small_bradley_terry_model", "small_hybrid_model"]


def small_backbone(
    tokenizer: PreTrainedTokenizerFast, *, hidden: int = 32, layers: int = 2, heads: int = 2, max_length: int = 64
) -> BertConfig:
    """Configuration of a small BERT without dropout: data, not dropout, limits models of this size.

    Parameters
    ----------
    hidden : width d; the feed-forward layers are 2 d wide.
    max_length : most tokens of prompt, response and their two ends.
    """
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * hidden,
        max_position_embeddings=max_length,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
    )


def small_hybrid_model(
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    num_discs: int = 8,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 2,
    max_length: int = 64,
    seed: int = 0,
) -> HybridPreferenceModel:
    """A :class:`HybridPreferenceModel` with random weights that depend on `seed` alone.

    Parameters
    ----------
    tokenizer : by default one token a character of printable ASCII.
    num_discs : number of discs; 0 is Bradley-Terry.
    hidden, layers, heads, max_length : see :func:`small_backbone`.
    """
    tokenizer = character_tokenizer() if tokenizer is None else tokenizer
    backbone = small_backbone(tokenizer, hidden=hidden, layers=layers, heads=heads, max_length=max_length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HybridPreferenceModel(HybridPreferenceConfig(backbone_config=backbone, num_discs=num_discs), tokenizer)


def small_bradley_terry_model(
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 2,
    max_length: int = 64,
    seed: int = 0,
) -> BradleyTerryModel:
    """A :class:`BradleyTerryModel` of the same making as :func:`small_hybrid_model`, for a fair comparison."""
    tokenizer = character_tokenizer() if tokenizer is None else tokenizer
    backbone = small_backbone(tokenizer, hidden=hidden, layers=layers, heads=heads, max_length=max_length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BradleyTerryModel(BradleyTerryConfig(backbone_config=backbone), tokenizer)
