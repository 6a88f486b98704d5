"""Answers on disk, so that no question is paid for twice."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import tenacity

__all__ = ["AnswerCache", "content_key"]

APPLICATION = 0x726A6331
"""What marks a SQLite file as one of ours (its ``application_id``)."""

TIMEOUT = 60.0
"""Seconds to wait for other processes to let go of the file."""

CHUNK = 500
"""Keys a statement: below the number of variables that every build of SQLite takes."""


def content_key(content: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON object, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


class AnswerCache:
    """Read answers by the key of their content; a SQLite file in WAL mode, one commit an answer.

    Any number of processes may use one file at a time, and a kill at any moment loses no answer that was put.
    WAL needs a local disk: a network file system will not do.

    Parameters
    ----------
    path : the file; made with its directory where there is none.

    Raises
    ------
    ValueError
        If the file is not such a cache.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
        # Statements take turns by the lock, so that threads may share the connection.
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(self.path, timeout=TIMEOUT, isolation_level=None, check_same_thread=False)
        self._close = weakref.finalize(self, self._connection.close)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._close()
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise ValueError(f"{self.path} is not a cache of judgements ({error}); name another file") from None
        except ValueError:
            self._close()
            raise

    def _open(self) -> None:
        """Check that the file is ours before anything is written to it, then make the table where it is new."""
        # In this order: another process may be making the table, which comes with the mark.
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        if tables and application != APPLICATION:
            raise ValueError(f"{self.path} is a database of something else; name another file for the cache")
        self._use_wal()
        # A commit survives the death of the process; the loss of power may cost the last few.
        self._connection.execute("PRAGMA synchronous=NORMAL")
        # One transaction: another process never sees the table without the mark.
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(f"PRAGMA application_id={APPLICATION}")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value REAL NOT NULL, text TEXT) WITHOUT ROWID"
        )
        self._connection.execute("COMMIT")

    @tenacity.retry(
        retry=tenacity.retry_if_exception(
            lambda error: getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
        ),
        stop=tenacity.stop_after_delay(TIMEOUT),
        wait=tenacity.wait_fixed(0.01),
        reraise=True,
    )
    def _use_wal(self) -> None:
        """The one statement for which SQLite does not wait its turn: others may be opening the same new file."""
        self._connection.execute("PRAGMA journal_mode=WAL")

    def __len__(self) -> int:
        with self._lock:
            (count,) = self._connection.execute("SELECT count(*) FROM answers").fetchone()
        return int(count)

    def get(self, keys: Sequence[str]) -> dict[str, float]:
        """The values of those `keys` that are known."""
        found: dict[str, float] = {}
        with self._lock:
            for start in range(0, len(keys), CHUNK):
                chunk = keys[start : start + CHUNK]
                query = f"SELECT key, value FROM answers WHERE key IN ({','.join('?' * len(chunk))})"
                found.update(self._connection.execute(query, chunk).fetchall())
        return found

    def put(self, key: str, value: float, text: str) -> None:
        """Keep an answer: its value, and its text for who looks into it later. The first answer to a key stays."""
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")  # Servers cut characters in half.
        with self._lock:
            self._connection.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", (key, value, text))

    def close(self) -> None:
        """Close the file; also happens when the object goes."""
        self._close()

    def __enter__(self) -> AnswerCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
