"""K responses to one prompt in one sequence: the prompt is read once, not K times.

    [prompt | response_1 | ... | response_K]

A response attends to the prompt and to itself, the prompt to itself, and every response counts its positions from
the end of the prompt. On a causal backbone that is what separate encoding computes, up to the rounding of sums: no
token of a prompt ever sees what follows it. On an encoder (BERT) the prompt's own states depend on the response, so
nothing can be shared; serving then reads every "prompt response" for itself.

The mask is dense, so a pack of L tokens costs L^2 in attention: long packs are cut, see `max_tokens` of :func:`pack`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

__all__ = ["SHARING_BACKBONES", "PackedBatch", "can_share_prompt", "check_shareable", "pack", "pooled"]

MAX_TOKENS = 2048
"""Of a pack, unless asked otherwise."""

# fmt: off
SHARING_BACKBONES = frozenset({
    "cohere", "gemma", "glm", "gpt2", "gpt_bigcode", "gpt_neox", "granite", "llama", "mistral", "mixtral", "olmo",
    "olmo2", "opt", "phi", "phi3", "qwen2", "qwen3", "qwen3_moe", "smollm3", "stablelm", "starcoder2",
})
# fmt: on
"""Types of causal backbone that take a mask and positions as they are given; each is in the tests."""


@dataclass(frozen=True, eq=False)
class PackedBatch:
    """R packs of L tokens with N responses to B distinct prompts.

    Attributes
    ----------
    input_ids, position_ids : int64 [R, L].
    segments : int64 [R, L], 0 on the prompt, k on its k-th response in the pack, -1 on padding.
    spans : int64 [N, 3], row, start and stop of each response and its end.
    prompt_spans : int64 [B, 3], the same of each prompt, in the first pack that holds it.
    prompt_of : int64 [N], the prompt of each response.
    """

    input_ids: Tensor
    position_ids: Tensor
    segments: Tensor
    spans: Tensor
    prompt_spans: Tensor
    prompt_of: Tensor

    def to(self, device: torch.device | str) -> PackedBatch:
        """The same batch on another device."""
        return PackedBatch(**{name: getattr(self, name).to(device) for name in self.__dataclass_fields__})

    def visible(self) -> Tensor:
        """bool [R, 1, L, L], whether token i attends to token j."""
        segments = self.segments
        length = segments.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
        same = segments.unsqueeze(2) == segments.unsqueeze(1)  # Padding sees padding: no row without a token to see.
        prompt = (segments == 0).unsqueeze(1) & (segments > 0).unsqueeze(2)
        return ((same | prompt) & causal).unsqueeze(1)


def can_share_prompt(backbone: torch.nn.Module) -> bool:
    """Whether responses packed behind one prompt come out as they would alone.

    True for the causal backbones of :data:`SHARING_BACKBONES` in which every layer attends to everything before it
    (no sliding window) and takes a mask (``sdpa`` or ``eager`` attention).
    """
    config = getattr(backbone, "config", None)
    if config is None or config.model_type not in SHARING_BACKBONES or not getattr(config, "is_causal", True):
        return False
    kinds = getattr(config, "layer_types", None)
    if kinds is None and getattr(config, "sliding_window", None) is not None:
        return False
    full = kinds is None or set(kinds) == {"full_attention"}
    return full and config._attn_implementation in ("sdpa", "eager")


def check_shareable(backbone: torch.nn.Module) -> None:
    """Refuse a backbone on which packing would change the answer."""
    if not can_share_prompt(backbone):
        kind = getattr(getattr(backbone, "config", None), "model_type", type(backbone).__name__)
        raise ValueError(
            f"a {kind} backbone cannot share a prompt between responses: packing needs a causal backbone of full "
            f"attention (sdpa or eager), one of {', '.join(sorted(SHARING_BACKBONES))}; use encode"
        )


def pack(
    heads: Sequence[Sequence[int]],
    tails: Sequence[Sequence[Sequence[int]]],
    *,
    pad: int,
    max_tokens: int = MAX_TOKENS,
) -> PackedBatch:
    """Pack the token ids of B prompts with those of any number of responses to each, numbered prompt by prompt.

    Parameters
    ----------
    max_tokens : most tokens of a pack, after which the prompt is repeated in the next. A pack holds a response at
        least, however long.
    """
    rows: list[tuple[list[int], list[int], list[int]]] = []  # ids, positions, segments
    spans, prompt_spans, prompt_of = [], [], []
    for b, (head, texts) in enumerate(zip(heads, tails, strict=True)):
        start = list(range(len(head)))
        prompt_spans.append((len(rows), 0, len(head)))
        rows.append(([*head], [*start], [0] * len(head)))
        for tail in texts:
            if len(rows[-1][0]) > len(head) and len(rows[-1][0]) + len(tail) > max_tokens:
                rows.append(([*head], [*start], [0] * len(head)))
            ids, positions, segments = rows[-1]
            spans.append((len(rows) - 1, len(ids), len(ids) + len(tail)))
            ids += tail
            positions += range(len(head), len(head) + len(tail))
            segments += [segments[-1] + 1] * len(tail)
            prompt_of.append(b)
    longest = max(len(ids) for ids, _, _ in rows)
    input_ids = torch.full((len(rows), longest), pad)
    position_ids, segment_ids = torch.zeros_like(input_ids), torch.full_like(input_ids, -1)
    for row, (ids, positions, segments) in enumerate(rows):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        position_ids[row, : len(ids)] = torch.tensor(positions)
        segment_ids[row, : len(ids)] = torch.tensor(segments)
    return PackedBatch(
        input_ids,
        position_ids,
        segment_ids,
        torch.tensor(spans),
        torch.tensor(prompt_spans),
        torch.tensor(prompt_of),
    )


def pooled(backbone: PreTrainedModel, packed: PackedBatch, pooling: str) -> tuple[Tensor, Tensor]:
    """Vectors of the responses [N, hidden] and of the prompts alone [B, hidden], float32, from one forward pass.

    Parameters
    ----------
    pooling : "mean" or "last", as in :func:`heads.pool`.
    """
    mask = packed.visible()
    if backbone.config._attn_implementation == "eager":
        # Eager attention adds its mask to the scores, and would take True for a score of 1.
        mask = torch.zeros_like(mask, dtype=backbone.dtype).masked_fill(~mask, torch.finfo(backbone.dtype).min)
    output = backbone(
        input_ids=packed.input_ids,
        attention_mask=mask,
        position_ids=packed.position_ids,
        use_cache=False,
    )
    hidden = output.last_hidden_state
    return _pool_spans(hidden, packed.spans, pooling), _pool_spans(hidden, packed.prompt_spans, pooling)


def _pool_spans(hidden: Tensor, spans: Tensor, pooling: str) -> Tensor:
    row, start, stop = spans.unbind(1)
    if pooling == "last":
        return hidden[row, stop - 1].float()
    inside = torch.arange(int((stop - start).max()), device=hidden.device) + start.unsqueeze(1)
    weight = (inside < stop.unsqueeze(1)).unsqueeze(-1).float()
    states = hidden[row.unsqueeze(1), inside.clamp(max=hidden.shape[1] - 1)].float()
    return (states * weight).sum(1) / weight.sum(1)
