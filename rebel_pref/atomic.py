"""Files and folders that are written whole or not at all: under another name first, and then renamed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

__all__ = ["new_file", "new_folder", "new_numbered", "numbered", "write_text"]


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Where to write what becomes the file `path` when the block ends well; the suffix is the same."""
    staging = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield staging
        os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty folder that becomes `path` when the block ends well, in the place of one that is there.

    A kill leaves at most folders whose names begin with a dot, which the next call for this path takes away; one at the
    moment of the exchange leaves the old folder as ``.NAME.old``, which the next call puts back.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise NotADirectoryError(f"{path} is no folder, in whose place a new one could be put; move it away")
    old = path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():
        os.replace(old, path)
    shutil.rmtree(old, ignore_errors=True)
    for left_by_a_kill in path.parent.glob(f".{escape(path.name)}.part*"):
        shutil.rmtree(left_by_a_kill, ignore_errors=True)
    staging = path.with_name(f".{path.name}.part{os.getpid()}")
    staging.mkdir(parents=True)
    try:
        yield staging
        if path.exists():
            os.replace(path, old)
        os.replace(staging, path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def new_numbered(path: Path, *, keep: int) -> Iterator[Path]:
    """As :func:`new_folder`, for a `path` called NAME-NUMBER; all but the latest `keep` go when it is there."""
    name = path.name.rpartition("-")[0]
    for left_by_a_kill in path.parent.glob(f".{escape(name)}-*"):
        if left_by_a_kill.suffix != ".old":
            shutil.rmtree(left_by_a_kill, ignore_errors=True)
    with new_folder(path) as staging:
        yield staging
    for before in list(numbered(path.parent, name).values())[:-keep]:
        shutil.rmtree(before)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8."""
    with new_file(path) as staging:
        staging.write_text(text, encoding="utf-8")


def numbered(folder: Path, name: str) -> dict[int, Path]:
    """Entries ``NAME-NUMBER`` of a folder by their numbers, in order; none where there is no folder."""
    if not folder.exists():
        return {}
    found = ((re.fullmatch(rf"{re.escape(name)}-(\d+)", entry.name), entry) for entry in folder.iterdir())
    return dict(sorted((int(match[1]), entry) for match, entry in found if match))
