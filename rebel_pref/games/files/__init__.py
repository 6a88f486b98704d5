"""Games from files and into files: one file per format, one door in and one door out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rebel_pref.games.factored import FactoredGame
from rebel_pref.games.files.arrays import read_npy, read_npz, write_npz
from rebel_pref.games.files.columns import Columns
from rebel_pref.games.files.matrices import game_from_matrix, write_csv
from rebel_pref.games.files.nfg import read_nfg, write_nfg
from rebel_pref.games.files.pair_table import read_pair_table
from rebel_pref.games.files.preflib import read_preflib
from rebel_pref.games.files.rows import frame_rows, has_comparisons, json_rows, tally
from rebel_pref.games.files.tables import read_table
from rebel_pref.games.files.text import format_of, numbered_lines, read_text, replaced
from rebel_pref.games.frames import Frame, matrix_of_frame
from rebel_pref.games.game import PreferenceGame

__all__ = ["Columns", "load_game", "save_game"]


_FOUND = Columns()


def load_game(
    source: str | Path | Frame, *, cluster: str | None = "auto", columns: Columns = _FOUND
) -> PreferenceGame | FactoredGame:
    """Read a game from a file or from a pandas DataFrame.

    ==================  ==============================================================================================
    matrix              ``.csv``, ``.tsv``, ``.txt``, ``.npy`` or a square frame, with or without labels. 0.5 on the
                        diagonal: win rates. 0 or blank: payoffs if skew-symmetric, win counts if they are whole
                        numbers (``wins[i, j]`` = how often i beat j), win rates if both sides of a pair sum to 1.
    comparison rows     ``.csv``, ``.tsv``, ``.jsonl``, ``.json`` or a frame with columns ``winner`` and ``loser``
                        (and perhaps ``tie``); or two names (``model_a`` and ``model_b``, ``left`` and ``right``,
                        ...) with ``winner`` or with tallies ``wins``, ``losses``, ``ties``. A tie is half a win for
                        each. ``count`` or ``weight`` multiplies a row. JSON objects laid out as PandaLM's human test
                        set (``cmp_key``, ``annotator1``, ...) are one row a verdict.
    ``.npz``            one of ``payoffs``, ``preferences``, ``counts``; or the factors ``left``, ``right`` and
                        perhaps ``scores``; or what :func:`save_game` wrote. ``labels`` if they have names.
    PrefLib ballots     ``.soc``, ``.soi``, ``.toc``, ``.toi``; who is not ranked lost to who is.
    pair table          lines ``('first', 'second', mean return of first)``, in the units of the file.
    Gambit              ``.nfg``, of two players, symmetric and zero-sum.
    ==================  ==============================================================================================

    Text is UTF-8, plain or compressed (``.gz``). The modules of :mod:`rebel_pref.games.files` give the details.

    Parameters
    ----------
    source : path of the file, or a DataFrame.
    cluster : for comparison rows, the column whose rows belong together (see :class:`Comparisons`). "auto" takes the
        first of cluster, ballot, voter, annotator, worker, rater, user, prompt, question_id that is there and
        holds more than one value; None takes every row as independent.
    columns : for comparison rows, the columns of the two items and of the verdict where their names are not known.

    Returns
    -------
    FactoredGame for factors, else PreferenceGame; its ``comparisons`` hold what was counted.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
    ValueError
        For a malformed file, with its name and the line number, or what is no symmetric zero-sum game.
    """
    if isinstance(source, Frame):
        return _from_frame(source, cluster, columns)
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected the file of one game")
    try:
        game = _from_file(path, cluster, columns)
        if isinstance(game, FactoredGame) or game.comparisons is None:
            if cluster not in ("auto", None):
                raise ValueError(f"cluster={cluster!r} is for comparison rows; this file holds none")
            if columns != _FOUND:
                raise ValueError(f"{columns} is for comparison rows; this file holds none")
        return game
    except ValueError as error:
        # A reader that knows the line has named the file already.
        named = str(error).startswith(str(path))
        raise ValueError(str(error) if named else f"{path}: {error}") from None


def save_game(game: PreferenceGame | FactoredGame, path: str | Path) -> None:
    """Write a game to a ``.npz``, ``.csv`` or ``.nfg`` file; :func:`load_game` gives back the same payoffs to the bit.

    ``.npz`` also keeps comparisons and factors; the others hold the payoffs only. The file appears whole or not at all.

    Raises
    ------
    ValueError
        For another suffix, a game that the format cannot hold, or labels that it cannot.
    """
    path = Path(path)
    if not isinstance(game, PreferenceGame | FactoredGame):
        raise ValueError(f"{path}: only a dense or a factored game can be written, got {game!r}")
    writers = {".npz": write_npz, ".csv": write_csv, ".nfg": write_nfg}
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise ValueError(f"{path}: no game is written as {path.suffix!r}; known suffixes: {', '.join(writers)}")
    with replaced(path) as stream:
        writer(game, stream)


_PREFLIB = (".soc", ".soi", ".toc", ".toi")


def _from_file(path: Path, cluster: str | None, columns: Columns) -> PreferenceGame | FactoredGame:
    suffix = format_of(path)
    if suffix == ".npy":
        return read_npy(path)
    if suffix == ".npz":
        return read_npz(path)
    text = read_text(path)
    opening = text.lstrip()[:12]
    if suffix in _PREFLIB or opening.startswith("# FILE NAME"):
        return read_preflib(path, text)
    if suffix == ".nfg" or opening.startswith("NFG "):
        return read_nfg(path, text)
    if opening.startswith("("):
        return read_pair_table(path, numbered_lines(text))
    if suffix in (".jsonl", ".ndjson", ".json") or opening.startswith(("{", "[")):
        return PreferenceGame.from_comparisons(tally(json_rows(path, text, cluster, columns), cluster))
    return read_table(path, text, cluster, columns)


def _from_frame(frame: Frame, cluster: str | None, columns: Columns) -> PreferenceGame:
    names: Sequence[str] = columns.canonical([str(column).strip().lower() for column in frame.columns], "the frame")
    if has_comparisons(names):
        return PreferenceGame.from_comparisons(tally(frame_rows(frame, cluster, columns), cluster))
    if columns != _FOUND:
        raise ValueError(f"no comparison can be read from the columns {', '.join(map(str, frame.columns))}")
    return game_from_matrix(*matrix_of_frame(frame))
