"""What is said while a run trains: a live bar on a terminal, a plain line every few seconds elsewhere."""

import os
import sys
import time
from dataclasses import dataclass
from typing import Protocol, TextIO


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Args:
        step: Updates made.
        steps: Updates in all.
        loss: Training loss of the last update.
        metric: Name of the task's metric.
        value: Its last value on the validation split; None before the first.
        baseline: The trivial baseline in that metric.
        steps_per_s: Updates a second, lately.
    """

    step: int
    steps: int
    loss: float
    metric: str
    value: float | None
    baseline: float | None
    steps_per_s: float

    @property
    def seconds_left(self) -> float:
        """Seconds until the budget is spent, at the present speed."""
        return (self.steps - self.step) / self.steps_per_s if self.steps_per_s > 0 else float("inf")

    def line(self) -> str:
        """Return it in one line."""
        value = "" if self.value is None else f"  validation {self.metric} {self.value:.4g}"
        baseline = "" if self.baseline is None else f" (baseline {self.baseline:.4g})"
        return (
            f"step {self.step}/{self.steps}  loss {self.loss:.4g}{value}{baseline}"
            f"  {self.steps_per_s:.3g} steps/s  {clock(self.seconds_left)} left"
        )


def clock(seconds: float) -> str:
    """Return seconds as `1:02:03` or `2:03`."""
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Reporter(Protocol):
    """Told about a run as it goes on."""

    def start(self, title: str) -> None:
        """Say what is about to run."""
        ...

    def update(self, progress: Progress) -> None:
        """Say where it is."""
        ...

    def note(self, text: str) -> None:
        """Say something out of the ordinary."""
        ...

    def stop(self) -> None:
        """Clean up."""
        ...


class Silent:
    """Says nothing."""

    def start(self, title: str) -> None:
        """Do nothing."""

    def update(self, progress: Progress) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class Lines:
    """A plain line every few seconds.

    Args:
        stream: Where they go.
        every_s: Seconds between two lines.
    """

    def __init__(self, stream: TextIO, every_s: float = 5.0) -> None:
        self._stream, self._every_s, self._last = stream, every_s, 0.0
        self._shown = -1
        self._latest: Progress | None = None

    def start(self, title: str) -> None:
        """Say what is about to run."""
        self.note(title)
        self._last = time.monotonic()

    def update(self, progress: Progress) -> None:
        """Write a line if the last one is old enough."""
        self._latest = progress
        if time.monotonic() - self._last >= self._every_s:
            self._write(progress)

    def note(self, text: str) -> None:
        """Write a line."""
        print(text, file=self._stream, flush=True)

    def stop(self) -> None:
        """Write the last state if it has not been written."""
        if self._latest is not None and self._latest.step != self._shown:
            self._write(self._latest)

    def _write(self, progress: Progress) -> None:
        self._last, self._shown = time.monotonic(), progress.step
        self.note(progress.line())


class Bar:
    """A live bar with loss, metric, baseline, speed and time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("{task.fields[counter]}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[numbers]}"),
            console=Console(stderr=True),
            refresh_per_second=5,
        )
        self._task = self._bar.add_task("", total=None, counter="", numbers="")

    def start(self, title: str) -> None:
        """Print the title above the bar and show it."""
        self._bar.start()
        self.note(title)

    def update(self, progress: Progress) -> None:
        """Move the bar."""
        counter, numbers = progress.line().split("  ", 1)
        self._bar.update(self._task, completed=progress.step, total=progress.steps, counter=counter, numbers=numbers)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text, markup=False, highlight=False)

    def stop(self) -> None:
        """Leave the bar as it is and give the terminal back."""
        self._bar.stop()


def reporter(quiet: bool = False) -> Reporter:
    """Return the reporter for stderr: live on a terminal, lines elsewhere or with `CI` set, silent if `quiet`."""
    if quiet:
        return Silent()
    if sys.stderr.isatty() and not os.environ.get("CI"):
        return Bar()
    return Lines(sys.stderr)
