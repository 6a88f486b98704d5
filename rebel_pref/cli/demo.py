"""``rebel-pref demo``: the main job with the packaged recipe, into runs/demo."""

from __future__ import annotations

from collections.abc import Sequence

from rebel_pref.cli import train

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """``rebel-pref train blotto --out runs/demo``, anew each time unless resumed; further flags are passed on."""
    return train.run(["blotto", "--out", "runs/demo", "--overwrite", "true", *argv])
