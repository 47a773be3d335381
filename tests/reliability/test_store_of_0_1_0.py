"""A run store that version 0.1.0 wrote lists, ranks, verifies and resumes."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.process.settings import hardware
from stablebench.runs.store import RunFolder

STORED = Path(__file__).parents[1] / "store_0_1_0"
RUNS = sorted(path.parent.relative_to(STORED / "store") for path in (STORED / "store").rglob("record.json"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the commands are typed in, with `runs/` of the old version."""
    shutil.copytree(STORED / "store", tmp_path / "runs")
    shutil.copy(STORED / "suite.yaml", tmp_path / "suite.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stablebench(*words: str) -> Result:
    result = CliRunner().invoke(app, list(words))
    assert "Traceback" not in result.output, result.output
    return result


def test_it_is_listed(folder: Path) -> None:
    listed = json.loads(stablebench("list", "runs", "--json").stdout)
    assert [run["name"] for run in listed] == [path.as_posix() for path in RUNS]
    assert [run["status"] for run in listed] == ["finished"] * 2 + ["finished"] * 2 + ["interrupted", "finished"]


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_its_specs_keep_their_hash(run: Path) -> None:
    record = RunFolder(STORED / "store" / run).read_record()
    assert record.spec.spec_hash() == record.spec_hash
    assert run.name == f"{record.spec_hash[:12]}-s{record.spec.seed}"


def test_it_is_ranked_as_it_was(folder: Path) -> None:
    """No run is missing, and the scores are those that version 0.1.0 printed."""
    before = json.loads((STORED / "leaderboard.json").read_text())
    with pytest.warns(FutureWarning, match="is now called"):  # keys of the suite
        result = stablebench("compare", "suite.yaml", "--no-run", "--json")
    assert result.exit_code == 0, result.output
    after = json.loads(result.stdout)
    for earlier, table in zip(before["tables"], after["tables"], strict=True):
        assert [row["name"] for row in table["rows"]] == [row["name"] for row in earlier["rows"]]
        assert [row["score"] for row in table["rows"]] == [row["score"] for row in earlier["rows"]]


def is_from_here(path: Path) -> bool:
    """Whether a run was made on a processor like this one, where numbers are equal bit for bit."""
    environment = RunFolder(path).read_record().environment
    return (environment.hardware, environment.versions["torch"]) == (hardware("cpu"), torch.__version__)


@pytest.mark.parametrize("run", ["adding/rnn", "adding/cornn", "digits_flat/roafnn"])
def test_its_runs_verify(folder: Path, run: str) -> None:
    """On another processor they differ by rounding, and the reason is said."""
    (path, *_) = sorted((folder / "runs" / run).iterdir())
    result = stablebench("verify", str(path), "--json")
    document = json.loads(result.stdout)
    assert document["equal"] or not is_from_here(path), result.output
    assert result.exit_code == (0 if document["equal"] else 1)
    for difference in document["differences"]:
        largest = re.search(r"by up to (\S+)", difference)
        earlier_and_now = re.search(r" (\S+) then, (\S+) now", difference)
        if largest:
            assert float(largest[1]) < 1e-4, difference
        elif earlier_and_now:
            assert float(earlier_and_now[1]) == pytest.approx(float(earlier_and_now[2]), rel=1e-4), difference
    if not document["equal"]:
        assert any(line.startswith(("hardware: ", "versions: ")) for line in document["environment"]), result.output


def test_an_interrupted_run_resumes(folder: Path) -> None:
    """On another processor only where that is asked for."""
    (path,) = (folder / "runs" / "copy" / "lstm").iterdir()
    assert RunFolder(path).read_record().step == 495
    command = ["train", "--resume", str(path), "--quiet"]
    if not is_from_here(path):
        refused = stablebench(*command)
        assert refused.exit_code == 2 and "would not give the same numbers" in refused.output
        command.append("--force-resume")
    result = stablebench(*command)
    assert result.exit_code == 0, result.output
    record = RunFolder(path).read_record()
    assert (record.status, record.step, record.resumed_at) == ("finished", 1000, [495])
