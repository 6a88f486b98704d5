"""The theorems that this library stands on, checked on this machine: ``rebel-pref theory``.

A section holds one body of theory: it measures, returns a :class:`~rebel_pref.theory.checks.Check` a statement, and
draws its figures. Nothing here computes what the library computes: algorithms, targets, solvers and certificates are
called, and only what a theorem says about them is written down.
"""

from rebel_pref.theory.run import SECTIONS, main

__all__ = ["SECTIONS", "main"]
