"""What `sweep` says while its trials run: a live bar for each on a terminal, plain lines elsewhere."""

import os
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress

from stablebench.sweep.study import Trial
from stablebench.training.progress import Progress

_LINE_EVERY_S = 10.0


class SweepProgress:
    """Context that shows trials as they run.

    Args:
        total: Trials that the sweep is to have.
        done: Those that have ended before.
        metric: What is optimised.
        best: The best trial so far.
        quiet: Say nothing.
    """

    def __init__(self, total: int, done: int, metric: str, best: Trial | None, quiet: bool) -> None:
        self._total, self._done, self._metric, self._quiet = total, done, metric, quiet
        self._best = best
        self._live = not quiet and sys.stderr.isatty() and not os.environ.get("CI")
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[numbers]}"),
            console=Console(stderr=True),
        )
        self._all = self._bar.add_task("sweep", total=total, completed=done, numbers=self._standing())
        self._bars: dict[int, TaskID] = {}
        self._last_line: dict[int, float] = {}

    def __enter__(self) -> "SweepProgress":
        """Show the bars."""
        if self._live:
            self._bar.start()
        self._say(f"{self._total - self._done} of {self._total} trials to run")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back."""
        if self._live:
            self._bar.stop()

    def start(self, trial: Trial) -> None:
        """Say that a trial begins."""
        self._last_line[trial.number] = time.monotonic()
        line = f"trial {trial.number}: {values_line(trial)}"
        if self._live:
            self._bars[trial.number] = self._bar.add_task(line, total=None, numbers="starting")
        else:
            self._say(line)

    def update(self, number: int, message: Progress | str) -> None:
        """Show where a trial is, or a note of it."""
        if isinstance(message, str):
            self._say(f"trial {number}: {message}")
        elif self._live:
            self._bar.update(self._bars[number], completed=message.step, total=message.steps, numbers=message.line())
        elif time.monotonic() - self._last_line[number] >= _LINE_EVERY_S:
            self._last_line[number] = time.monotonic()
            self._say(f"trial {number}: {message.line()}")

    def end(self, trial: Trial, best: Trial | None) -> None:
        """Say how a trial ended, and which is the best."""
        self._done += trial.status != "running"
        self._best = best
        if self._live:
            self._bar.remove_task(self._bars.pop(trial.number))
            self._bar.update(self._all, completed=self._done, numbers=self._standing())
        status = "interrupted" if trial.status == "running" else trial.status
        self._say(
            f"[{self._done}/{self._total}] trial {trial.number}: {status}, {trial.facts.get('message', '')}"
            f" ({values_line(trial)}; {self._standing()})"
        )

    def _standing(self) -> str:
        if self._best is None or self._best.value is None:
            return "none finished yet"
        return f"best: trial {self._best.number}, validation {self._metric} {self._best.value:.4g}"

    def _say(self, text: str) -> None:
        if self._live:
            self._bar.console.print(text, markup=False, highlight=False)
        elif not self._quiet:
            print(text, file=sys.stderr, flush=True)


def values_line(trial: Trial) -> str:
    """Return what a trial tries, in one line."""
    return ", ".join(f"{key} {value}" for key, value in trial.values.items())
