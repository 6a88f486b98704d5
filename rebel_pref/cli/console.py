"""What a person sees while a run goes on: stage lines, progress bars, a closing table."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

__all__ = ["Display", "PlainConsole", "progress_bar"]


@contextmanager
def progress_bar(
    name: str, total: int | None = None, *, console: Console | None = None
) -> Iterator[Callable[..., None]]:
    """A bar while a terminal watches, gone when the block ends.

    The block gets ``update(completed=..., advance=..., total=..., note=...)``, of which all are optional.

    Parameters
    ----------
    console : where it is drawn; standard error if None, so that what is printed can be piped on.
    """
    console = console or Console(stderr=True)
    if not console.file.isatty():
        yield lambda **_changes: None
        return
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=console, transient=True) as bars:
        yield partial(bars.update, bars.add_task(name, total=total, note=""))


class PlainConsole(Console):
    """Standard output for other people's names: no [markup], no :emoji: and no escape sequence in them counts.

    Where no terminal folds lines, nor do we.
    """

    def __init__(self) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, width=None if sys.stdout.isatty() else 200)

    def render_str(self, text: str, **options: Any) -> Text:
        """Text of a string, control characters replaced."""
        controls = {ord(c): "\N{REPLACEMENT CHARACTER}" for c in set(text) - {"\n"} if unicodedata.category(c) == "Cc"}
        return super().render_str(text.translate(controls), **options)


class Display:
    """Writes to standard output; silent on every process but the main one."""

    def __init__(self, *, quiet: bool = False) -> None:
        # Where nobody watches (a file, a pipe) rich assumes 80 columns, and breaks the closing table for it.
        self.console = Console(quiet=quiet, highlight=False, width=None if sys.stdout.isatty() else 100)
        self._update: Callable[..., None] | None = None

    def stage(self, name: str, text: str) -> None:
        """One finished stage."""
        self.console.print(f"[bold]{name:<14}[/bold] {text}", soft_wrap=True)

    def line(self, text: str) -> None:
        """A sentence, never broken by us."""
        self.console.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """A number beside the running progress bar."""
        if self._update is not None:
            self._update(note=text)

    @contextmanager
    def progress(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """A progress bar; the block gets a function to advance it."""
        with progress_bar(f"{name:<14}", total, console=self.console) as update:
            self._update = update
            try:
                yield lambda count: update(advance=count)
            finally:
                self._update = None

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; the first and the last column are text, the others numbers."""
        table = Table(title=title, title_justify="left")
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if number in (0, len(columns) - 1) else "right")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)
