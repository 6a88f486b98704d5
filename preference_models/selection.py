"""How many discs, and how much shrinkage: the fewest that held-out comparisons cannot tell from the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from preference_models.calibration import best_temperature_factor
from preference_models.comparisons import TextComparisons
from preference_models.evaluation import FEWEST_CLUSTERS, clusters, comparison_logits, row_log_loss
from preference_models.training import FitConfig, FitReport, fit_preference_model
from rebel_pref.preferences import FloatArray

__all__ = ["Candidate", "Selection", "choose_discs", "simplest_within"]


@dataclass(frozen=True)
class Candidate:
    """One setting that was tried.

    Attributes
    ----------
    num_discs, disc_shrinkage : the setting.
    log_loss : on the validation comparisons, nats a vote.
    excess : log_loss above the best candidate's.
    standard_error : of `excess`, by cluster.
    report : of the fit.
    """

    num_discs: int
    disc_shrinkage: float
    log_loss: float
    excess: float
    standard_error: float
    report: FitReport


@dataclass(frozen=True)
class Selection:
    """What was chosen, and from what.

    Attributes
    ----------
    model : the chosen one, as it was fitted to the training comparisons.
    chosen : its row in `candidates`.
    candidates : from the simplest on.
    """

    model: Any
    chosen: int
    candidates: tuple[Candidate, ...]

    @property
    def num_discs(self) -> int:
        """Of the chosen model."""
        return self.candidates[self.chosen].num_discs


def choose_discs(
    make_model: Callable[[int], Any],
    train: TextComparisons,
    validation: TextComparisons,
    config: FitConfig | None = None,
    *,
    num_discs: Sequence[int] = (0, 1, 2, 4),
    shrinkage: Sequence[float] = (),
    standard_errors: float = 1.0,
    fit: Callable[[Any, int, FitConfig], FitReport] | None = None,
) -> Selection:
    """Fit a model for every number of discs and every shrinkage, and keep the simplest that is as good as the best.

    "As good": its validation log-loss is above the best one's by at most `standard_errors` standard errors of that
    difference, over clusters (:func:`evaluation.clusters`). Fewer discs are simpler, and so is more
    shrinkage. No discs at all, Bradley-Terry, is a candidate; where discs do not pay it is the one that is kept. All
    candidates are in memory until one is chosen: of a large backbone, fit one number of discs, or adapters.

    Parameters
    ----------
    make_model : from a number of discs to a fresh model; called with 0 for Bradley-Terry.
    train, validation : what to fit, and what to choose by: not what the result is judged on afterwards.
    config : of the fits; where it looks (evaluate_every), it looks at `validation`.
    num_discs : candidates, with 0 among them.
    shrinkage : values of disc_shrinkage to try with every number of discs but 0; empty for that of `config`.
    standard_errors : 1 is the rule of Breiman et al. 1984 (section 3.4.3), on the paired difference.
    fit : replaces :func:`fit_preference_model`; called with the model, its number of discs and its settings.
    """
    config = FitConfig() if config is None else config
    tried = sorted(set(num_discs))
    if not tried or tried[0] != 0:
        raise ValueError(f"expected candidates with 0 discs (Bradley-Terry) among them, got {list(num_discs)}")
    if any(value < 0 for value in shrinkage):
        raise ValueError(f"shrinkage must not be negative, got {list(shrinkage)}")
    strengths = sorted(set(shrinkage) or {config.disc_shrinkage}, reverse=True)
    settings = [(count, value) for count in tried for value in (strengths if count else strengths[:1])]
    votes = validation.weight
    models, reports, losses = [], [], []
    for count, value in settings:
        model = make_model(count)
        asked = replace(config, disc_shrinkage=value)
        if fit is not None:
            reports.append(fit(model, count, asked))
        else:
            reports.append(fit_preference_model(model, train, validation, asked))
        models.append(model)
        logits = comparison_logits(model, validation, label_noise=config.label_noise)
        if config.loss != "logistic":  # No other fits probabilities.
            logits = logits / best_temperature_factor(*map(torch.tensor, (logits, validation.outcome, votes)))
        losses.append(row_log_loss(logits, validation.outcome))
    drawing = clusters(validation, train)
    if drawing.count < FEWEST_CLUSTERS:  # Too few new responses say nothing of their spread.
        drawing = clusters(validation)
    chosen, excess, errors = simplest_within(np.stack(losses), votes, drawing.members, standard_errors)
    means = np.average(losses, axis=1, weights=votes)
    candidates = [
        Candidate(*setting, float(mean), float(over), float(error), report)
        for setting, mean, over, error, report in zip(settings, means, excess, errors, reports, strict=True)
    ]
    return Selection(models[chosen], chosen, tuple(candidates))


def simplest_within(
    losses: FloatArray, weight: FloatArray, members: NDArray[np.int64], standard_errors: float
) -> tuple[int, FloatArray, FloatArray]:
    """First of M candidates whose mean loss is within so many standard errors of the best one's.

    Parameters
    ----------
    losses : [M, N] of each candidate, from the simplest on, on each row.
    weight : [N].
    members : [N, 2], see :class:`evaluation.Clusters`.

    Returns
    -------
    its index; the excess over the best [M]; the standard errors of it [M] (linearised ratio, by cluster).
    """
    best = int(np.average(losses, axis=1, weights=weight).argmin())
    over = losses - losses[best]
    excess = np.average(over, axis=1, weights=weight)
    if members.max() == members.min():  # One cluster has no spread; its rows do.
        members = np.repeat(np.arange(len(weight)), 2).reshape(-1, 2)
    count = int(members.max()) + 1
    # What depends on two clusters moves with either.
    one, other = members.T
    second = weight * (one != other)
    spread = np.stack(
        [
            np.bincount(one, weight * (row - mean), count) + np.bincount(other, second * (row - mean), count)
            for row, mean in zip(over, excess, strict=True)
        ]
    )
    errors = np.sqrt((spread**2).sum(axis=1) * count / max(1, count - 1)) / weight.sum()
    return int(np.argmax(excess <= standard_errors * errors)), excess, errors
