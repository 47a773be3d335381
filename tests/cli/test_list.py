"""`list` as a user types it."""

import ast
import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stablebench import registry
from stablebench.cli import list_
from stablebench.cli.app import app
from stablebench.models import registry as model_registry
from stablebench.runs.lock import RunLock
from stablebench.schema.run_record import RunRecord

KINDS = ["models", "tasks", "recipes", "suites", "sweeps"]


def listed(*arguments: str) -> list[dict[str, object]]:
    result = CliRunner().invoke(app, ["list", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_json_is_an_array_of_everything_registered(kind: str) -> None:
    names = getattr(model_registry if kind == "models" else registry, f"{kind[:-1]}_names")()
    assert [item["name"] for item in listed(kind)] == names
    assert all(not str(item.get("summary", "")).startswith("broken") for item in listed(kind))


def test_a_model_has_family_and_the_first_line_of_its_docstring() -> None:
    rnn = next(item for item in listed("models") if item["name"] == "rnn")
    assert rnn == {"name": "rnn", "family": "recurrent", "summary": "RNN: the Elman network."}


def test_a_deep_model_is_said_to_be_one() -> None:
    families = {item["name"]: item["family"] for item in listed("models")}
    assert {name for name, family in families.items() if family == "deep"} == set(model_registry.model_names("deep"))
    assert families["roafnn"] == "deep"


def test_a_task_has_metric_and_variants() -> None:
    copy = next(item for item in listed("tasks") if item["name"] == "copy")
    assert copy["metric"] == "loss"
    assert "t1000" in copy["variants"]  # type: ignore[operator]


@pytest.mark.parametrize("fmt", ["table", "github", "latex", "html", "csv", "json"])
def test_every_format_names_every_model(fmt: str) -> None:
    result = CliRunner().invoke(app, ["list", "models", "--format", fmt])
    assert result.exit_code == 0
    assert all(
        name.replace("_", "\\_" if fmt == "latex" else "_") in result.stdout for name in model_registry.model_names()
    )


def test_an_unknown_kind_gets_a_suggestion() -> None:
    result = CliRunner().invoke(app, ["list", "modles"])
    assert result.exit_code == 2
    assert "No kind named 'modles'. Did you mean models?" in result.stderr


def test_runs_are_listed_and_broken_ones_with_the_reason(tmp_path: Path, record: RunRecord) -> None:
    def put(name: str, text: str) -> None:
        folder = tmp_path / "copy" / "rnn" / name
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(text)

    put("a-s0", record.model_dump_json())
    put("b-s0", record.model_dump_json()[:100])
    put("c-s0", "")
    put("d-s0", '{"spec": 1}')
    put("e-s0", record.model_copy(update={"status": "diverged"}).model_dump_json())
    found = {str(item["name"]): item for item in listed("runs", "--runs-dir", str(tmp_path))}
    assert [found[f"copy/rnn/{x}-s0"]["status"] for x in "abcde"] == ["finished", *["broken"] * 3, "diverged"]
    assert found["copy/rnn/a-s0"]["test"] == 0.25
    assert all("record.json" in str(found[f"copy/rnn/{x}-s0"]["problem"]) for x in "bcd")
    shown = CliRunner().invoke(app, ["list", "runs", "--runs-dir", str(tmp_path)])
    assert shown.exit_code == 0
    assert shown.stdout.count("broken") == 3


def test_a_run_whose_process_was_killed_is_not_said_to_run(tmp_path: Path, record: RunRecord) -> None:
    for name in ("left", "held"):
        folder = tmp_path / "copy" / "rnn" / f"{name}-s0"
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(record.model_copy(update={"status": "running"}).model_dump_json())
    with RunLock(tmp_path / "copy" / "rnn" / "held-s0"):
        found = {item["name"]: item["status"] for item in listed("runs", "--runs-dir", str(tmp_path))}
        died = {"pid": 2**22 + 1, "host": socket.gethostname(), "began": 0.0, "since": "2026-01-01T00:00:00Z"}
        (tmp_path / "copy" / "rnn" / "left-s0" / ".holder").write_text(json.dumps(died))
        after = {item["name"]: item["status"] for item in listed("runs", "--runs-dir", str(tmp_path))}
    assert found == after == {"copy/rnn/held-s0": "running", "copy/rnn/left-s0": "killed"}


def test_no_runs_are_said_on_stderr(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["list", "runs", "--runs-dir", str(tmp_path / "none")])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "There are no runs in" in result.stderr
    assert listed("runs", "--runs-dir", str(tmp_path / "none")) == []


def test_a_broken_card_is_listed_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torn.yaml").write_text("task: [1")
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "odd.yaml").write_text("- 1")
    monkeypatch.setattr("stablebench.resources.tasks_dir", lambda: tmp_path)
    monkeypatch.setattr(registry, "tasks_dir", lambda: tmp_path)
    found = {item["name"]: item["summary"] for item in list_.files("tasks")}
    assert sorted(found) == ["empty", "odd", "torn"]
    assert all(str(summary).startswith("broken: ") for summary in found.values())


def test_a_run_store_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs"
    path.write_text("")
    result = CliRunner().invoke(app, ["list", "runs", "--runs-dir", str(path)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"--runs-dir {path}: must be a folder" in result.stderr


def test_another_format_and_json_contradict() -> None:
    result = CliRunner().invoke(app, ["list", "models", "--format", "csv", "--json"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--format csv and --json: give one of the two." in result.stderr
    assert CliRunner().invoke(app, ["list", "models", "--format", "json", "--json"]).exit_code == 0


def test_docstring_read_without_parsing_is_the_files() -> None:
    """A docstring read without parsing the file is the files own."""
    for name in model_registry.model_names():
        path = model_registry._model_files()[name]
        assert model_registry.model_docstring(name) == ast.get_docstring(ast.parse(path.read_text()))
