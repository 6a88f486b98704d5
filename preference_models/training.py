"""Fit a preference model to comparisons: AdamW, on one process or on several, resumable to the bit."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from preference_models.batching import PairReader, PreparedComparisons, prepare, prompt_batches
from preference_models.checkpoints import (
    FitCheckpoint,
    fingerprint,
    latest_fit,
    load_optimizer_tensors,
    optimizer_tensors,
    read_fit,
    write_fit,
)
from preference_models.comparisons import Comparisons
from preference_models.fit_config import FitConfig, FitReport
from preference_models.losses import logistic_loss, loss_of
from preference_models.optimization import Processes, learning_rate_share, make_optimizer, take_step
from preference_models.serving import PreferenceModel

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["FitConfig", "FitReport", "fit_preference_model", "logistic_loss"]


def fit_preference_model(
    model: PreferenceModel | PairReader,
    train: Comparisons,
    held_out: Comparisons | None = None,
    config: FitConfig | None = None,
    *,
    truth: ArrayLike | None = None,
    progress: Callable[[int, float], None] | None = None,
    accelerator: Accelerator | None = None,
    checkpoints: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 500,
) -> FitReport:
    """Fit `model` in place, on the device where it is; the same seed gives the same weights on the same machine.

    Parameters
    ----------
    train : comparisons to fit.
    held_out : comparisons to judge the fit by (:func:`split_held_out_pairs`), or None.
    truth : true P(first wins) of the held-out comparisons [len(held_out)] (:func:`ask` a true judge), or None.
    progress : called after every step with its number (from 1) and its loss.
    accelerator : for several processes, each of which makes this call with the same arguments, for mixed precision and
        for trackers, which the caller starts and ends. The model moves to its device, and is kept whole on each
        (no FSDP). Batches are those of one process, and so is the result, up to rounding.
    checkpoints : folder that the fit writes to, and goes on from where it holds something. A fit that was killed at
        any moment ends with the weights it would have had.
    checkpoint_every : steps between checkpoints.

    Raises
    ------
    ValueError
        For an empty set, `truth` that does not fit `held_out`, or checkpoints of another fit.
    FloatingPointError
        If the loss or a gradient is not finite.
    """
    config = FitConfig() if config is None else config
    _check(train, held_out, config, truth, checkpoint_every)
    assert isinstance(model, torch.nn.Module)

    started = time.perf_counter()
    processes = Processes(accelerator)
    if accelerator is not None:
        model.to(accelerator.device)
    data = prepare(model, train)
    check = None if held_out is None else prepare(model, held_out)
    batches = prompt_batches(
        data.prompt,
        batch_size=config.batch_size,
        group_size=config.comparisons_per_prompt,
        rng=np.random.default_rng(config.seed),
    )
    optimizer = make_optimizer(model, learning_rate=config.learning_rate, weight_decay=config.weight_decay)
    processes.start_alike(model)
    state = _State()
    folder = None if checkpoints is None else Path(checkpoints)
    asked = {"config": dataclasses.asdict(config), "data": fingerprint(train, held_out)} if folder else {}
    if folder is not None and (stored := latest_fit(folder)) is not None:
        state = _resume(model, optimizer, read_fit(stored), asked, stored)
        for _ in range(state.step):
            next(batches)
    was_training = model.training
    model.train()
    device = data.outcome.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        while state.step < config.steps and not state.finished:
            state.step += 1
            # Each step seeds its own dropout: a resumed fit needs no generator's state.
            torch.manual_seed(_step_seed(config.seed, state.step, processes.rank))
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * learning_rate_share(
                    state.step, steps=config.steps, warmup_steps=config.warmup_steps
                )
            rows = torch.from_numpy(next(batches)).to(device)
            loss, norm = take_step(
                model,
                data,
                rows,
                optimizer,
                processes,
                loss=config.loss,
                margin=config.margin,
                label_noise=config.label_noise,
                disc_shrinkage=config.disc_shrinkage,
                gradient_clip=config.gradient_clip,
            )
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise FloatingPointError(
                    f"loss {loss}, gradient norm {norm} at step {state.step}: lower learning_rate (now "
                    f"{config.learning_rate}), or raise warmup_steps or disc_shrinkage"
                )
            processes.log({"train/loss": loss, "train/gradient_norm": norm}, state.step)
            if progress is not None:
                progress(state.step, loss)
            if check is not None and config.evaluate_every is not None and state.step % config.evaluate_every == 0:
                seen = processes.same(_objective(model, check, config))
                processes.log({"held_out/loss": seen}, state.step)
                state.look(model, seen, config.patience)
            state.finished = state.finished or state.step == config.steps
            if folder is not None and (state.finished or state.step % checkpoint_every == 0):
                processes.wait()
                if processes.rank == 0:
                    write_fit(folder, state.checkpoint(model, optimizer, asked))
    processes.wait()
    model.train(was_training)
    if state.best_weights is not None:
        model.load_state_dict(state.best_weights)

    return FitReport(
        held_out_accuracy=None if check is None else _accuracy(model, check, check.outcome),
        truth_accuracy=None if check is None or truth is None else _accuracy(model, check, torch.as_tensor(truth)),
        held_out_log_loss=None if check is None else _log_loss(model, check, config),
        train_log_loss=_log_loss(model, data, config),
        steps=state.step,
        best_step=state.step if state.best_weights is None else state.best_step,
        seconds=time.perf_counter() - started,
        settings=config,
    )


@dataclass
class _State:
    """Where a fit is."""

    step: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    looks_since: int = 0
    finished: bool = False
    best_weights: dict[str, Tensor] | None = None

    def look(self, model: torch.nn.Module, seen: float, patience: int | None) -> None:
        self.looks_since += 1
        if seen < self.best_loss:
            self.best_loss, self.best_step, self.looks_since = seen, self.step, 0
            self.best_weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self.finished = patience is not None and self.looks_since >= patience

    def checkpoint(
        self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, asked: dict[str, Any]
    ) -> FitCheckpoint:
        names = ("step", "best_loss", "best_step", "looks_since", "finished")
        progress = {name: getattr(self, name) for name in names}
        return FitCheckpoint(progress | asked, model.state_dict(), self.best_weights, optimizer_tensors(optimizer))


def _resume(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    stored: FitCheckpoint,
    asked: dict[str, Any],
    path: Path,
) -> _State:
    """Give model and optimizer what was stored; refuse another fit's."""
    progress = dict(stored.progress)
    for name, wanted in asked.items():
        if (found := progress.pop(name)) != wanted:
            difference = ""
            if name == "config":
                key = next(key for key in wanted if found.get(key) != wanted[key])
                difference = f": {key} = {found.get(key)!r}, now {wanted[key]!r}"
            raise ValueError(f"{path} belongs to a fit with other {name}{difference}; give another folder")
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if shapes != {name: tensor.shape for name, tensor in stored.weights.items()}:
        raise ValueError(f"{path} belongs to another model: names or shapes of weights differ; give another folder")
    model.load_state_dict(dict(stored.weights))
    load_optimizer_tensors(optimizer, stored.optimizer)
    return _State(**progress, best_weights=None if stored.best is None else dict(stored.best))


def _check(
    train: Comparisons,
    held_out: Comparisons | None,
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
    decided = preference != 0.5
    if not decided.any():
        return None
    right = data.logits(model)[decided].sign() == (preference[decided] - 0.5).sign()
    return ((right * data.weight[decided]).sum() / data.weight[decided].sum()).item()
