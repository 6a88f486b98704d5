"""Intransitivity diagnostics: how a game cycles, and whether counts cycle more than chance makes them."""

from rebel_pref.diagnostics.bradley_terry import ELO_PER_NAT, bias_reduced_bradley_terry, fit_bradley_terry
from rebel_pref.diagnostics.choices import Choice, choices
from rebel_pref.diagnostics.diagnosis import Diagnosis, diagnose
from rebel_pref.diagnostics.grouped import PooledTriads, pooled_triads
from rebel_pref.diagnostics.hodge import HodgeDecomposition, hodge_decomposition, log_odds_flow
from rebel_pref.diagnostics.intervals import Interval, bootstrap_intervals
from rebel_pref.diagnostics.nulls import NullTest, bradley_terry_tests, holm, transitive_tests
from rebel_pref.diagnostics.orders import best_order, evidence, strongest_cycle
from rebel_pref.diagnostics.resampling import Counted, Tallies, tally
from rebel_pref.diagnostics.sample_size import SampleSize, comparisons_per_pair, resolved_margin
from rebel_pref.diagnostics.spectrum import DiscSpectrum, disc_spectrum, disc_strengths, effective_discs
from rebel_pref.diagnostics.tournaments import (
    TournamentSolutions,
    essential_actions,
    smith_actions,
    tournament_solutions,
    uncovered_actions,
)
from rebel_pref.diagnostics.transitivity import StochasticTransitivity, Violations, stochastic_transitivity
from rebel_pref.diagnostics.triads import Cycle, Triads, cyclic_triads, decided_triads, majority_signs, triads

__all__ = [
    "ELO_PER_NAT",
    "Choice",
    "Counted",
    "Cycle",
    "Diagnosis",
    "DiscSpectrum",
    "HodgeDecomposition",
    "Interval",
    "NullTest",
    "PooledTriads",
    "SampleSize",
    "StochasticTransitivity",
    "Tallies",
    "TournamentSolutions",
    "Triads",
    "Violations",
    "best_order",
    "bias_reduced_bradley_terry",
    "bootstrap_intervals",
    "bradley_terry_tests",
    "choices",
    "comparisons_per_pair",
    "cyclic_triads",
    "decided_triads",
    "diagnose",
    "disc_spectrum",
    "disc_strengths",
    "effective_discs",
    "essential_actions",
    "evidence",
    "fit_bradley_terry",
    "hodge_decomposition",
    "holm",
    "log_odds_flow",
    "majority_signs",
    "pooled_triads",
    "resolved_margin",
    "smith_actions",
    "stochastic_transitivity",
    "strongest_cycle",
    "tally",
    "tournament_solutions",
    "transitive_tests",
    "triads",
    "uncovered_actions",
]
