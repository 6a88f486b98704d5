"""`diagnose`: how intransitive a game is, and for counted comparisons whether that is more than chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.diagnostics.bradley_terry import fit_bradley_terry
from rebel_pref.diagnostics.choices import Choice, choices
from rebel_pref.diagnostics.grouped import PooledTriads, pooled_triads
from rebel_pref.diagnostics.hodge import HodgeDecomposition, hodge_decomposition, log_odds_flow
from rebel_pref.diagnostics.intervals import Interval, bootstrap_intervals
from rebel_pref.diagnostics.nulls import (
    NullTest,
    bradley_terry_tests,
    testable,
    transitive_tests,
)
from rebel_pref.diagnostics.report import as_dict, as_text, verdict
from rebel_pref.diagnostics.resampling import Counted, Tallies, counted, tally
from rebel_pref.diagnostics.sample_size import SampleSize, sample_size
from rebel_pref.diagnostics.spectrum import DiscSpectrum, disc_spectrum
from rebel_pref.diagnostics.tournaments import TournamentSolutions, tournament_solutions
from rebel_pref.diagnostics.transitivity import StochasticTransitivity, stochastic_transitivity
from rebel_pref.diagnostics.triads import Triads, triads
from rebel_pref.games import Comparisons, Game, PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers import solve

__all__ = ["FLOWS", "Diagnosis", "dense_game", "diagnose"]

FLOWS = ("auto", "log-odds", "payoff")
_LARGEST = 4000
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Everything :func:`diagnose` found; ``print`` it, or take a section.

    Attributes
    ----------
    sentence : the outcome in words; claims a cycle only where every transitive model is rejected.
    labels : n names.
    counted : the comparisons, or None for a game whose payoffs are exact.
    triads, hodge, spectrum, solutions, transitivity, choices : the sections.
    grouped_triads : triads inside each group of comparisons (prompt, voter, ...), or None without groups.
    bradley_terry : scores in nats [n], mean 0, or None where payoffs are no win rates.
    tests : null tests; empty where there is nothing to test.
    tested_cycle : the cycle whose weakest link has the most evidence; empty without counts or cycles.
    intervals : name -> bootstrap interval; empty without counts.
    sample_size : comparisons seen and needed, or None without counts.
    status : "solved", or why the minimax winner fell short.
    settings : what the diagnosis was run with.
    """

    sentence: str
    labels: tuple[str, ...]
    counted: Counted | None
    triads: Triads
    grouped_triads: PooledTriads | None
    hodge: HodgeDecomposition
    spectrum: DiscSpectrum
    solutions: TournamentSolutions
    transitivity: StochasticTransitivity
    choices: tuple[Choice, ...]
    bradley_terry: FloatArray | None
    tests: tuple[NullTest, ...]
    tested_cycle: tuple[str, ...]
    intervals: Mapping[str, Interval]
    sample_size: SampleSize | None
    status: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def p_value(self, null: str) -> float | None:
        """Smallest adjusted p-value of a null model, "Bradley-Terry" or "weak stochastic transitivity"."""
        return min((test.adjusted for test in self.tests if test.null == null), default=None)

    def as_dict(self) -> dict[str, Any]:
        """All sections as plain numbers, strings, lists and dicts, for JSON; None where a number is undefined."""
        return as_dict(self)

    def __str__(self) -> str:
        return as_text(self)


