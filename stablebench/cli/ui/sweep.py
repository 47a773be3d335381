"""What `sweep` says while its trials run: a live bar for each on a terminal, plain lines elsewhere."""

from stablebench.cli.ui.bars import Bars
from stablebench.execution.tuning.study import Trial
from stablebench.runs.progress import Progress

_ALL = "all"
"""The bar of the whole sweep."""


class SweepProgress(Bars):
    """Context that shows trials as they run.

    Args:
        total: Trials that the sweep is to have.
        done: Those that have ended before.
        metric: What is optimised.
        best: The best trial so far.
        quiet: Say nothing.
    """

    def __init__(self, total: int, done: int, metric: str, best: Trial | None, quiet: bool) -> None:
        super().__init__(quiet)
        self._total, self._done, self._metric, self._best = total, done, metric, best
        self.add(_ALL, "sweep", self._standing(), done=done, total=total)

    def __enter__(self) -> "SweepProgress":
        """Show the bars."""
        super().__enter__()
        self.say(f"{self._total - self._done} of {self._total} trials to run")
        return self

    def start(self, trial: Trial) -> None:
        """Say that a trial begins."""
        line = f"trial {trial.number}: {values_line(trial)}"
        self.add(trial.number, f"trial {trial.number}", "starting")
        self.say(line)

    def update(self, number: int, message: Progress | str) -> None:
        """Show where a trial is, or a note of it."""
        if isinstance(message, str):
            self.say(f"trial {number}: {message}")
        else:
            self.move(number, message.step, message.steps, message.line)

    def end(self, trial: Trial, best: Trial | None) -> None:
        """Say how a trial ended, and which is the best."""
        self._done += trial.status != "running"
        self._best = best
        self.remove(trial.number)
        if self.live:
            self.move(_ALL, self._done, self._total, lambda _: self._standing())
        self.say(
            f"[{self._done}/{self._total}] trial {trial.number}: {trial.standing}, {trial.facts.get('message', '')}"
            f" ({values_line(trial)}; {self._standing()})"
        )

    def _standing(self) -> str:
        if self._best is None or self._best.value is None:
            return "none finished yet"
        return f"best: trial {self._best.number}, validation {self._metric} {self._best.value:.4g}"


def values_line(trial: Trial) -> str:
    """Return what a trial tries, in one line."""
    return ", ".join(f"{key} {value}" for key, value in trial.values.items())
