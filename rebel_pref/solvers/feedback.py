"""What a round of learning dynamics sees of the game: exact payoffs, sampled opponents, groups, a pool, errors.

Whatever is seen goes through :func:`rebel_pref.targets.regression_target`, the function of the language-model trainer:
only the responses that stand for the policies, and their weights, differ. Everything is batched over leading axes, so
that many seeds or many contexts run at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rebel_pref.algorithms import Update
from rebel_pref.payoffs import exact_pool_weights, horvitz_thompson_weights, log_seen_after
from rebel_pref.preferences import FloatArray
from rebel_pref.targets import regression_target

__all__ = [
    "ExactPayoffs",
    "Feedback",
    "Observation",
    "OpponentPool",
    "PoolObserver",
    "RegressionError",
    "SampledGroups",
    "SampledOpponents",
]

LogProbs = Mapping[str, FloatArray]


@dataclass(frozen=True, eq=False)
class Observation:
    """What one round saw.

    Attributes
    ----------
    log_ratio : (row, log-policies [..., n] by name) -> [..., n] in nats: what the regression on this observation makes
        of ``log pi_next - log pi_t``, up to a constant. A row of several stages asks several times.
    judgements : pairs of actions compared in this round, of one run.
    """

    log_ratio: Callable[[Update, LogProbs], FloatArray]
    judgements: float


Observer = Callable[[FloatArray], Observation]
"""log pi_t [..., n] -> what round t saw."""


class Feedback(Protocol):
    """How payoffs come to be known."""

    @property
    def opponents(self) -> float:
        """How many exact payoffs against independent opponents a round's estimate is worth; infinite if exact."""
        ...

    def begin(self, payoffs: FloatArray, rng: np.random.Generator) -> Observer:
        """Start a run on payoffs [n, n], or [..., n, n] with a matrix for each policy of the batch."""
        ...


@dataclass(frozen=True)
class ExactPayoffs:
    """The whole matrix, as a table of win rates is known."""

    @property
    def opponents(self) -> float:
        """Infinite: nothing is estimated."""
        return math.inf

    def begin(self, payoffs: FloatArray, rng: np.random.Generator) -> Observer:
        """See :meth:`Feedback.begin`."""
        n = payoffs.shape[-1]

        def observe(log_current: FloatArray) -> Observation:
            def log_ratio(update: Update, log_probs: LogProbs) -> FloatArray:
                return np.asarray(regression_target(update, log_current, log_probs, payoffs).log_ratio)

            return Observation(log_ratio, n * (n - 1) / 2)

        return observe


@dataclass(frozen=True)
class SampledOpponents:
    """Every action plays `count` fresh opponents, i.i.d. draws from the current policy, the same for all actions.

    Other policies that a row names are reached by reweighting these draws, as the trainer does; every row then costs
    ``n count`` judgements a round. An implicit row solves its game among the draws.

    Attributes
    ----------
    count : K >= 1 opponents a round.
    labels : whether a judgement is a verdict, +1 or -1 with mean A (0 against oneself), instead of the payoff itself.
    """

    count: int
    labels: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be at least 1 opponent a round, got {self.count}")

    @property
    def opponents(self) -> float:
        """K; a verdict has variance 1 where a payoff, uniform on [-1, 1], has 1/3."""
        return self.count / 3.0 if self.labels else float(self.count)

    def begin(self, payoffs: FloatArray, rng: np.random.Generator) -> Observer:
        """See :meth:`Feedback.begin`."""
        _check_labels(payoffs, self.labels)
        n = payoffs.shape[-1]

        def observe(log_current: FloatArray) -> Observation:
            drawn = _draw(rng, log_current, self.count)
            if self.count >= n and not self.labels:
                return Observation(_by_multiplicity(payoffs, drawn), n * self.count)
            against = _columns(payoffs, drawn)
            if self.labels:
                against = np.where(np.arange(n)[:, None] == drawn[..., None, :], 0.0, _verdicts(rng, against))
                if self.count >= n:
                    return Observation(_by_multiplicity(_mean_columns(against, drawn), drawn), n * self.count)
            weights = np.zeros(drawn.shape)

            def log_ratio(update: Update, log_probs: LogProbs) -> FloatArray:
                if self.labels and "next" in update.payoff:
                    # Draws of one opponent apart, an implicit row would prefer the lucky ones, however many there are.
                    return _by_multiplicity(_mean_columns(against, drawn), drawn)(update, log_probs)
                return np.asarray(regression_target(update, weights, log_probs, against, columns=drawn).log_ratio)

            return Observation(log_ratio, n * self.count)

        return observe


