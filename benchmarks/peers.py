"""One small function for each way to solve a game: ours first, then what other packages offer.

Every function takes the payoffs as arrays, builds whatever model its package wants (a user pays for that too) and
returns the policy. A setting, where there is one, is tried from loose to tight until our recheck accepts the answer.
Packages are imported inside, so that none is needed to read the table of contents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

import rebel_pref as rp
from benchmarks.highs import (
    bordered,
    highs_factored_interior_point,
    highs_factored_simplex,
    highs_interior_point,
    highs_simplex,
)
from benchmarks.suite import Batch, Dense, Factored
from rebel_pref.games.labels import checked_labels
from rebel_pref.preferences import FloatArray

__all__ = ["OURS", "PACKAGES", "PEERS", "Solver", "ours", "solver_named"]

PACKAGES = (
    "highspy",
    "scipy",
    "quantecon",
    "ortools",
    "cvxpy",
    "clarabel",
    "nashpy",
    "open_spiel",
    "pref_voting",
    "numba",
    "numpy",
)
"""Distributions whose versions are saved with the numbers."""


@dataclass(frozen=True)
class Solver:
    """A way to solve a problem.

    Attributes
    ----------
    name : as printed.
    solve : (problem, setting) -> policy, or an exception where there is none.
    module : what must be importable.
    settings : tried in order until the answer is accurate enough; (None,) where there is nothing to set.
    warm_up : called before a toy is solved, where a toy does not load and compile everything.
    """

    name: str
    solve: Callable[[Any, Any], ArrayLike]
    module: str = "rebel_pref"
    settings: Sequence[Any] = (None,)
    warm_up: Callable[[], object] | None = None

    @property
    def installed(self) -> bool:
        """Whether its package is there."""
        return find_spec(self.module) is not None


@dataclass(frozen=True)
class ours:
    """`rp.solve` from arrays to policy, certificate included; a status that says "not solved" raises.

    Attributes
    ----------
    tol, method : as `rp.solve` takes them.
    checked : build the game by its checking constructor, which copies; False takes the matrix as it is, so that the
        memory measured is the solver's.
    """

    tol: float
    method: str = "auto"
    checked: bool = True

    def __call__(self, problem: Dense | Batch | Factored, setting: None) -> FloatArray:
        """Build the game and solve it."""
        match problem:
            case Dense(payoff):
                if self.checked:
                    return _solved(rp.PreferenceGame.from_payoffs(payoff), self.method, self.tol)
                labels = checked_labels(None, len(payoff))
                return _solved(rp.PreferenceGame(payoff, labels), self.method, self.tol)
            case Factored(left, right, scores):
                return _solved(rp.games.FactoredGame.from_factors(left, right, scores), self.method, self.tol)
            case Batch(payoffs):
                answer: Any = rp.solve(rp.games.GameBatch.from_payoffs(payoffs), method=self.method, tol=self.tol)
                return np.asarray(answer.policies)


def _solved(game: Any, method: str, tol: float) -> FloatArray:
    solution = rp.solve(game, method=method, tol=tol)
    if not solution.solved:
        raise RuntimeError(solution.status)
    return np.asarray(solution.policy)


def scipy_interior_point(problem: Dense, setting: None) -> FloatArray:
    """SciPy's `linprog(method="highs-ipm")`, crossover included."""
    return _linprog(problem.payoff, "highs-ipm")


def scipy_simplex(problem: Dense, setting: None) -> FloatArray:
    """SciPy's `linprog(method="highs-ds")`."""
    return _linprog(problem.payoff, "highs-ds")


def scipy_loop(problem: Batch, setting: None) -> FloatArray:
    """SciPy's `linprog`, one game after another."""
    return np.stack([_linprog(payoff, "highs-ds") for payoff in problem.payoffs])


def quantecon_minmax(problem: Dense, setting: None) -> FloatArray:
    """quantecon's compiled tableau."""
    from quantecon.optimize import minmax

    return np.asarray(minmax(problem.payoff)[1])


