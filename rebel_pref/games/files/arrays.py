"""NumPy's own files: a bare matrix (.npy), or named arrays (.npz). Never unpickled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rebel_pref.games.comparisons import Comparisons, whole_numbers
from rebel_pref.games.factored import FactoredGame
from rebel_pref.games.files.matrices import game_from_matrix
from rebel_pref.games.game import PreferenceGame
from rebel_pref.games.labels import NumberLabels
from rebel_pref.games.named.sizes import MOST_ACTIONS

__all__ = ["read_npy", "read_npz", "write_npz"]

_BUILDERS = {
    "payoffs": PreferenceGame.from_payoffs,
    "payoff": PreferenceGame.from_payoffs,
    "preferences": PreferenceGame.from_preferences,
    "counts": PreferenceGame.from_counts,
    "wins": PreferenceGame.from_counts,
}


def read_npy(path: Path) -> PreferenceGame:
    """A matrix of numbers, understood as one in a CSV file is."""
    found = _load(path)
    if not isinstance(found, np.ndarray):
        raise ValueError("expected one array; a file of several is called .npz")
    return game_from_matrix(_numbers("the array", found), None)


def read_npz(path: Path) -> PreferenceGame | FactoredGame:
    """The game under the one key that says what it is (see ``load_game``), with ``labels`` if they are there.

    The tallies ``first``, ``second``, ``wins``, ``losses``, ``ties`` and perhaps ``cluster`` are those of Comparisons.

    Raises
    ------
    ValueError
        For keys that hold no game or more than one, arrays of objects, or labels that are no text.
    """
    arrays = _load(path)
    if isinstance(arrays, np.ndarray):
        raise ValueError("expected named arrays; a file of one array is called .npy")
    labels = _labels(arrays.pop("labels", None))
    keys = set(arrays)
    if {"left", "right"} <= keys <= {"left", "right", "scores"}:
        return FactoredGame.from_factors(arrays["left"], arrays["right"], arrays.get("scores"), labels=labels)
    tallies = {"first", "second", "wins", "losses", "ties"}
    if tallies <= keys <= tallies | {"cluster"}:
        return PreferenceGame.from_comparisons(_comparisons(arrays, labels))
    if len(keys) != 1 or not keys <= _BUILDERS.keys():
        raise ValueError(
            f"expected one of the keys {', '.join(_BUILDERS)}, or left and right, besides labels; "
            f"got {', '.join(sorted(keys)) or 'none'}"
        )
    key = keys.pop()
    return _BUILDERS[key](_numbers(key, arrays[key]), labels=labels)


def write_npz(game: PreferenceGame | FactoredGame, stream: BinaryIO) -> None:
    """Factors, the comparisons that a game was counted from, or else its payoffs; with labels where it has names."""
    arrays: dict[str, Any]
    if isinstance(game, FactoredGame):
        arrays = {"left": game.left, "right": game.right, "scores": game.scores}
    elif game.comparisons is not None:
        found = game.comparisons
        arrays = {name: getattr(found, name) for name in ("first", "second", "wins", "losses", "ties", "cluster")}
        arrays = {name: array for name, array in arrays.items() if array is not None}
    else:
        arrays = {"payoffs": game.payoff}
    # Only of tallies may the last items be absent from every array.
    if "wins" in arrays or not isinstance(game.labels, NumberLabels):
        arrays["labels"] = np.array(game.labels, dtype=np.str_)
        if arrays["labels"].tolist() != list(game.labels):
            raise ValueError("an .npz file does not keep null characters at the end of a label")
    np.savez_compressed(stream, **arrays)


def _load(path: Path) -> np.ndarray | dict[str, Any]:
    with path.open("rb") as stream:
        try:
            found = np.load(stream, allow_pickle=False)
            return found if isinstance(found, np.ndarray) else dict(found)
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"not a file of NumPy arrays of numbers or text ({error})") from None


def _numbers(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "buif":
        raise ValueError(f"expected numbers in {name}, got an array of type {array.dtype}")
    return array.astype(np.float64)


def _labels(array: np.ndarray | None) -> Sequence[str] | None:
    if array is None:
        return None
    if array.ndim != 1 or array.dtype.kind not in "Uiu":
        raise ValueError(f"labels must be one row of text, got {array.dtype} of shape {array.shape}")
    return tuple(map(str, array.tolist()))


def _comparisons(arrays: dict[str, Any], labels: Sequence[str] | None) -> Comparisons:
    first, second = (whole_numbers(name, arrays[name]) for name in ("first", "second"))
    wins, losses, ties = (_numbers(name, arrays[name]) for name in ("wins", "losses", "ties"))
    if labels is None:
        size = 1 + max(int(first.max(initial=-1)), int(second.max(initial=-1)))
        if size > MOST_ACTIONS:
            raise ValueError(f"expected items 0 to {MOST_ACTIONS - 1} at most in first and second, got {size - 1}")
        labels = NumberLabels(size)
    return Comparisons(labels, first, second, wins, losses, ties, arrays.get("cluster"))
