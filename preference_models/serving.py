"""Text in, win probabilities out: what every model here does the same way, as plain functions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from preference_models.heads import E, pair_logits, preference_logits
from preference_models.responses import PreferenceModel, TokenIds, TokenizedResponses, model_device
from rebel_pref.preferences import FloatArray, check_texts, complementary, probabilities

__all__ = [
    "compare_texts",
    "embed_texts",
    "evaluating",
    "in_mode",
    "load_tokenizer",
    "prefer_embedded",
    "preferences_from_logits",
]


def embed_texts(
    model: PreferenceModel,
    prompts: Sequence[str],
    responses: Sequence[Sequence[str]],
    *,
    batch_size: int = 256,
    share_prompt: bool | None = None,
    ids: TokenIds | None = None,
) -> Any:
    """Embed every response once, without gradients and in evaluation mode.

    Equal responses to equal prompts are encoded once, at most `batch_size` at a time.

    Parameters
    ----------
    prompts : B strings.
    responses : B lists of K strings each.
    share_prompt, ids : see :class:`TokenizedResponses`.

    Returns
    -------
    embeddings [B, K].
    """
    check_texts(prompts, responses)
    keys = [(prompt, text) for prompt, texts in zip(prompts, responses, strict=True) for text in texts]
    place = {key: row for row, key in enumerate(dict.fromkeys(keys))}
    texts = TokenizedResponses(model, list(place), share_prompt=share_prompt, ids=ids)
    with evaluating(model):
        flat = texts.encode_all(model, batch_size=batch_size)
    rows = torch.tensor([place[key] for key in keys], device=model_device(model))
    return flat.select(rearrange(rows, "(b k) -> b k", b=len(prompts)))


def compare_texts(
    model: PreferenceModel, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]
) -> Tensor:
    """Logits [P] that `first` beats `second`, row by row; a text that returns is read once. Gradients as they are."""
    if not len(prompts) == len(first) == len(second) or not prompts:
        raise ValueError(
            f"expected as many first and second responses as prompts, at least one; got {len(prompts)} prompts, "
            f"{len(first)} first, {len(second)} second"
        )
    keys = [*zip(prompts, first, strict=True), *zip(prompts, second, strict=True)]
    # In an order of their own: swapped responses are read alike, and the logits flip to the last bit.
    place = {key: row for row, key in enumerate(sorted(set(keys)))}
    device = model_device(model)
    embeddings = TokenizedResponses(model, list(place)).encode(model, torch.arange(len(place), device=device))
    rows = torch.tensor([place[key] for key in keys], device=device)
    logits: Tensor = pair_logits(embeddings, rows[: len(prompts)], rows[len(prompts) :])
    return logits


def prefer_embedded(ours: E, theirs: E | None = None) -> FloatArray:
    """Win probabilities [B, K, K or M] of embedded responses; `theirs` None means the responses themselves."""
    with torch.no_grad():
        logits = preference_logits(ours, theirs)
    return preferences_from_logits(logits, symmetric=theirs is None)


def preferences_from_logits(logits: Tensor, *, symmetric: bool) -> FloatArray:
    """``sigmoid(logits)`` in float64; where `symmetric`, the lower triangle is 1 - the upper one.

    ``P + P.T == 1`` then holds to the last bit (x + (1 - x) rounds to 1 for every double x in [0, 1]),
    which two sigmoids do not give.
    """
    probability = probabilities(logits.detach().to("cpu", torch.float64).numpy())
    return complementary(probability) if symmetric else probability


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Without gradients and with dropout off; the modes of the model's parts come back afterwards."""
    with in_mode(model, training=False), torch.no_grad():
        yield


@contextmanager
def in_mode(model: Any, *, training: bool) -> Iterator[None]:
    """The whole model in one mode; each part's own comes back afterwards, however the block ends."""
    assert isinstance(model, torch.nn.Module)
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode


def load_tokenizer(directory: str | os.PathLike[str]) -> PreTrainedTokenizerFast | None:
    """The tokenizer saved beside a model; None where a local directory holds none."""
    if os.path.isdir(directory) and not os.path.exists(os.path.join(directory, "tokenizer_config.json")):
        return None
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(directory)
    return tokenizer
