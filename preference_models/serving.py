"""Text in, win probabilities out: what every model here does the same way, as plain functions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from preference_models.heads import ResponseEmbeddings, preference_logits
from preference_models.text import TextBatch, tokenize
from rebel_pref.preferences import FloatArray

__all__ = ["PreferenceModel", "embed_texts", "load_tokenizer", "prefer_embedded", "preferences_from_logits"]


class PreferenceModel(Protocol):
    """What serving and training need of a model: a tokenizer and embeddings of tokenized text."""

    tokenizer: PreTrainedTokenizerFast | None
    config: Any

    def encode(self, responses: TextBatch, prompts: TextBatch, prompt_of: Tensor) -> ResponseEmbeddings:
        """Embed N responses (each with its prompt); ``prompt_of`` [N] says which of the B prompts is theirs."""
        ...


def embed_texts(
    model: PreferenceModel, prompts: Sequence[str], responses: Sequence[Sequence[str]], *, batch_size: int = 256
) -> ResponseEmbeddings:
    """Embed every response once, without gradients and in evaluation mode.

    Equal responses to equal prompts are encoded once. Texts are batched by length, at most `batch_size` at a time.

    Parameters
    ----------
    prompts : B strings.
    responses : B lists of K strings each.

    Returns
    -------
    embeddings [B, K].
    """
    widths = {len(texts) for texts in responses}
    if len(prompts) != len(responses) or len(widths) != 1 or 0 in widths:
        raise ValueError(
            f"expected one list of responses a prompt, all of the same length >= 1; got {len(prompts)} prompts and "
            f"lists of lengths {sorted(widths)}"
        )
    keys = [(prompt, text) for prompt, texts in zip(prompts, responses, strict=True) for text in texts]
    distinct = list(dict.fromkeys(keys))
    order = sorted(range(len(distinct)), key=lambda i: len(distinct[i][0]) + len(distinct[i][1]))
    parts = []
    with evaluating(model):
        for start in range(0, len(order), batch_size):
            chunk = [distinct[i] for i in order[start : start + batch_size]]
            parts.append(encode_texts(model, [prompt for prompt, _ in chunk], [text for _, text in chunk]))
    flat = ResponseEmbeddings(
        torch.cat([part.scores for part in parts]),
        torch.cat([part.left for part in parts]),
        torch.cat([part.right for part in parts]),
    )
    place = {distinct[i]: row for row, i in enumerate(order)}
    rows = torch.tensor([place[key] for key in keys], device=flat.scores.device)
    return flat.select(rearrange(rows, "(b k) -> b k", b=len(prompts)))


def encode_texts(model: PreferenceModel, prompts: Sequence[str], responses: Sequence[str]) -> ResponseEmbeddings:
    """Tokenize and encode N prompts with a response each; every distinct prompt is read once for its gate."""
    tokenizer = require_tokenizer(model)
    limit, device = max_length(model), model_device(model)
    distinct = list(dict.fromkeys(prompts))
    index = {prompt: i for i, prompt in enumerate(distinct)}
    prompt_of = torch.tensor([index[prompt] for prompt in prompts], device=device)
    return model.encode(
        tokenize(tokenizer, prompts, responses, max_length=limit).to(device),
        tokenize(tokenizer, distinct, max_length=limit).to(device),
        prompt_of,
    )


def prefer_embedded(ours: ResponseEmbeddings, theirs: ResponseEmbeddings | None = None) -> FloatArray:
    """Win probabilities [B, K, K or M] of embedded responses; `theirs` None means the responses themselves."""
    with torch.no_grad():
        logits = preference_logits(ours, theirs)
    return preferences_from_logits(logits, symmetric=theirs is None)


def preferences_from_logits(logits: Tensor, *, symmetric: bool) -> FloatArray:
    """``sigmoid(logits)`` in float64; where `symmetric`, the lower triangle is 1 - the upper one.

    ``P + P.T == 1`` then holds to the last bit (x + (1 - x) rounds to 1 for every double x in [0, 1]),
    which two sigmoids do not give.
    """
    values = np.asarray(logits.detach().to("cpu", torch.float64).numpy())
    probability = np.asarray(0.5 * (1.0 + np.tanh(0.5 * values)))
    if symmetric:
        rows, columns = np.tril_indices(values.shape[-1], -1)
        probability[..., rows, columns] = 1.0 - probability[..., columns, rows]
    return probability


@contextmanager
def evaluating(model: PreferenceModel) -> Iterator[None]:
    """Without gradients and with dropout off; the model's mode comes back afterwards."""
    assert isinstance(model, torch.nn.Module)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def require_tokenizer(model: PreferenceModel) -> PreTrainedTokenizerFast:
    """The model's tokenizer, or what to do about its absence."""
    if model.tokenizer is None:
        raise ValueError("this preference model has no tokenizer and reads no text; set model.tokenizer")
    return model.tokenizer


def max_length(model: PreferenceModel) -> int | None:
    """Most tokens the backbone can read, where it says so."""
    limit: int | None = getattr(model.config.backbone_config, "max_position_embeddings", None)
    return limit


def model_device(model: PreferenceModel) -> torch.device:
    """The device of the model's weights."""
    assert isinstance(model, PreTrainedModel)
    device: torch.device = model.device
    return device


def load_tokenizer(directory: str | os.PathLike[str]) -> PreTrainedTokenizerFast | None:
    """The tokenizer saved beside a model; None where a local directory holds none."""
    if os.path.isdir(directory) and not os.path.exists(os.path.join(directory, "tokenizer_config.json")):
        return None
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(directory)
    return tokenizer
