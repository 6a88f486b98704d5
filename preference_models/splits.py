"""What is held out of a fit: pairs, responses, or prompts. Each asks a harder question than the one before."""

from __future__ import annotations

from typing import Literal

import numpy as np

from preference_models.comparisons import TextComparisons

__all__ = ["SPLITS", "Split", "split_held_out"]

Split = Literal["pair", "item", "prompt"]
SPLITS: tuple[Split, ...] = ("pair", "item", "prompt")


def split_held_out(
    comparisons: TextComparisons, fraction: float, seed: int, *, by: Split = "pair"
) -> tuple[TextComparisons, TextComparisons]:
    """Split into (train, held out).

    Parameters
    ----------
    fraction : share to hold out, in (0, 1), of what `by` names; at least one stays on each side.
    by : "pair", whole unordered pairs of a prompt: were these two seen together? "item", responses: every comparison
        with a held-out response is held out, which is up to twice `fraction` of them. "prompt", whole prompts.

    Raises
    ------
    ValueError
        For another name, a fraction that is none, or comparisons of which nothing would be left on one side.
    """
    if by not in SPLITS:
        raise ValueError(f"by must be one of {', '.join(SPLITS)}, got {by!r}")
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"fraction must be between 0 and 1, got {fraction}")
    first: list[tuple[str, ...]]
    second: list[tuple[str, ...]]
    if by == "prompt":
        first = second = [(prompt,) for prompt in comparisons.prompts]
    elif by == "pair":
        rows = zip(comparisons.prompts, comparisons.first, comparisons.second, strict=True)
        first = second = [(prompt, *sorted(pair)) for prompt, *pair in rows]
    else:
        first = list(zip(comparisons.prompts, comparisons.first, strict=True))
        second = list(zip(comparisons.prompts, comparisons.second, strict=True))
    distinct = list(dict.fromkeys(first + second))
    if len(distinct) < 2:
        raise ValueError(f"expected at least two distinct {by}s to split, got {len(distinct)}")
    held = min(max(1, round(fraction * len(distinct))), len(distinct) - 1)
    chosen = np.random.default_rng(seed).permutation(len(distinct))[:held]
    outside = {distinct[i] for i in chosen}
    mask = np.array([one in outside or other in outside for one, other in zip(first, second, strict=True)])
    if mask.all():
        raise ValueError(
            f"with {held} of {len(distinct)} {by}s held out, no comparison is left to train on; hold out fewer, or by "
            "prompt or pair"
        )
    return comparisons.select(~mask), comparisons.select(mask)
