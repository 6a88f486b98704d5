"""The pivoting kernel, compiled by numba: imported only where numba is installed and worth its loading time.

Compiled once per machine; the machine code is cached beside the package, or in numba's cache folder.
"""

from __future__ import annotations

import numba
import numpy as np

from rebel_pref.solvers.pivoting import pivot_game

__all__ = ["compiled_pivot_game", "compiled_pivot_games"]

compiled_pivot_game = numba.njit(cache=True)(pivot_game)


@numba.njit(cache=True)
def compiled_pivot_games(payoffs, noise, rounds):  # type: ignore[no-untyped-def]
    """Solve B games [B, n, n]: policies [B, n], pivots [B]."""
    count, size = payoffs.shape[0], payoffs.shape[1]
    policies = np.empty((count, size))
    pivots = np.empty(count, dtype=np.int64)
    for b in range(count):
        policies[b], pivots[b] = compiled_pivot_game(payoffs[b], payoffs[b].max(), noise, rounds)
    return policies, pivots