def diagnose(
    subject: Game | Comparisons | ArrayLike,
    *,
    bootstrap: int = 200,
    level: float = 0.95,
    seed: int = 0,
    flow: str = "auto",
    progress: Progress | None = None,
) -> Diagnosis:
    """Measure intransitivity: triads, Hodge energies, discs, sets of winners, stochastic transitivity, choices.

    Counted comparisons are also tested. Cycles in counts prove nothing: the tests say whether Bradley-Terry, and
    whether any transitive model, explains them. Payoffs that are exact need no test and get none.

    Parameters
    ----------
    subject : a game (with the comparisons it was estimated from, or exact), comparisons, or a matrix [n, n] of
        win counts.
    bootstrap : replicates of each null model and of the intervals; 0 for neither.
    level : of the intervals; 1 - level is the level of the tests.
    flow : what the Hodge parts and discs are of: "log-odds" of win rates (of counts with half a win added to each
        side), "payoff", or "auto": log-odds where there are counts or every |A| < 1, else payoffs.
    progress : called with the replicates done and the total.

    Raises
    ------
    ValueError
        For a subject that is none of these, more than 4000 actions, log-odds of a payoff of 1 or more, a level
        outside (0, 1), or so few replicates that no test could reject.
    FloatingPointError
        If a linear program or a fit fails.

    >>> from rebel_pref.games import rock_paper_scissors
    >>> diagnose(rock_paper_scissors()).triads.cyclic
    1
    """
    game = dense_game(subject)
    if not 0.0 < level < 1.0:
        raise ValueError(f"expected a level between 0 and 1, got {level}")
    # Holm multiplies the smallest of three p-values by 3; the rounding of 1 - level must not cost a replicate.
    least = int(np.ceil(3.0 / (1.0 - level) - 1e-6)) - 1
    if bootstrap != 0 and bootstrap < least:
        raise ValueError(
            f"bootstrap must be 0 (no tests) or at least {least}, so that a test at level {1 - level:g} can reject; "
            f"got {bootstrap}"
        )
    payoffs = game.payoff
    tallies = None if game.comparisons is None else tally(game.comparisons)
    name, skew, weights = _flow(game, tallies, flow)
    hodge = hodge_decomposition(skew, weights, name=name)
    solution = solve(game)
    scores = None
    if game.holds_win_rates:
        # Win rates are one comparison a pair: the usual pull to 0 would bend an exact fit.
        counts, ridge = (_win_rates(payoffs), 1e-6) if game.comparisons is None else (game.comparisons.counts, 1e-3)
        scores = fit_bradley_terry(counts, ridge=ridge)
    chosen = choices(payoffs, game.labels, scores=scores, winner=solution.policy)
    found = _Tested((), (), {}, None)
    if tallies is not None and len(tallies.first) > 0:
        rng = np.random.default_rng(seed)
        found = _tested(tallies, chosen, bootstrap=bootstrap, level=level, rng=rng, progress=progress)
    found_triads = triads(payoffs, game.labels)
    solutions = tournament_solutions(payoffs, game.labels, solution.policy)
    cycle = tuple(game.labels[i] for i in found.cycle)
    reason = "" if tallies is None else "bootstrap = 0" if bootstrap == 0 else testable(tallies)
    return Diagnosis(
        sentence=verdict(
            found_triads,
            solutions,
            found.tests,
            cycle,
            counted=tallies is not None,
            untested=reason,
            level=1.0 - level,
        ),
        labels=tuple(game.labels),
        counted=None if tallies is None else counted(tallies),
        triads=found_triads,
        grouped_triads=_grouped(game.comparisons),
        hodge=hodge,
        spectrum=disc_spectrum(skew, hodge.cyclic_flow),
        solutions=solutions,
        transitivity=stochastic_transitivity(payoffs, weights > 0, game.labels),
        choices=chosen,
        bradley_terry=scores,
        tests=found.tests,
        tested_cycle=cycle,
        intervals=found.intervals,
        sample_size=found.sample_size,
        status=solution.status,
        settings={"bootstrap": bootstrap, "level": level, "seed": seed, "flow": flow},
    )


@dataclass(frozen=True)
class _Tested:
    """What only counts have."""

    tests: tuple[NullTest, ...]
    cycle: tuple[int, ...]
    intervals: Mapping[str, Interval]
    sample_size: SampleSize | None


