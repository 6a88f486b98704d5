"""``rebel-pref theory``: check the theorems on this machine and draw them."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Run the sections of :mod:`rebel_pref.theory`."""
    from rebel_pref.theory import main

    try:
        return main(argv)
    except SystemExit as end:  # argparse leaves by it, for --help and for options that do not fit.
        return end.code if isinstance(end.code, int) else 2
