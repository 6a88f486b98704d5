"""Text in and out: compressed or plain, UTF-8 with or without a mark, lines as an editor counts them."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rebel_pref.atomic import new_file

__all__ = ["format_of", "numbered_lines", "read_text", "replaced"]


def format_of(path: Path) -> str:
    """The suffix that tells the format, in lower case: ".csv" of both "a.CSV" and "a.csv.gz"."""
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return plain.suffix.lower()


def read_text(path: Path) -> str:
    """All of a file.

    Raises
    ------
    ValueError
        For text that is not UTF-8, or a damaged archive.
    """
    data = path.read_bytes()
    try:
        if path.suffix.lower() == ".gz":
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip file ({error})") from None
    except UnicodeDecodeError as error:
        kind = f"{format_of(path)[1:].upper()} text file".lstrip()
        raise ValueError(f"{path}: not a {kind}: expected UTF-8 ({error})") from None


def numbered_lines(text: str) -> list[tuple[int, str]]:
    """Number (from 1) and text of every line that is not blank."""
    # Not str.splitlines, which also breaks at separators that may stand inside a label.
    lines = enumerate(io.StringIO(text, newline=None), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A stream whose bytes become the file when the block ends well."""
    with new_file(path) as staging, staging.open("wb") as stream:
        yield stream
