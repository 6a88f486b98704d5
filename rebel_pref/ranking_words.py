"""A ranking in words: whether an order is safe, and what limits what is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rebel_pref.bootstrap import WinnerIntervals
from rebel_pref.diagnostics import Diagnosis, majority_signs, strongest_cycle
from rebel_pref.diagnostics.nulls import BRADLEY_TERRY, TRANSITIVE
from rebel_pref.preferences import FloatArray

__all__ = ["notes", "safety"]

_NAMED = 5
_FEW = 10


def safety(diagnosis: Diagnosis, payoffs: FloatArray, winner: Sequence[tuple[str, float]], level: float) -> str:
    """One sentence: is an order safe?

    It says that preferences cycle only where every transitive model is rejected at `level`; that Bradley-Terry's order
    is as good only where neither null model is rejected. Not rejecting proves nothing: with few comparisons little
    can be rejected, which :func:`notes` says.

    Parameters
    ----------
    payoffs : [n, n], of the game.
    winner : label and probability of each item that the minimax winner plays, likeliest first.
    level : of the tests.
    """
    best = diagnosis.solutions.condorcet_winner
    if diagnosis.counted is None:
        strength, cycle = strongest_cycle(majority_signs(payoffs).clip(0.0))
        if strength > 0.0:
            around = " > ".join(diagnosis.labels[i] for i in [*cycle, cycle[0]])
            return f"These payoffs cycle ({around}): no order represents them; {_winner(winner, best)}."
        top = "no item beats all others" if best is None else f"{best} beats all others"
        return f"These payoffs do not cycle: there is an order in which nobody loses to a later one, and {top}."
    order, scores = diagnosis.p_value(TRANSITIVE), diagnosis.p_value(BRADLEY_TERRY)
    if order is None or scores is None:
        return (
            "These comparisons were not tested, so whether an order is safe is not known; as they stand, "
            f"{_winner(winner, best)}."
        )
    if order <= level:
        return (
            f"These comparisons cycle (every transitive model is rejected, p = {order:.2g}): no order represents them; "
            f"{_winner(winner, best)}."
        )
    if scores <= level:
        return (
            f"These comparisons do not reject a transitive model (p = {order:.2g}), but they reject Bradley-Terry "
            f"(p = {scores:.2g}): an order may be safe, the Bradley-Terry scores and their order are not."
        )
    return (
        f"These comparisons do not reject a transitive model (p = {order:.2g}), nor Bradley-Terry (p = {scores:.2g}): "
        f"the Bradley-Terry order is as good, as far as {diagnosis.counted.median:g} comparison"
        f"{'s' * (diagnosis.counted.median != 1)} a pair can tell."
    )


def notes(
    diagnosis: Diagnosis, intervals: WinnerIntervals | None, met: NDArray[np.bool_], rarely_met: int, level: float
) -> tuple[str, ...]:
    """What limits a ranking, a sentence each; nothing for exact payoffs.

    Parameters
    ----------
    met : bool [n, n], pairs that met; the diagonal is true.
    rarely_met : pairs that met in one cluster only; 0 without clusters.
    level : of the tests.
    """
    counted, size = diagnosis.counted, diagnosis.sample_size
    if counted is None:
        return ()
    if counted.comparisons == 0:
        return ("There are no comparisons: every pair counts as a tie, and the ranking says nothing.",)
    found: list[str] = []
    missing = counted.possible_pairs - counted.pairs
    if missing:
        found.append(
            f"{missing} of {counted.possible_pairs} pairs never met and count as ties, which draws the win rates of "
            "their items to 1/2 (not the Bradley-Terry scores)."
        )
    parts = _parts(met)
    if parts > 1:
        found.append(
            f"The items fall into {parts} parts that never met each other: nothing ranks an item of one part against "
            "one of another."
        )
    margin = 1.0 if size is None else size.resolved_margin
    if size is not None and counted.median < _FEW:
        can = (
            f"signs only win rates more than {100 * margin:.0f} points from 50 %"
            if margin < 0.5
            else "signs no pair, not even a unanimous one"
        )
        found.append(
            f"Too few comparisons to sign every pair: a pair that met has {counted.median:g} (median), which {can} at "
            f"level {level:.3g}; {size.needed[0.1]} a pair would sign those 10 points from 50 %."
        )
    if intervals is not None and rarely_met:
        found.append(
            f"{rarely_met} pairs met in one cluster only and are missing, as ties, from the replicates that lack it "
            "(about 37 %): the intervals lean towards 1/2."
        )
    if intervals is not None and intervals.one_sided:
        found.append(
            f"{intervals.one_sided} pairs are one-sided, and drawn again they stay so: the intervals show none of "
            "their uncertainty."
        )
    if intervals is not None and intervals.unsolved:
        found.append(f"{intervals.unsolved} replicates had no winner and were left out of the intervals.")
    return tuple(found)


def _winner(winner: Sequence[tuple[str, float]], best: str | None) -> str:
    if len(winner) == 1:
        alone = f"the minimax winner is {winner[0][0]} alone"
        return f"{alone}, which beats everyone one by one" if best is not None else alone
    shown = ", ".join(f"{label} ({100 * share:.0f} %)" for label, share in winner[:_NAMED])
    more = f" and {len(winner) - _NAMED} more" if len(winner) > _NAMED else ""
    return f"the minimax winner mixes {shown}{more}"


def _parts(met: NDArray[np.bool_]) -> int:
    """Connected parts of the graph of pairs that met."""
    from scipy.sparse.csgraph import connected_components

    count, _ = connected_components(met, directed=False)
    return int(count)
