"""Small models from scratch: a two-layer BERT over characters, fitted in seconds on one CPU core."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from transformers import BertConfig, PreTrainedTokenizerFast

from preference_models.base import PairwiseConfig, PairwiseModel
from preference_models.bradley_terry import BradleyTerryConfig, BradleyTerryModel
from preference_models.cross_encoder import CrossEncoderPreferenceConfig, CrossEncoderPreferenceModel
from preference_models.disc import DiscPreferenceConfig, DiscPreferenceModel
from preference_models.hybrid import HybridPreferenceConfig, HybridPreferenceModel
from preference_models.majority import MajorityPreferenceConfig, MajorityPreferenceModel
from preference_models.text import character_tokenizer

__all__ = [
    "small_backbone",
    "small_bradley_terry_model",
    "small_cross_encoder_model",
    "small_disc_model",
    "small_hybrid_model",
    "small_majority_model",
]

M = TypeVar("M", bound=PairwiseModel)


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
    config = partial(HybridPreferenceConfig, num_discs=num_discs)
    return _small(HybridPreferenceModel, config, tokenizer, hidden, layers, heads, max_length, seed)


def small_bradley_terry_model(
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 2,
    max_length: int = 64,
    seed: int = 0,
) -> BradleyTerryModel:
    """A :class:`BradleyTerryModel` of the same making as :func:`small_hybrid_model`, for a fair comparison.

    Parameters
    ----------
    tokenizer : by default one token a character of printable ASCII.
    hidden, layers, heads, max_length : see :func:`small_backbone`.
    """
    return _small(BradleyTerryModel, BradleyTerryConfig, tokenizer, hidden, layers, heads, max_length, seed)


def small_disc_model(
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    num_discs: int = 8,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 2,
    max_length: int = 64,
    seed: int = 0,
) -> DiscPreferenceModel:
    """A :class:`DiscPreferenceModel` of the same making as :func:`small_hybrid_model`.

    Parameters
    ----------
    tokenizer : by default one token a character of printable ASCII.
    num_discs : number of discs, at least 1.
    hidden, layers, heads, max_length : see :func:`small_backbone`.
    """
    config = partial(DiscPreferenceConfig, num_discs=num_discs)
    return _small(DiscPreferenceModel, config, tokenizer, hidden, layers, heads, max_length, seed)


def small_majority_model(
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    num_voters: int = 5,
    vote: str = "soft",
    hidden: int = 32,
    layers: int = 2,
    heads: int = 2,
    max_length: int = 64,
    seed: int = 0,
) -> MajorityPreferenceModel:
    """A :class:`MajorityPreferenceModel` of the same making as :func:`small_hybrid_model`.

    Parameters
    ----------
    tokenizer : by default one token a character of printable ASCII.
    num_voters, vote : see :class:`MajorityPreferenceConfig`.
    hidden, layers, heads, max_length : see :func:`small_backbone`.
    """
    config = partial(MajorityPreferenceConfig, num_voters=num_voters, vote=vote)
    return _small(MajorityPreferenceModel, config, tokenizer, hidden, layers, heads, max_length, seed)


def small_cross_encoder_model(
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 2,
    max_length: int = 96,
    seed: int = 0,
) -> CrossEncoderPreferenceModel:
    """A :class:`CrossEncoderPreferenceModel` of the same making; it reads two responses at once, so texts are longer.

    Parameters
    ----------
    tokenizer : by default one token a character of printable ASCII.
    hidden, layers, heads, max_length : see :func:`small_backbone`.
    """
    config = CrossEncoderPreferenceConfig
    return _small(CrossEncoderPreferenceModel, config, tokenizer, hidden, layers, heads, max_length, seed)


def _small(
    kind: type[M],
    config: Callable[..., PairwiseConfig],
    tokenizer: PreTrainedTokenizerFast | None,
    hidden: int,
    layers: int,
    heads: int,
    max_length: int,
    seed: int,
) -> M:
    """A model whose weights depend on `seed` alone; nobody else's random numbers are used up."""
    tokenizer = character_tokenizer() if tokenizer is None else tokenizer
    backbone = small_backbone(tokenizer, hidden=hidden, layers=layers, heads=heads, max_length=max_length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(config(backbone_config=backbone), tokenizer)
