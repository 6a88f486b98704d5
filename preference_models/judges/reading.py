"""Token ids through a model of this process: sorted by length, in batches, and what does not fit is missing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor, nn

from preference_models.serving import evaluating
from preference_models.token_lists import padded
from rebel_pref.preferences import FloatArray

__all__ = ["read_by_length"]

logger = logging.getLogger(__name__)


def read_by_length(
    model: nn.Module,
    read: Callable[[Tensor, Tensor], Tensor],
    ids: Sequence[Sequence[int]],
    *,
    name: str,
    limit: int | None,
    batch_size: int,
) -> FloatArray:
    """One number a row of token ids, float64 [N], without gradients and in evaluation mode.

    Parameters
    ----------
    model : whose mode comes back afterwards.
    read : numbers [n] from token ids and attention mask [n, L]; zeros on the right, where a causal model sees none.
    name : what a row is, a plural, for the log.
    limit : most tokens of a row, None for any number; a longer one is missing (NaN), counted in the log, never cut.
    batch_size : most rows a forward pass.
    """
    lengths = [len(row) for row in ids]
    order = sorted((row for row in range(len(ids)) if limit is None or lengths[row] <= limit), key=lengths.__getitem__)
    if len(order) < len(ids):
        logger.warning(
            "%d of %d %s are longer than the model's %s tokens and are missing; the longest has %d",
            len(ids) - len(order),
            len(ids),
            name,
            limit,
            max(lengths),
        )
    values = np.full(len(ids), np.nan)
    with evaluating(model):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = padded([ids[row] for row in rows])
            values[rows] = read(batch.input_ids, batch.attention_mask).double().cpu().numpy()
    return values
