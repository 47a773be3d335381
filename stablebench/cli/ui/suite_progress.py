"""The runs of a suite while they run: a bar each, or one table of all with the time left (`compare --live`)."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stablebench.cli.ui.progress import Bars, shortened
from stablebench.errors import first_line
from stablebench.execution.events import RunEnd
from stablebench.runs.progress import Progress, bar_width, clock, takes_live_view
from stablebench.specs.request import Resolved
from stablebench.visible import visible

_REFRESH = 2
"""Drawings a second."""
_NOTES = 3
"""Notes that are shown."""
_COLUMNS = (
    (100, ("run", "bar", "step", "loss", "metric", "left")),
    (70, ("run", "bar", "step", "value", "left")),
    (0, ("run", "done", "value", "left")),
)
"""What is shown of a run on a terminal of at least so many characters."""
_COLOURS = {"failed": "red", "diverged": "yellow", "finished": "green"}


@contextmanager
def suite_progress(
    suite: str, runs: list[Resolved], total: int, *, quiet: bool, live: bool
) -> "Iterator[SuiteProgress | LiveTable]":
    """Context that shows the runs of a suite: one table if `live` on a terminal, else bars or lines.

    Args:
        suite: The suite's name.
        runs: The runs to do.
        total: Runs of the whole suite.
        quiet: Print nothing.
        live: Whether the table is wanted.
    """
    if live and not quiet and takes_live_view():
        table = LiveTable(runs, total)
        with table.live:
            yield table
        return
    progress = SuiteProgress(suite, runs, total, quiet)
    if live:
        progress.note("--live needs a terminal on stderr, and no `CI`; plain lines instead.")
    with progress:
        yield progress


class SuiteProgress(Bars):
    """Context that shows the runs of a suite.

    Args:
        suite: The suite's name.
        runs: The runs to do.
        total: Runs of the whole suite; those not in `runs` were stored before.
        quiet: Print nothing.
    """

    def __init__(self, suite: str, runs: list[Resolved], total: int, quiet: bool) -> None:
        super().__init__(quiet)
        self._suite = suite
        self._labels |= {index: run.label for index, run in enumerate(runs)}
        self._done, self._total = total - len(runs), total
        self.failures: list[tuple[str, str]] = []
        """Runs that failed, and why."""

    def __enter__(self) -> Self:
        """Show the bars."""
        super().__enter__()
        self.note(f"{self._suite}: {self._total - self._done} of {self._total} runs to do")
        return self

    def start(self, index: int) -> None:
        """Show that a run begins."""
        self.add(index, self._labels[index], "starting")

    def end(self, end: RunEnd) -> None:
        """Print how a run ended."""
        self._done += 1
        self.remove(end.index)
        label = self._labels[end.index]
        if end.status == "failed":
            self.failures.append((label, end.message))
        message = first_line(end.message)  # all of it is printed when all runs have ended
        self.note(f"[{self._done}/{self._total}] {label}: {end.status}, {message}")


class LiveTable:
    """Every run of a suite in one table.

    Args:
        runs: The runs to do.
        total: Runs of the whole suite; those not in `runs` were stored before.
        console: Where it is drawn (default: stderr).
    """

    def __init__(self, runs: list[Resolved], total: int, console: Console | None = None) -> None:
        self._labels = [run.label for run in runs]
        self._steps = [run.spec.train.steps for run in runs]
        self._total = total
        self._at_once = 1
        self._began: dict[int, float] = {}
        self._seen: dict[int, Progress] = {}
        self._ended: dict[int, RunEnd] = {}
        self._took: dict[int, float] = {}
        self._notes: list[str] = []
        self.failures: list[tuple[str, str]] = []
        """Runs that failed, and why."""
        self._console = console or Console(file=sys.stderr)
        self._lock = threading.RLock()
        """Held where the runs are changed, and where another thread draws them."""
        self.live = Live(get_renderable=self.view, console=self._console, refresh_per_second=_REFRESH)
        """Context in which the table is shown; it stays as it is at the end."""

    def start(self, index: int) -> None:
        """Note that a run begins."""
        with self._lock:
            self._began[index] = time.monotonic()
            self._ended.pop(index, None)
            self._at_once = max(self._at_once, len(self._running()))

    def report(self, index: int, message: Progress | str) -> None:
        """Note where a run is, or something unusual."""
        with self._lock:
            if isinstance(message, str):
                self._note(index, message)
            else:
                self._seen[index] = message

    def end(self, end: RunEnd) -> None:
        """Note how a run ended."""
        with self._lock:
            self._ended[end.index] = end
            self._took[end.index] = time.monotonic() - self._began.get(end.index, time.monotonic())
            if end.status in ("failed", "diverged"):
                self._note(end.index, f"{end.status}, {end.message}")
        if end.status == "failed":
            self.failures.append((self._labels[end.index], end.message))

    def _note(self, index: int, text: str) -> None:
        self._notes = [*self._notes, visible(f"{self._labels[index]}: {text}")][-_NOTES:]

    def seconds_left(self) -> float:
        """Return an estimate of the seconds until all runs have ended; infinite before the first has been timed.

        Running ones are taken at their present speed, waiting ones at the mean time so far, and as many at a time as
        have run at once.
        """
        running = {i: self._seen[i].seconds_left for i in self._running() if i in self._seen}
        whole = [*self._took.values()]
        whole += [time.monotonic() - self._began[i] + left for i, left in running.items() if left != float("inf")]
        waiting = len(self._labels) - len(self._began)
        if not self._running() and not waiting:
            return 0.0
        if not whole:
            return float("inf")
        mean = sum(whole) / len(whole)
        left = sum(running.values()) + mean * (waiting + len(self._running()) - len(running))
        return max(left / self._at_once, *running.values(), 0.0)

    def _running(self) -> list[int]:
        return [i for i in self._began if i not in self._ended]

    def view(self) -> Group:
        """Return what is shown: the runs as they stand, and the last notes of them."""
        with self._lock:
            in_sight = self._in_sight()
            hidden = len(self._labels) - len(in_sight)
            below = [*([f"and {hidden} more"] if hidden else []), *self._notes]
            lines = [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in below]
            return Group(Text(self._standing(), style="bold"), self._table(in_sight), *lines)

    def _table(self, in_sight: list[int]) -> Table:
        columns = next(columns for least, columns in _COLUMNS if self._console.width >= least)
        grid = Table(box=None, pad_edge=False)
        for name in columns:
            right = name not in ("run", "bar")
            grid.add_column("" if name == "bar" else name, justify="right" if right else "left", no_wrap=True)
        for i in in_sight:
            row = self._row(i)
            grid.add_row(*(row[name] for name in columns))
        return grid

    def _row(self, i: int) -> dict[str, RenderableType]:
        """Return the columns of a run."""
        seen, end, width = self._seen.get(i), self._ended.get(i), self._console.width
        finished = end is not None and end.status == "finished"
        done = self._steps[i] if finished else seen.step if seen else 0
        colour = _COLOURS.get(end.status, "cyan") if end else "cyan"
        value = "" if seen is None or seen.value is None else f"{seen.value:.4g}"
        return {
            "run": Text(shortened(self._labels[i], width * 2 // 5)),
            "bar": ProgressBar(total=self._steps[i], completed=done, width=bar_width(width), complete_style=colour),
            "step": Text(f"{done}/{self._steps[i]}"),
            "done": Text(f"{100 * done // self._steps[i]}%"),
            "loss": Text("" if seen is None or end else f"{seen.loss:.4g}"),
            "value": Text(value),
            "metric": Text(
                visible(end.message) if end and finished else f"{seen.metric} {value}" if seen and value else ""
            ),
            "left": Text(self._left(i), style=colour if end else ""),
        }

    def _left(self, i: int) -> str:
        """Return the time left of a run, or its state in a word."""
        if (end := self._ended.get(i)) is not None:
            return end.status
        if i not in self._began:
            return "waiting"
        return clock(self._seen[i].seconds_left) if i in self._seen else "starting"

    def _standing(self) -> str:
        """Return the line above the table: how many runs are in which state, and the time left for all."""
        counts = Counter(end.status for end in self._ended.values())
        before = self._total - len(self._labels)
        parts = [f"{before + len(self._ended)} of {self._total} runs done"]
        parts += [f"{count} {status}" for status, count in sorted(counts.items()) if status != "finished"]
        parts += [f"{len(self._running())} running", f"{clock(self.seconds_left())} left"]
        return ", ".join(parts)

    def _in_sight(self) -> list[int]:
        """Return the runs that fit on the terminal: running ones, then the last that ended, then those that wait."""
        room = max(self._console.size.height - 4 - len(self._notes), len(self._running()), 1)
        ended = sorted(self._ended, reverse=True, key=lambda i: self._began.get(i, 0.0) + self._took.get(i, 0.0))
        waiting = [i for i in range(len(self._labels)) if i not in self._began]
        return [*self._running(), *ended, *waiting][:room]
