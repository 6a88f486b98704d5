"""Solvers: each its own file, all returning the same :class:`rebel_pref.solution.Solution`."""

from rebel_pref.solvers.automatic import automatic_algorithm
from rebel_pref.solvers.dynamics import DynamicsState, initial_state, iterates, self_play, step
from rebel_pref.solvers.feedback import (
    ExactPayoffs,
    Feedback,
    OpponentPool,
    RegressionError,
    SampledGroups,
    SampledOpponents,
)
from rebel_pref.solvers.learning_curve import (
    DoubleOracle,
    FictitiousPlay,
    Learner,
    LearningCurve,
    RegretMatching,
    learning_curve,
)
from rebel_pref.solvers.linear_program import linear_program
from rebel_pref.solvers.selection import SELECTIONS
from rebel_pref.solvers.solve import METHODS, solve
from rebel_pref.solvers.step_size import StepSuggestion, suggest_step

__all__ = [
    "METHODS",
    "SELECTIONS",
    "DoubleOracle",
    "DynamicsState",
    "ExactPayoffs",
    "Feedback",
    "FictitiousPlay",
    "Learner",
    "LearningCurve",
    "OpponentPool",
    "RegressionError",
    "RegretMatching",
    "SampledGroups",
    "SampledOpponents",
    "StepSuggestion",
    "automatic_algorithm",
    "initial_state",
    "iterates",
    "learning_curve",
    "linear_program",
    "self_play",
    "solve",
    "step",
    "suggest_step",
]
