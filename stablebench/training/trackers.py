"""Write a run's curve to TensorBoard or MLflow as well, while it trains.

Trackers read what the trainer wrote to `metrics.jsonl`, and nothing else: a tracker that fails costs a line of warning,
not the run. A resumed run's events are written again from the curve, which was cut where the run goes on.
"""
# pyright: reportMissingImports=false
# tensorboard and mlflow are an extra

import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

from stablebench.errors import StablebenchError, unknown_name
from stablebench.process.extras import require
from stablebench.runs.progress import Progress, Reporter
from stablebench.runs.store import RunFolder
from stablebench.schema.dotted import dotted
from stablebench.schema.run_record import RunRecord
from stablebench.training.mlflow_tracker import Mlflow
from stablebench.training.tracker_names import tensorboard_name
from stablebench.training.tracker_tools import quiet

_EVERY_S = 1.0
"""Seconds between two looks at the curve."""
_NO_METRIC = frozenset({"step", "split", "wall_s"})


class Tracker(Protocol):
    """Takes a run's metrics."""

    def metrics(self, step: int, wall_s: float, values: dict[str, float]) -> None:
        """Take what was measured after an update.

        Args:
            step: Updates made.
            wall_s: Seconds of the run until then.
            values: By name, `split/metric`.
        """
        ...

    def close(self, record: RunRecord) -> None:
        """Take the record of the session that ended."""
        ...

    def give_up(self, why: str) -> None:
        """End what was begun: nothing more comes."""
        ...


class TensorBoard:
    """Event files in the run's folder `tensorboard`; those of earlier sessions are replaced.

    Args:
        folder: The run.
        record: Its record as it began.
    """

    def __init__(self, folder: RunFolder, record: RunRecord) -> None:
        with quiet():
            from torch.utils.tensorboard import SummaryWriter  # pyright: ignore[reportPrivateImportUsage]

            shutil.rmtree(folder.path / "tensorboard", ignore_errors=True)
            self._writer = SummaryWriter(str(folder.path / "tensorboard"))
            self._began = datetime.fromisoformat(record.started).timestamp()
            spec = "\n".join(
                f"    {key}: {value}" for key, value in dotted(record.spec.model_dump(mode="json")).items()
            )
            self._writer.add_text("spec", spec, 0, walltime=self._began)

    def metrics(self, step: int, wall_s: float, values: dict[str, float]) -> None:
        """Write one event a value, at the time at which the run had it."""
        for name, value in values.items():
            self._writer.add_scalar(tensorboard_name(name), value, step, walltime=self._began + wall_s)

    def close(self, record: RunRecord) -> None:
        """Write what is buffered."""
        self._writer.close()

    def give_up(self, why: str) -> None:
        """Write what is buffered."""
        self._writer.close()


_TRACKERS: dict[str, Callable[[RunFolder, RunRecord], Tracker]] = {"tensorboard": TensorBoard, "mlflow": Mlflow}


def check_trackers(names: str | None) -> tuple[str, ...]:
    """Return the trackers that are asked for, with commas between, having checked that they are installed.

    Raises:
        UserError: There is no such tracker, or it is not installed.
    """
    asked = tuple(dict.fromkeys(name.strip() for name in (names or "").split(",") if name.strip()))
    for name in asked:
        if name not in _TRACKERS:
            raise unknown_name("tracker", name, _TRACKERS)
        require(name, "track", f"--track {name}")
    return asked


