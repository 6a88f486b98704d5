"""Does a model tell held-out winners better than Bradley-Terry does? Four measures, differences, intervals, a verdict.

Every measure is the same whichever response stands first, because both orders are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from preference_models.batching import prepare
from preference_models.comparisons import TextComparisons, ask
from rebel_pref.preferences import FloatArray, probabilities

__all__ = [
    "FEWEST_PROMPTS",
    "MEASURES",
    "Clusters",
    "EvaluationReport",
    "Measure",
    "clusters",
    "comparison_logits",
    "evaluate",
    "evaluate_logits",
    "reliability",
    "row_log_loss",
]

MEASURES = ("accuracy", "log_loss", "brier", "ece")
BINS = 10
FEWEST_PROMPTS = 10
"""Below which prompts are not what intervals draw, see :func:`clusters`."""

FEWEST_CLUSTERS = 5
"""For a verdict: an interval drawn from fewer says nothing."""

_CHUNK = 2_000_000  # Bootstrap counts held at a time.


@dataclass(frozen=True)
class Measure:
    """A measure of a model and of Bradley-Terry on the same comparisons.

    Attributes
    ----------
    model, bradley_terry : the values; NaN where there is nothing to measure (accuracy of ties alone).
    difference : model - bradley_terry.
    low, high : interval of the difference.
    """

    model: float
    bradley_terry: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class EvaluationReport:
    """A model against Bradley-Terry on comparisons that neither was fitted to.

    Attributes
    ----------
    accuracy : share of decided votes (outcome not 1/2) whose winner the sign of the logit names; a logit of 0 names
        nobody.
    log_loss : nats a vote; log 2 = 0.693 is chance.
    brier : mean of (P - vote)^2; 1/4 is chance.
    ece : expected calibration error, mean distance of P from the share of votes won, over 10 bins of the
        favourite's P in [1/2, 1]: bins of both orders, folded.
    comparisons, votes : rows, and the sum of their weights.
    clusters, cluster : how many of what the intervals draw: "group", "prompt", or where there are fewer than 10
        prompts "response" or "pair", see :func:`clusters`.
    level, replicates, seed : of the intervals: percentile bootstrap over clusters.
    subject : what the model has that Bradley-Terry has not, a plural.
    """

    accuracy: Measure
    log_loss: Measure
    brier: Measure
    ece: Measure
    comparisons: int
    votes: float
    clusters: int
    cluster: str
    level: float
    replicates: int
    seed: int
    subject: str = "the discs"

    @property
    def tells(self) -> bool:
        """Whether enough is held out for a verdict."""
        return self.clusters >= FEWEST_CLUSTERS

    @property
    def earns_keep(self) -> bool:
        """Whether the log-loss is below Bradley-Terry's by more than its interval, and below a coin's."""
        return self.tells and self.log_loss.high < 0.0 and self.log_loss.model < math.log(2.0)

    @property
    def worse(self) -> bool:
        """Whether the log-loss is above Bradley-Terry's by more than its interval."""
        return self.tells and self.log_loss.low > 0.0

    @property
    def verdict(self) -> str:
        """The sentence to read first."""
        if not self.tells:
            few = f"{self.clusters} {self.cluster}{'s' * (self.clusters != 1)}"
            return f"too little is held out ({few}) to tell whether {self.subject} earn their keep; hold out more"
        if self.earns_keep:
            return f"{self.subject} earn their keep"
        if not self.worse and min(self.log_loss.model, self.log_loss.bradley_terry) >= math.log(2.0):
            return f"{self.subject} do not earn their keep: neither model tells held-out winners better than a coin"
        better = "better" if self.worse else "as good"
        return f"{self.subject} do not earn their keep: a Bradley-Terry model is {better}"

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for JSON (NaN as None)."""
        told = {**asdict(self), "verdict": self.verdict, "earns_keep": self.earns_keep, "worse": self.worse}
        for name in MEASURES:
            told[name] = {k: None if math.isnan(v) else v for k, v in told[name].items()}
        return told

    def __str__(self) -> str:
        lines = [f"{'':10} {'model':>8} {'BT':>8} {'difference':>11}   {100 * self.level:g} % interval"]
        for name in MEASURES:
            one: Measure = getattr(self, name)
            lines.append(
                f"{name.replace('_', '-'):10} {one.model:8.4f} {one.bradley_terry:8.4f} {one.difference:+11.4f}   "
                f"[{one.low:+.4f}, {one.high:+.4f}]"
            )
        drawn = f"{self.replicates} bootstrap replicates over {self.clusters} {self.cluster}s"
        return "\n".join([*lines, f"{self.comparisons} comparisons, {self.votes:g} votes; {drawn}", self.verdict])


def evaluate(
    model: Any,
    bradley_terry: Any,
    held_out: TextComparisons,
    *,
    level: float = 0.95,
    replicates: int = 1000,
    seed: int = 0,
    subject: str = "the discs",
    seen: TextComparisons | None = None,
    label_noise: float = 0.0,
) -> EvaluationReport:
    """Measure two models, or oracles, on held-out comparisons.

    Parameters
    ----------
    model, bradley_terry : fitted models, or anything with ``prefer``; see :func:`comparison_logits`.
    held_out : see :func:`split_held_out`; what of it the bootstrap draws says :func:`clusters`.
    seen : what the models were fitted to, by which it shows which responses are new.
    label_noise : probability of a flipped vote that the models were fitted to reckon with (:class:`FitConfig`): what is
        measured is how they tell votes, flips and all.
    level : of the intervals, in (0, 1).
    replicates : of the bootstrap.
    subject : see :class:`EvaluationReport`.
    """
    ours, theirs = (comparison_logits(one, held_out, label_noise=label_noise) for one in (model, bradley_terry))
    return evaluate_logits(
        ours, theirs, held_out, level=level, replicates=replicates, seed=seed, subject=subject, seen=seen
    )


def comparison_logits(model: Any, comparisons: TextComparisons, *, label_noise: float = 0.0) -> FloatArray:
    """Logits of a vote, float64 [N]; of an oracle without logits, those of its probabilities cut to [1e-6, 1 - 1e-6].

    Parameters
    ----------
    label_noise : nu in [0, 1/2): the logits are those of ``nu + (1 - 2 nu) P``, a vote that is flipped so often.

    Raises
    ------
    ValueError
        If an oracle has not judged every comparison: select those that it has.
    """
    if isinstance(model, torch.nn.Module) and (hasattr(model, "encode") or hasattr(model, "compare")):
        logits = np.asarray(prepare(model, comparisons).logits(model).double().cpu().numpy())
        return logits if label_noise == 0.0 else _flipped(logits, label_noise)
    share = ask(model, comparisons.prompts, comparisons.first, comparisons.second)
    if np.isnan(share).any():
        raise ValueError(f"{np.isnan(share).sum()} of {len(share)} comparisons are not judged; leave them out")
    share = np.clip(label_noise + (1 - 2 * label_noise) * share, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(share) - np.log1p(-share))


def evaluate_logits(
    model: ArrayLike,
    bradley_terry: ArrayLike,
    held_out: TextComparisons,
    *,
    level: float = 0.95,
    replicates: int = 1000,
    seed: int = 0,
    subject: str = "the discs",
    seen: TextComparisons | None = None,
) -> EvaluationReport:
    """As :func:`evaluate`, from logits [N]."""
    if len(held_out) == 0:
        raise ValueError("expected at least one held-out comparison, got an empty set")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is of an interval, expected a value in (0, 1), got {level}")
    if replicates < 1:
        raise ValueError(f"replicates must be at least 1, got {replicates}")
    logits = [np.asarray(values, dtype=np.float64) for values in (model, bradley_terry)]
    for values in logits:
        if values.shape != (len(held_out),) or not np.isfinite(values).all():
            raise ValueError(f"expected finite logits of shape {(len(held_out),)}, got shape {values.shape}")
    drawing = clusters(held_out, seen)
    cells, cell = np.unique(drawing.members, axis=0, return_inverse=True)
    sums = [_sums(values, held_out.outcome, held_out.weight, cell.reshape(-1)) for values in logits]
    values = np.stack([_measures(one.sum(axis=0, keepdims=True))[0] for one in sums])
    drawn = np.stack([_measures(one) for one in _resample(sums, cells, drawing.count, replicates, seed)])
    edges = [50 * (1 - level), 50 * (1 + level)]
    low, high = np.stack([_percentiles(column, edges) for column in (drawn[0] - drawn[1]).T], axis=1)
    found = {
        measure: Measure(
            *(float(v) for v in (values[0, i], values[1, i], values[0, i] - values[1, i], low[i], high[i]))
        )
        for i, measure in enumerate(MEASURES)
    }
    return EvaluationReport(
        **found,
        comparisons=len(held_out),
        votes=float(held_out.weight.sum()),
        clusters=drawing.count,
        cluster=drawing.name,
        level=level,
        replicates=replicates,
        seed=seed,
        subject=subject,
    )


def _flipped(logits: FloatArray, label_noise: float) -> FloatArray:
    """Logits of ``nu + (1 - 2 nu) sigmoid(s)``; odd in s to the last bit."""
    smaller = np.exp(-np.abs(logits))
    size = np.log1p(label_noise * (smaller - 1)) - np.log(label_noise + (1 - label_noise) * smaller)
    return np.asarray(np.copysign(size, logits))


def reliability(logits: ArrayLike, comparisons: TextComparisons) -> list[dict[str, float]]:
    """The bins behind `ece`, of the favourite: edges low and high, votes, the mean predicted P and the share won."""
    one = np.zeros(len(comparisons), dtype=np.int64)
    sums = _sums(np.asarray(logits, dtype=np.float64), comparisons.outcome, comparisons.weight, one)[0, 5:]
    votes, predicted, won = np.split(sums, 3)
    return [
        {
            "low": 0.5 + 0.5 * i / BINS,
            "high": 0.5 + 0.5 * (i + 1) / BINS,
            "votes": float(votes[i]),
            "predicted": float(predicted[i] / votes[i]),
            "won": float(won[i] / votes[i]),
        }
        for i in np.flatnonzero(votes)
    ]


@dataclass(frozen=True, eq=False)
class Clusters:
    """What is drawn together.

    Attributes
    ----------
    name : what a cluster is.
    count : how many there are.
    members : int64 [N, 2], the clusters of each comparison: one, twice, or the two it depends on.
    """

    name: str
    count: int
    members: NDArray[np.int64]


def clusters(comparisons: TextComparisons, seen: TextComparisons | None = None) -> Clusters:
    """What is drawn together: groups, or prompts, or the responses that nobody has seen, or pairs of a prompt.

    Few clusters make no interval (two prompts drawn with replacement are the same one half of the time), so that fewer
    than :data:`FEWEST_PROMPTS` prompts are not drawn: the interval is about these prompts then. Of these, responses are
    drawn where each comparison has one that is not in `seen`: all its comparisons share what the model makes of it.
    (Where most are between two such, the interval is up to twice as wide as it need be.)
    Elsewhere pairs are. Groups that outnumber the pairs are not drawn, but prompts or pairs as without them: all groups
    agreeing on one pair is one pair's worth.
    """
    rows = list(zip(comparisons.prompts, comparisons.first, comparisons.second, strict=True))
    pairs = [(prompt, frozenset(pair)) for prompt, *pair in rows]
    many = len(set(comparisons.prompts)) >= FEWEST_PROMPTS
    keys: Sequence[Sequence[Any]]
    if comparisons.group is not None and len(set(comparisons.group)) <= len(set(pairs)):
        name, keys = "group", [(group,) for group in comparisons.group]
    elif many:
        name, keys = "prompt", [(prompt,) for prompt in comparisons.prompts]
    else:
        name, keys = "pair", [(pair,) for pair in pairs]
    if seen is not None and not many:
        known = {*zip(seen.prompts, seen.first, strict=True), *zip(seen.prompts, seen.second, strict=True)}
        new = [[(x, y) for y in both if (x, y) not in known] for x, *both in rows]
        if all(new) and len({one for both in new for one in both}) < len({*keys}):
            name, keys = "response", new
    index = {key: i for i, key in enumerate(dict.fromkeys(one for both in keys for one in both))}
    members = np.array([(index[both[0]], index[both[-1]]) for both in keys])
    return Clusters(name, len(index), members)


def row_log_loss(logits: FloatArray, outcome: FloatArray) -> FloatArray:
    """Nats of each comparison [N]."""
    return np.asarray(np.logaddexp(0.0, -logits) * outcome + np.logaddexp(0.0, logits) * (1 - outcome))


def _percentiles(values: FloatArray, edges: Sequence[float]) -> FloatArray:
    """Of the replicates in which there was something to measure."""
    known = values[~np.isnan(values)]
    return np.percentile(known, edges) if known.size else np.full(len(edges), np.nan)


def _sums(logits: FloatArray, outcome: FloatArray, weight: FloatArray, cluster: NDArray[np.int64]) -> FloatArray:
    """What the measures are ratios of, summed over each cluster: [C, 5 + 3 BINS]."""
    share = probabilities(logits)
    decided = outcome != 0.5
    right = decided & (np.sign(logits) == np.sign(outcome - 0.5))
    # Both orders at once: look at the favourite. Where there is none, both of the even pair are.
    favourite = np.maximum(share, 1 - share)
    won = np.where(share > 0.5, outcome, np.where(share < 0.5, 1 - outcome, 0.5))
    place = np.minimum((2 * BINS * (favourite - 0.5)).astype(np.int64), BINS - 1)
    brier = outcome * (1 - share) ** 2 + (1 - outcome) * share**2
    columns = [weight, weight * decided, weight * right, weight * row_log_loss(logits, outcome), weight * brier]
    count = int(cluster.max()) + 1
    plain = np.stack([np.bincount(cluster, column, count) for column in columns], axis=1)
    cells = cluster * BINS + place
    bins = [np.bincount(cells, weight * v, count * BINS) for v in (np.ones_like(share), favourite, won)]
    return np.concatenate([plain, *(one.reshape(count, BINS) for one in bins)], axis=1)


def _measures(sums: FloatArray) -> FloatArray:
    """Accuracy, log-loss, Brier score and calibration error [R, 4] from sums [R, 5 + 3 BINS]."""
    total, decided, right, loss, brier = sums[:, :5].T
    _, favourite, won = np.split(sums[:, 5:], 3, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([right / decided, loss / total, brier / total, np.abs(favourite - won).sum(1) / total], axis=1)


def _resample(
    sums: Sequence[FloatArray], cells: NDArray[np.int64], count: int, replicates: int, seed: int
) -> list[FloatArray]:
    """Sums over clusters that are drawn with replacement, the same for both models: [R, S] each.

    Parameters
    ----------
    sums : [M, S] each, of the rows of one cell.
    cells : [M, 2], the clusters of each cell. One of two clusters is there as often as both are, multiplied.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[FloatArray]] = [[] for _ in sums]
    step = max(1, _CHUNK // max(count, len(cells)))
    for start in range(0, replicates, step):
        size = min(step, replicates - start)
        times = rng.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)
        one, other = cells.T
        weight = np.where(one == other, times[:, one], times[:, one] * times[:, other])
        for part, own in zip(parts, sums, strict=True):
            part.append(weight @ own)
    return [np.concatenate(part) for part in parts]
