"""Learning curves: exploitability by the round, of everything that learns by playing against itself.

A row of weights is played by :mod:`rebel_pref.solvers.dynamics`; regret matching, fictitious play and the double oracle
are no rows and have learners of their own, over the same loops as the solvers of these names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rebel_pref.algorithms import Algorithm
from rebel_pref.certificates import check_policy, exploitability
from rebel_pref.games.game import Game, PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.schedules import Schedule
from rebel_pref.solvers.double_oracle import restricted_winners
from rebel_pref.solvers.dynamics import IterateAverage, drawn_start, initial_state, iterates
from rebel_pref.solvers.feedback import ExactPayoffs, Feedback
from rebel_pref.solvers.fictitious_play import best_responses, smooth_responses
from rebel_pref.solvers.regret_matching import matched_policies

__all__ = ["DoubleOracle", "FictitiousPlay", "Learner", "LearningCurve", "Play", "RegretMatching", "learning_curve"]

Play = tuple[FloatArray, FloatArray, int]
"""One round: the policy that was played [n], the latest policy [n], and payoff evaluations ``A pi`` done so far."""

_POINTS = 60  # rounds at which a curve is measured, evenly spaced in their logarithm, unless they are named


class Learner(Protocol):
    """Anything that plays against itself on a game it can evaluate."""

    @property
    def name(self) -> str:
        """As a legend says it."""
        ...

    def play(self, game: Game, start: FloatArray) -> Iterator[Play]:
        """The rounds, from probabilities `start` [n]; ends only where there is nothing left to learn."""
        ...


@dataclass(frozen=True)
class RegretMatching:
    """Regret matching, see :func:`rebel_pref.solvers.regret_matching.regret_matching`; one evaluation a round."""

    variant: Literal["plain", "plus", "predictive_plus"] = "predictive_plus"

    @property
    def name(self) -> str:
        """With its variant."""
        return {
            "plain": "regret_matching",
            "plus": "regret_matching_plus",
            "predictive_plus": "predictive_regret_matching_plus",
        }.get(self.variant, self.variant)

    def play(self, game: Game, start: FloatArray) -> Iterator[Play]:
        """See :meth:`Learner.play`; `start` is also played whenever no action is regretted."""
        for evaluations, (policy, _) in enumerate(matched_policies(game, self.variant, start), 1):
            yield policy, policy, evaluations


@dataclass(frozen=True)
class FictitiousPlay:
    """Best responses to the average of the past; its last iterate is one action, its average the frequencies.

    Attributes
    ----------
    regularization : tau >= 0 in payoff per nat. Above 0 it is smooth fictitious play, ``softmax(A average / tau)``,
        whose average tends to the equilibrium regularised towards uniform.
    """

    regularization: float = 0.0

    @property
    def name(self) -> str:
        """Smooth or not."""
        return "smooth_fictitious_play" if self.regularization else "fictitious_play"

    def play(self, game: Game, start: FloatArray) -> Iterator[Play]:
        """See :meth:`Learner.play`; the first play responds to `start`. A pure play costs one column, O(n)."""
        if self.regularization:
            for evaluations, policy in enumerate(smooth_responses(game, start, self.regularization), 1):
                yield policy, policy, evaluations
        for evaluations, (action, _, _) in enumerate(best_responses(game, start), 1):
            policy = np.zeros(len(game))
            policy[action] = 1.0
            yield policy, policy, evaluations


@dataclass(frozen=True)
class DoubleOracle:
    """Double oracle (PSRO with exact best responses): one best response to the restricted winner joins a round.

    Its last iterate is the restricted winner of t actions, exact after at most n rounds, where the curve ends.

    Attributes
    ----------
    solve_restricted : payoffs [k, k] -> winner [k] of the restricted game; a linear program unless given.
    tol : what a best response has to gain, as a share of ``game.scale``.
    """

    solve_restricted: Callable[[FloatArray], FloatArray] | None = None
    tol: float = 1e-12

    @property
    def name(self) -> str:
        """The method's."""
        return "double_oracle"

    def play(self, game: Game, start: FloatArray) -> Iterator[Play]:
        """See :meth:`Learner.play`; the first action is the best response to `start`."""
        least = self.tol * game.scale

        def respond(gains: FloatArray, actions: NDArray[np.int64]) -> NDArray[np.int64]:
            best = int(gains.argmax())
            return np.array([best] if gains[best] > least else [], dtype=np.int64)

        first = np.array([game.payoffs_against(start).argmax()])
        found = restricted_winners(game, first, self.solve_restricted, respond)
        for number, (policy, _, _) in enumerate(found, 1):
            yield policy, policy, number


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """How exploitable a learner is, by the round.

    Attributes
    ----------
    learner : its name.
    rounds : int [m], rounds played when it was measured.
    evaluations : int [m], payoff evaluations ``A pi`` that it took: one a round, the response to the start included,
        and two for extragradient. Payoffs of the round before are kept, not evaluated again; an implicit step counts
        as one.
    last : [m] exploitability of the last iterate, payoff units.
    average : [m] exploitability of the average iterate, payoff units.
    last_policy, average_policy : [n] at the end.
    settings : what it was run with.
    """

    learner: str
    rounds: NDArray[np.int64]
    evaluations: NDArray[np.int64]
    last: FloatArray
    average: FloatArray
    last_policy: FloatArray
    average_policy: FloatArray
    settings: Mapping[str, object]


