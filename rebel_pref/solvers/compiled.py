"""The pivoting kernel, compiled by numba: imported only where numba is installed and worth its loading time.

Compiled once per machine; the machine code is cached beside the package, or in numba's cache folder. There is one
compiled function: a cached one that calls another is not told when that one changes.
"""

from __future__ import annotations

import numba

from rebel_pref.solvers.pivoting import Kernel, pivot_games

__all__ = ["compiled_pivot_games"]

compiled_pivot_games: Kernel = numba.njit(cache=True)(pivot_games)
