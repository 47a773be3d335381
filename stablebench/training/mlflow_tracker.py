"""A run of MLflow's that is fed with a run's curve."""
# pyright: reportMissingImports=false
# mlflow is an extra

import json
import os
from contextlib import suppress
from datetime import datetime
from typing import Any

from stablebench.errors import StablebenchError
from stablebench.runs.atomic import write_atomically
from stablebench.runs.store import RunFolder
from stablebench.schema.dotted import dotted
from stablebench.schema.run_record import RunRecord
from stablebench.training.tracker_names import mlflow_name

_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""How long MLflow tries to reach its server, unless the user says otherwise: its own minutes would hold up the run."""
_ENDS = {"finished": "FINISHED", "diverged": "FAILED", "failed": "FAILED", "interrupted": "KILLED"}
"""What MLflow calls our statuses."""
_LONGEST_TAG = 500
_NOTED = "mlflow.json"
"""The file of a run's folder that says which run of MLflow's it feeds."""


class Mlflow:
    """A run of MLflow's; a resumed run goes on in the same one.

    The server is that of `MLFLOW_TRACKING_URI`, else the folder `mlruns` of the run store. The experiment is the task,
    unless `MLFLOW_EXPERIMENT_NAME` names another.

    Args:
        folder: The run.
        record: Its record as it began.

    Raises:
        StablebenchError: The experiment, or the run of MLflow's, is deleted there.
    """

    def __init__(self, folder: RunFolder, record: RunRecord) -> None:
        runs_dir = folder.path.resolve().parents[2]
        self._uri = os.environ.get("MLFLOW_TRACKING_URI") or (runs_dir / "mlruns").as_uri()
        self._client = _client(self._uri)
        self._began = datetime.fromisoformat(record.started).timestamp()
        self._last: dict[str, int] = {}
        self._refused: set[str] = set()
        """Names that the server does not take, in whatever form."""
        noted = folder.path / _NOTED
        before = json.loads(noted.read_text()) if noted.is_file() else {}
        self.run_id: str = before.get("run_id", "")
        self._new = before.get("uri") != self._uri or not self._resume(noted)
        if self._new:
            self._begin(folder, record)
            write_atomically(noted, json.dumps({"uri": self._uri, "run_id": self.run_id}).encode())

    def _resume(self, noted: Any) -> bool:
        """Go on in the run of MLflow's that an earlier session began; return False where it is no more."""
        from mlflow.exceptions import MlflowException

        try:
            stage = self._client.get_run(self.run_id).info.lifecycle_stage
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        if stage == "deleted":
            raise StablebenchError(
                f"its run {self.run_id} is deleted in {self._uri}; restore it there, or remove {noted} for a new one"
            )
        self._client.update_run(self.run_id, status="RUNNING")
        return True

    def _begin(self, folder: RunFolder, record: RunRecord) -> None:
        """Begin a run of MLflow's that has the spec; one that does not get that far is ended."""
        spec = record.spec
        task = spec.task.name + (f"/{spec.task.variant}" if spec.task.variant else "")
        tags = {"spec_hash": record.spec_hash, "seed": str(spec.seed), "folder": str(folder.path.resolve())}
        run = self._client.create_run(
            self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME") or task),
            run_name=f"{spec.model.label}-{record.spec_hash}-s{spec.seed}",
            start_time=round(self._began * 1000),
            tags={f"stablebench.{key}": value for key, value in tags.items()},
        )
        self.run_id = run.info.run_id
        try:
            for key, value in dotted(spec.model_dump(mode="json")).items():
                self._client.log_param(self.run_id, mlflow_name(key), value)
        except Exception as error:
            with suppress(Exception):  # what failed before may fail again
                self.give_up(str(error))
            raise

    def _experiment(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            return self._client.create_experiment(name)
        if experiment.lifecycle_stage == "deleted":
            raise StablebenchError(
                f"the experiment {name} is deleted in {self._uri}; `MLFLOW_TRACKING_URI={self._uri} mlflow experiments "
                f"restore --experiment-id {experiment.experiment_id}` brings it back, or MLFLOW_EXPERIMENT_NAME names "
                "another"
            )
        return experiment.experiment_id

    def metrics(self, step: int, wall_s: float, values: dict[str, float]) -> None:
        """Log values that the run of MLflow's does not have yet, under names that it takes."""
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        at = round((self._began + wall_s) * 1000)
        named = {mlflow_name(name): value for name, value in values.items()}
        wanted = {name: value for name, value in named.items() if name not in self._refused}
        new = [Metric(name, value, at, step) for name, value in wanted.items() if step > self._logged_until(name)]
        if not new:
            return
        try:
            self._client.log_batch(self.run_id, metrics=new)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE" or len(new) == 1:
                raise
            self._log_one_by_one(new, error)

    def _log_one_by_one(self, new: list[Any], error: Exception) -> None:
        """Log what the server takes of what it has refused together, and leave the rest out from here on.

        Raises:
            Exception: `error`, where it takes nothing.
        """
        refused = set()
        for metric in new:
            try:
                self._client.log_batch(self.run_id, metrics=[metric])
            except type(error):
                refused.add(metric.key)
        if len(refused) == len(new):
            raise error
        self._refused |= refused
        self._client.set_tag(self.run_id, "stablebench.refused", ", ".join(sorted(self._refused))[:_LONGEST_TAG])

    def _logged_until(self, name: str) -> int:
        """Return the last update at which an earlier session has logged a metric."""
        if name not in self._last:
            history = [] if self._new else self._client.get_metric_history(self.run_id, name)
            self._last[name] = max((metric.step for metric in history), default=-1)
        return self._last[name]

    def close(self, record: RunRecord) -> None:
        """End the run as ours ended."""
        self._client.set_tag(self.run_id, "stablebench.status", record.status)
        self._client.set_terminated(self.run_id, status=_ENDS.get(record.status, "FAILED"))

    def give_up(self, why: str) -> None:
        """End the run, which would else run for ever; a later session goes on in it."""
        self._client.set_terminated(self.run_id, status="FAILED")
        self._client.set_tag(self.run_id, "stablebench.gave_up", why[:_LONGEST_TAG])

    @staticmethod
    def end_abandoned(folder: RunFolder) -> None:
        """End the run that a process fed which died."""
        noted = json.loads((folder.path / _NOTED).read_text())
        _client(noted["uri"]).set_terminated(noted["run_id"], status="KILLED")


def _client(uri: str) -> Any:
    if uri.startswith("file:"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)
