"""Rows of files, each with where it stands: what is wrong with a row is said with its file and line."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["read_rows", "shown"]

LONGEST_CELL = 2**31 - 1
"""Characters; the standard library stops at 131,072, which a chat may be longer than."""


def shown(value: Any) -> str:
    """A value in an error message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_rows(path: Path, split: str | None) -> Iterator[tuple[str, Any]]:
    """Rows of a file or folder, each with where it stands."""
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if split is not None and not path.is_dir():
        raise ValueError(f"{path}: expected a folder of a dataset to take the split {split!r} of, got a file")
    if path.is_dir() or path.suffix == ".parquet":
        yield from ((f"{path}, row {number}", row) for number, row in enumerate(_dataset(path, split)))
        return
    name = path.name.removesuffix(".gz")
    opened = gzip.open if path.suffix == ".gz" else open
    kind = Path(name).suffix
    if kind not in (".jsonl", ".json", ".csv"):
        raise ValueError(f"{path}: expected a file .jsonl, .json, .csv (or .gz of them), .parquet, or a dataset folder")
    try:
        # newline="" is what csv asks for; JSON does not mind.
        with opened(path, "rt", encoding="utf-8-sig", newline="") as stream:
            if kind == ".csv":
                yield from _csv(path, stream)
            elif kind == ".json":
                yield from _json(path, stream.read())
            else:
                for number, line in enumerate(stream, 1):
                    if line.strip():
                        yield f"{path}:{number}", _parsed(f"{path}:{number}", line)
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: expected UTF-8 text, {error}") from error


def _csv(path: Path, stream: Any) -> Iterator[tuple[str, Any]]:
    reader = csv.DictReader(stream, strict=True)
    while True:
        limit = csv.field_size_limit(LONGEST_CELL)
        try:
            header = list(reader.fieldnames or ())
            row = next(reader, None)
        except csv.Error as error:
            raise ValueError(f"{path}:{max(1, reader.line_num)}: {error}") from error
        finally:
            csv.field_size_limit(limit)
        twice = next((name for name in header if name and header.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{path}:1: two columns are called {twice!r}; which of them counts?")
        if row is None:
            return
        place = f"{path}:{reader.line_num}"
        if None in row or None in row.values():
            raise ValueError(
                f"{place}: expected {len(reader.fieldnames or ())} cells, as in the header, got another number"
            )
        numbers = ("outcome", "votes_first", "votes_second", "votes_tie", "weight", "winner", "group", "annotator")
        yield place, {key: value for key, value in row.items() if value != "" or key not in numbers}


def _json(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    rows = _parsed(str(path), text)
    if not isinstance(rows, list):
        raise ValueError(f"{path}: expected a JSON list of rows, got {shown(rows)}")
    yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows))


def _parsed(place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{place}: expected JSON, {error}") from error


def _dataset(path: Path, split: str | None) -> Iterable[Mapping[str, Any]]:
    try:
        import datasets
    except ImportError as error:
        raise ValueError(f"{path}: the package datasets reads this: pip install 'rebel_pref[data]'") from error
    if path.is_file():
        rows: Iterable[Mapping[str, Any]] = datasets.Dataset.from_parquet(str(path))
        return rows
    try:
        loaded = datasets.load_from_disk(str(path))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: expected a folder that save_to_disk of `datasets` wrote: {error}") from error
    if not isinstance(loaded, Mapping):
        return loaded  # type: ignore[no-any-return]
    if split is None and len(loaded) == 1:
        split = next(iter(loaded))
    if split not in loaded:
        raise ValueError(f"{path}: expected one of the splits {', '.join(loaded)}, got {split!r}")
    return loaded[split]  # type: ignore[no-any-return]
