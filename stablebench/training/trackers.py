"""Write a run's curve to TensorBoard, MLflow, Weights & Biases or trackio as well, while it trains.

Trackers get the lines of `metrics.jsonl`, and nothing else: a tracker that fails costs a line of warning, not the run.
"""
# pyright: reportMissingImports=false
# trackers are an extra

import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, Protocol

from stablebench.errors import StablebenchError, unknown_name
from stablebench.process import python_random
from stablebench.process.extras import require
from stablebench.runs.curve import read_curve
from stablebench.runs.store import RunFolder
from stablebench.schema.dotted import dotted
from stablebench.schema.run_record import RunRecord
from stablebench.training.mlflow_tracker import Mlflow
from stablebench.training.tracker_names import tensorboard_name
from stablebench.training.wandb_trackers import Trackio, Wandb

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
        from torch.utils.tensorboard import SummaryWriter  # pyright: ignore[reportPrivateImportUsage]

        shutil.rmtree(folder.path / "tensorboard", ignore_errors=True)
        self._writer = SummaryWriter(str(folder.path / "tensorboard"))
        self._began = datetime.fromisoformat(record.started).timestamp()
        values = dotted(record.spec.model_dump(mode="json"))
        spec = "\n".join(f"    {key}: {value}" for key, value in values.items())
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


_TRACKERS: dict[str, Callable[[RunFolder, RunRecord], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": Mlflow,
    "wandb": Wandb,
    "trackio": Trackio,
}


def check_trackers(names: str | None) -> tuple[str, ...]:
    """Return the trackers that are asked for, with commas between, having checked that they are installed.

    Raises:
        UserError: There is no such tracker, or it is not installed.
    """
    asked = tuple(dict.fromkeys(name.strip() for name in (names or "").split(",") if name.strip()))
    for name in asked:
        if name not in _TRACKERS:
            raise unknown_name("tracker", name, _TRACKERS)
        require(name, f"--track {name}")
    return asked


class Trackers:
    """The trackers of a run.

    Args:
        names: Which.
        folder: The run.
        note: Told where one fails.
    """

    def __init__(self, names: Sequence[str], folder: RunFolder, note: Callable[[str], None]) -> None:
        self._names, self._folder, self._note = list(names), folder, note
        self._open: dict[str, Tracker] = {}

    def begin(self) -> None:
        """Open them, and hand on what earlier sessions wrote to the curve: each tracker knows what it has of that."""
        if not self._names:
            return
        with self._guarded(*self._names):
            record = self._folder.read_record()
            for name in list(self._names):
                with self._guarded(name):
                    self._open[name] = _TRACKERS[name](self._folder, record)
            for line in read_curve(self._folder.curve_path):
                self.add(line)

    def add(self, line: dict[str, Any]) -> None:
        """Hand on a line of the curve."""
        values = {
            f"{line['split']}/{key}": float(value)
            for key, value in line.items()
            if key not in _NO_METRIC and isinstance(value, int | float) and not isinstance(value, bool)
        }
        self._add(line["step"], line.get("wall_s", 0.0), values)

    def _add(self, step: int, wall_s: float, values: dict[str, float]) -> None:
        for name in list(self._open):
            with self._guarded(name):
                self._open[name].metrics(step, wall_s, values)

    def close(self) -> None:
        """Hand on the result, and close them."""
        if not self._open:
            return
        with self._guarded(*self._open):
            record = self._folder.read_record()
            if test := record.result.test:
                step = record.step if record.result.tested_step is None else record.result.tested_step
                self._add(step, record.wall_s, {f"test/{name}": value for name, value in test.items()})
            for name in list(self._open):
                with self._guarded(name):
                    self._open[name].close(record)

    @contextmanager
    def _guarded(self, *names: str) -> Iterator[None]:
        """Context in which trackers that fail are ended, and left out from then on: a server may be away."""
        try:
            with _quiet():
                yield
        except Exception as error:
            why = str(error).rstrip(".") if isinstance(error, StablebenchError) else f"{type(error).__name__}: {error}"
            for name in [name for name in names if name in self._names]:
                self._names.remove(name)
                self._note(f"--track {name}: {why}; the run goes on without it.")
                if (tracker := self._open.pop(name, None)) is not None:
                    with _quiet(), suppress(Exception):  # what failed before may fail again
                        tracker.give_up(why)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the trackers' warnings, and what they log as information, from the user, and their random numbers apart."""
    with warnings.catch_warnings(action="ignore"), python_random.kept():
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        yield


def end_abandoned(folder: RunFolder, names: Sequence[str]) -> None:
    """End what trackers have of a run whose process died before it could.

    Args:
        folder: The run.
        names: The trackers that it fed.
    """
    if "mlflow" in names:
        with _quiet(), suppress(Exception):
            Mlflow.end_abandoned(folder)
