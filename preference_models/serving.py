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

from preference_models import packing
from preference_models.heads import E, pair_logits, preference_logits
from preference_models.text import TextBatch, tokenize
from rebel_pref.preferences import FloatArray

__all__ = [
    "PreferenceModel",
    "compare_texts",
    "complementary",
    "embed_texts",
    "load_tokenizer",
    "prefer_embedded",
    "preferences_from_logits",
]


class PreferenceModel(Protocol):
    """What serving and training need of a model that embeds: a tokenizer and embeddings of tokenized text."""

    tokenizer: PreTrainedTokenizerFast | None
    config: Any

    def encode(self, responses: TextBatch, prompts: TextBatch, prompt_of: Tensor) -> Any:
        """Embed N responses (each with its prompt); ``prompt_of`` [N] says which of the B prompts is theirs."""
        ...


def embed_texts(
    model: PreferenceModel,
    prompts: Sequence[str],
    responses: Sequence[Sequence[str]],
    *,
    batch_size: int = 256,
    share_prompt: bool | None = None,
) -> Any:
    """Embed every response once, without gradients and in evaluation mode.

    Equal responses to equal prompts are encoded once. Texts are batched by length, at most `batch_size` at a time.

    Parameters
    ----------
    prompts : B strings.
    responses : B lists of K strings each.
    share_prompt : whether the responses to a prompt share one reading of it (:mod:`packing`: causal backbones only;
        equal up to rounding). None shares where the backbone allows it.

    Returns
    -------
    embeddings [B, K].
    """
    check_texts(prompts, responses)
    keys = [(prompt, text) for prompt, texts in zip(prompts, responses, strict=True) for text in texts]
    distinct = list(dict.fromkeys(keys))
    backbone = getattr(model, "backbone", None)
    if share_prompt is None:
        share_prompt = backbone is not None and packing.can_share_prompt(backbone)
    with evaluating(model):
        if share_prompt:
            order, parts = _embed_shared(model, distinct, batch_size)
        else:
            # The sum of lengths in characters; which of equally long texts comes first does not matter.
            order = sorted(range(len(distinct)), key=lambda i: len(distinct[i][0]) + len(distinct[i][1]))
            chunks = [[distinct[i] for i in order[at : at + batch_size]] for at in range(0, len(order), batch_size)]
            parts = [encode_texts(model, [key[0] for key in chunk], [key[1] for key in chunk]) for chunk in chunks]
    flat = parts[0].concatenate(parts[1:])
    place = {distinct[i]: row for row, i in enumerate(order)}
    rows = torch.tensor([place[key] for key in keys], device=model_device(model))
    return flat.select(rearrange(rows, "(b k) -> b k", b=len(prompts)))


def _embed_shared(
    model: PreferenceModel, keys: Sequence[tuple[str, str]], batch_size: int
) -> tuple[list[int], list[Any]]:
    """Embeddings of distinct (prompt, response), and the order they come in: prompts by length, theirs together."""
    encode_packed = getattr(model, "encode_packed", None)
    if encode_packed is None:
        raise ValueError(f"{type(model).__name__} has no encode_packed method; pass share_prompt=False")
    of_prompt: dict[str, list[int]] = {}
    for i, (prompt, _) in enumerate(keys):
        of_prompt.setdefault(prompt, []).append(i)
    groups = [
        (prompt, rows[at : at + batch_size])
        for prompt, rows in of_prompt.items()
        for at in range(0, len(rows), batch_size)
    ]
    groups.sort(key=lambda group: len(group[0]) + sum(len(keys[i][1]) for i in group[1]))
    order: list[int] = []
    parts = []
    while groups:
        batch: list[tuple[str, list[int]]] = []
        count = 0
        while groups and (not batch or count + len(groups[0][1]) <= batch_size):
            batch.append(groups.pop(0))
            count += len(batch[-1][1])
        packed = packing.pack(
            require_tokenizer(model),
            [prompt for prompt, _ in batch],
            [[keys[i][1] for i in rows] for _, rows in batch],
            max_length=max_length(model),
            chat=model.config.chat,
        )
        order += [i for _, rows in batch for i in rows]
        parts.append(encode_packed(packed.to(model_device(model))))
    return order, parts


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
    place = {key: row for row, key in enumerate(dict.fromkeys(keys))}
    embeddings = encode_texts(model, [prompt for prompt, _ in place], [text for _, text in place])
    rows = torch.tensor([place[key] for key in keys], device=model_device(model))
    logits: Tensor = pair_logits(embeddings, rows[: len(prompts)], rows[len(prompts) :])
    return logits


def encode_texts(model: PreferenceModel, prompts: Sequence[str], responses: Sequence[str]) -> Any:
    """Tokenize and encode N prompts with a response each; every distinct prompt is read once for its gate."""
    tokenizer = require_tokenizer(model)
    limit, chat, device = max_length(model), model.config.chat, model_device(model)
    distinct = list(dict.fromkeys(prompts))
    index = {prompt: i for i, prompt in enumerate(distinct)}
    prompt_of = torch.tensor([index[prompt] for prompt in prompts], device=device)
    return model.encode(
        tokenize(tokenizer, prompts, responses, max_length=limit, chat=chat).to(device),
        tokenize(tokenizer, distinct, max_length=limit, chat=chat).to(device),
        prompt_of,
    )


def check_texts(
    prompts: Sequence[str], responses: Sequence[Sequence[str]], opponents: Sequence[Sequence[str]] | None = None
) -> None:
    """Refuse anything but B prompts with B lists of K >= 1 responses (and of M >= 1 opponents)."""
    for name, lists in (("responses", responses), ("opponents", opponents)):
        if lists is None:
            continue
        widths = {len(texts) for texts in lists}
        if len(prompts) != len(lists) or len(widths) != 1 or 0 in widths:
            raise ValueError(
                f"expected one list of {name} a prompt, all of the same length >= 1; got {len(prompts)} prompts and "
                f"lists of lengths {sorted(widths)}"
            )


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
    values = np.asarray(logits.detach().to("cpu", torch.float64).numpy())
    probability = np.asarray(0.5 * (1.0 + np.tanh(0.5 * values)))
    return complementary(probability) if symmetric else probability


def complementary(preferences: FloatArray) -> FloatArray:
    """Preferences [..., K, K] whose lower triangle is 1 - the upper one; NaN stays NaN, in both."""
    result = preferences.copy()
    rows, columns = np.tril_indices(result.shape[-1], -1)
    result[..., rows, columns] = 1.0 - result[..., columns, rows]
    return result


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
