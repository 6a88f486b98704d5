"""Learn a policy from duels, race its rows to a certificate with fresh duels, learn on where that fails."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.certificates import check_policy
from rebel_pref.games.duels import DuelOracle
from rebel_pref.preferences import FloatArray
from rebel_pref.proximal import proximal_step
from rebel_pref.sampled_certificate import SampledCertificate
from rebel_pref.solution import SOLVED, Solution, support_of
from rebel_pref.solvers.answer import Progress
from rebel_pref.solvers.sampled.allocation import allocate
from rebel_pref.solvers.sampled.race import Race
from rebel_pref.solvers.sampled.tally import DuelBatch, DuelTally, play_duels

__all__ = ["certify_by_duels", "solve_by_duels"]

_RACE_SHARE = 0.8
"""Part of the delta still unspent that a race takes."""
_FORESIGHT = (1.2, 2.0, 5.0, 20.0, 100.0)
"""Learning goes on if it pays for one of these multiples of the duels played."""


def solve_by_duels(
    oracle: DuelOracle,
    *,
    tol: float,
    delta: float = 0.05,
    seed: int = 0,
    max_duels: int | None = None,
    progress: Progress | None = None,
) -> Solution:
    """A policy whose exploitability is at most `tol`, with probability at least ``1 - delta``.

    Learning plays the pairs that matter for the estimated equilibrium, until more of it would cost more duels than it
    saves. Then the policy is fixed and its rows race to the certificate (:class:`Race`). The duels of a race improve
    the estimates too: a race that looks dearer than one for a better policy is given up, and delta is divided among
    the races.

    Parameters
    ----------
    oracle : outcomes independent given the pair, in [-1, 1].
    tol : exploitability to certify, on the payoff scale [-1, 1].
    delta : probability with which the interval of the certificate may miss.
    seed : of the pairs drawn.
    max_duels : duels allowed. Where they do not suffice for `tol`, the policy is certified as well as they can, and
        `status` says so. None: as many as it takes, of the order of ``n / tol^2``.
    progress : called with the duels played and the smallest upper end certified so far.

    Returns
    -------
    Solution
        Its certificate is a :class:`SampledCertificate`; ``steps`` counts batches of duels.

    Raises
    ------
    ValueError
        For tol or delta outside (0, 1), max_duels below 1, or a tol below 1e-3 with no max_duels.
    """
    _check(tol, delta, max_duels)
    if max_duels is None and tol < 1e-3:
        raise ValueError(f"tol {tol:g} would take some {1 / tol**2:.0e} duels per action; raise it or give max_duels")
    session = _Session(oracle, np.random.default_rng(seed), max_duels, progress)
    found = _Found(np.full(len(oracle), 1.0 / len(oracle)), 0.0, 1.0) if len(oracle) > 1 else _Found(np.ones(1), 0, 0)
    unspent = delta
    while found.upper > tol and session.left > 0:
        plan, goal = _affordable_plan(session, tol, unspent * _RACE_SHARE)
        if plan.learn or goal >= 1.0:
            session.play(plan.duels, max(4 * len(oracle), session.played // 4), found.upper)
            if found.upper == 1.0:
                found = _Found(plan.policy, 0.0, 1.0)
            continue
        race = Race(plan.policy, goal, unspent * _RACE_SHARE)
        unspent *= 1.0 - _RACE_SHARE
        _run(race, session, tol, _Rival(plan.cost, unspent * _RACE_SHARE), found.upper)
        if race.upper.max() < found.upper:
            found = _result(race)
    return _solution(session, found, tol, delta, {"tol": tol, "delta": delta, "seed": seed, "max_duels": max_duels})


def certify_by_duels(
    oracle: DuelOracle, policy: ArrayLike, *, tol: float, max_duels: int, delta: float = 0.05, seed: int = 0
) -> SampledCertificate:
    """Certificate of a policy that was chosen without looking at these duels: one :class:`Race`.

    Stops once the upper end is at most `tol`, or when the duels are spent.

    Parameters
    ----------
    policy : [n] probabilities in the order of ``oracle.labels``.

    Raises
    ------
    ValueError
        For tol or delta outside (0, 1), max_duels below 1, or what is no policy.
    """
    _check(tol, delta, max_duels)
    fixed = check_policy(oracle, policy)  # type: ignore[arg-type]  # it reads labels and size only
    session = _Session(oracle, np.random.default_rng(seed), max_duels, None)
    if len(oracle) == 1:
        return _certificate(session, _Found(fixed, 0.0, 0.0), delta)
    race = Race(fixed, tol, delta)
    while _number(session.allocate(fixed, np.full(len(fixed), race.goal), race.goal, race.log_terms)) > max_duels:
        race.aim(1.25 * race.goal)
    race.aim(min(race.goal, 0.99))
    _run(race, session, tol)
    return _certificate(session, _result(race), delta)


@dataclass(frozen=True, eq=False)
class _Found:
    policy: FloatArray
    lower: float
    upper: float


class _Session:
    """The duels of one call: how many, how many more, and what they say."""

    def __init__(
        self, oracle: DuelOracle, rng: np.random.Generator, max_duels: int | None, progress: Progress | None
    ) -> None:
        self.oracle, self.rng, self.progress = oracle, rng, progress
        self.left: float = np.inf if max_duels is None else max_duels
        self.played = 0
        self.steps = 0
        self.tally = DuelTally(len(oracle))
        self.estimate = self.tally.estimate()
        # Of the last allocation: the next one is similar.
        self.multipliers = np.full(len(oracle), 1e3)

    def play(self, duels: FloatArray, number: float, upper: float) -> tuple[DuelBatch, FloatArray]:
        """Play pairs in proportion to `duels` [n, n]; returns their sums and the probability of each pair."""
        share = duels / np.triu(duels).sum()
        number = int(min(number, self.left))
        batch = play_duels(self.oracle, share, number, self.rng)
        self.played, self.left, self.steps = self.played + number, self.left - number, self.steps + 1
        self.tally.add(batch)
        self.estimate = self.tally.estimate()
        if self.progress is not None:
            self.progress(self.played, upper)
        return batch, share

    def allocate(self, policy: FloatArray, slack: FloatArray, goal: float, log_terms: FloatArray) -> FloatArray:
        radius = np.maximum(slack, 0.2 * goal)
        duels, self.multipliers = allocate(policy, radius, log_terms, self.estimate, self.multipliers)
        return duels


@dataclass(frozen=True, eq=False)
class _Plan:
    """What a race would take now, and whether more learning would pay.

    Attributes
    ----------
    policy : [n], to race.
    duels : [n, n] that the race should take, by pair.
    cost : their number.
    least : duels in all if learning goes on for the best while first.
    """

    policy: FloatArray
    duels: FloatArray
    cost: float
    least: float

    @property
    def learn(self) -> bool:
        return self.least < self.cost


def _plan(session: _Session, goal: float, delta: float) -> _Plan:
    """The regularised equilibrium of the estimated payoffs, and the cost of a race for it, one deviation to the bad."""
    estimate = session.estimate
    size = len(estimate.payoff)
    # Temperature 0.4 goal: the bias stays well below the goal, and the entropy spreads the estimation errors.
    policy = proximal_step(np.zeros(size), estimate.payoff, 2.5 / goal, tolerance=1e-12).policy
    policy = np.where(policy < 1e-3 / size, 0.0, policy)
    policy /= policy.sum()
    slack = goal - estimate.payoff @ policy
    log_terms = np.full(size, np.log(1.0 / delta))
    duels = session.allocate(policy, slack - estimate.deviation(policy), goal, log_terms)
    cost = _number(duels)
    if session.played < 2 * size:
        return _Plan(policy, duels, cost, 0.0)
    kept = session.multipliers
    least = cost
    for factor in _FORESIGHT:
        more = (factor - 1.0) * session.played
        later = slack - estimate.deviation(policy, more / cost * duels)
        least = min(least, more + _number(session.allocate(policy, later, goal, log_terms)))
    session.multipliers = kept
    return _Plan(policy, duels, cost, least)


def _affordable_plan(session: _Session, tol: float, delta: float) -> tuple[_Plan, float]:
    """A plan for `tol`, or for the smallest goal (up to a quarter) that the duels left suffice for."""
    goal = tol
    plan = _plan(session, goal, delta)
    while plan.least > session.left and goal < 1.0:
        goal = min(1.25 * goal, 1.0)
        plan = _plan(session, goal, delta)
    return plan, goal


@dataclass(frozen=True)
class _Rival:
    """When to think of another race: after a fifth of `cost`, with `delta` left for it."""

    cost: float
    delta: float


def _run(race: Race, session: _Session, tol: float, rival: _Rival | None = None, upper: float = 1.0) -> None:
    """Race to its goal, and on to `tol` while there are duels left; or give up for a policy that looks cheaper."""
    start = session.played
    while session.left > 0:
        if not race.open.any():
            if race.goal <= tol:
                return
            race.aim(max(0.8 * race.goal, tol))
        estimate, policy, goal = session.estimate, race.policy, race.goal
        slack = goal - estimate.payoff @ policy
        if rival is not None and session.played - start > 0.2 * rival.cost:
            cautious = session.allocate(policy, slack - estimate.deviation(policy), goal, race.log_terms)
            if _plan(session, goal, rival.delta).cost < min(_number(cautious), session.left):
                return
        duels = session.allocate(policy, slack, goal, race.log_terms)
        stakes = race.stakes(duels / np.triu(duels).sum(), estimate)
        # A tenth of what is left, but no more than was played so far: early plans know little.
        number = min(0.1 * _number(duels), max(session.played, 4 * len(policy))) + 0.5 * len(policy)
        batch, share = session.play(duels, number, upper)
        race.record(batch, share, stakes, estimate)


def _result(race: Race) -> _Found:
    return _Found(race.policy, max(float(race.lower.max()), 0.0), float(race.upper.max()))


def _number(duels: FloatArray) -> float:
    return 0.5 * float(duels.sum())


def _check(tol: float, delta: float, max_duels: int | None) -> None:
    if not 0.0 < tol < 1.0:
        raise ValueError(f"tol is an exploitability to certify, on payoffs in [-1, 1]: expected 0 < tol < 1, got {tol}")
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta is a probability of error: expected 0 < delta < 1, got {delta}")
    if max_duels is not None and max_duels < 1:
        raise ValueError(f"max_duels must be at least 1, got {max_duels}")


def _certificate(session: _Session, found: _Found, delta: float) -> SampledCertificate:
    payoffs = session.estimate.payoff @ found.policy
    best = int(payoffs.argmax())
    return SampledCertificate(
        exploitability=float(np.clip(payoffs[best], found.lower, found.upper)),
        lower=found.lower,
        upper=found.upper,
        delta=delta,
        duels=session.played,
        best_response=session.oracle.labels[best],
        policy=found.policy,
    )


def _solution(
    session: _Session, found: _Found, tol: float, delta: float, settings: dict[str, float | int | None]
) -> Solution:
    status = SOLVED
    if found.upper > tol:
        status = (
            f"fell short: {session.played} duels certify an exploitability of at most {found.upper:.3g}, not {tol:g};"
            " raise max_duels or tol"
        )
    return Solution(
        policy=found.policy,
        support=support_of(session.oracle, found.policy),  # type: ignore[arg-type]  # labels only
        certificate=_certificate(session, found, delta),  # type: ignore[arg-type]
        method="sampled_race",
        steps=session.steps,
        status=status,
        settings={"method": "auto", **settings},
    )
