"""A small Llama, built here: what the text games start from."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from rebel_pref.policies.language_model import LanguageModelPolicy

__all__ = ["tiny_language_model"]


def tiny_language_model(
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_new_tokens: int,
    hidden_size: int = 64,
    layers: int = 2,
    heads: int = 4,
    seed: int = 0,
) -> LanguageModelPolicy:
    """An untrained Llama-architecture model over a tokenizer's vocabulary.

    Parameters
    ----------
    tokenizer : with an end-of-sequence and a padding token, such as
        :func:`preference_models.character_tokenizer` makes.
    seed : of the initial weights. The global torch generator is left as it was.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return LanguageModelPolicy(model, tokenizer, max_new_tokens=max_new_tokens)
