"""Progress on stderr: a live bar for each thing that runs on a terminal, plain lines every few seconds elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress

from stablebench.runs.progress import Lines, Progress, Reporter, Silent, bar_width, clock, takes_live_view
from stablebench.visible import visible_lines

if TYPE_CHECKING:
    from stablebench.execution.tuning.study import Trial

_LINE_EVERY_S = 10.0
_DRAWN_EVERY_S = 0.1
_SWEEP = "sweep"
"""The key of a whole sweep's bar."""

Numbers = Callable[[int | None], str]
"""The text after a bar, as a function of the characters that there are; None for all of it."""


class Bars:
    """Context that shows on stderr how far things are.

    Args:
        quiet: Print nothing.
        transient: Whether the bars vanish at the end.
        threaded: Whether a thread draws them; else they are drawn where they move, and take time nowhere else.
    """

    def __init__(self, quiet: bool, *, transient: bool = False, threaded: bool = True) -> None:
        self.live = not quiet and takes_live_view()
        self._quiet, self._threaded = quiet, threaded
        self._console = Console(stderr=True)
        self._bar_width, self._label_width = bar_width(self._console.width), self._console.width * 2 // 5
        self._progress = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=self._bar_width),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=self._console,
            transient=transient,
            auto_refresh=threaded,
        )
        self._bars: dict[Any, TaskID] = {}
        self._labels: dict[Any, str] = {}
        self._last_line: dict[Any, float] = {}

    def __enter__(self) -> Self:
        """Show the bars."""
        if self.live:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the terminal."""
        if self.live:
            self._progress.stop()

    def add(self, key: Any, label: str, numbers: str = "", *, done: int = 0, total: int | None = None) -> None:
        """Show one more bar; one of this key that is there starts again.

        Args:
            key: What it is moved by.
            label: Stands in front of it, its middle left out where the terminal is narrow.
            numbers: The text after it.
            done: Where it begins.
            total: Where it ends; None where that is not known yet.
        """
        self._labels[key], self._last_line[key] = label, time.monotonic()
        if self.live:
            if key in self._bars:
                self.remove(key)
            short = shortened(label, self._label_width)
            self._bars[key] = self._progress.add_task(short, total=total, completed=done, numbers=numbers)

    def move(self, key: Any, done: int, total: int | None, numbers: Numbers) -> None:
        """Move a bar; elsewhere than on a terminal, print the numbers if the last line of this key is old enough."""
        if self.live:
            label = min(max(map(len, (self._labels[key] for key in self._bars))), self._label_width)
            fitting = numbers(self._console.width - label - self._bar_width - 2)
            here = not self._threaded
            self._progress.update(self._bars[key], completed=done, total=total, numbers=fitting, refresh=here)
        elif time.monotonic() - self._last_line[key] >= _LINE_EVERY_S:
            self._last_line[key] = time.monotonic()
            self.note(f"{self._labels[key]}: {numbers(None)}")

    def remove(self, key: Any) -> None:
        """Remove a bar."""
        if self.live:
            self._progress.remove_task(self._bars.pop(key))

    def note(self, text: str) -> None:
        """Print a line, above the bars where there are any."""
        if self.live:
            self._console.print(visible_lines(text), markup=False, highlight=False)
        elif not self._quiet:
            print(visible_lines(text), file=sys.stderr, flush=True)

    def report(self, key: Any, message: Progress | str) -> None:
        """Show where a run is, or print a note of it."""
        if isinstance(message, str):
            self.note(f"{self._labels[key]}: {message}")
        else:
            self.move(key, message.step, message.steps, message.line)


def shortened(label: str, width: int) -> str:
    """Return a label of at most `width` characters, its middle left out: both ends tell runs apart."""
    if len(label) <= width:
        return label
    end = (width - 1) // 2
    return f"{label[: width - 1 - end]}…{label[len(label) - end :]}"


# -- train and verify ------------------------------------------------------------------------------------------------


class RunBar(Bars):
    """A reporter of one run: a live bar with loss, metric, baseline, speed and time left."""

    def __init__(self) -> None:
        super().__init__(quiet=False)

    def start(self, title: str) -> None:
        """Print the title above the bar and show it."""
        self.__enter__()
        self.add("run", "")
        self.note(title)

    def update(self, progress: Progress) -> bool:
        """Move the bar."""
        self.move("run", progress.step, progress.steps, progress.line)
        return True

    def stop(self) -> None:
        """Leave the bar as it is and restore the terminal."""
        self.__exit__()


def reporter(quiet: bool = False) -> Reporter:
    """Return the reporter for stderr: live on a terminal, lines elsewhere or with `CI` set, silent if `quiet`."""
    if quiet:
        return Silent()
    return RunBar() if takes_live_view() else Lines(sys.stderr)


# -- sweep -----------------------------------------------------------------------------------------------------------


class TrialProgress(Bars):
    """Context that shows the trials of a sweep.

    Args:
        total: Trials that the sweep is to have.
        done: Those that have ended before.
        metric: What is optimised.
        best: The best trial so far.
        quiet: Print nothing.
    """

    def __init__(self, total: int, done: int, metric: str, best: "Trial | None", quiet: bool) -> None:
        super().__init__(quiet)
        self._total, self._done, self._metric, self._best = total, done, metric, best
        self.add(_SWEEP, "sweep", self._standing(), done=done, total=total)

    def __enter__(self) -> Self:
        """Show the bars."""
        super().__enter__()
        self.note(f"{self._total - self._done} of {self._total} trials to run")
        return self

    def start(self, trial: "Trial") -> None:
        """Print what a trial tries."""
        label = f"trial {trial.number}"
        self.add(trial.number, label, "starting")
        self.note(f"{label}: {_values(trial)}")

    def end(self, trial: "Trial", best: "Trial | None") -> None:
        """Print how a trial ended, and which is the best."""
        self._done += trial.status != "running"
        self._best = best
        self.remove(trial.number)
        if self.live:
            self.move(_SWEEP, self._done, self._total, lambda _: self._standing())
        self.note(
            f"[{self._done}/{self._total}] trial {trial.number}: {trial.standing}, {trial.facts.get('message', '')}"
            f" ({_values(trial)}; {self._standing()})"
        )

    def _standing(self) -> str:
        if self._best is None or self._best.value is None:
            return "none finished yet"
        return f"best: trial {self._best.number}, validation {self._metric} {self._best.value:.4g}"


def _values(trial: "Trial") -> str:
    return ", ".join(f"{key} {value}" for key, value in trial.values.items())


class CellProgress(Bars):
    """Context that shows the searches of `tune`: a bar for all, one for each trial, a line at the end of each.

    Args:
        total: Searches in all.
        quiet: Print nothing.
    """

    def __init__(self, total: int, quiet: bool) -> None:
        super().__init__(quiet)
        self._total, self._over, self._done, self._began = total, 0, 0, time.monotonic()
        self.add(_SWEEP, "tune", total=total)

    def start(self, trial: "Trial") -> None:
        """Show a trial that begins."""
        if self.live:
            self.add(trial.number, f"trial {trial.number}", "starting")

    def report(self, key: Any, message: Progress | str) -> None:
        """Show where a trial is, or print a note of it."""
        if isinstance(message, str):
            self.note(f"trial {key}: {message}")
        elif self.live:
            super().report(key, message)

    def end(self, trial: "Trial") -> None:
        """Take a trial's bar away."""
        if self.live:
            self.remove(trial.number)

    def ended(self, text: str, ran: bool) -> None:
        """Print how a search ended, and about how long those that are left take.

        Args:
            text: What came out.
            ran: Whether this process ran any of its trials; the time that is left follows from these.
        """
        self._over, self._done = self._over + 1, self._done + ran
        left = self._total - self._over
        seconds = (time.monotonic() - self._began) / max(self._done, 1) * left
        about = f"; about {clock(seconds)} left" if self._done and left else ""
        if self.live:
            self.move(_SWEEP, self._over, self._total, lambda _: f"{self._over}/{self._total}{about}")
        self.note(f"[{self._over}/{self._total}] {text}{about}")


