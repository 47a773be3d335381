"""What `compare` says while its cells run: a live bar for each on a terminal, plain lines elsewhere."""

from typing import TYPE_CHECKING

from stablebench.cli.ui.bars import Bars
from stablebench.cli.ui.output import note
from stablebench.errors import first_line
from stablebench.execution.events import RunEnd
from stablebench.runs.progress import Progress, takes_live_view
from stablebench.specs.resolve import Resolved

if TYPE_CHECKING:
    from stablebench.cli.ui.live_table import LiveView


def progress_of(suite: str, cells: list[Resolved], total: int, quiet: bool, live: bool) -> "CellProgress | LiveView":
    """Return what shows the cells: all of them in one table if asked for on a terminal, else bars or lines.

    Args:
        suite: What they belong to.
        cells: The cells to run.
        total: Cells of the whole suite.
        quiet: Say nothing.
        live: Whether the table was asked for.
    """
    if live and not quiet and takes_live_view():
        from stablebench.cli.ui.live_table import LiveView

        return LiveView(cells, total)
    if live and not quiet:
        note("--live needs a terminal on stderr, and no `CI`; plain lines instead.")
    return CellProgress(suite, cells, total, quiet)


class CellProgress(Bars):
    """Context that shows cells as they run.

    Args:
        suite: What they belong to.
        cells: The cells to run.
        total: Cells of the whole suite; those not in `cells` were there before.
        quiet: Say nothing.
    """

    def __init__(self, suite: str, cells: list[Resolved], total: int, quiet: bool) -> None:
        super().__init__(quiet)
        self._suite = suite
        self._names = [cell.label for cell in cells]
        self._done, self._total = total - len(cells), total
        self.failures: list[tuple[str, str]] = []
        """Cells that failed, and why."""

    def __enter__(self) -> "CellProgress":
        """Show the bars."""
        super().__enter__()
        self.say(f"{self._suite}: {len(self._names)} of {self._total} cells to run")
        return self

    def start(self, index: int) -> None:
        """Say that a cell begins."""
        self.add(index, self._names[index], "starting")

    def update(self, index: int, message: Progress | str) -> None:
        """Show where a cell is, or a note of it."""
        if isinstance(message, str):
            self.say(f"{self._names[index]}: {message}")
        else:
            self.move(index, message.step, message.steps, message.line)

    def end(self, end: RunEnd) -> None:
        """Say how a cell ended."""
        self._done += 1
        self.remove(end.index)
        if end.status == "failed":
            self.failures.append((self._names[end.index], end.message))
        message = first_line(end.message)  # all of it is said when all cells have ended
        self.say(f"[{self._done}/{self._total}] {self._names[end.index]}: {end.status}, {message}")
