"""What a square matrix of numbers means as a game; matrices as CSV text are parsed in :mod:`.tables`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from rebel_pref.games.factored import FactoredGame
from rebel_pref.games.game import PreferenceGame
from rebel_pref.games.labels import checked_labels
from rebel_pref.preferences import FloatArray

__all__ = ["game_from_matrix", "write_csv"]


def game_from_matrix(matrix: FloatArray, labels: Sequence[str] | None) -> PreferenceGame:
    """A game from a matrix [n, n] that does not say what it holds.

    0.5 on the diagonal makes it win rates ``P``. 0 or NaN all along the diagonal leaves it to the other entries:
    payoffs if they are skew-symmetric; else win counts if they are whole numbers, none negative; else win rates if
    all lie in [0, 1]; else payoffs. Whole numbers that are the same on both sides of the diagonal are refused
    rather than counted: they look like how often two met, not like who won.

    Raises
    ------
    ValueError
        For a value that is missing (NaN) or infinite off the diagonal, or a matrix that is no game.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"expected a square matrix, got shape {matrix.shape}")
    named = checked_labels(labels, len(matrix))
    diagonal = np.diagonal(matrix)
    holds_rates = bool(np.allclose(diagonal, 0.5))
    others = ~np.eye(len(matrix), dtype=bool)
    missing = others & ~np.isfinite(matrix)
    if missing.any():
        i, j = np.argwhere(missing)[0]
        raise ValueError(
            f"{'preference' if holds_rates else 'payoff'} matrix has a value that is not finite at [{i}, {j}], "
            f"{named[i]!r} against {named[j]!r}: fill it, or give win counts, where 0 both ways means never compared"
        )
    if len(matrix) > 1 and np.isnan(diagonal).all():
        matrix = np.where(others, matrix, 0.0)
    elif holds_rates or diagonal.any():
        return (PreferenceGame.from_preferences if holds_rates else PreferenceGame.from_payoffs)(matrix, labels=labels)
    skew = np.abs(matrix + matrix.T).max(initial=0.0) <= 1e-9 * max(1.0, np.abs(matrix).max(initial=0.0))
    if not skew and matrix.min() >= 0.0:
        if (matrix == np.rint(matrix)).all():
            if (matrix != matrix.T).any():
                return PreferenceGame.from_counts(matrix, labels=labels)
        elif matrix.max() <= 1.0:
            return PreferenceGame.from_preferences(np.where(others, matrix, 0.5), labels=labels)
    return PreferenceGame.from_payoffs(matrix, labels=labels)


def write_csv(game: PreferenceGame | FactoredGame, stream: BinaryIO) -> None:
    """Payoffs under an empty corner with both rows and columns named; every number in its shortest exact form."""
    if not isinstance(game, PreferenceGame):
        raise ValueError(f"a CSV file holds a matrix, got {game!r}; save it as .npz")
    for label in game.labels:
        if label != label.strip() or not label:
            raise ValueError(f"a CSV file does not keep blanks around a label, got {label!r}; save the game as .npz")
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["", *game.labels])
    for label, row in zip(game.labels, game.payoff.tolist(), strict=True):
        writer.writerow([label, *map(repr, row)])
    stream.write(text.getvalue().encode("utf-8"))
