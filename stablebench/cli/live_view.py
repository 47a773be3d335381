"""`compare --live`: all cells of a suite at once, with how far each is, its metric, and the time left for all."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from stablebench.cli.cell_progress import cell_label
from stablebench.training.cells import CellEnd
from stablebench.training.progress import Progress, clock
from stablebench.training.resolve import Resolved

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_REFRESH = 2
"""Drawings a second."""
_NOTES = 3
"""Notes of cells that are kept in sight."""


class LiveView:
    """Context that shows every cell of a suite in one table while they run.

    Args:
        cells: The cells to run.
        total: Cells of the whole suite; those not in `cells` were there before.
        console: Where it is drawn; stderr unless said.
    """

    def __init__(self, cells: list[Resolved], total: int, console: "Console | None" = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._labels = [cell_label(cell) for cell in cells]
        self._steps = [cell.spec.train.steps for cell in cells]
        self._total = total
        self._at_once = 1
        self._began: dict[int, float] = {}
        self._seen: dict[int, Progress] = {}
        self._ended: dict[int, CellEnd] = {}
        self._took: dict[int, float] = {}
        self._notes: list[str] = []
        self.failures: list[str] = []
        self._console = console or Console(file=sys.stderr)
        self._live = Live(get_renderable=self.table, console=self._console, refresh_per_second=_REFRESH)

    def __enter__(self) -> "LiveView":
        """Show the table."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the table as it is at the end."""
        self._live.stop()

    def start(self, index: int) -> None:
        """Note that a cell begins."""
        self._began[index] = time.monotonic()
        self._ended.pop(index, None)
        self._at_once = max(self._at_once, len(self._running()))

    def update(self, index: int, message: Progress | str) -> None:
        """Note where a cell is, or something out of the ordinary."""
        if isinstance(message, str):
            self._notes = [*self._notes, f"{self._labels[index]}: {message}"][-_NOTES:]
        else:
            self._seen[index] = message

    def end(self, end: CellEnd) -> None:
        """Note how a cell ended."""
        self._ended[end.index] = end
        self._took[end.index] = time.monotonic() - self._began.get(end.index, time.monotonic())
        if end.status == "failed":
            self.failures.append(f"{self._labels[end.index]}: {end.message}")

    def seconds_left(self) -> float:
        """Return an estimate of the seconds until all cells have ended; infinite before the first has been timed.

        What runs is taken at its present speed, what waits at the mean time of a cell so far, and as many cells at a
        time as have run at once.
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

    def table(self) -> "Table":
        """Return the table as it stands: cells that run first, then the last to end, then those that wait."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        counts: dict[str, int] = {}
        for end in self._ended.values():
            counts[end.status] = counts.get(end.status, 0) + 1
        before = self._total - len(self._labels)
        said = [f"{before + len(self._ended)} of {self._total} cells done"]
        said += [f"{count} {status}" for status, count in sorted(counts.items()) if status != "finished"]
        said += [f"{len(self._running())} running", f"{clock(self.seconds_left())} left"]
        grid = Table(title=Text(", ".join(said), style="bold"), title_justify="left", box=None, pad_edge=False)
        for name in ("cell", "", "step", "loss", "metric", "left"):
            grid.add_column(name, justify="left" if name in ("cell", "") else "right", no_wrap=True)
        for i in self._in_sight():
            seen, end = self._seen.get(i), self._ended.get(i)
            done = self._steps[i] if end is not None and end.status == "finished" else seen.step if seen else 0
            colour = {"failed": "red", "diverged": "yellow", "finished": "green"}.get(end.status if end else "", "cyan")
            metric = "" if seen is None or seen.value is None else f"{seen.metric} {seen.value:.4g}"
            left = clock(seen.seconds_left) if seen and end is None else end.status if end else "waiting"
            if end is None and seen is None and i in self._began:
                left = "starting"
            if end is not None and end.status == "finished":
                metric = end.message
            grid.add_row(
                Text(self._labels[i]),
                ProgressBar(total=self._steps[i], completed=done, width=16, complete_style=colour),
                f"{done}/{self._steps[i]}",
                "" if seen is None or end is not None else f"{seen.loss:.4g}",
                Text(metric),
                Text(left, style=colour if end else ""),
            )
        hidden = len(self._labels) - len(self._in_sight())
        if hidden:
            grid.add_row(Text(f"and {hidden} more", style="dim"))
        for note in self._notes:
            grid.add_row(Text(note, style="dim"))
        return grid

    def _in_sight(self) -> list[int]:
        """Return the cells that fit on the terminal: running ones, then the last that ended, then those that wait."""
        room = max(self._console.size.height - 4 - len(self._notes), len(self._running()), 1)
        ended = sorted(self._ended, reverse=True, key=lambda i: self._began.get(i, 0.0) + self._took.get(i, 0.0))
        waiting = [i for i in range(len(self._labels)) if i not in self._began]
        return [*self._running(), *ended, *waiting][:room]
