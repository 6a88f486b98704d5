"""HiGHS by its own interface, on the LP ``min v``: A p <= v, sum p = 1, p >= 0.

Of the formulations tried (this one, feasibility at value 0, payoffs shifted to be positive) the fastest by far.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.suite import Dense, Factored
from rebel_pref.preferences import FloatArray

__all__ = [
    "bordered",
    "highs_factored_interior_point",
    "highs_factored_simplex",
    "highs_interior_point",
    "highs_simplex",
]


def highs_simplex(problem: Dense, setting: None) -> FloatArray:
    """HiGHS's simplex through highspy."""
    return _highs(problem.payoff, "simplex")


def highs_interior_point(problem: Dense, setting: None) -> FloatArray:
    """HiGHS's interior point through highspy, with crossover: without it the answer is good to 1e-10 at best."""
    return _highs(problem.payoff, "ipm")


def highs_factored_simplex(problem: Factored, setting: None) -> FloatArray:
    """HiGHS's simplex where ``U^T p``, ``V^T p`` and ``r^T p`` are variables, so that the LP is sparse."""
    return _highs_factored(problem, "simplex")


def highs_factored_interior_point(problem: Factored, setting: None) -> FloatArray:
    """The same LP by interior point and crossover."""
    return _highs_factored(problem, "ipm")


def bordered(payoff: FloatArray) -> FloatArray:
    """``A p - v <= 0`` and ``sum p = 1`` as rows over (p, v)."""
    size = len(payoff)
    matrix = np.empty((size + 1, size + 1))
    matrix[:size, :size] = payoff
    matrix[:size, size] = -1.0
    matrix[size] = 1.0
    matrix[size, size] = 0.0
    return matrix


def _highs(payoff: FloatArray, solver: str) -> FloatArray:
    size = len(payoff)
    rows = bordered(payoff)
    indices = np.broadcast_to(np.arange(size + 1, dtype=np.int32), rows.shape)
    starts = np.arange(size + 2, dtype=np.int32) * (size + 1)
    bounds = (np.append(np.full(size, -np.inf), 1.0), np.append(np.zeros(size), 1.0))
    free = np.append(np.zeros(size), -np.inf)
    policy = _highs_run(solver, free, bounds, (starts, indices.ravel(), rows.ravel()))
    return policy[:size]


def _highs_factored(problem: Factored, solver: str) -> FloatArray:
    from scipy.sparse import csr_matrix, hstack, identity, vstack

    left, right, scores = problem.left, problem.right, problem.scores
    size, discs = left.shape
    # Columns p, a = U^T p, b = V^T p, c = r^T p, v; rows U b - V a - c - v <= -r, the three definitions, sum p = 1.
    ones = np.ones((size, 1))
    gains = hstack([csr_matrix((size, size)), csr_matrix(np.hstack([-right, left, -ones, -ones]))])
    moments = np.hstack([left, right, scores[:, None]]).T
    definitions = hstack([csr_matrix(moments), -identity(2 * discs + 1), csr_matrix((2 * discs + 1, 1))])
    total = hstack([csr_matrix(ones.T), csr_matrix((1, 2 * discs + 2))])
    rows: Any = vstack([gains, definitions, total], format="csr")
    fixed = np.append(np.zeros(2 * discs + 1), 1.0)
    bounds = (np.append(np.full(size, -np.inf), fixed), np.append(-scores, fixed))
    free = np.append(np.zeros(size), np.full(2 * discs + 2, -np.inf))
    return _highs_run(solver, free, bounds, (rows.indptr, rows.indices, rows.data))[:size]


def _highs_run(
    solver: str, lower: FloatArray, bounds: tuple[FloatArray, FloatArray], matrix: tuple[Any, Any, Any]
) -> FloatArray:
    """Minimise the last variable; `matrix` is row by row: starts, indices, values."""
    import highspy

    highs = highspy.Highs()
    for option, value in (("output_flag", False), ("solver", solver), ("threads", 1), ("run_crossover", "on")):
        highs.setOptionValue(option, value)
    columns = len(lower)
    cost = np.append(np.zeros(columns - 1), 1.0)
    highs.passModel(
        columns,
        len(bounds[0]),
        len(matrix[2]),
        int(highspy.MatrixFormat.kRowwise),
        int(highspy.ObjSense.kMinimize),
        0.0,
        cost,
        lower,
        np.full(columns, np.inf),
        *bounds,
        *matrix,
        np.zeros(columns, dtype=np.int32),
    )
    highs.run()
    status = highs.getModelStatus()
    if status != highspy.HighsModelStatus.kOptimal:
        raise RuntimeError(highs.modelStatusToString(status))
    return np.asarray(highs.getSolution().col_value)