# -- speed and data --------------------------------------------------------------------------------------------------


class SpeedProgress(Bars):
    """Context that shows which pass of which model is running.

    No thread draws it: that would take time from what is timed.

    Args:
        quiet: Print nothing.
    """

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet, transient=True, threaded=False)

    def start(self, label: str) -> None:
        """Show what is measured from here on."""
        self.add("pass", label)
        if not self.live:
            self.note(label)

    def watch(self, what: str, done: int, total: int) -> None:
        """Show the pass that begins."""
        self.move("pass", done, total, lambda _: f"{what}, {done}/{total} passes")


class DownloadProgress(Bars):
    """Context that shows downloads; called with a file's path, its bytes so far and its bytes in all, if known.

    Args:
        quiet: Print nothing.
    """

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet)
        self._began: dict[str, tuple[float, int]] = {}

    def __call__(self, path: str, done: int, total: int | None) -> None:
        """Move a file's bar; elsewhere than on a terminal, print its first and its last line, and some between."""
        now = time.monotonic()
        is_first = path not in self._began
        if is_first:
            self._began[path] = (now, done)
            self.add(path, path, total=total)
        text = f"{size_text(done)} of {size_text(total)}"
        if not self.live and (is_first or done == total):
            self.note(f"{path}: {text}")
            return
        if self.live:
            began, before = self._began[path]
            rate = (done - before) / (now - began) if now > began else 0.0
            left = clock((total - done) / rate) if total is not None and rate > 0 else "?"
            text += f", {size_text(int(rate))}/s, {left} left"
        self.move(path, done, total, lambda _: text)


def size_text(n_bytes: int | None) -> str:
    """Return a number of bytes in kB or MB."""
    if n_bytes is None:
        return "?"
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:.0f} kB"


# -- probe-gradients -------------------------------------------------------------------------------------------------


class ProbeProgress(Bars):
    """Context, entered for one model after the other, that shows how far a probe is and the time that is left."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet, transient=True, threaded=False)
        self._drawn = self._begun = 0.0
        self._last_step = 0

    def of(self, label: str) -> Self:
        """Show what is measured next."""
        self.add("probe", label)
        self._begun, self._last_step = time.monotonic(), 0
        return self

    def moved(self, step: int, steps: int) -> None:
        """Move the bar: the sweep goes from the last step to the first."""
        now = time.monotonic()
        if step > self._last_step:  # another sweep
            self._begun = now
        self._last_step = step
        if now - self._drawn >= _DRAWN_EVERY_S:
            self._drawn, done = now, steps - step
            left = (now - self._begun) / done * step if done else float("inf")
            self.move("probe", done, steps, lambda _: f"step {step:,} of {steps:,}, {clock(left)} left")
