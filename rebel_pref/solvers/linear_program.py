"""The minimax winner by linear programming: the independent referee for everything else."""

from __future__ import annotations

import numpy as np

from rebel_pref.games.game import PreferenceGame
from rebel_pref.solvers.answer import Answer

__all__ = ["linear_program"]


def linear_program(game: PreferenceGame) -> Answer:
    """Solve ``min v`` subject to ``A p <= v, sum p = 1, p >= 0`` with HiGHS.

    The value is 0 by skew symmetry, so v only takes up rounding. Dense, O(n^3) in practice; a vertex of
    the set of winners where the winner is not unique. Source: von Neumann 1928; HiGHS through SciPy.

    An LP that fails returns the uniform policy, and `message` says so.
    """
    from scipy.optimize import linprog  # SciPy's optimizers take longer to import than this package.

    size = len(game)
    scale = game.scale
    if scale == 0.0:
        return Answer(np.full(size, 1.0 / size), "linear_program", 0)
    result = linprog(
        c=np.append(np.zeros(size), 1.0),
        A_ub=np.hstack([game.payoff / scale, -np.ones((size, 1))]),
        b_ub=np.zeros(size),
        A_eq=np.append(np.ones(size), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * size + [(None, None)],
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    steps = int(result.nit or 0)
    if result.x is None or not result.success:
        message = f"HiGHS failed ({result.message}) and the policy is only uniform"
        return Answer(np.full(size, 1.0 / size), "linear_program", steps, message)
    policy = np.maximum(result.x[:size], 0.0)
    return Answer(policy / policy.sum(), "linear_program", steps)
