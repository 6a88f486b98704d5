"""Cyclic triads inside groups of comparisons (prompts, voters, annotators), pooled over the groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rebel_pref.diagnostics.triads import cyclic_triads, decided_triads
from rebel_pref.games.comparisons import Comparisons

__all__ = ["PooledTriads", "pooled_triads"]


@dataclass(frozen=True)
class PooledTriads:
    """Triads counted in each group by itself and added up.

    A judge may be transitive on every prompt while the sums over prompts cycle, or cycle on a prompt where the sums do
    not: this measures the former kind. A triad counts where its three pairs met in one group and none is tied after
    adding up the group's verdicts.

    Attributes
    ----------
    cyclic, decided : over all groups.
    groups : how many groups; `with_triads` of them hold a decided triad.
    """

    cyclic: int
    decided: int
    groups: int
    with_triads: int

    @property
    def share(self) -> float:
        """Cyclic triads among the decided ones; 1/4 is expected of fair coins. NaN where none is decided."""
        return self.cyclic / self.decided if self.decided else float("nan")


def pooled_triads(comparisons: Comparisons) -> PooledTriads:
    """Count the triads of every group (``comparisons.cluster``) apart; O(sum of n_g^3) for n_g items in group g.

    Raises
    ------
    ValueError
        For comparisons without groups.

    >>> rounds = Comparisons(("a", "b", "c"), [0, 1, 2], [1, 2, 0], [1, 1, 1], [0, 0, 0], [0, 0, 0], [7, 7, 7])
    >>> pooled_triads(rounds).cyclic
    1
    """
    if comparisons.cluster is None:
        raise ValueError(
            "triads inside groups need comparisons with groups; name the column of the prompt, voter or annotator "
            "(load_game(path, cluster=NAME), --group NAME)"
        )
    order = np.argsort(comparisons.cluster, kind="stable")
    numbers, starts = np.unique(comparisons.cluster[order], return_index=True)
    cyclic = decided = with_triads = 0
    for rows in np.split(order, starts[1:]):
        if len(rows) < 3:
            continue
        items, places = np.unique(
            np.concatenate([comparisons.first[rows], comparisons.second[rows]]), return_inverse=True
        )
        first, second = np.split(places, 2)
        margins = np.zeros((len(items), len(items)))
        np.add.at(margins, (first, second), comparisons.wins[rows] - comparisons.losses[rows])
        signs = np.sign(margins - margins.T)
        found = round(float(decided_triads(signs)))
        cyclic += round(float(cyclic_triads(signs)))
        decided += found
        with_triads += found > 0
    return PooledTriads(cyclic, decided, len(numbers), with_triads)