def quantecon_loop(problem: Batch, setting: None) -> FloatArray:
    """quantecon's `minmax`, one game after another."""
    from quantecon.optimize import minmax

    return np.stack([minmax(payoff)[1] for payoff in problem.payoffs])


def quantecon_lemke_howson(problem: Dense, setting: None) -> FloatArray:
    """quantecon's Lemke-Howson on the game and its transpose."""
    from quantecon.game_theory import NormalFormGame, Player, lemke_howson

    # The column player's own matrix is -A^T, which is A.
    game = NormalFormGame([Player(problem.payoff), Player(problem.payoff)])
    return np.asarray(lemke_howson(game)[0])


def pdlp(problem: Dense, setting: float) -> FloatArray:
    """OR-tools' PDLP; the setting is its absolute and relative optimality tolerance."""
    from ortools.pdlp import solvers_pb2
    from ortools.pdlp.python import pdlp as solver
    from scipy.sparse import csc_matrix

    size = len(problem.payoff)
    program = solver.QuadraticProgram()
    program.resize_and_initialize(size + 1, size + 1)
    program.objective_vector = np.append(np.zeros(size), 1.0)
    program.variable_lower_bounds = np.append(np.zeros(size), -np.inf)
    program.variable_upper_bounds = np.full(size + 1, np.inf)
    program.constraint_lower_bounds = np.append(np.full(size, -np.inf), 1.0)
    program.constraint_upper_bounds = np.append(np.zeros(size), 1.0)
    program.constraint_matrix = csc_matrix(bordered(problem.payoff))
    parameters = solvers_pb2.PrimalDualHybridGradientParams()
    criteria = parameters.termination_criteria.simple_optimality_criteria
    criteria.eps_optimal_absolute = criteria.eps_optimal_relative = setting
    parameters.num_threads = 1
    result = solver.primal_dual_hybrid_gradient(program, parameters)
    policy = np.maximum(np.asarray(result.primal_solution)[:size], 0.0)
    return np.asarray(policy / policy.sum())


def clarabel(problem: Dense, setting: None) -> FloatArray:
    """Clarabel through cvxpy."""
    import cvxpy

    policy = cvxpy.Variable(len(problem.payoff), nonneg=True)
    worst = cvxpy.Variable()
    constraints = [problem.payoff @ policy <= worst, cvxpy.sum(policy) == 1]
    cvxpy.Problem(cvxpy.Minimize(worst), constraints).solve(solver="CLARABEL")
    return np.asarray(policy.value, dtype=np.float64)


def nashpy_linear_program(problem: Dense, setting: None) -> FloatArray:
    """nashpy's linear program."""
    import nashpy

    return np.asarray(nashpy.Game(problem.payoff).linear_program()[0])


def nashpy_lemke_howson(problem: Dense, setting: None) -> FloatArray:
    """nashpy's Lemke-Howson, first label 0."""
    import nashpy

    return np.asarray(nashpy.Game(problem.payoff).lemke_howson(initial_dropped_label=0)[0])


def nashpy_support_enumeration(problem: Dense, setting: None) -> FloatArray:
    """The first equilibrium that nashpy's support enumeration meets."""
    import nashpy

    return np.asarray(next(nashpy.Game(problem.payoff).support_enumeration())[0])


def open_spiel_linear_program(problem: Dense, setting: None) -> FloatArray:
    """open_spiel's LP as its users call it, solver left at the default."""
    import pyspiel
    from open_spiel.python.algorithms import lp_solver

    game = pyspiel.create_matrix_game(problem.payoff, -problem.payoff)
    return np.asarray(lp_solver.solve_zero_sum_matrix_game(game)[0], dtype=np.float64).ravel()


def open_spiel_regret_matching(problem: Dense, setting: int) -> FloatArray:
    """open_spiel's regret matching, average strategies; the setting is the number of iterations."""
    from open_spiel.python.algorithms import regret_matching

    return np.asarray(regret_matching.regret_matching([problem.payoff, -problem.payoff], iterations=setting)[0])