def _tested(
    tallies: Tallies,
    chosen: tuple[Choice, ...],
    *,
    bootstrap: int,
    level: float,
    rng: np.random.Generator,
    progress: Progress | None,
) -> _Tested:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, 2 * bootstrap)

    tests: tuple[NullTest, ...] = ()
    cycle: tuple[int, ...] = ()
    intervals: dict[str, Interval] = {}
    if bootstrap > 0 and not testable(tallies):
        of_order, cycle = transitive_tests(tallies, replicates=bootstrap, level=level, rng=rng)
        tests = bradley_terry_tests(tallies, replicates=bootstrap, level=level, rng=rng, advance=advance) + of_order
    if bootstrap > 0:
        policies = {choice.rule: choice.policy for choice in chosen}
        intervals = bootstrap_intervals(tallies, policies, replicates=bootstrap, level=level, rng=rng, advance=advance)
    by_name = {test.statistic: test for test in tests}
    rejected = any(test.adjusted <= 1.0 - level for test in tests)
    size = sample_size(tallies, by_name.get("deviance"), rejected=rejected, level=level, rng=rng)
    return _Tested(tests, cycle, intervals, size)


def _is_game(subject: object) -> TypeGuard[Game]:
    return hasattr(subject, "among") and hasattr(subject, "labels")


def dense_game(subject: Game | Comparisons | ArrayLike) -> PreferenceGame:
    """The dense game that `subject` is or stands for; a matrix [n, n] holds win counts.

    Raises
    ------
    ValueError
        For what is none of these, or more than 4000 actions.
    """
    if isinstance(subject, Comparisons):
        size = len(subject.labels)
    elif _is_game(subject):
        size = len(subject)
    else:
        subject = _comparisons(subject)
        size = len(subject.labels)
    if size > _LARGEST:
        raise ValueError(f"expected at most {_LARGEST} actions (triads take n^3 operations), got {size}")
    if isinstance(subject, Comparisons):
        return PreferenceGame.from_comparisons(subject)
    if isinstance(subject, PreferenceGame):
        return subject
    return PreferenceGame.from_payoffs(subject.among(np.arange(size)), labels=subject.labels)


def _comparisons(subject: Any) -> Comparisons:
    if hasattr(subject, "prompts"):  # Those of preference_models, which do not count but tell texts apart.
        raise ValueError(
            f"expected a game, comparisons of items or a matrix of win counts, got {type(subject).__name__}: fit a "
            "preference model to comparisons of texts (fit_preference_model), or read the file with load_game"
        )
    try:
        return Comparisons.from_counts(subject)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"expected a game, comparisons or a matrix of win counts: {error}; pass payoffs as "
            "PreferenceGame.from_payoffs(A) and win rates as PreferenceGame.from_preferences(P)"
        ) from None


def _flow(game: PreferenceGame, tallies: Tallies | None, flow: str) -> tuple[str, FloatArray, FloatArray]:
    """Name, skew flow [n, n] and weights [n, n] of the pairs that met."""
    if flow not in FLOWS:
        raise ValueError(f"no flow is called {flow!r}; known flows: {', '.join(FLOWS)}")
    inside = float(np.abs(game.payoff).max(initial=0.0)) < 1.0
    name = flow if flow != "auto" else "log-odds" if tallies is not None or inside else "payoff"
    if tallies is not None:
        half = 0.5 * tallies.ties
        odds = tallies.skew(log_odds_flow(tallies.wins + half, tallies.losses + half))
        return name, odds if name == "log-odds" else game.payoff, tallies.matrix(tallies.total, tallies.total)
    weights = np.ones_like(game.payoff)
    if name == "payoff":
        return name, game.payoff, weights
    if not inside:
        raise ValueError(
            f"log-odds need win rates strictly between 0 and 1, got max|A| = {np.abs(game.payoff).max():g}; "
            "ask for flow='payoff'"
        )
    return name, 2.0 * np.arctanh(game.payoff), weights


def _grouped(comparisons: Comparisons | None) -> PooledTriads | None:
    return None if comparisons is None or comparisons.cluster is None else pooled_triads(comparisons)


def _win_rates(payoffs: FloatArray) -> FloatArray:
    """One comparison of each pair, split by its win rate."""
    wins = 0.5 + 0.5 * payoffs
    np.fill_diagonal(wins, 0.0)
    return np.asarray(wins.clip(0.0, 1.0))