class Tracked:
    """A reporter that also feeds trackers with what a run has written to its curve.

    Args:
        reporter: The reporter that everything goes to.
        folder: The run.
        names: The trackers.
    """

    def __init__(self, reporter: Reporter, folder: RunFolder, names: Sequence[str]) -> None:
        self._reporter, self._folder, self._names = reporter, folder, names
        self._open: dict[str, Tracker] | None = None
        self._read = 0
        self._looked = time.monotonic()

    def start(self, title: str) -> None:
        """Say what is about to run."""
        self._reporter.start(title)

    def update(self, progress: Progress) -> bool:
        """Say where it is, and feed the trackers from time to time."""
        goes_on = self._reporter.update(progress)
        if time.monotonic() - self._looked >= _EVERY_S:
            self._feed()
            self._looked = time.monotonic()
        return goes_on

    def note(self, text: str) -> None:
        """Say something out of the ordinary."""
        self._reporter.note(text)

    def stop(self) -> None:
        """Feed the rest and the result, and close the trackers."""
        try:
            self._finish()
        except (OSError, StablebenchError) as error:  # the folder is gone
            self._give_all_up(error)
        finally:
            self._reporter.stop()

    def _finish(self) -> None:
        self._feed()
        record = self._folder.read_record()
        result = record.result
        scores = {f"test/{name}": value for name, value in (result.test or {}).items()}
        for name in list(self._open or {}):
            if scores:
                step = result.tested_step if result.tested_step is not None else record.step
                self._try(name, lambda tracker, step=step: tracker.metrics(step, record.wall_s, scores))
            self._try(name, lambda tracker: tracker.close(record))

    def _feed(self) -> None:
        """Hand on what was written to the curve since the last look; the trackers open at the first one.

        Not before: until it trains, the curve may be longer than what the run goes on from.
        """
        try:
            if self._open is None:
                self._open = {}
                record = self._folder.read_record()
                for name in self._names:
                    self._try(name, lambda _, name=name: self._add(name, record))
            with self._folder.curve_path.open("rb") as file:
                file.seek(self._read)
                content = file.read()
        except (OSError, StablebenchError) as error:
            self._give_all_up(error)
            return
        content = content[: content.rfind(b"\n") + 1]
        self._read += len(content)
        for line in content.splitlines():
            values = json.loads(line)
            named = {
                f"{values['split']}/{key}": float(value)
                for key, value in values.items()
                if key not in _NO_METRIC and isinstance(value, int | float) and not isinstance(value, bool)
            }
            step, wall_s = values["step"], values.get("wall_s", 0.0)
            for name in list(self._open):
                self._try(
                    name, lambda tracker, step=step, wall_s=wall_s, named=named: tracker.metrics(step, wall_s, named)
                )

    def _add(self, name: str, record: RunRecord) -> None:
        assert self._open is not None
        self._open[name] = _TRACKERS[name](self._folder, record)

    def _try(self, name: str, action: Callable[[Any], None]) -> None:
        """Do something with a tracker; one that fails is ended, and left out from here on."""
        assert self._open is not None
        try:
            with quiet():
                action(self._open.get(name))
        except Exception as error:  # a server that is away must not end the run
            self._give_up(name, error)

    def _give_all_up(self, error: Exception) -> None:
        for name in list(self._open or {}):
            self._give_up(name, error)

    def _give_up(self, name: str, error: Exception) -> None:
        assert self._open is not None
        why = str(error).rstrip(".") if isinstance(error, StablebenchError) else f"{type(error).__name__}: {error}"
        self._reporter.note(f"--track {name}: {why}; the run goes on without it.")
        tracker = self._open.pop(name, None)
        if tracker is not None:
            with quiet(), suppress(Exception):  # what failed before may fail again
                tracker.give_up(why)


def tracked(reporter: Reporter, folder: RunFolder, names: Sequence[str]) -> Reporter:
    """Return the reporter, which also feeds the trackers if there are any."""
    return Tracked(reporter, folder, names) if names else reporter


def end_abandoned(folder: RunFolder, names: Sequence[str]) -> None:
    """End what trackers have of a run whose process died before it could.

    Args:
        folder: The run.
        names: The trackers that it fed.
    """
    if "mlflow" in names:
        with quiet(), suppress(Exception):
            Mlflow.end_abandoned(folder)
