"""W&B and trackio get the curve once, also of a resumed run, and no network unless the user asks for it.

Real packages where they are installed, else stand-ins of the calls that are made.
"""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
# wandb and trackio are an extra

import importlib
import importlib.util
import json
import sqlite3
import struct
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from small_runs import cells, folder_of
from test_trackers import StopsAt, close, curve_of, interrupted_and_resumed
from wandb_stand_ins import logged, trackio_stand_in, wandb_stand_in

from stablebench.runs.progress import Silent
from stablebench.runs.store import RunFolder
from stablebench.training.run import ExecutionOptions, train

pytestmark = pytest.mark.filterwarnings("ignore")  # what the trackers' own packages warn of
Curve = dict[str, list[tuple[int, float]]]
REAL = {name: importlib.util.find_spec(name) is not None for name in ("wandb", "trackio")}


def series(rows: list[tuple[str, int, float]]) -> Curve:
    found: Curve = defaultdict(list)
    for name, step, value in rows:
        found[name].append((step, value))
    return dict(found)


def wandb_rows(file: Path) -> list[tuple[str, int, float]]:
    """Read the history of W&B's offline file: blocks of 32 KiB with records of a checksum, length and type."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole, rows = file.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole, at = whole + data[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            record = wandb_internal_pb2.Record.FromString(whole)
            whole = b""
            if record.WhichOneof("record_type") == "history":
                values = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
                rows += [(name, values["_step"], v) for name, v in values.items() if not name.startswith("_")]
    return rows


@pytest.fixture(params=["wandb", "trackio", "wandb stand-in", "trackio stand-in"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    package, stand_in = request.param.split()[0], " " in request.param
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    if not stand_in and not REAL[package]:
        pytest.skip(f"{package} is not installed")
    if stand_in and package == "wandb":
        wandb_stand_in(monkeypatch)
    elif stand_in:
        trackio_stand_in(monkeypatch, tmp_path / "trackio")
    elif package == "trackio":
        for module in ("trackio.utils", "trackio.sqlite_storage"):
            monkeypatch.setattr(importlib.import_module(module), "TRACKIO_DIR", tmp_path / "trackio")
    return request.param


def tracked(tracker: str, folder: RunFolder, trackio_folder: Path) -> Curve:
    """Return what the only run that a tracker has of a run of ours holds."""
    if tracker.endswith("stand-in"):
        where = folder.path / "wandb" if tracker.startswith("wandb") else trackio_folder
        (file,) = where.rglob("*.jsonl")
        return series(logged(file))
    if tracker == "wandb":
        importlib.import_module("wandb").teardown()  # its service writes the file after a run has ended
        (file,) = folder.path.glob("wandb/offline-run-*/run-*.wandb")
        return series(wandb_rows(file))
    (file,) = trackio_folder.glob("*.db")
    with sqlite3.connect(file) as database:
        rows = database.execute("select step, metrics from metrics order by id").fetchall()
    return series([(name, step, value) for step, metrics in rows for name, value in json.loads(metrics).items()])


def test_each_has_the_curve_once_also_of_a_resumed_run(tracker: str, tmp_path: Path) -> None:
    folder = interrupted_and_resumed(tmp_path / "runs", tracker.split()[0])
    found = tracked(tracker, folder, tmp_path / "trackio")
    assert close(found, curve_of(folder))
    assert {"train/loss", "validation/loss", "test/loss"} <= found.keys()


def test_a_server_gets_no_step_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was killed after its last checkpoint repeats updates; what was sent of them is not sent again."""
    wandb_stand_in(monkeypatch)
    monkeypatch.setenv("WANDB_MODE", "online")
    (cell,) = cells(0, steps=60)
    options = ExecutionOptions(tmp_path, track=("wandb",))
    assert train(cell, options, StopsAt(30)).exit_code == 143
    folder = folder_of(cell, tmp_path)
    (file,) = folder.path.glob("wandb/run-*/run.jsonl")
    noted = json.loads((folder.path / "wandb.json").read_text())
    assert noted["sent"]["train/loss"] == max(step for name, step, _ in logged(file) if name == "train/loss") == 30
    noted["sent"]["train/loss"] = 40  # as if the process had gone on to 40 and was killed
    (folder.path / "wandb.json").write_text(json.dumps(noted))
    train(cell, options, Silent())
    expected = curve_of(folder)
    expected["train/loss"] = [(step, value) for step, value in expected["train/loss"] if step <= 30 or step > 40]
    assert close(series(logged(file)), expected)


def test_weights_tested_before_the_last_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B drops a step that is smaller than one before, so that the test result stands at the last one."""
    wandb_stand_in(monkeypatch)
    (cell,) = cells(0)
    train(cell, ExecutionOptions(tmp_path), Silent())
    folder = folder_of(cell, tmp_path)
    from stablebench.training.wandb_trackers import Wandb

    run = Wandb(folder, folder.read_record())
    run.metrics(20, 1.0, {"train/loss": 0.5})
    run.metrics(10, 1.0, {"test/loss": 0.25})
    run.close(folder.read_record())
    (file,) = folder.path.glob("wandb/*/run.jsonl")
    assert logged(file) == [("train/loss", 20, 0.5), ("test/loss", 20, 0.25)]
    assert file.with_suffix(".end").read_text() == "0"


def test_no_network_unless_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    wandb_stand_in(monkeypatch)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    (cell,) = cells(0)
    train(cell, ExecutionOptions(tmp_path, track=("wandb",)), Silent())
    assert os.environ["WANDB_MODE"] == "offline"
    assert "sent" not in json.loads((folder_of(cell, tmp_path).path / "wandb.json").read_text())


@pytest.mark.skipif(not REAL["trackio"], reason="trackio is not installed")
def test_the_users_own_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sb.train(track="trackio")` in a script that logs to trackio itself ends no run of the script's."""
    trackio: Any = importlib.import_module("trackio")
    for module in ("trackio.utils", "trackio.sqlite_storage"):
        monkeypatch.setattr(importlib.import_module(module), "TRACKIO_DIR", tmp_path / "trackio")
    mine = trackio.init("mine", name="mine", embed=False, auto_log_gpu=False, auto_log_cpu=False)
    (cell,) = cells(0)
    train(cell, ExecutionOptions(tmp_path / "runs", track=("trackio",)), Silent())
    trackio.log({"loss": 1.0}, step=1)
    assert trackio.context_vars.current_run.get() is mine
    trackio.finish()