def learning_curve(
    game: Game,
    learner: Algorithm | Schedule | Learner,
    *,
    steps: int,
    at: Sequence[int] | NDArray[np.int64] | None = None,
    seed: int | None = None,
    start: ArrayLike | None = None,
    feedback: Feedback | None = None,
    averaging: IterateAverage = "uniform",
) -> LearningCurve:
    """Let a learner play against itself and measure it on the way.

    Parameters
    ----------
    learner : a row of weights or a schedule of rows, which need a `PreferenceGame`, or one of
        :class:`RegretMatching`, :class:`FictitiousPlay`, :class:`DoubleOracle`.
    steps : rounds at most.
    at : rounds after which to measure, in 1 to `steps`; about 60, evenly spaced in their logarithm, unless given. The
        end is always measured.
    seed : draws a random start (a softmax of standard normals) where none is given, and what the feedback draws;
        None starts from uniform.
    start : [n] probabilities; full support for a row.
    feedback : what a round of a row sees, see :mod:`rebel_pref.solvers.feedback`; the whole matrix unless given.
    averaging : weights of the policies played in rounds 1..t: 1 ("uniform"), t ("linear"), or "last", that of round t.

    Returns
    -------
    LearningCurve. After t rounds a row's last iterate is pi_{t+1} and its average is that of pi_1..pi_t, the start
    first, as :func:`rebel_pref.self_play` has them; of the others both end with the policy played in round t.

    >>> from rebel_pref import games
    >>> game, start = games.rock_paper_scissors(), [0.6, 0.3, 0.1]
    >>> curve = learning_curve(game, RegretMatching(), steps=100, at=[10, 100], start=start)
    >>> curve.rounds.tolist(), bool(curve.average[1] < curve.average[0])
    ([10, 100], True)
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if averaging not in get_args(IterateAverage):
        raise ValueError(f"no averaging is called {averaging!r}; known ways: {', '.join(get_args(IterateAverage))}")
    if not hasattr(game, "payoffs_against"):
        raise ValueError(f"expected a game, got a {type(game).__name__}; see PreferenceGame.from_payoffs")
    due = _measured_rounds(steps, at)
    policy = drawn_start((len(game),), seed) if start is None else check_policy(game, start)
    settings: dict[str, object] = {"learner": learner.name}
    if isinstance(learner, Algorithm | Schedule):
        if not isinstance(game, PreferenceGame):
            raise ValueError(f"a row of weights needs a PreferenceGame, got a {type(game).__name__}")
        rng = np.random.default_rng([0 if seed is None else seed, 1])
        rounds = _played_row(game, learner, policy, feedback, rng)
        row = learner.at(0)
        settings |= {
            "step_size": row.step_size,
            "regularization": row.regularization,
            "magnet": repr(row.magnet),
            "feedback": repr(feedback or ExactPayoffs()),
        }
    elif feedback is not None:
        raise ValueError(f"{learner.name} plays on exact payoffs; feedback is for rows of weights, got {feedback!r}")
    else:
        rounds = learner.play(game, policy)
        settings["learner"] = repr(learner)
    settings |= {"steps": steps, "seed": seed, "start": policy.tolist(), "averaging": averaging}

    total, weight, number, evaluations = np.zeros(len(game)), 0.0, 0, 0
    played = last = policy
    points: list[tuple[int, int, float, float]] = []
    for number, (played, last, evaluations) in zip(range(1, steps + 1), rounds, strict=False):
        if averaging == "uniform":
            total += played
            weight += 1.0
        elif averaging == "linear":
            total += number * played
            weight += number
        if number in due:
            average = played if averaging == "last" else total / weight
            points.append((number, evaluations, exploitability(game, last), exploitability(game, average)))
    average = played if averaging == "last" else total / weight
    if not points or points[-1][0] != number:
        points.append((number, evaluations, exploitability(game, last), exploitability(game, average)))
    numbers, counts, of_last, of_average = zip(*points, strict=True)
    return LearningCurve(
        learner.name,
        np.array(numbers, dtype=np.int64),
        np.array(counts, dtype=np.int64),
        np.array(of_last),
        np.array(of_average),
        last.copy(),
        average.copy(),
        settings,
    )


def _played_row(
    game: PreferenceGame,
    row: Algorithm | Schedule,
    start: FloatArray,
    feedback: Feedback | None,
    rng: np.random.Generator,
) -> Iterator[Play]:
    played, evaluations = start, 0
    for state in iterates(row, game.payoff, initial_state(start), feedback=feedback, rng=rng):
        last = np.exp(state.current)
        stages = row.at(state.round - 1).stages
        evaluations += sum(opponent not in ("previous", "reward") for stage in stages for opponent in stage.payoff)
        yield played, last, evaluations
        played = last


def _measured_rounds(steps: int, at: Sequence[int] | NDArray[np.int64] | None) -> frozenset[int]:
    if at is None:
        return frozenset(np.geomspace(1, steps, _POINTS).round().astype(int).tolist())
    rounds = np.asarray(at)
    whole = rounds.ndim == 1 and np.array_equal(rounds, np.rint(rounds))
    if not whole or (rounds < 1).any() or (rounds > steps).any():
        raise ValueError(f"at must name rounds from 1 to steps = {steps}, got {np.asarray(at).tolist()}")
    return frozenset(rounds.astype(int).tolist())
