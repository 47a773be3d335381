"""Write a run's curve to TensorBoard or MLflow as well, while it trains.

Trackers read what the trainer wrote to `metrics.jsonl`, and nothing else: a tracker that fails costs a line of warning,
not the run. A resumed run's events are written anew from the curve, which was cut where the run goes on.
"""
# pyright: reportMissingImports=false
# tensorboard and mlflow are an extra

import json
import logging
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol

from stablebench import python_random
from stablebench.errors import unknown_name
from stablebench.schema.run_record import RunRecord
from stablebench.schema.run_spec import RunSpec
from stablebench.training.extras import require
from stablebench.training.files import write_atomically
from stablebench.training.progress import Progress, Reporter
from stablebench.training.run_store import RunFolder

_EVERY_S = 1.0
"""Seconds between two looks at the curve."""
_NO_METRIC = frozenset({"step", "split", "wall_s"})
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""How long MLflow tries to reach its server, unless the user says otherwise: its own minutes would hold up the run."""
_ENDS = {"finished": "FINISHED", "diverged": "FAILED", "failed": "FAILED", "interrupted": "KILLED"}
"""What MLflow calls our statuses."""


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
        """Take the record of the sitting that ended."""
        ...


class TensorBoard:
    """Event files in the run's folder `tensorboard`; those of earlier sittings are replaced.

    Args:
        folder: The run.
        record: Its record as it began.
    """

    def __init__(self, folder: RunFolder, record: RunRecord) -> None:
        with _quiet():
            from torch.utils.tensorboard import SummaryWriter  # pyright: ignore[reportPrivateImportUsage]

            shutil.rmtree(folder.path / "tensorboard", ignore_errors=True)
            self._writer = SummaryWriter(str(folder.path / "tensorboard"))
            self._began = datetime.fromisoformat(record.started).timestamp()
            spec = "\n".join(f"    {key}: {value}" for key, value in flat_spec(record.spec).items())
            self._writer.add_text("spec", spec, 0, walltime=self._began)

    def metrics(self, step: int, wall_s: float, values: dict[str, float]) -> None:
        """Write one event a value, at the time at which the run had it."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step, walltime=self._began + wall_s)

    def close(self, record: RunRecord) -> None:
        """Write what is buffered."""
        self._writer.close()


