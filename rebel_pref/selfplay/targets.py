"""Third arrow: from judged pools to the log-ratio that a round asks of each response.

Adds no mathematics: pads the pools of a round to one batch, chooses the weights that stand for the current
policy, and calls :func:`rebel_pref.targets.regression_target`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rebel_pref.algorithms import Update
from rebel_pref.payoffs import (
    PoolWeights,
    draw_weights,
    drop_unjudged,
    exact_pool_weights,
    horvitz_thompson_weights,
    normalized_weights,
)
from rebel_pref.proximal import regularized_equilibrium
from rebel_pref.selfplay.config import PoolConfig
from rebel_pref.selfplay.pool import PromptPool
from rebel_pref.targets import StageTarget, regression_target

__all__ = ["JudgedBatch", "batch_pools", "can_be_regressed", "choose_regressed", "pad_rows", "stage_target"]


@dataclass(frozen=True, eq=False)
class JudgedBatch:
    """The judged responses of B prompts, padded to M. Float64 tensors.

    Attributes
    ----------
    entries : B lists, the pool index of each column.
    payoffs : [B, M, M], 0 in the padding.
    log_probs : [B, M] by policy name.
    opponents : bool [B, M], responses that stand for the policies.
    weights : of the current policy on the opponents.
    left_out : responses dropped because a judgement is missing.
    """

    entries: tuple[tuple[int, ...], ...]
    payoffs: torch.Tensor
    log_probs: Mapping[str, torch.Tensor]
    opponents: torch.Tensor
    weights: PoolWeights
    left_out: int


def can_be_regressed(pool: PromptPool, first_half: np.ndarray, second_half: np.ndarray, config: PoolConfig) -> bool:
    """Whether enough of a prompt's judgements came for a relative reward: two judged responses, and opponents.

    The halves say how often each entry was drawn to be regressed and, for "fresh" weights, as an opponent.
    """
    kept = drop_unjudged(pool.payoffs)
    if config.weights == "fresh":
        return bool((first_half[kept] > 0).any() and (second_half[kept] > 0).any())
    # One response alone, drawn K times, asks for nothing and does no harm.
    return len(kept) > 1 or len(pool) == 1


def batch_pools(
    pools: Sequence[PromptPool],
    log_probs: Mapping[str, Sequence[np.ndarray]],
    config: PoolConfig,
    *,
    second_half: Sequence[np.ndarray] | None = None,
) -> JudgedBatch:
    """Pad pools to one batch and weigh their responses.

    Parameters
    ----------
    log_probs : for each policy name, B arrays [S_b] over all entries of each pool.
    second_half : for "fresh" weights, B arrays [S_b] of how often each entry was drawn as an opponent.
    """
    entries = tuple(tuple(drop_unjudged(pool.payoffs)) for pool in pools)
    left_out = sum(len(pool) - len(kept) for pool, kept in zip(pools, entries, strict=True))
    size = max(len(kept) for kept in entries)
    payoffs = torch.zeros(len(pools), size, size, dtype=torch.float64)
    mask = torch.zeros(len(pools), size, dtype=torch.bool)
    for b, (pool, kept) in enumerate(zip(pools, entries, strict=True)):
        payoffs[b, : len(kept), : len(kept)] = torch.from_numpy(pool.payoffs[np.ix_(kept, kept)])
        mask[b, : len(kept)] = True
    padded = {name: pad_rows(rows, entries, size) for name, rows in log_probs.items()}
    if config.weights == "exact":
        weights = exact_pool_weights(padded["current"], mask)
    elif config.weights == "horvitz_thompson":
        seen = pad_rows([pool.log_seen for pool in pools], entries, size)
        weights = horvitz_thompson_weights(padded["current"], seen, mask)
    else:
        drawn = second_half if second_half is not None else [pool.draws for pool in pools]
        counts = pad_rows([row.astype(np.float64) for row in drawn], entries, size)
        mask = mask & (counts > 0)
        weights = draw_weights(counts, padded["current"])
    return JudgedBatch(entries, payoffs, padded, mask, weights, left_out)


def stage_target(update: Update, batch: JudgedBatch, extra: Mapping[str, torch.Tensor]) -> StageTarget:
    """Target of one stage [B, M]; `extra` adds log-probabilities made after the batch (the lookahead)."""
    return regression_target(
        update,
        batch.weights.log_weights,
        {**batch.log_probs, **extra},
        batch.payoffs,
        mask=batch.opponents,
    )


def choose_regressed(
    batch: JudgedBatch,
    row: int,
    config: PoolConfig,
    draws: np.ndarray,
    log_reference: np.ndarray,
    rng: np.random.Generator,
    *,
    regularization: float = 0.0,
) -> tuple[list[int], np.ndarray]:
    """Which columns of a prompt are regressed, and the weights v of the pairs.

    Without a pool: the round's draws, weighted by how often each was drawn. With one: the fresh responses
    and others drawn evenly from the pool. In a table any weights have the same minimiser; a network cannot
    meet every target, and what it misses enters the guarantee through how well the base distribution covers
    the policy that is aimed at (REBEL's concentrability). Hence "mixture", half current policy and half
    reference, both estimated on the pool; and "equilibrium", which adds as a third part what is aimed at: the
    equilibrium of the pool's own game, regularised towards the reference, which costs one Newton solve. Without
    it a winning response that the network's sharing has driven out stays out. Uniform weights would spend the
    network on responses that nobody writes.

    Parameters
    ----------
    row : which prompt of the batch.
    draws : [S], how often each pool entry was drawn in the round.
    log_reference : [S], log-probability of each pool entry under the starting model.
    regularization : tau of the row; at 0 there is no regularised equilibrium, and its part is left out.

    Returns
    -------
    columns (positions in ``batch.entries[row]``) and weights [len(columns)] that sum to 1.
    """
    entries = list(batch.entries[row])
    drawn = draws[entries]
    fresh = np.flatnonzero(drawn > 0)
    if not config.keeps:
        return fresh.tolist(), drawn[fresh] / drawn[fresh].sum()
    others = np.flatnonzero(drawn == 0)
    room = max(0, config.regressed - len(fresh))
    if room < len(others):
        others = rng.choice(others, size=room, replace=False)
    columns = np.sort(np.concatenate([fresh, others]))
    if config.base == "uniform":
        return columns.tolist(), np.full(len(columns), 1.0 / len(columns))
    current = batch.weights.log_weights[row].numpy()[columns]
    reference = current + log_reference[entries][columns] - batch.log_probs["current"][row].numpy()[columns]
    parts = [normalized_weights(current), normalized_weights(reference)]
    if config.base == "equilibrium" and regularization > 0.0:
        payoffs = batch.payoffs[row].numpy()[np.ix_(columns, columns)]
        parts.append(regularized_equilibrium(reference, payoffs, regularization).policy)
    return columns.tolist(), np.asarray(sum(parts) / len(parts))


def pad_rows(rows: Sequence[np.ndarray], entries: Sequence[Sequence[int]], size: int) -> torch.Tensor:
    """B arrays [S_b] over pool entries -> [B, size] over the judged ones, 0 in the padding."""
    padded = torch.zeros(len(rows), size, dtype=torch.float64)
    for b, (row, kept) in enumerate(zip(rows, entries, strict=True)):
        padded[b, : len(kept)] = torch.from_numpy(np.asarray(row, dtype=np.float64)[list(kept)])
    return padded
