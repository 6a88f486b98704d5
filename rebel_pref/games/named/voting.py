"""Majority votes: raters who score, voters who rank, and every paradox they can make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rebel_pref.games.comparisons import Comparisons
from rebel_pref.games.game import PreferenceGame
from rebel_pref.games.labels import checked_labels
from rebel_pref.games.named.sizes import check_actions

__all__ = ["majority_game", "mcgarvey_game", "mcgarvey_rankings"]

_CONDORCET = ((3, 2, 1), (1, 3, 2), (2, 1, 3))
_THREE_CYCLE = ((0, 1, -1), (-1, 0, 1), (1, -1, 0))


def majority_game(scores: ArrayLike = _CONDORCET, *, labels: Sequence[str] | None = None) -> PreferenceGame:
    """Raters score items; P(i beats j) is the share of raters who score i higher, a tie counted as half.

    Every rater is transitive, their majority need not be: by default three raters with the opinions 0 > 1 > 2,
    1 > 2 > 0 and 2 > 0 > 1, who prefer 0 to 1, 1 to 2 and 2 to 0 by two to one. Source: Condorcet 1785.

    Parameters
    ----------
    scores : [m, n], m raters by n items, higher is better; only the order within a row counts.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"expected scores of shape [raters, items], got {array.shape}")
    if not np.isfinite(array).all():
        rater, item = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(f"scores must be finite, got scores[{rater}, {item}] = {array[rater, item]}")
    size = check_actions(array.shape[1])
    margin = np.zeros((size, size))
    for row in array:
        margin += np.sign(row[:, None] - row[None, :])
    return PreferenceGame.from_payoffs(margin / len(array), labels=labels)


def mcgarvey_rankings(tournament: ArrayLike = _THREE_CYCLE) -> NDArray[np.int64]:
    """Rankings whose majority is any tournament one likes.

    For an edge "i beats j" two voters rank ``i, j, the rest`` and ``the rest backwards, i, j``: they agree that i is
    better than j and on nothing else. An edge of weight w gets w such pairs. Source: McGarvey 1953.

    Parameters
    ----------
    tournament : whole numbers [n, n], either margins (skew-symmetric; ``T[i, j] = w > 0``: i beats j with weight w,
        0: a tie) or wins (not negative; ``T[i, j]`` = 1 where i beats j), of which the margins are ``T - T^T``.

    Returns
    -------
    [voters, n], voters = twice the sum of all weights: the items of each voter, best first. The votes for i minus
    the votes against it, i against j, are ``2 T[i, j]``.

    Raises
    ------
    ValueError
        For a matrix that is neither, numbers that are not whole, or a tournament in which nobody beats anybody.
    """
    margins = _margins(tournament)
    rankings = []
    for i, j in np.argwhere(margins > 0):
        rest = [item for item in range(len(margins)) if item not in (i, j)]
        rankings += [[i, j, *rest], [*reversed(rest), i, j]] * int(margins[i, j])
    return np.array(rankings, dtype=np.int64)


def mcgarvey_game(tournament: ArrayLike = _THREE_CYCLE, *, labels: Sequence[str] | None = None) -> PreferenceGame:
    """The majority game of McGarvey's voters: ``A = T / (sum of all weights)``, with the votes it was counted from.

    A tournament and its game have the same minimax winners. ``game.comparisons`` holds the verdict of every voter
    on every pair (about n^4 / 2 rows for a tournament without ties); a voter is a cluster. Source: McGarvey 1953;
    see :func:`mcgarvey_rankings`, also for arguments and errors.
    """
    rankings = mcgarvey_rankings(tournament)
    voters, size = rankings.shape
    place = np.argsort(rankings, axis=1)
    first, second = np.triu_indices(size, 1)
    wins = (place[:, first] < place[:, second]).astype(np.float64).ravel()
    comparisons = Comparisons(
        labels=checked_labels(labels, size),
        first=np.tile(first, voters).astype(np.int64),
        second=np.tile(second, voters).astype(np.int64),
        wins=wins,
        losses=1.0 - wins,
        ties=np.zeros(len(wins)),
        cluster=np.repeat(np.arange(voters), len(first)),
    )
    return PreferenceGame.from_comparisons(comparisons)


def _margins(tournament: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(tournament, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.size == 0:
        raise ValueError(f"expected a square tournament matrix [n, n], got shape {array.shape}")
    if not np.isfinite(array).all() or (array != np.rint(array)).any():
        i, j = np.argwhere(~(array == np.rint(array)) | ~np.isfinite(array))[0]
        raise ValueError(f"expected whole numbers of votes, got tournament[{i}, {j}] = {array[i, j]}")
    if (array >= 0).all():
        array = array - array.T
    elif (array != -array.T).any():
        i, j = np.argwhere(array != -array.T)[0]
        raise ValueError(
            f"expected margins (skew-symmetric) or wins (not negative), got tournament[{i}, {j}] = {array[i, j]:g} and "
            f"tournament[{j}, {i}] = {array[j, i]:g}"
        )
    if not array.any():
        raise ValueError("expected a tournament in which somebody beats somebody, got ties only: it needs no voters")
    return array.astype(np.int64)
