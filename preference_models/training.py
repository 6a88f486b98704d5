"""Fit a preference model to comparisons: AdamW, on one process or on several, resumable to the bit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from preference_models.batching import PairReader, PreparedComparisons, prepare, prompt_batches
from preference_models.checkpoints import FitState, FitStore
from preference_models.comparisons import TextComparisons
from preference_models.fit_config import FitConfig, FitReport
from preference_models.losses import logistic_loss, loss_of
from preference_models.optimization import Processes, make_optimizer, take_step
from preference_models.responses import PreferenceModel
from preference_models.serving import in_mode
from preference_models.sharding import copy_back

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["FitConfig", "FitReport", "fit_preference_model", "logistic_loss"]


def fit_preference_model(
    model: PreferenceModel | PairReader,
    train: TextComparisons,
    held_out: TextComparisons | None = None,
    config: FitConfig | None = None,
    *,
    truth: ArrayLike | None = None,
    progress: Callable[[int, float], None] | None = None,
    accelerator: Accelerator | None = None,
    shard: bool = False,
    checkpoints: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 500,
) -> FitReport:
    """Fit `model` in place, on the device where it is; the same seed gives the same weights on the same machine.

    Parameters
    ----------
    train : comparisons to fit.
    held_out : comparisons to judge the fit by (:func:`split_held_out`), or None.
    truth : true P(first wins) of the held-out comparisons [len(held_out)] (:func:`ask` a true judge), NaN where it is
        not known, or None.
    progress : called after every step with its number (from 1) and its loss.
    accelerator : for several processes, each of which makes this call with the same arguments, for mixed precision and
        for trackers, which the caller starts and ends. The model moves to its device. Batches are those of one
        process, and so is the result, up to rounding.
    shard : whether each process keeps a part of weights, gradients and optimiser state only (FSDP), which an
        accelerator that was launched to shard does unasked. The model stays where it is, whole, a copy is fitted, and
        its weights come back at the end.
    checkpoints : folder that the fit writes to, and goes on from where it holds something. A fit that was killed at
        any moment ends with the weights it would have had.
    checkpoint_every : steps between checkpoints.

    Raises
    ------
    ValueError
        For an empty set, `truth` that does not fit `held_out`, a model with nothing to fit, or checkpoints of another
        fit or of another step than another process finds.
    FloatingPointError
        If the loss or a gradient is not finite.
    """
    config = FitConfig() if config is None else config
    _check(train, held_out, config, truth, checkpoint_every)
    assert isinstance(model, torch.nn.Module)

    started = time.perf_counter()
    processes = Processes(accelerator, shard=shard)
    store = None if checkpoints is None else FitStore(Path(checkpoints), config, train, held_out)
    stored = None if store is None else store.latest(model)
    worker = processes.worker(model)
    data = prepare(worker, train, share_prompt=config.share_prompt)
    check = None if held_out is None else prepare(worker, held_out, share_prompt=config.share_prompt)
    optimizer = make_optimizer(worker, learning_rate=config.learning_rate, weight_decay=config.weight_decay)
    batches = prompt_batches(
        data.prompt,
        batch_size=config.batch_size,
        group_size=config.comparisons_per_prompt,
        rng=np.random.default_rng(config.seed),
    )
    state = FitState() if stored is None else stored.resume(worker, optimizer)
    processes.require_same(state.step, "checkpoints of steps")
    for _ in range(state.step):
        next(batches)
    device = data.outcome.device
    with in_mode(worker, training=True), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        while not state.finished:
            state.step += 1
            # Each step seeds its own dropout: a resumed fit needs no generator's state.
            torch.manual_seed(_step_seed(config.seed, state.step, processes.rank))
            rows = torch.from_numpy(next(batches)).to(device)
            loss, norm = take_step(worker, data, rows, optimizer, processes, config, state.step)
            processes.log({"train/loss": loss, "train/gradient_norm": norm}, state.step)
            if progress is not None:
                progress(state.step, loss)
            if check is not None and config.evaluate_every is not None and state.step % config.evaluate_every == 0:
                seen = processes.same(_objective(worker, check, config))
                processes.log({"held_out/loss": seen}, state.step)
                state.look(worker, seen, config.patience)
            state.finished = state.finished or state.step == config.steps
            if store is not None and (state.finished or state.step % checkpoint_every == 0):
                store.write(state, worker, optimizer, processes)
    processes.wait()
    if state.best_weights is not None:
        worker.load_state_dict(state.best_weights)
    if worker is not model:
        copy_back(worker, model)

    return FitReport(
        held_out_accuracy=None if check is None else _accuracy(worker, check, check.outcome),
        truth_accuracy=None if check is None or truth is None else _accuracy(worker, check, torch.as_tensor(truth)),
        held_out_log_loss=None if check is None else _log_loss(worker, check, config),
        train_log_loss=_log_loss(worker, data, config),
        steps=state.step,
        best_step=state.step if state.best_weights is None else state.best_step,
        seconds=time.perf_counter() - started,
        settings=config,
    )


def _check(
    train: TextComparisons,
    held_out: TextComparisons | None,
    config: FitConfig,
    truth: ArrayLike | None,
    checkpoint_every: int,
) -> None:
    if len(train) == 0:
        raise ValueError("expected at least one comparison to train on, got an empty set")
    if held_out is not None and len(held_out) == 0:
        raise ValueError("held_out is empty; pass None to fit without held-out comparisons")
    if held_out is None and (truth is not None or config.evaluate_every is not None):
        raise ValueError("truth and evaluate_every are about held-out comparisons; pass held_out")
    if held_out is not None and truth is not None and np.shape(truth) != (len(held_out),):
        raise ValueError(f"expected truth of shape {(len(held_out),)}, got {np.shape(truth)}")
    if truth is not None and np.any((np.asarray(truth) < 0.0) | (np.asarray(truth) > 1.0)):
        raise ValueError("expected truth in [0, 1], the probability that the first wins, or NaN where it is not known")
    if checkpoint_every < 1:
        raise ValueError(f"checkpoint_every must be at least 1, got {checkpoint_every}")


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0])


def _objective(model: Any, data: PreparedComparisons, config: FitConfig) -> float:
    """What the fit minimises, without the penalty, on other comparisons."""
    logits = data.logits(model).float()
    noise, margin = config.label_noise, config.margin
    return loss_of(config.loss, logits, data.outcome, data.weight, margin=margin, label_noise=noise).item()


def _log_loss(model: Any, data: PreparedComparisons, config: FitConfig) -> float:
    return logistic_loss(data.logits(model).float(), data.outcome, data.weight, label_noise=config.label_noise).item()


def _accuracy(model: Any, data: PreparedComparisons, preference: Tensor) -> float | None:
    """Share of decided rows whose winner the logit names (a logit of 0 names nobody); None if none is decided."""
    preference = preference.to(data.outcome)
    decided = (preference != 0.5) & ~preference.isnan()
    if not decided.any():
        return None
    right = data.logits(model)[decided].sign() == (preference[decided] - 0.5).sign()
    return ((right * data.weight[decided]).sum() / data.weight[decided].sum()).item()