@dataclass(frozen=True)
class SampledGroups:
    """REBEL as a trainer runs it: groups of i.i.d. draws, all pairs of a group judged and regressed.

    Payoffs inside a group divide by K (:func:`rebel_pref.payoffs.in_group_payoffs`). The regression minimises the mean
    over groups of :func:`rebel_pref.regression.pairwise_loss`, plus ``ridge |log-ratio|^2``: an action that was not
    drawn stays where it is.

    Attributes
    ----------
    groups, size : B groups of K >= 2 draws a round.
    labels : whether a judgement is a verdict, +1 or -1, instead of the payoff itself.
    ridge : > 0, in units of the loss.
    """

    groups: int
    size: int
    labels: bool = False
    ridge: float = 1e-3

    def __post_init__(self) -> None:
        if self.groups < 1 or self.size < 2:
            raise ValueError(f"expected at least 1 group of at least 2 draws, got {self.groups} of {self.size}")
        if not self.ridge > 0.0:
            raise ValueError(f"ridge must be positive, got {self.ridge}: pairs do not fix the mean log-ratio")

    @property
    def opponents(self) -> float:
        """Half of a round's draws, or a third of that for verdicts; measured."""
        return 0.5 * self.groups * self.size / (3.0 if self.labels else 1.0)

    def begin(self, payoffs: FloatArray, rng: np.random.Generator) -> Observer:
        """See :meth:`Feedback.begin`."""
        _check_labels(payoffs, self.labels)
        n = payoffs.shape[-1]
        shape = (self.groups, self.size)

        def observe(log_current: FloatArray) -> Observation:
            drawn = _draw(rng, log_current, self.groups * self.size).reshape(*log_current.shape[:-1], *shape)
            among = _among(payoffs, drawn)
            if self.labels:
                upper = np.triu(np.where(drawn[..., :, None] == drawn[..., None, :], 0.0, _verdicts(rng, among)), 1)
                among = upper - upper.swapaxes(-1, -2)
            # mean_g 2/(K-1) S_g^T (I - 1 1^T / K) S_g, with S_g the selection of a group's draws.
            chosen = np.eye(n)[drawn]  # [..., B, K, n]
            centred = chosen - chosen.mean(axis=-2, keepdims=True)
            scale = 2.0 / ((self.size - 1) * self.groups)
            flat = centred.reshape(*log_current.shape[:-1], -1, n)
            normal = scale * flat.swapaxes(-1, -2) @ flat + self.ridge * np.eye(n)
            weights = np.zeros(drawn.shape)

            def log_ratio(update: Update, log_probs: LogProbs) -> FloatArray:
                own = {name: _at(value, drawn) for name, value in log_probs.items()}
                target = np.asarray(regression_target(update, weights, own, among).log_ratio)
                right = scale * (flat * target.reshape(*flat.shape[:-1], 1)).sum(-2)
                return np.linalg.solve(normal, right[..., None])[..., 0]

            return Observation(log_ratio, self.groups * self.size * (self.size - 1) / 2)

        return observe


@dataclass(frozen=True)
class OpponentPool:
    """`count` fresh draws a round join all earlier ones; distinct draws stand for the policies, each pair judged once.

    Only pooled actions move, and among themselves: the mean of their log-ratios is 0, as under gradient steps on
    logits, whose sum a loss of differences does not change. An action that was never drawn keeps its log-probability
    up to the constant.

    Attributes
    ----------
    count : K >= 1 draws a round.
    weights : "horvitz_thompson" or "exact", see :mod:`rebel_pref.payoffs`.
    labels : whether a judgement is a verdict, +1 or -1, drawn once and kept, instead of the payoff itself.
    """

    count: int
    weights: Literal["horvitz_thompson", "exact"] = "horvitz_thompson"
    labels: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be at least 1 draw a round, got {self.count}")
        if self.weights not in ("horvitz_thompson", "exact"):
            raise ValueError(f"no weights are called {self.weights!r}; known: horvitz_thompson, exact")

    @property
    def opponents(self) -> float:
        """8 K, or a third of it for verdicts: what a pool remembers, measured over a few hundred rounds."""
        return (8.0 / 3.0 if self.labels else 8.0) * self.count

    def begin(self, payoffs: FloatArray, rng: np.random.Generator) -> PoolObserver:
        """See :meth:`Feedback.begin`."""
        _check_labels(payoffs, self.labels)
        return PoolObserver(self, payoffs, rng)


