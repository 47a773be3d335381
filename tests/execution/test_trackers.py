"""Trackers get what the curve has: event files and MLflow runs are read back and held against `metrics.jsonl`."""
# pyright: reportMissingImports=false
# tensorboard and mlflow are an extra

import json
import signal
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from small_runs import cells, folder_of
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.runs.curve import read_curve
from stablebench.runs.progress import Progress, Silent
from stablebench.runs.store import RunFolder
from stablebench.schema.dotted import dotted
from stablebench.training.run import ExecutionOptions, train

pytestmark = pytest.mark.filterwarnings("ignore")  # what the trackers' own packages warn of


def curve_of(folder: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """Return the curve and the test result as trackers are to have them: (step, value) by `split/metric`."""
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in read_curve(folder.curve_path):
        for key, value in line.items():
            if key not in ("step", "split", "wall_s"):
                found[f"{line['split']}/{key}"].append((line["step"], value))
    record = folder.read_record()
    for key, value in (record.result.test or {}).items():
        found[f"test/{key}"].append((record.result.tested_step or 0, value))
    return dict(found)


def events_of(folder: RunFolder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder.path / "tensorboard"), size_guidance={"scalars": 0})
    read.Reload()
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


class StopsAt(Silent):
    """Ends the run at an update, as a signal would."""

    def __init__(self, step: int) -> None:
        self._step = step

    def update(self, progress: Progress) -> bool:
        if progress.step == self._step:
            signal.raise_signal(signal.SIGTERM)
        return True


def interrupted_and_resumed(tmp_path: Path, tracker: str) -> RunFolder:
    """Return a run that was made in two sittings."""
    (cell,) = cells(0, steps=60)
    assert train(cell, ExecutionOptions(tmp_path, track=(tracker,)), StopsAt(30)).exit_code == 143
    assert train(cell, ExecutionOptions(tmp_path, track=(tracker,)), Silent()).record.status == "finished"
    return folder_of(cell, tmp_path)


def close(found: dict[str, list[tuple[int, float]]], expected: dict[str, list[tuple[int, float]]]) -> bool:
    return {k: [(s, pytest.approx(v, rel=1e-6)) for s, v in values] for k, values in expected.items()} == found


def test_tensorboard_has_the_curve_once_also_of_a_resumed_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `track` is not installed")
    folder = interrupted_and_resumed(tmp_path, "tensorboard")
    assert close(events_of(folder), curve_of(folder))
    assert "train/loss" in curve_of(folder) and "test/loss" in curve_of(folder)


def test_mlflow_has_the_curve_once_also_of_a_resumed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="the extra `track` is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = interrupted_and_resumed(tmp_path, "mlflow")
    from mlflow import MlflowClient

    noted = json.loads((folder.path / "mlflow.json").read_text())
    client = MlflowClient(tracking_uri=noted["uri"])
    run = client.get_run(noted["run_id"])
    expected = curve_of(folder)
    found = {
        key: [(m.step, m.value) for m in sorted(client.get_metric_history(noted["run_id"], key), key=lambda m: m.step)]
        for key in run.data.metrics
    }
    assert close(found, expected)
    record = folder.read_record()
    assert (run.info.status, run.data.tags["stablebench.status"]) == ("FINISHED", "finished")
    assert run.data.params == {key: str(value) for key, value in dotted(record.spec.model_dump(mode="json")).items()}
    assert len(list((tmp_path / "mlruns").glob("*/*/meta.yaml"))) == 1


def test_a_tracker_that_fails_costs_a_line_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stablebench.training import trackers

    class Broken:
        def __init__(self, *_: Any) -> None:
            raise OSError("no server")

    monkeypatch.setitem(trackers._TRACKERS, "broken", Broken)  # pyright: ignore[reportPrivateUsage]
    notes: list[str] = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    (cell,) = cells(0)
    assert train(cell, ExecutionOptions(tmp_path, track=("broken",)), Notes()).record.status == "finished"
    assert [note for note in notes if "no server" in note] == [
        "--track broken: OSError: no server; the run goes on without it."
    ]


def test_an_unknown_tracker_is_named(tmp_path: Path) -> None:
    small = ["--model", "rnn", "--task", "copy", "--T", "5", "--runs-dir", str(tmp_path)]
    result = CliRunner().invoke(app, ["train", *small, "--track", "tensorbord"])
    assert result.exit_code == 2 and "Did you mean tensorboard?" in result.stderr
