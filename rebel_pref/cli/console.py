"""What a person sees while a run goes on: stage lines, progress bars, a closing table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ["Display"]


class Display:
    """Writes to standard output; silent on every process but the main one."""

    def __init__(self, *, quiet: bool = False) -> None:
        # Where nobody watches (a file, a pipe) rich assumes 80 columns, and breaks the closing table for it.
        self.console = Console(quiet=quiet, highlight=False, width=None if sys.stdout.isatty() else 100)
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def stage(self, name: str, text: str) -> None:
        """One finished stage."""
        self.console.print(f"[bold]{name:<14}[/bold] {text}", soft_wrap=True)

    def line(self, text: str) -> None:
        """A sentence, never broken by us."""
        self.console.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """A number beside the running progress bar."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, note=text)

    @contextmanager
    def progress(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """A progress bar; the block gets a function to advance it."""
        columns = (
            TextColumn(f"{name:<14}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bars:
            self._progress, self._task = bars, bars.add_task(name, total=total, note="")
            task = self._task
            try:
                yield lambda count: bars.advance(task, count)
            finally:
                self._progress = self._task = None

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; the first and the last column are text, the others numbers."""
        table = Table(title=title, title_justify="left")
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if number in (0, len(columns) - 1) else "right")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)
