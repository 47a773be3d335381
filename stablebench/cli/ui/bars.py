"""A live bar for each thing that runs on a terminal; elsewhere a plain line every few seconds."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress

from stablebench.runs.progress import bar_width, takes_live_view
from stablebench.visible import visible_lines

_LINE_EVERY_S = 10.0

Numbers = Callable[[int | None], str]
"""What stands behind a bar, as a function of the characters that there are; None for all of it."""


class Bars:
    """Context that shows on stderr how far things are.

    Args:
        quiet: Say nothing.
        passing: Whether the bars vanish at the end.
        by_itself: Whether a thread draws them; else they are drawn where they move, and take time nowhere else.
    """

    def __init__(self, quiet: bool, *, passing: bool = False, by_itself: bool = True) -> None:
        self.live = not quiet and takes_live_view()
        self._quiet, self._redraw = quiet, not by_itself
        self._console = Console(stderr=True)
        self._bar_width, self._label_width = bar_width(self._console.width), self._console.width * 2 // 5
        self._progress = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=self._bar_width),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=self._console,
            transient=passing,
            auto_refresh=by_itself,
        )
        self._bars: dict[Any, TaskID] = {}
        self._labels: dict[Any, str] = {}
        self._last_line: dict[Any, float] = {}

    def __enter__(self) -> Self:
        """Show the bars."""
        if self.live:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back."""
        if self.live:
            self._progress.stop()

    def add(self, key: Any, label: str, numbers: str = "", *, done: int = 0, total: int | None = None) -> None:
        """Show one more bar; one of this key that is there begins anew.

        Args:
            key: What it is moved by.
            label: Stands in front of it, its middle left out where the terminal is narrow.
            numbers: Stand behind it.
            done: Where it begins.
            total: Where it ends; None where that is not known yet.
        """
        self._labels[key], self._last_line[key] = label, time.monotonic()
        short = shortened(label, self._label_width)
        if self.live and key in self._bars:
            self._progress.update(self._bars[key], description=short, completed=done, numbers=numbers)
        elif self.live:
            self._bars[key] = self._progress.add_task(short, total=total, completed=done, numbers=numbers)
        self._draw()

    def move(self, key: Any, done: int, total: int, numbers: Numbers) -> None:
        """Move a bar; elsewhere than on a terminal, say the numbers if the last line of this key is old enough."""
        if self.live:
            label = min(max(map(len, (self._labels[key] for key in self._bars))), self._label_width)
            fitting = numbers(self._console.width - label - self._bar_width - 2)
            self._progress.update(self._bars[key], completed=done, total=total, numbers=fitting)
            self._draw()
        elif time.monotonic() - self._last_line[key] >= _LINE_EVERY_S:
            self._last_line[key] = time.monotonic()
            self.say(f"{self._labels[key]}: {numbers(None)}")

    def remove(self, key: Any) -> None:
        """Take a bar away."""
        if self.live:
            self._progress.remove_task(self._bars.pop(key))

    def say(self, text: str) -> None:
        """Print a line, above the bars where there are any."""
        if self.live:
            self._console.print(visible_lines(text), markup=False, highlight=False)
        elif not self._quiet:
            print(visible_lines(text), file=sys.stderr, flush=True)

    def _draw(self) -> None:
        if self.live and self._redraw:
            self._progress.refresh()


def shortened(label: str, width: int) -> str:
    """Return a label of at most `width` characters, its middle left out: both ends tell cells apart."""
    if len(label) <= width:
        return label
    end = (width - 1) // 2
    return f"{label[: width - 1 - end]}…{label[len(label) - end :]}"
