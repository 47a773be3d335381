"""What a tracker refuses costs that name alone; what is given up is ended; what was deleted there says the way out."""
# pyright: reportMissingImports=false
# tensorboard and mlflow are an extra

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import cells, folder_of

from stablebench.execution.local import mark_failed
from stablebench.runs.curve import Curve
from stablebench.runs.progress import Silent
from stablebench.runs.store import RunFolder
from stablebench.training import trackers
from stablebench.training.run import ExecutionOptions, train
from stablebench.training.tracker_names import mlflow_name, tensorboard_name

pytestmark = pytest.mark.filterwarnings("ignore")  # what the trackers' own packages warn of
ODD = {"W[h->h]": 1.5, "W(h->h)": 2.5, "été 100%": 3.5, "../up": 4.5, "a//b": 5.5, "/etc": 6.5, "x" * 300: 7.5}


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def odd_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every line of a curve carry names that are none of a tracker's."""
    append = Curve.append

    def with_odd(self: Curve, **values: Any) -> None:
        append(self, **values, **ODD)

    monkeypatch.setattr(Curve, "append", with_odd)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("mlflow", reason="the extra `track` is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())


def tracked_run(tmp_path: Path, seed: int = 0, tracker: str = "mlflow") -> tuple[RunFolder, list[str]]:
    (cell,) = cells(seed)
    notes = Notes()
    assert train(cell, ExecutionOptions(tmp_path, track=(tracker,)), notes).record.status == "finished"
    return folder_of(cell, tmp_path), [note for note in notes.said if note.startswith("--track")]


def mlflow_run(client: Any, folder: RunFolder) -> Any:
    return client.get_run(json.loads((folder.path / "mlflow.json").read_text())["run_id"])


@pytest.mark.usefixtures("odd_curve")
def test_name_that_mlflow_refuses_is_replaced_and_rest_is_logged(tmp_path: Path, client: Any) -> None:
    """A name that mlflow refuses is replaced and the rest is logged."""
    folder, notes = tracked_run(tmp_path)
    run = mlflow_run(client, folder)
    assert notes == [] and run.info.status == "FINISHED"
    for name, value in ODD.items():
        assert run.data.metrics[mlflow_name(f"train/{name}")] == value
    assert {"train/loss", "validation/loss", "test/loss"} <= run.data.metrics.keys()
    assert mlflow_name("train/W[h->h]").startswith("train/W_h-_h_-")


@pytest.mark.usefixtures("odd_curve")
def test_tensorboard_has_names_as_they_are(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `track` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, notes = tracked_run(tmp_path, tracker="tensorboard")
    read = EventAccumulator(str(folder.path / "tensorboard"))
    read.Reload()
    assert notes == [] and {f"train/{name}" for name in ODD} <= set(read.Tags()["scalars"])


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
@settings(max_examples=300, deadline=None)
def test_names_are_taken_and_stay_apart(one: str, other: str) -> None:
    for replaced in (mlflow_name, tensorboard_name):
        assert (replaced(one) == replaced(other)) == (one == other)
        assert replaced(replaced(one)) == replaced(one)  # a name that is taken stays as it is
    assert len(mlflow_name(one)) <= 250
    validation = pytest.importorskip("mlflow.utils.validation", reason="the extra `track` is not installed")
    validation._validate_metric_name(mlflow_name(one))


def test_a_server_that_refuses_one_name_gets_the_others(
    tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    log_batch = MlflowClient.log_batch

    def refusing(self: Any, run_id: str, metrics: Any = (), **more: Any) -> None:
        if any("gradient_norm" in metric.key for metric in metrics):
            raise MlflowException.invalid_parameter_value("not that name")
        log_batch(self, run_id, metrics=metrics, **more)

    monkeypatch.setattr(MlflowClient, "log_batch", refusing)
    folder, notes = tracked_run(tmp_path)
    run = mlflow_run(client, folder)
    assert notes == [] and run.info.status == "FINISHED" and "train/loss" in run.data.metrics
    assert run.data.tags["stablebench.refused"] == "train/gradient_norm, train/gradient_norm_max"


@pytest.mark.parametrize("where", ["log_param", "log_batch"])
def test_what_is_given_up_is_ended(where: str, tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    def broken(*_: Any, **__: Any) -> None:
        raise OSError("no server")

    monkeypatch.setattr(MlflowClient, where, broken)
    _, notes = tracked_run(tmp_path)
    assert notes == ["--track mlflow: OSError: no server; the run goes on without it."]
    (experiment,) = [found for found in client.search_experiments() if found.name == "copy"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.tags["stablebench.gave_up"]) == ("FAILED", "OSError: no server") or (
        where == "log_param" and (run.info.status, run.data.tags["stablebench.gave_up"]) == ("FAILED", "no server")
    )


def test_a_run_whose_process_died_is_ended_there_too(tmp_path: Path, client: Any) -> None:
    folder, _ = tracked_run(tmp_path)
    run_id = mlflow_run(client, folder).info.run_id
    client.update_run(run_id, status="RUNNING")
    folder.write_record(folder.read_record().model_copy(update={"status": "running"}))
    mark_failed(folder, "killed", track=("mlflow",))
    assert mlflow_run(client, folder).info.status == "KILLED" and folder.read_record().status == "failed"


def test_deleted_experiment_is_said_with_way_out_at_each_start(
    tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deleted experiment is said with the way out at each start."""
    folder, _ = tracked_run(tmp_path)
    experiment = mlflow_run(client, folder).info.experiment_id
    client.delete_experiment(experiment)
    for seed in (1, 2):
        _, (note,) = tracked_run(tmp_path, seed)
        assert f"mlflow experiments restore --experiment-id {experiment}" in note and "\n" not in note
        assert "MLFLOW_EXPERIMENT_NAME names another" in note
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    folder, notes = tracked_run(tmp_path, 3)
    assert notes == [] and client.get_experiment_by_name("another") is not None
    client.restore_experiment(experiment)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    folder, notes = tracked_run(tmp_path, 4)
    assert notes == [] and mlflow_run(client, folder).info.experiment_id == experiment


def test_deleted_run_is_said_with_way_out(tmp_path: Path, client: Any) -> None:
    """A deleted run is said with the way out and one that is gone is made anew."""
    folder, _ = tracked_run(tmp_path)
    record, run_id = folder.read_record(), mlflow_run(client, folder).info.run_id
    client.delete_run(run_id)
    with pytest.raises(Exception, match=r"is deleted in .*; restore it there, or remove .*mlflow\.json for a new one"):
        trackers.Mlflow(folder, record)
    noted = json.loads((folder.path / "mlflow.json").read_text())
    (folder.path / "mlflow.json").write_text(json.dumps(noted | {"run_id": "0" * 32}))
    assert trackers.Mlflow(folder, record).run_id not in (run_id, "0" * 32)


def test_folder_that_vanishes_costs_trackers_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that vanishes costs the trackers and not the run."""
    given_up: list[str] = []

    class Fed:
        def __init__(self, *_: Any) -> None:
            pass

        def metrics(self, *_: Any) -> None:
            pass

        def give_up(self, why: str) -> None:
            given_up.append(why)

    monkeypatch.setitem(trackers._TRACKERS, "fed", Fed)  # pyright: ignore[reportPrivateUsage, reportArgumentType]
    (cell,) = cells(0)
    folder, notes = folder_of(cell, tmp_path), Notes()
    train(cell, ExecutionOptions(tmp_path), Silent())
    fed = trackers.Trackers(("fed",), folder, notes.note)
    fed.begin()
    folder.record_path.unlink()
    fed.close()
    assert len(given_up) == len(notes.said) == 1 and "record.json" in given_up[0]
