"""Solvers: each its own file, all returning the same :class:`rebel_pref.solution.Solution`."""

from rebel_pref.solvers.dynamics import DynamicsState, initial_state, iterates, self_play, step
from rebel_pref.solvers.feedback import (
    ExactPayoffs,
    Feedback,
    OpponentPool,
    RegressionError,
    SampledGroups,
    SampledOpponents,
)
from rebel_pref.solvers.linear_program import linear_program
from rebel_pref.solvers.selection import SELECTIONS
from rebel_pref.solvers.solve import METHODS, solve

__all__ = [
    "METHODS",
    "SELECTIONS",
    "DynamicsState",
    "ExactPayoffs",
    "Feedback",
    "OpponentPool",
    "RegressionError",
    "SampledGroups",
    "SampledOpponents",
    "initial_state",
    "iterates",
    "linear_program",
    "self_play",
    "solve",
    "step",
]
