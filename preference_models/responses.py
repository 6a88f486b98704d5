"""Responses as token ids, and how a model reads many of them: by length, within a budget, a prompt once where it can.

Serving and fitting read texts in this one way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from preference_models.packing import MAX_TOKENS as PACK_TOKENS
from preference_models.packing import can_share_prompt, check_shareable, pack
from preference_models.text import check_length, pad_id, prompt_ids, response_ids
from preference_models.token_lists import TextBatch, TokenLists, join

__all__ = [
    "MAX_TOKENS",
    "PreferenceModel",
    "TokenIds",
    "TokenizedResponses",
    "max_length",
    "model_device",
    "require_tokenizer",
]

MAX_TOKENS = 65536
"""Of a forward pass without gradients, padding included."""


class PreferenceModel(Protocol):
    """What serving and fitting need of a model that embeds: a tokenizer and embeddings of tokenized text."""

    tokenizer: PreTrainedTokenizerFast | None
    config: Any

    def encode(self, responses: TextBatch, prompts: TextBatch | None, prompt_of: Tensor) -> Any:
        """Embed N responses (each with its prompt); ``prompt_of`` [N] says which of the B prompts is theirs.

        Prompts are None to a model that says ``reads_prompt_alone = False``.
        """
        ...


TokenIds = Callable[[Sequence[str], Sequence[tuple[str, str]]], tuple[TokenLists, TokenLists]]


class TokenizedResponses:
    """T responses to B distinct prompts, on the model's device.

    Parameters
    ----------
    model : whose tokenizer and length they are for.
    texts : T of prompt and response.
    share_prompt : whether the responses to a prompt in a pass share one reading of it (:mod:`packing`; equal up to
        rounding). None where the backbone allows it and it saves a fifth of the tokens.
    ids : token ids of the distinct prompts and of the texts behind them, where the model's own way is not wanted.

    Attributes
    ----------
    heads, tails : token ids of the prompts and of the responses.
    prompt_of : int64 [T], the prompt of each response.

    Raises
    ------
    ValueError
        For a text that is longer than the model can read, or a prompt to share on a backbone that cannot.
    """

    def __init__(
        self,
        model: PreferenceModel,
        texts: Sequence[tuple[str, str]],
        *,
        share_prompt: bool | None = None,
        ids: TokenIds | None = None,
    ) -> None:
        device = model_device(model)
        prompts = {prompt: row for row, prompt in enumerate(dict.fromkeys(prompt for prompt, _ in texts))}
        self.pad = 0 if model.tokenizer is None else pad_id(model.tokenizer)
        read = partial(_own_ids, model) if ids is None else ids
        self.heads, self.tails = (lists.to(device) for lists in read(list(prompts), texts))
        self.prompt_of = torch.tensor([prompts[prompt] for prompt, _ in texts], device=device)
        self.lengths = self.heads.lengths[self.prompt_of] + self.tails.lengths
        longest = int(self.lengths.argmax())
        check_length(texts[longest][0], int(self.lengths[longest]), max_length(model))
        self.share_prompt = self._saves_tokens(model) if share_prompt is None else share_prompt
        if share_prompt:
            if not hasattr(model, "encode_packed"):
                raise ValueError(f"{type(model).__name__} has no encode_packed method; pass share_prompt=False")
            check_shareable(model.backbone)  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self.tails)

    def encode(self, model: Any, rows: Tensor) -> Any:
        """Embeddings of responses `rows` [n], in their order, in one forward pass; gradients as they are."""
        asked, prompt_of = torch.unique(self.prompt_of[rows], return_inverse=True)
        if not self.share_prompt:
            # Only a gate reads prompts alone.
            gated = getattr(model, "reads_prompt_alone", True)
            prompts = join(self.heads, asked, None, None, pad=self.pad) if gated else None
            responses = join(self.heads, self.prompt_of[rows], self.tails, rows, pad=self.pad)
            return model.encode(responses, prompts, prompt_of)
        # A pack numbers responses prompt by prompt, which need not be the order of the rows.
        order = torch.argsort(prompt_of, stable=True)
        tails: list[list[list[int]]] = [[] for _ in asked]
        for tail, b in zip(self.tails.lists(rows[order]), prompt_of[order].tolist(), strict=True):
            tails[b].append(tail)
        packed = pack(self.heads.lists(asked), tails, pad=self.pad)
        return model.encode_packed(packed.to(rows.device)).select(torch.argsort(order))

    def encode_all(self, model: Any, *, batch_size: int = 256, max_tokens: int = MAX_TOKENS) -> Any:
        """Embeddings [T], in passes of at most `batch_size` responses and about `max_tokens` tokens."""
        chunks = list(self._chunks(batch_size, max_tokens))
        parts = [self.encode(model, rows) for rows in chunks]
        return parts[0].concatenate(parts[1:]).select(torch.argsort(torch.cat(chunks)))

    def _chunks(self, batch_size: int, max_tokens: int) -> Iterator[Tensor]:
        """Rows of each pass: by length, or prompt by prompt where prompts are shared; one row at least."""
        if self.share_prompt:
            yield from self._shared_chunks(batch_size, max_tokens)
            return
        order = torch.argsort(self.lengths, stable=True)
        start = 0
        for place, length in enumerate(self.lengths[order].tolist()):
            # Padded to the longest, which comes last.
            if place > start and (place - start >= batch_size or length * (place - start + 1) > max_tokens):
                yield order[start:place]
                start = place
        yield order[start:]

    def _shared_chunks(self, batch_size: int, max_tokens: int) -> Iterator[Tensor]:
        """As :meth:`_chunks`: prompts by length, each with its responses, counted as :func:`pack` lays them out."""
        heads = self.heads.lengths
        by_prompt = torch.argsort(self.prompt_of, stable=True)
        order = by_prompt[torch.argsort(heads[self.prompt_of[by_prompt]], stable=True)]
        prompts, tails = self.prompt_of[order].tolist(), self.tails.lengths[order].tolist()
        lengths = heads.tolist()
        start, packs, longest, pack = 0, 0, 0, 0
        for place, (prompt, tail) in enumerate(zip(prompts, tails, strict=True)):
            opens = place == start or prompt != prompts[place - 1] or pack + tail > PACK_TOKENS
            pack = lengths[prompt] + tail if opens else pack + tail
            packs, longest = packs + opens, max(longest, pack)
            if place > start and (place - start >= batch_size or packs * longest > max_tokens):
                yield order[start:place]
                pack = lengths[prompt] + tail
                start, packs, longest = place, 1, pack
        yield order[start:]

    def _saves_tokens(self, model: Any) -> bool:
        """Whether reading each prompt once saves a fifth of the tokens, which a mask over longer sequences may cost."""
        backbone = getattr(model, "backbone", None)
        if backbone is None or not hasattr(model, "encode_packed") or not can_share_prompt(backbone):
            return False
        prompts, responses = len(self.heads.ids), len(self.tails.ids)
        repeated = int(self.heads.lengths[self.prompt_of].sum())
        alone = prompts if getattr(model, "reads_prompt_alone", True) else 0
        # A prompt is repeated in every pack that its responses need.
        heads = self.heads.lengths
        behind = torch.zeros_like(heads).index_add_(0, self.prompt_of, self.tails.lengths)
        packs = (behind / (PACK_TOKENS - heads).clamp(min=1)).ceil()
        packs = torch.minimum(packs, torch.bincount(self.prompt_of, minlength=len(heads)))
        return float((packs * heads).sum()) + responses < 0.8 * (alone + repeated + responses)


def _own_ids(
    model: PreferenceModel, prompts: Sequence[str], texts: Sequence[tuple[str, str]]
) -> tuple[TokenLists, TokenLists]:
    tokenizer, chat = require_tokenizer(model), model.config.chat
    return prompt_ids(tokenizer, prompts, chat=chat), response_ids(tokenizer, (text for _, text in texts), chat=chat)


def require_tokenizer(model: PreferenceModel) -> PreTrainedTokenizerFast:
    """The model's tokenizer, or what to do about its absence."""
    if model.tokenizer is None:
        raise ValueError("this preference model has no tokenizer and reads no text; set model.tokenizer")
    return model.tokenizer


def max_length(model: PreferenceModel) -> int | None:
    """Most tokens the backbone can read, where it says so."""
    limit: int | None = getattr(model.config.backbone_config, "max_position_embeddings", None)
    embeddings = getattr(getattr(model, "backbone", None), "embeddings", None)
    padding: int | None = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    # RoBERTa and its kin count positions from the one behind padding's.
    return limit if limit is None or padding is None else limit - padding - 1


def model_device(model: PreferenceModel) -> torch.device:
    """The device of the model's weights."""
    assert isinstance(model, PreTrainedModel)
    device: torch.device = model.device
    return device