@dataclass(eq=False)
class PoolObserver:
    """The pool of a run.

    Attributes
    ----------
    seen : bool [..., n], which actions are in the pool; None before the first round.
    log_seen : [..., n], log-probability of having been drawn so far.
    """

    settings: OpponentPool
    payoffs: FloatArray
    rng: np.random.Generator
    seen: NDArray[np.bool_] | None = None
    log_seen: FloatArray = field(default_factory=lambda: np.zeros(0))

    def __call__(self, log_current: FloatArray) -> Observation:
        """Draw, judge what is new, and weigh the pool."""
        if self.seen is None:
            self.seen = np.zeros(log_current.shape, dtype=bool)
            self.log_seen = np.full(log_current.shape, -np.inf)
            if self.settings.labels:
                # Verdicts of all pairs, each of which is looked at only once both are in the pool.
                shape = (*log_current.shape, log_current.shape[-1])
                upper = np.triu(_verdicts(self.rng, np.broadcast_to(self.payoffs, shape)), 1)
                self.payoffs = upper - upper.swapaxes(-1, -2)
        before = self.seen.sum(axis=-1)
        seen = self.seen.copy()  # An observation keeps what it saw.
        np.put_along_axis(seen, _draw(self.rng, log_current, self.settings.count), True, axis=-1)
        self.seen = seen
        self.log_seen = np.asarray(log_seen_after(self.log_seen, log_current, self.settings.count))
        after = seen.sum(axis=-1)
        if self.settings.weights == "exact":
            weights = exact_pool_weights(log_current, seen).log_weights
        else:
            weights = horvitz_thompson_weights(log_current, self.log_seen, seen).log_weights
        payoffs = self.payoffs

        def log_ratio(update: Update, log_probs: LogProbs) -> FloatArray:
            target = np.asarray(regression_target(update, weights, log_probs, payoffs, mask=seen).log_ratio)
            mean = (target * seen).sum(axis=-1, keepdims=True) / after[..., None]
            return np.where(seen, target - mean, 0.0)

        return Observation(log_ratio, float(np.mean(after * (after - 1) - before * (before - 1)) / 2))


@dataclass(frozen=True, eq=False)
class RegressionError:
    """Errors put into the regression on purpose: what is fitted is the payoff plus ``bias + noise x``, x normal.

    Attributes
    ----------
    feedback : what is seen besides.
    bias : [n] in payoff units, the same in every round: it shifts the game to ``A + e 1^T - 1 e^T``. An implicit row
        solves its step on the game as it is, and the error is added to what it found.
    noise : standard deviation in payoff units, drawn anew for each action and round.
    """

    bias: ArrayLike = 0.0
    noise: float = 0.0
    feedback: Feedback = field(default_factory=ExactPayoffs)

    @property
    def opponents(self) -> float:
        """Noise of variance 1/3 is worth one opponent less, and the variances add up; a bias is no noise."""
        variance = 3.0 * self.noise**2 + 1.0 / self.feedback.opponents
        return 1.0 / variance if variance > 0.0 else math.inf

    def begin(self, payoffs: FloatArray, rng: np.random.Generator) -> Observer:
        """See :meth:`Feedback.begin`."""
        bias = np.asarray(self.bias, dtype=np.float64)
        if bias.shape not in ((), payoffs.shape[-1:]):
            raise ValueError(f"expected a bias for each of {payoffs.shape[-1]} actions, got shape {bias.shape}")
        inner = self.feedback.begin(payoffs, rng)

        def observe(log_current: FloatArray) -> Observation:
            seen = inner(log_current)
            error = bias + self.noise * rng.standard_normal(log_current.shape)

            def log_ratio(update: Update, log_probs: LogProbs) -> FloatArray:
                return seen.log_ratio(update, log_probs) + sum(update.payoff.values()) * error

            return Observation(log_ratio, seen.judgements)

        return observe


