"""A record that says what this version does not know is named with the reason, left as it is, and stands in no way."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_mutated_records import hold_one_message, mutated
from tiny_runs import run, tiny
from typer.testing import CliRunner

from stablebench import leaderboard
from stablebench.cli.app import app
from stablebench.execution import local as cells
from stablebench.execution.events import RunCallbacks
from stablebench.execution.single_run import run_one
from stablebench.runs.progress import Silent
from stablebench.runs.store import RunFolder
from stablebench.training.run import ExecutionOptions

NEWER: dict[str, tuple[str, Any]] = {
    "a metric": ("metric", "f1"),
    "the target's metric": ("target_metric", "f1"),
    "a status": ("status", "paused"),
    "an engine that was asked for": ("spec.engine", "quantum"),
    "an optimiser": ("spec.optim.name", "lion"),
    "a device": ("spec.device", "tpu"),
    "a precision": ("spec.precision", "float8"),
    "a key": ("energy_joules", 7.0),
    "a key of the spec": ("spec.curriculum", "slow"),
    "a key of the environment": ("environment.compiler", "cc 99"),
    "a key of the result": ("result.carbon", 1.0),
    "which weights were tested": ("result.tested", "averaged"),
}
COUNT = 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(tiny(**{"train.steps": 8}), tmp_path_factory.mktemp("whole"))


def store(whole: RunFolder, runs_dir: Path, key: str, value: Any, version: str) -> RunFolder:
    """Store three seeds of one run; the first says what this version does not know."""
    record = json.loads(whole.record_path.read_text())
    resolved = tiny(**{"train.steps": 8})
    for seed in range(COUNT):
        folder = runs_dir / "copy" / "rnn" / f"{resolved.seeded(seed).spec.spec_hash()}-s{seed}"
        folder.mkdir(parents=True)
        document = mutated(record, "spec.seed", seed)
        if seed == 0:
            document = mutated(mutated(document, key, value), "environment.versions.stablebench", version)
        (folder / "record.json").write_text(json.dumps(document))
    return RunFolder(runs_dir / "copy" / "rnn" / f"{resolved.spec.spec_hash()}-s0")


def invoke(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


SUITE = "--models rnn --tasks copy --T 5 --hidden 6 --steps 8 --batch-size 8 --engine reference --seeds 3".split()
SUITE += ["--set", "task.S=2", "--set", "train.eval_every=8"]


@pytest.mark.parametrize("name", NEWER)
def test_it_is_not_in_the_leaderboard_and_the_rest_is_ranked(name: str, whole: RunFolder, tmp_path: Path) -> None:
    runs_dir = tmp_path / "runs"
    folder = store(whole, runs_dir, *NEWER[name], "9.0.0")
    before = folder.record_path.read_bytes()
    at = ["--runs-dir", str(runs_dir)]

    compared = invoke("compare", *SUITE, "--no-run", "--json", *at)
    assert compared.exit_code == 1, compared.output
    (row,) = json.loads(compared.stdout)["tables"][0]["rows"]
    assert row["n"] == COUNT - 1
    (line,) = [line for line in compared.stderr.splitlines() if "not in the leaderboard" in line]
    assert "written by stablebench 9.0.0" in line and NEWER[name][0].rpartition(".")[2] in line

    reported = invoke("report", *at, "-o", str(tmp_path / "r.html"))
    assert reported.exit_code == 1 and "not in the report" in reported.stderr and "9.0.0" in reported.stderr

    drawn = invoke("plot", "curves", "-o", str(tmp_path / "c.svg"), str(runs_dir))
    assert drawn.exception is None or isinstance(drawn.exception, SystemExit)
    assert "Traceback" not in drawn.output

    listed = json.loads(invoke("list", "runs", "--json", *at).stdout)
    assert sorted(item["status"] for item in listed) == ["broken", "finished", "finished"]
    assert any("9.0.0" in item.get("problem", "") for item in listed)

    for command in (["show", "run"], ["verify"], ["evaluate"], ["train", "--resume"], ["probe-gradients"]):
        result = invoke(*command, str(folder.path))
        hold_one_message(result)
        assert "written by stablebench 9.0.0" in result.stderr
    assert folder.record_path.read_bytes() == before


def test_it_is_never_set_aside(whole: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the command that began the run nor by its suite."""

    def run_here(runs: Any, options: ExecutionOptions, workers: int, told: RunCallbacks) -> int:
        for index, resolved in enumerate(runs):
            told.on_start(index)
            told.on_end(run_one(index, resolved, options, Silent()))
        return 0

    monkeypatch.setattr(cells, "run_locally", run_here)
    folder = store(whole, tmp_path, "metric", "f1", "9.0.0")
    before = folder.record_path.read_bytes()
    result = invoke("compare", *SUITE, "--quiet", "--runs-dir", str(tmp_path))
    assert result.exit_code == 1 and "9.0.0" in result.stderr
    assert folder.record_path.read_bytes() == before
    assert [path.name for path in folder.path.iterdir() if "damaged" in path.name] == []


def test_a_damaged_record_of_this_version_is_still_set_aside(whole: RunFolder, tmp_path: Path) -> None:
    folder = store(whole, tmp_path, "step", "eight", "0.1.0")
    assert folder.quarantine_corrupt_record() is not None
    assert folder.record_path.with_name("record.json.damaged").exists()


def test_another_metric_beside_the_tasks_own_is_shown(whole: RunFolder) -> None:
    record = whole.read_record()
    test = {**(record.result.test or {}), "f1": 0.5}
    record = record.model_copy(update={"result": record.result.model_copy(update={"test": test})})
    (table,) = leaderboard.build("s", [record]).tables
    assert table.rows[0].others["f1"] == 0.5
    assert "f1" in leaderboard.render(leaderboard.build("s", [record]))


@pytest.mark.parametrize("key", ["spec.model.name", "spec.task.name"])
def test_model_of_another_version_is_ranked_by_its_record(key: str, whole: RunFolder, tmp_path: Path) -> None:
    """A model or task of another version is ranked by what its record says."""
    store(whole, tmp_path / "runs", key, "of_tomorrow", "9.0.0")
    result = invoke("report", "--runs-dir", str(tmp_path / "runs"), "-o", str(tmp_path / "r.html"))
    assert result.exit_code == 0, result.output
    assert "of_tomorrow" in (tmp_path / "r.html").read_text()
