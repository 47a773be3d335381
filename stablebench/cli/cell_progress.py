"""What `compare` says while its cells run: a live bar for each on a terminal, plain lines elsewhere."""

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress

from stablebench.training.cells import CellEnd
from stablebench.training.progress import Progress
from stablebench.training.resolve import Resolved

if TYPE_CHECKING:
    from stablebench.cli.live_view import LiveView

_LINE_EVERY_S = 10.0


def progress_of(cells: list[Resolved], total: int, quiet: bool, live: bool) -> "CellProgress | LiveView":
    """Return what shows the cells: all of them in one table if asked for on a terminal, else bars or lines.

    Args:
        cells: The cells to run.
        total: Cells of the whole suite.
        quiet: Say nothing.
        live: Whether the table was asked for.
    """
    if live and not quiet and sys.stderr.isatty():
        from stablebench.cli.live_view import LiveView

        return LiveView(cells, total)
    if live and not quiet:
        print("--live needs a terminal on stderr; plain lines instead.", file=sys.stderr, flush=True)
    return CellProgress(cells, total, quiet)


class CellProgress:
    """Context that shows cells as they run.

    Args:
        cells: The cells to run.
        total: Cells of the whole suite; those not in `cells` were there before.
        quiet: Say nothing.
    """

    def __init__(self, cells: list[Resolved], total: int, quiet: bool) -> None:
        self._labels = [cell_label(cell) for cell in cells]
        self._done, self._total, self._quiet = total - len(cells), total, quiet
        self._live = not quiet and sys.stderr.isatty() and not os.environ.get("CI")
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[numbers]}"),
            console=Console(stderr=True),
        )
        self._bars: dict[int, TaskID] = {}
        self._last_line: dict[int, float] = {}
        self.failures: list[str] = []

    def __enter__(self) -> "CellProgress":
        """Show the bars."""
        if self._live:
            self._bar.start()
        self._say(f"{len(self._labels)} of {self._total} cells to run")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back."""
        if self._live:
            self._bar.stop()

    def start(self, index: int) -> None:
        """Say that a cell begins."""
        self._last_line[index] = time.monotonic()
        if self._live and index not in self._bars:  # one that is begun once more has its bar
            self._bars[index] = self._bar.add_task(self._labels[index], total=None, numbers="starting")

    def update(self, index: int, message: Progress | str) -> None:
        """Show where a cell is, or a note of it."""
        if isinstance(message, str):
            self._say(f"{self._labels[index]}: {message}")
        elif self._live:
            self._bar.update(self._bars[index], completed=message.step, total=message.steps, numbers=message.line())
        elif time.monotonic() - self._last_line[index] >= _LINE_EVERY_S:
            self._last_line[index] = time.monotonic()
            self._say(f"{self._labels[index]}: {message.line()}")

    def end(self, end: CellEnd) -> None:
        """Say how a cell ended."""
        self._done += 1
        if self._live:
            self._bar.remove_task(self._bars.pop(end.index))
        line = f"{self._labels[end.index]}: {end.status}, {end.message}"
        if end.status == "failed":
            self.failures.append(line)
        self._say(f"[{self._done}/{self._total}] {line}")

    def _say(self, text: str) -> None:
        if self._live:
            self._bar.console.print(text, markup=False, highlight=False)
        elif not self._quiet:
            print(text, file=sys.stderr, flush=True)


def cell_label(cell: Resolved) -> str:
    """Return what a cell is called: model, task and seed."""
    task = cell.spec.task
    return f"{cell.spec.model.label} on {task.name}{'/' + task.variant if task.variant else ''} seed {cell.spec.seed}"
