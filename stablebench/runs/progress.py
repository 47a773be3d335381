"""Progress of a run while it trains: a live bar on a terminal, a plain line every few seconds elsewhere."""

import contextlib
import os
import sys
import time
from dataclasses import dataclass
from typing import Protocol, TextIO

from stablebench.visible import visible_lines

_DUMB = ("dumb", "unknown")
"""Names of terminals that cannot move the cursor."""
_BY_WEIGHT = ("left", "step", "value", "loss", "speed", "baseline")
"""Parts of a line of progress, the most important first."""


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
        steps_per_s: Updates per second at present.
        train_s: Seconds of all updates so far.
    """

    step: int
    steps: int
    loss: float
    metric: str
    value: float | None
    baseline: float | None
    steps_per_s: float
    train_s: float = 0.0

    @property
    def seconds_left(self) -> float:
        """Seconds until the budget is spent, at the present speed."""
        return (self.steps - self.step) / self.steps_per_s if self.steps_per_s > 0 else float("inf")

    def line(self, width: int | None = None) -> str:
        """Return it in one line.

        Args:
            width: Characters available; the least important parts are left out. None for all of them.
        """
        parts = {"step": f"step {self.step}/{self.steps}", "loss": f"  loss {self.loss:.4g}"}
        if self.value is not None:
            parts["value"] = f"  validation {self.metric} {self.value:.4g}"
        if self.baseline is not None:
            parts["baseline"] = f" (baseline {self.baseline:.4g})"
        parts |= {"speed": f"  {self.steps_per_s:.3g} steps/s", "left": f"  {clock(self.seconds_left)} left"}
        taken: set[str] = set()
        for name in _BY_WEIGHT:
            wanted = taken | {name}
            if width is None or sum(len(part) for key, part in parts.items() if key in wanted) <= width:
                taken = wanted
        return "".join(part for key, part in parts.items() if key in taken).strip()


def clock(seconds: float) -> str:
    """Return seconds as `1:02:03` or `2:03`."""
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ExpectedSilence(str):
    """A note after which a process may be silent for long: it waits for another one."""

    __slots__ = ()


class Reporter(Protocol):
    """Follows a run, and may end it."""

    def start(self, title: str) -> None:
        """Report what is about to run."""
        ...

    def update(self, progress: Progress) -> bool:
        """Report where it is, after an update.

        Returns:
            Whether the run goes on; False ends it here, after its checkpoint, as a signal would.
        """
        ...

    def note(self, text: str) -> None:
        """Report something out of the ordinary."""
        ...

    def stop(self) -> None:
        """Clean up."""
        ...


class Silent:
    """Reports nothing."""

    def start(self, title: str) -> None:
        """Do nothing."""

    def update(self, progress: Progress) -> bool:
        """Let the run go on."""
        return True

    def note(self, text: str) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class StopAfter:
    """Reports to another reporter, and ends the run after an update.

    Args:
        step: The update, counted from the start of the run.
        reporter: Receives everything; by default nothing does.
    """

    def __init__(self, step: int, reporter: Reporter | None = None) -> None:
        self._step, self._reporter = step, reporter or Silent()
        self.start, self.note, self.stop = self._reporter.start, self._reporter.note, self._reporter.stop

    def update(self, progress: Progress) -> bool:
        """Report where it is, and end the run once it is at the update."""
        return self._reporter.update(progress) and progress.step != self._step


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
        """Report what is about to run."""
        self.note(title)
        self._last = time.monotonic()

    def update(self, progress: Progress) -> bool:
        """Write a line if the last one is old enough."""
        self._latest = progress
        if time.monotonic() - self._last >= self._every_s:
            self._write(progress)
        return True

    def note(self, text: str) -> None:
        """Write a line, if the stream takes it."""
        with contextlib.suppress(OSError, ValueError):  # its reader is gone, its disk is full, or it was closed
            print(visible_lines(text), file=self._stream, flush=True)

    def stop(self) -> None:
        """Write the last state if it has not been written."""
        if self._latest is not None and self._latest.step != self._shown:
            self._write(self._latest)

    def _write(self, progress: Progress) -> None:
        self._last, self._shown = time.monotonic(), progress.step
        self.note(progress.line())


def bar_width(columns: int) -> int:
    """Return how wide a bar is on a terminal of so many columns, which the numbers behind it need more."""
    return min(20, columns // 8)


def takes_live_view() -> bool:
    """Return whether stderr is a terminal that can redraw a line, and `CI` is not set."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in _DUMB and not os.environ.get("CI")
