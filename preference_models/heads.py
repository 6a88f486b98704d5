"""From hidden states to preference logits: the parts that models of scores and discs are made of.

    s(y, y') = r(y) - r(y') + sum_l lambda_l(x) (a_l(y) b_l(y') - b_l(y) a_l(y')),    P(y > y' | x) = sigmoid(s)

A scalar score (Bradley-Terry) plus discs (a, b), each a plane in which a preference may turn in a circle.
Source: the multidimensional Elo of Balduzzi et al. 2018 (1806.02643, section 4) on neural embeddings; the
discs alone, gated by the prompt, are the general preference model of Zhang et al. 2024 (2410.02197, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from preference_models.token_lists import TextBatch

__all__ = ["Embeddings", "ResponseEmbeddings", "hidden_states", "pair_logits", "pool", "preference_logits"]


class Embeddings(Protocol):
    """What a model keeps of responses [..., K] to compare them: computed once, used for every pair."""

    def select(self, rows: Tensor) -> Self:
        """Rows of flat embeddings [N] in any shape of index: [n] or [B, K]."""
        ...

    def concatenate(self, others: Sequence[Self]) -> Self:
        """Flat embeddings [N], and then the others, in one."""
        ...

    def all_pairs(self, theirs: Self | None = None) -> Tensor:
        """Logits [..., K, K], or against others [..., K, M]; see :func:`preference_logits`."""
        ...

    def in_pairs(self, theirs: Self) -> Tensor:
        """Logits [...] of each response against the other of the same place; swapping flips the sign bitwise."""
        ...


@dataclass(frozen=True, eq=False)
class ResponseEmbeddings:
    """Embeddings of a model of scores and discs. The model's temperature is included.

    Attributes
    ----------
    scores : float32 [..., K], the scalar r.
    left : float32 [..., K, D], the disc coordinates ``lambda_l a_l`` (gate included).
    right : float32 [..., K, D], the disc coordinates ``b_l``; D = 0 without discs.
    """

    scores: Tensor
    left: Tensor
    right: Tensor

    def select(self, rows: Tensor) -> ResponseEmbeddings:
        """Rows of flat embeddings [N] in any shape of index: [n] or [B, K]."""
        return ResponseEmbeddings(self.scores[rows], self.left[rows], self.right[rows])

    def concatenate(self, others: Sequence[ResponseEmbeddings]) -> ResponseEmbeddings:
        """Flat embeddings [N], and then the others, in one."""
        parts = [self, *others]
        return ResponseEmbeddings(
            torch.cat([part.scores for part in parts]),
            torch.cat([part.left for part in parts]),
            torch.cat([part.right for part in parts]),
        )

    def all_pairs(self, theirs: ResponseEmbeddings | None = None) -> Tensor:
        """Logits [..., K, K], or against others [..., K, M]; see :func:`preference_logits`."""
        # Products of coordinates in bfloat16 would cost three digits; an autocast must not choose that.
        with torch.autocast(self.scores.device.type, enabled=False):
            if theirs is None:
                # One product and its transpose: two products may be tiled differently and break the last bit.
                half = self.scores.unsqueeze(-1) + self.left @ self.right.mT
                return half - half.mT
            discs = self.left @ theirs.right.mT - self.right @ theirs.left.mT
            return self.scores.unsqueeze(-1) - theirs.scores.unsqueeze(-2) + discs

    def in_pairs(self, theirs: ResponseEmbeddings) -> Tensor:
        """Logits [...] of each response against the other of the same place; swapping flips the sign bitwise."""
        return self.scores - theirs.scores + (self.left * theirs.right - self.right * theirs.left).sum(-1)


E = TypeVar("E", bound=Embeddings)


def preference_logits(ours: E, theirs: E | None = None) -> Tensor:
    """Logits s of every response against every other.

    Parameters
    ----------
    ours : embeddings [..., K].
    theirs : embeddings [..., M] of the opponents, or None for the responses themselves.

    Returns
    -------
    float32 [..., K, K] with ``logits == -logits.mT`` to the last bit and a zero diagonal, or [..., K, M].
    """
    return ours.all_pairs(theirs)


def pair_logits(embeddings: E, first: Tensor, second: Tensor) -> Tensor:
    """Logits s [P] of chosen pairs of flat embeddings [N]; swapping `first` and `second` flips the sign bitwise."""
    return embeddings.select(first).in_pairs(embeddings.select(second))


def hidden_states(backbone: nn.Module, batch: TextBatch) -> Tensor:
    """Last hidden states [N, L, hidden] of a batch that is padded on the right."""
    hidden: Tensor = backbone(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    return hidden


def pool(hidden: Tensor, pool_mask: Tensor, pooling: str) -> Tensor:
    """One vector a text, float32 [N, hidden].

    Parameters
    ----------
    hidden : [N, L, hidden], of any floating type.
    pool_mask : int64 [N, L], 1 on the tokens to look at; at least one a row.
    pooling : "mean" of the hidden states of those tokens, or that of the "last" of them.
    """
    if pooling == "last":
        places = torch.arange(1, pool_mask.shape[1] + 1, device=pool_mask.device)
        last = (pool_mask * places).argmax(1)
        return hidden[torch.arange(len(hidden), device=hidden.device), last].float()
    weight = pool_mask.unsqueeze(-1).float()
    return (hidden.float() * weight).sum(1) / weight.sum(1)


def float32_linear(layer: nn.Linear, hidden: Tensor) -> Tensor:
    """Apply a head in float32, whatever the type of the backbone or an autocast around it."""
    with torch.autocast(hidden.device.type, enabled=False):
        bias = None if layer.bias is None else layer.bias.float()
        return nn.functional.linear(hidden.float(), layer.weight.float(), bias)
