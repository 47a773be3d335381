"""What `speed` says while it measures: a live bar on a terminal, a plain line every few seconds elsewhere."""

import os
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

_LINE_EVERY_S = 10.0


class SpeedProgress:
    """Context that shows which pass of which model is running.

    Args:
        quiet: Say nothing.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._live = not quiet and sys.stderr.isatty() and not os.environ.get("CI")
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[what]}"),
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,  # a thread that draws would take time from what is timed
        )
        self._task = self._bar.add_task("", total=None, what="")
        self._label, self._last_line = "", 0.0

    def __enter__(self) -> "SpeedProgress":
        """Show the bar."""
        if self._live:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back."""
        if self._live:
            self._bar.stop()

    def start(self, label: str) -> None:
        """Say what is measured from here on."""
        self._label, self._last_line = label, time.monotonic()
        if self._live:
            self._bar.update(self._task, description=label, completed=0, what="", refresh=True)
        elif not self._quiet:
            print(label, file=sys.stderr, flush=True)

    def watch(self, what: str, done: int, total: int) -> None:
        """Show the pass that begins."""
        if self._live:
            what = f"{what}, {done}/{total} passes"
            self._bar.update(self._task, completed=done, total=total, what=what, refresh=True)
        elif not self._quiet and time.monotonic() - self._last_line >= _LINE_EVERY_S:
            self._last_line = time.monotonic()
            print(f"{self._label}: {what}, {done}/{total} passes", file=sys.stderr, flush=True)