def _check_labels(payoffs: FloatArray, labels: bool) -> None:
    if labels and np.abs(payoffs).max() > 1.0 + 1e-9:
        raise ValueError(f"verdicts need payoffs in [-1, 1], got max|A| = {np.abs(payoffs).max():g}; divide by it")


def _draw(rng: np.random.Generator, log_policy: FloatArray, count: int) -> NDArray[np.int64]:
    """I.i.d. actions [..., count] from policies [..., n]: all rows by one binary search."""
    n = log_policy.shape[-1]
    cumulative = np.exp(log_policy).reshape(-1, n).cumsum(axis=-1)
    cumulative /= cumulative[:, -1:]
    rows = np.arange(len(cumulative))[:, None]
    found = np.searchsorted((cumulative + rows).ravel(), rng.random((len(rows), count)) + rows, side="right")
    actions: NDArray[np.int64] = np.minimum(found - rows * n, n - 1).reshape(*log_policy.shape[:-1], count)
    return actions


def _by_multiplicity(payoffs: FloatArray, drawn: NDArray[np.int64]) -> Callable[[Update, LogProbs], FloatArray]:
    """The same regression on distinct opponents, weighted by how often each was drawn: smaller where K >= n."""
    counts = (drawn[..., None] == np.arange(payoffs.shape[-1])).sum(axis=-2).astype(np.float64)
    met = counts > 0.0
    weights = np.log(np.where(met, counts, 1.0))
    # Mean verdicts are not skew-symmetric; a matrix of payoffs for all runs is, and has no axes to take columns along.
    columns = (
        None if payoffs.ndim == 2 else np.broadcast_to(np.arange(payoffs.shape[-1]), drawn.shape[:-1] + met.shape[-1:])
    )

    def log_ratio(update: Update, log_probs: LogProbs) -> FloatArray:
        target = regression_target(update, weights, log_probs, payoffs, mask=met, columns=columns)
        return np.asarray(target.log_ratio)

    return log_ratio


def _mean_columns(against: FloatArray, drawn: NDArray[np.int64]) -> FloatArray:
    """Mean verdicts [..., n, n] against each distinct opponent, from one column a draw [..., n, K]; 0 if not drawn."""
    chosen = (drawn[..., None] == np.arange(against.shape[-2])).astype(np.float64)  # [..., K, n]
    return np.asarray(against @ chosen / np.maximum(chosen.sum(axis=-2), 1.0)[..., None, :])


def _columns(payoffs: FloatArray, drawn: NDArray[np.int64]) -> FloatArray:
    """``A[:, drawn]`` [..., n, K]."""
    if payoffs.ndim == 2:
        return np.ascontiguousarray(-payoffs[drawn].swapaxes(-1, -2))  # Rows lie together, and A is skew.
    return np.take_along_axis(payoffs, drawn[..., None, :], axis=-1)


def _among(payoffs: FloatArray, drawn: NDArray[np.int64]) -> FloatArray:
    """``A[drawn, drawn]`` [..., B, K, K] of groups [..., B, K]."""
    if payoffs.ndim == 2:
        return np.asarray(payoffs[drawn[..., :, None], drawn[..., None, :]])
    rows = np.take_along_axis(payoffs[..., None, :, :], drawn[..., :, None], axis=-2)
    return np.take_along_axis(rows, drawn[..., None, :], axis=-1)


def _at(values: FloatArray, drawn: NDArray[np.int64]) -> FloatArray:
    """Values [..., n] at groups [..., B, K]."""
    return np.take_along_axis(values[..., None, :], drawn, axis=-1)


def _verdicts(rng: np.random.Generator, payoffs: FloatArray) -> FloatArray:
    return np.where(rng.random(payoffs.shape) < 0.5 + 0.5 * payoffs, 1.0, -1.0)