def pref_voting_linear_program(problem: Dense, setting: None) -> FloatArray:
    """pref_voting's maximal lottery from margins, by its linear program."""
    return _maximal_lottery(problem.payoff, "lp")


def pref_voting_enumeration(problem: Dense, setting: None) -> FloatArray:
    """pref_voting's maximal lottery, by enumeration of vertices: the mean of all of them."""
    return _maximal_lottery(problem.payoff, "enumeration")


def load_compiled_kernel() -> None:
    """Have our compiled kernel at hand, as quantecon's is once it has been called: "auto" loads it for batches only."""
    rp.solve(rp.games.GameBatch.from_payoffs(np.zeros((1, 3, 3))))


OURS = Solver("rebel_pref", ours(1e-12), warm_up=load_compiled_kernel)
"""The default method to 1e-12; a row with another tolerance replaces `solve`."""

PEERS = (
    Solver("HiGHS simplex", highs_simplex, "highspy"),
    Solver("HiGHS interior point", highs_interior_point, "highspy"),
    Solver("scipy highs-ipm", scipy_interior_point, "scipy"),
    Solver("scipy highs-ds", scipy_simplex, "scipy"),
    Solver("quantecon minmax", quantecon_minmax, "quantecon"),
    Solver("quantecon Lemke-Howson", quantecon_lemke_howson, "quantecon"),
    Solver("ortools PDLP", pdlp, "ortools", tuple(float(10.0 ** (-k / 2)) for k in range(4, 21))),
    Solver("cvxpy Clarabel", clarabel, "cvxpy"),
    Solver("nashpy linear program", nashpy_linear_program, "nashpy"),
    Solver("nashpy Lemke-Howson", nashpy_lemke_howson, "nashpy"),
    Solver("nashpy support enumeration", nashpy_support_enumeration, "nashpy"),
    Solver("open_spiel lp_solver", open_spiel_linear_program, "pyspiel"),
    Solver(
        "open_spiel regret matching",
        open_spiel_regret_matching,
        "pyspiel",
        tuple(int(500 * 2.0 ** (k / 2)) for k in range(27)),
    ),
    Solver("pref_voting lp", pref_voting_linear_program, "pref_voting"),
    Solver("pref_voting enumeration", pref_voting_enumeration, "pref_voting"),
    Solver("quantecon loop", quantecon_loop, "quantecon"),
    Solver("scipy loop", scipy_loop, "scipy"),
    Solver("HiGHS simplex, factored", highs_factored_simplex, "highspy"),
    Solver("HiGHS interior point, factored", highs_factored_interior_point, "highspy"),
)


def solver_named(name: str) -> Solver:
    """The peer called `name`."""
    return {solver.name: solver for solver in PEERS}[name]


def _linprog(payoff: FloatArray, method: Literal["highs-ds", "highs-ipm"]) -> FloatArray:
    from scipy.optimize import linprog

    size = len(payoff)
    rows = bordered(payoff)
    result = linprog(
        np.append(np.zeros(size), 1.0),
        A_ub=rows[:size],
        b_ub=np.zeros(size),
        A_eq=rows[size:],
        b_eq=[1.0],
        bounds=[(0.0, np.inf)] * size + [(-np.inf, np.inf)],
        method=method,
    )
    if result.x is None:
        raise RuntimeError(result.message)
    return np.asarray(result.x[:size])


def _maximal_lottery(payoff: FloatArray, algorithm: str) -> FloatArray:
    from pref_voting.probabilistic_methods import maximal_lottery
    from pref_voting.weighted_majority_graphs import MarginGraph

    winners, losers = np.nonzero(payoff > 0.0)
    edges = list(zip(winners.tolist(), losers.tolist(), payoff[winners, losers].tolist(), strict=True))
    lottery = maximal_lottery(MarginGraph(list(range(len(payoff))), edges), algorithm=algorithm)
    return np.array([lottery[action] for action in range(len(payoff))])
