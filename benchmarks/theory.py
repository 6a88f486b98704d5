"""Every theorem that the library stands on, checked: ``python -m benchmarks.theory [--quick] [--out DIR]``.

The same as ``rebel-pref theory``: see :mod:`rebel_pref.theory`. Exits 1 where a statement does not hold.
"""

from __future__ import annotations

import sys

from rebel_pref.theory import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
