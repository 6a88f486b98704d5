"""From hidden states to preference logits: the parts that every pairwise model here is made of.

    s(y, y') = r(y) - r(y') + sum_l lambda_l(x) (a_l(y) b_l(y') - b_l(y) a_l(y')),    P(y > y' | x) = sigmoid(s)

A scalar score (Bradley-Terry) plus discs (a, b), each a plane in which a preference may turn in a circle.
Source: the multidimensional Elo of Balduzzi et al. 2018 (1806.02643, section 4) on neural embeddings; the
discs alone, gated by the prompt, are the general preference model of Zhang et al. 2024 (2410.02197, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from preference_models.text import TextBatch

__all__ = ["ResponseEmbeddings", "mean_pool", "pair_logits", "preference_logits"]


@dataclass(frozen=True, eq=False)
class ResponseEmbeddings:
    """All that a model needs to know of a response to compare it; computed once, used for every pair.

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


def preference_logits(ours: ResponseEmbeddings, theirs: ResponseEmbeddings | None = None) -> Tensor:
    """Logits s of every response against every other.

    Parameters
    ----------
    ours : embeddings [..., K].
    theirs : embeddings [..., M] of the opponents, or None for the responses themselves.

    Returns
    -------
    float32 [..., K, K] with ``logits == -logits.mT`` to the last bit and a zero diagonal, or [..., K, M].
    """
    if theirs is None:
        # One product and its transpose: two products may be tiled differently and break the last bit.
        half = ours.scores.unsqueeze(-1) + ours.left @ ours.right.mT
        return half - half.mT
    discs = ours.left @ theirs.right.mT - ours.right @ theirs.left.mT
    return ours.scores.unsqueeze(-1) - theirs.scores.unsqueeze(-2) + discs


def pair_logits(embeddings: ResponseEmbeddings, first: Tensor, second: Tensor) -> Tensor:
    """Logits s [P] of chosen pairs of flat embeddings [N]; swapping `first` and `second` flips the sign bitwise."""
    ours, theirs = embeddings.select(first), embeddings.select(second)
    return ours.scores - theirs.scores + (ours.left * theirs.right - ours.right * theirs.left).sum(-1)


def mean_pool(backbone: nn.Module, batch: TextBatch) -> Tensor:
    """Mean of the last hidden states over ``batch.pool_mask``, float32 [N, hidden]."""
    output = backbone(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    weight = batch.pool_mask.unsqueeze(-1).float()
    pooled: Tensor = (output.last_hidden_state.float() * weight).sum(1) / weight.sum(1)
    return pooled


def float32_linear(layer: nn.Linear, hidden: Tensor) -> Tensor:
    """Apply a head in float32, whatever the type of the backbone or an autocast around it."""
    with torch.autocast(hidden.device.type, enabled=False):
        bias = None if layer.bias is None else layer.bias.float()
        return nn.functional.linear(hidden.float(), layer.weight.float(), bias)