class Mlflow:
    """A run of MLflow's; a resumed run goes on in the same one.

    The server is that of `MLFLOW_TRACKING_URI`, else the folder `mlruns` of the run store. The experiment is the task.

    Args:
        folder: The run.
        record: Its record as it began.
    """

    def __init__(self, folder: RunFolder, record: RunRecord) -> None:
        spec = record.spec
        runs_dir = folder.path.resolve().parents[2]
        uri = os.environ.get("MLFLOW_TRACKING_URI") or (runs_dir / "mlruns").as_uri()
        if uri.startswith("file:"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        with _quiet():
            from mlflow import MlflowClient

            self._client = MlflowClient(tracking_uri=uri)
            self._began = datetime.fromisoformat(record.started).timestamp()
            self._last: dict[str, int] = {}
            noted = folder.path / "mlflow.json"
            before = json.loads(noted.read_text()) if noted.is_file() else {}
            self._new = before.get("uri") != uri
            if not self._new:
                self.run_id: str = before["run_id"]
                self._client.update_run(self.run_id, status="RUNNING")
                return
            name = spec.task.name + (f"/{spec.task.variant}" if spec.task.variant else "")
            tags = {"spec_hash": record.spec_hash, "seed": str(spec.seed), "folder": str(folder.path.resolve())}
            run = self._client.create_run(
                self._experiment(name),
                run_name=f"{spec.model.label}-{record.spec_hash}-s{spec.seed}",
                start_time=round(self._began * 1000),
                tags={f"stablebench.{key}": value for key, value in tags.items()},
            )
            self.run_id = run.info.run_id
            for key, value in flat_spec(spec).items():
                self._client.log_param(self.run_id, key, value)
            write_atomically(noted, json.dumps({"uri": uri, "run_id": self.run_id}).encode())

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return found.experiment_id if found is not None else self._client.create_experiment(name)

    def metrics(self, step: int, wall_s: float, values: dict[str, float]) -> None:
        """Log values that the run of MLflow's does not have yet."""
        from mlflow.entities import Metric

        at = round((self._began + wall_s) * 1000)
        new = [Metric(name, value, at, step) for name, value in values.items() if step > self._logged_until(name)]
        if new:
            self._client.log_batch(self.run_id, metrics=new)

    def _logged_until(self, name: str) -> int:
        """Return the last update at which an earlier sitting has logged a metric."""
        if name not in self._last:
            history = [] if self._new else self._client.get_metric_history(self.run_id, name)
            self._last[name] = max((metric.step for metric in history), default=-1)
        return self._last[name]

    def close(self, record: RunRecord) -> None:
        """End the run as ours ended."""
        self._client.set_tag(self.run_id, "stablebench.status", record.status)
        self._client.set_terminated(self.run_id, status=_ENDS.get(record.status, "FAILED"))


_TRACKERS: dict[str, Callable[[RunFolder, RunRecord], Tracker]] = {"tensorboard": TensorBoard, "mlflow": Mlflow}


def check_trackers(names: str | None) -> tuple[str, ...]:
    """Return the trackers that are asked for, with commas between, having held that they are installed.

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
        reporter: The reporter that is told everything.
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

    def update(self, progress: Progress) -> None:
        """Say where it is, and feed the trackers from time to time."""
        self._reporter.update(progress)
        if time.monotonic() - self._looked >= _EVERY_S:
            self._feed()
            self._looked = time.monotonic()

    def note(self, text: str) -> None:
        """Say something out of the ordinary."""
        self._reporter.note(text)

    def stop(self) -> None:
        """Feed the rest and the result, and close the trackers."""
        self._feed()
        record = self._folder.read_record()
        result = record.result
        scores = {f"test/{name}": value for name, value in (result.test or {}).items()}
        for name in list(self._open or {}):
            if scores:
                step = result.tested_step if result.tested_step is not None else record.step
                self._try(name, lambda tracker, step=step: tracker.metrics(step, record.wall_s, scores))
            self._try(name, lambda tracker: tracker.close(record))
        self._reporter.stop()

    def _feed(self) -> None:
        """Hand on what was written to the curve since the last look; the trackers open at the first one.

        Not before: until it trains, the curve may be longer than what the run goes on from.
        """
        if self._open is None:
            self._open = {}
            record = self._folder.read_record()
            for name in self._names:
                self._try(name, lambda _, name=name: self._add(name, record))
        with self._folder.curve_path.open("rb") as file:
            file.seek(self._read)
            content = file.read()
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
        """Do something with a tracker; one that fails is left out from here on."""
        assert self._open is not None
        try:
            with _quiet():
                action(self._open.get(name))
        except Exception as error:  # a server that is away must not end the run
            self._open.pop(name, None)
            self._reporter.note(f"--track {name}: {type(error).__name__}: {error}; the run goes on without it.")


def tracked(reporter: Reporter, folder: RunFolder, names: Sequence[str]) -> Reporter:
    """Return the reporter, which also feeds the trackers if there are any."""
    return Tracked(reporter, folder, names) if names else reporter


def flat_spec(spec: RunSpec) -> dict[str, Any]:
    """Return a run spec's values by dotted key."""

    def leaves(values: dict[str, Any], prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in values.items():
            found |= (
                leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
            )
        return found

    return leaves(spec.model_dump(mode="json"), "")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the trackers' warnings, and what they log as information, from the user, and their random numbers apart."""
    with warnings.catch_warnings(), python_random.kept():
        warnings.simplefilter("ignore")
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        yield
