"""One run in this process, and how it ended; its progress can go to the process that began this one."""

import contextlib
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

from stablebench.errors import StablebenchError, described, ran_out_of_memory, reached_limit
from stablebench.execution.events import RunEnd
from stablebench.runs.progress import Progress, Reporter
from stablebench.specs.own_task import take_card
from stablebench.specs.request import Resolved
from stablebench.training.run import ExecutionOptions, train
from stablebench.training.run_code import take_code

_UPDATE_S = 0.5
"""Seconds between two reports of a run to its parent."""


@dataclass(frozen=True)
class Evaluated:
    """A validation value after an update; the run waits for the answer, whether it goes on."""

    step: int
    value: float


class ToParent:
    """A reporter that sends progress to the parent process; the run ends where that says so or is gone.

    Args:
        connection: To the parent.
        ask_every: Updates between two evaluations, after each of which the parent is asked whether the run goes on;
            None: it is not asked.
    """

    def __init__(self, connection: Connection, ask_every: int | None = None) -> None:
        self._connection, self._ask_every, self._sent = connection, ask_every, 0.0
        self._asked_at = 0
        """The update of the last evaluation that the parent was asked after."""

    def start(self, title: str) -> None:
        """Do nothing: the parent knows what it started."""

    def update(self, progress: Progress) -> bool:
        """Send a new validation value and wait for the answer; send progress if the last one is old enough."""
        try:
            if (evaluated_at := self._evaluated_at(progress)) > self._asked_at and progress.value is not None:
                self._asked_at = evaluated_at
                self._connection.send(Evaluated(evaluated_at, progress.value))
                if not self._connection.recv():
                    return False
            if time.monotonic() - self._sent >= _UPDATE_S:
                self._sent = time.monotonic()
                self._connection.send(progress)
        except (EOFError, OSError):  # the parent was killed
            return False
        return True

    def _evaluated_at(self, progress: Progress) -> int:
        """Return the update of the last evaluation: that of a resumed run may have been made before its first one."""
        if self._ask_every is None:
            return 0
        return progress.step if progress.step == progress.steps else progress.step - progress.step % self._ask_every

    def note(self, text: str) -> None:
        """Send a line."""
        with contextlib.suppress(OSError):  # the parent was killed, which the next update notices
            self._connection.send(text)

    def stop(self) -> None:
        """Do nothing."""


def run_and_send(index: int, resolved: Resolved, options: ExecutionOptions, asks: bool, connection: Connection) -> None:
    """Train a run in this process and send how it ended.

    Args:
        index: Which run.
        resolved: The run.
        options: How it is run.
        asks: Whether it asks the parent after each evaluation if it goes on.
        connection: To the parent.
    """
    reporter = ToParent(connection, resolved.spec.train.eval_every if asks else None)
    end = run_one(index, resolved, options, reporter)
    with contextlib.suppress(OSError):  # the parent was killed: nobody wants to know
        connection.send(end)
    connection.close()


def run_one(index: int, resolved: Resolved, options: ExecutionOptions, reporter: Reporter) -> RunEnd:
    """Train a run in this process and return how it ended, whatever happens to it."""
    try:
        take_card(resolved.card, reporter.note)
        take_code(resolved, reporter.note)
        record = train(resolved, options, reporter).record
    except StablebenchError as error:
        return RunEnd(index, "failed", str(error))
    except KeyboardInterrupt:
        return RunEnd(index, "interrupted", "stopped at once")
    except Exception as error:
        if (limit := reached_limit(error)) is not None:
            return RunEnd(index, "failed", str(limit))
        memory = "out of memory before it began to train: " if ran_out_of_memory(error) else ""
        return RunEnd(index, "failed", f"{memory}{described(error)}")
    score = (record.result.test or {}).get(record.metric)
    scored = "no test score" if score is None else f"test {record.metric} {score:.4g}"
    return RunEnd(index, record.status, record.error or scored)
