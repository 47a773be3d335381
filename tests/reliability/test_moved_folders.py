"""A run whose folder is renamed or removed while it goes on: it is said, and what can be kept is kept."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import assert_same, folder_of, run, tiny
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.errors import StablebenchError
from stablebench.execution import local as cells
from stablebench.execution.events import RunCallbacks
from stablebench.execution.single_run import run_one
from stablebench.runs.curve import read_curve
from stablebench.runs.lock import RunLock
from stablebench.runs.progress import Progress, Silent
from stablebench.runs.store import RunFolder
from stablebench.training.loop import TrainingLoop
from stablebench.training.run import ExecutionOptions, train


class At(Silent):
    """Does something after an update."""

    def __init__(self, step: int, action: Callable[[], Any]) -> None:
        self.step, self.action = step, action
        self.notes: list[str] = []

    def update(self, progress: Progress) -> bool:
        if progress.step == self.step:
            self.action()
        return True

    def note(self, text: str) -> None:
        self.notes.append(text)


def depth(folder: Path, what: str) -> Path:
    """Return the run's folder, the one above, or the run store."""
    return {"run": folder, "model": folder.parent, "store": folder.parents[2]}[what]


@pytest.mark.parametrize("what", ["run", "model", "store"])
@pytest.mark.parametrize("step", [7, 24], ids=["amid the run", "in its last update"])
def test_a_renamed_folder_has_the_whole_run_and_goes_on_there(what: str, step: int, tmp_path: Path) -> None:
    whole = run(tiny(), tmp_path / "whole")
    runs_dir = tmp_path / "runs"
    gone = depth(folder_of(tiny(), runs_dir).path, what)
    moved = tmp_path / "elsewhere"
    with pytest.raises(StablebenchError, match=r"renamed to .*elsewhere.*train --resume .*elsewhere"):
        train(tiny(), ExecutionOptions(runs_dir), At(step, lambda: gone.rename(moved)))
    assert not gone.exists()
    (record_path,) = moved.rglob("record.json")
    folder = RunFolder(record_path.parent)
    record = folder.read_record()
    assert record.status == "failed" and "renamed" in (record.error or "")
    assert not (folder.path / ".holder").exists()
    outcome = train(tiny(), replace(ExecutionOptions(runs_dir), folder=folder), Silent())
    assert outcome.record.status == "finished"
    assert_same(whole, folder)


@pytest.mark.parametrize("what", ["run", "model", "store"])
def test_a_removed_folder_is_said_and_not_made_again(what: str, tmp_path: Path) -> None:
    gone = depth(folder_of(tiny(), tmp_path / "runs").path, what)
    with pytest.raises(StablebenchError, match=r"removed.*while the run went on"):
        train(tiny(), ExecutionOptions(tmp_path / "runs"), At(7, lambda: shutil.rmtree(gone)))
    assert not gone.exists()


def test_folder_removed_in_last_evaluation_is_no_finished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder removed in the last evaluation is no finished run."""
    folder, result = folder_of(tiny(), tmp_path), TrainingLoop._result
    monkeypatch.setattr(
        TrainingLoop, "_result", lambda self, finished: (shutil.rmtree(folder.path), result(self, finished))[1]
    )
    with pytest.raises(StablebenchError, match="removed"):
        run(tiny(), tmp_path)
    assert not folder.path.exists()


def test_the_command_exits_with_1_and_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update = TrainingLoop._update

    def removing(self: TrainingLoop) -> float:
        if self.state.step == 3:
            shutil.rmtree(tmp_path / "runs")
        return update(self)

    monkeypatch.setattr(TrainingLoop, "_update", removing)
    asked = "train --model rnn --task copy --T 5 --hidden 4 --steps 8 --batch-size 4 --engine reference --quiet"
    result = CliRunner().invoke(app, [*asked.split(), "--runs-dir", str(tmp_path / "runs")])
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert result.stderr.startswith("Error: ") and "removed" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_a_removed_curve_fails_the_run_in_its_folder(tmp_path: Path) -> None:
    folder = folder_of(tiny(), tmp_path)
    with pytest.raises(StablebenchError, match=r"metrics.jsonl: the run's curve was removed"):
        train(tiny(), ExecutionOptions(tmp_path), At(7, folder.curve_path.unlink))
    assert folder.read_record().status == "failed"


def test_a_removed_lock_is_taken_again(tmp_path: Path) -> None:
    folder = folder_of(tiny(), tmp_path)
    reporter = At(7, lambda: ((folder.path / ".lock").unlink(), (folder.path / ".holder").unlink()))
    assert train(tiny(), ExecutionOptions(tmp_path), reporter).record.status == "finished"
    assert any("taken again" in note for note in reporter.notes)
    assert not (folder.path / ".holder").exists()


def test_run_that_is_taken_over_writes_nothing_more(tmp_path: Path) -> None:
    """A run that another process has taken over writes nothing more."""
    folder = folder_of(tiny(), tmp_path)
    other = RunLock(folder.path)

    def taken_over() -> None:
        (folder.path / ".lock").unlink()
        other.__enter__()
        folder.record_path.write_text("of another process")
        holder = json.loads((folder.path / ".holder").read_text())
        (folder.path / ".holder").write_text(json.dumps(holder | {"pid": 1}))

    with pytest.raises(StablebenchError, match="another process runs it now"):
        train(tiny(), ExecutionOptions(tmp_path), At(7, taken_over))
    assert folder.record_path.read_text() == "of another process"
    assert (folder.path / ".holder").exists()
    other.__exit__(None, None, None)


def test_lock_given_back_leaves_another_folder_alone(tmp_path: Path) -> None:
    """A lock that is given back leaves the folder that took its place alone."""
    folder = tmp_path / "run"
    with RunLock(folder):
        folder.rename(tmp_path / "moved")
        folder.mkdir()
        (folder / ".lock").touch()
        (folder / ".holder").touch()
    assert sorted(p.name for p in folder.iterdir()) == [".holder", ".lock"]
    assert not (tmp_path / "moved" / ".holder").exists()


def test_a_suite_says_which_cells_lost_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_here(runs: Any, options: ExecutionOptions, workers: int, told: RunCallbacks) -> int:
        for index, resolved in enumerate(runs):
            told.on_start(index)
            told.on_end(run_one(index, resolved, options, Silent()))
        shutil.rmtree(folder_of(runs[0], options.runs_dir).path)
        return 0

    monkeypatch.setattr(cells, "run_locally", run_here)
    asked = "compare --models rnn --tasks copy --T 5 --hidden 4 --steps 4 --batch-size 4 --engine reference --seeds 2"
    result = CliRunner().invoke(app, [*asked.split(), "--runs-dir", str(tmp_path / "runs"), "--quiet"])
    assert result.exit_code == 1, result.output
    assert "failed: rnn on copy seed 0: its run folder was removed or renamed" in result.stderr


def test_the_curve_is_whole_where_the_folder_was_renamed(tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    with pytest.raises(StablebenchError, match="renamed"):
        train(tiny(), ExecutionOptions(tmp_path / "runs"), At(15, lambda: (tmp_path / "runs").rename(moved)))
    (path,) = moved.rglob("metrics.jsonl")
    assert [line["step"] for line in read_curve(path)] == [8, 10, 16]
