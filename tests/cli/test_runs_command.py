"""`stablebench runs`: removing, moving, measuring, labelling and comparing stored runs; nothing is lost silently."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.runs import housekeeping
from stablebench.runs.lock import RunLock
from stablebench.runs.store import RunFolder
from stablebench.schema.run_record import RunRecord

A, B, C, D = "copy/rnn/aaaa-s0", "copy/rnn/aaaa-s1", "copy/lstm/bbbb-s0", "adding/rnn/cccc-s0"


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["runs", *map(str, words)])


@pytest.fixture
def store(tmp_path: Path, record: RunRecord, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run store of four runs with a checkpoint of 1000 bytes each; C failed, D was interrupted."""
    monkeypatch.chdir(tmp_path)
    for name, status in ((A, "finished"), (B, "finished"), (C, "failed"), (D, "interrupted")):
        task, model, folder = name.split("/")
        run = RunFolder(tmp_path / "runs" / name)
        (run.path / "checkpoints").mkdir(parents=True)
        run.checkpoint_path(100).write_bytes(b"0" * 1000)
        run.curve_path.write_text("{}\n")
        spec = record.spec.model_copy(
            update={
                "task": record.spec.task.model_copy(update={"name": task}),
                "model": record.spec.model.model_copy(update={"name": model, "params": {"activation": model}}),
                "seed": int(folder[-1]),
            }
        )
        run.write_record(record.model_copy(update={"spec": spec, "status": status}))
    return tmp_path / "runs"


def names(store: Path) -> list[str]:
    runs = [path.parent.relative_to(store).as_posix() for path in store.rglob("record.json")]
    return sorted(run for run in runs if "/." not in run)


def test_a_run_is_removed_with_yes_alone(store: Path) -> None:
    asked = invoke("rm", A)
    assert asked.exit_code == 2 and "to remove 1 run give --yes: there is no terminal" in asked.stderr
    assert A in asked.stdout and len(names(store)) == 4
    dry = invoke("rm", A, "--dry-run")
    assert dry.exit_code == 0 and "Would remove:" in dry.stdout and len(names(store)) == 4
    done = invoke("rm", A, "--yes")
    assert done.exit_code == 0 and "1 run removed." in done.stderr
    assert names(store) == sorted([B, C, D]) and not list(store.rglob(".removing-*"))


def test_folders_without_runs_go_with_the_last(store: Path) -> None:
    assert invoke("rm", C, D, "-y").exit_code == 0
    assert not (store / "adding").exists() and not (store / "copy/lstm").exists() and (store / "copy/rnn").exists()


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ("status=failed", [A, B, D]),
        ("task=copy,model=rnn", [C, D]),
        ("status!=finished", [A, B]),
        ("model.activation=lstm", [A, B, D]),
        ("seed=1", [A, C, D]),
        ("train.steps=100.0", []),
        ("status=running", [A, B, C, D]),
    ],
)
def test_conditions_choose_runs(store: Path, where: str, left: list[str]) -> None:
    result = invoke("rm", "--where", where, "--yes")
    assert result.exit_code == 0, result.output
    assert names(store) == sorted(left)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rm"], "RUN is missing: name runs, or give --where"),
        (["rm", "--where", "status"], "--where status: must be KEY=VALUE"),
        (["rm", "--where", "status=kiled", "-y"], "there is no such status. Did you mean killed?"),
        (["list", "--where", "status!=finish"], "Did you mean finished?"),
        (["rm", "--where", "model.activatoin=relu", "-y"], "no run has this key. Did you mean model.activation?"),
        (["rm", "nothing", "-y"], "No run 'nothing'"),
        (["mv", A], "--to"),
        (["label", A, "--as", "a/b"], "a label must be"),
        (["label", A, "--as", "last"], "a label must be"),
        (["du", "--where", "statsu=failed"], "Did you mean status?"),
    ],
)
def test_a_mistake_is_one_message(store: Path, words: list[str], message: str) -> None:
    result = invoke(*words)
    assert result.exit_code == 2 and message in result.stderr and len(names(store)) == 4


@pytest.mark.parametrize("words", [["rm"], ["rm", "--checkpoints"], ["mv", "--to", "other"]])
def test_a_run_that_is_running_is_left(store: Path, words: list[str]) -> None:
    with RunLock(store / A):
        result = invoke(words[0], A, B, *words[1:], "--yes")
    assert result.exit_code == 1
    assert f"left: runs/{A}: another process is running this run" in result.stderr
    assert "1 left" in result.stderr and (store / A / "record.json").is_file()
    assert RunFolder(store / A).checkpoints()
    assert words == ["rm", "--checkpoints"] or not (store / B).exists()


def test_checkpoints_go_and_the_rest_stays(store: Path) -> None:
    before = (store / A / "record.json").read_bytes()
    result = invoke("rm", "--where", "task=copy", "--where", "model=rnn", "--checkpoints", "--yes", "--json")
    assert [item["done"] for item in json.loads(result.stdout)] == ["pruned", "pruned"]
    assert (store / A / "record.json").read_bytes() == before and (store / A / "metrics.jsonl").is_file()
    assert not (store / A / "checkpoints").exists() and RunFolder(store / C).checkpoints()


def test_a_run_that_goes_on_keeps_its_checkpoints(store: Path) -> None:
    result = invoke("rm", D, "--checkpoints", "--yes")
    assert f"left: {D}: interrupted; it goes on from its checkpoints." in result.stderr
    assert RunFolder(store / D).checkpoints()


def test_a_moved_run_is_read_there(store: Path, tmp_path: Path) -> None:
    dry = invoke("mv", A, "--to", "other", "--dry-run", "--json")
    assert json.loads(dry.stdout) == [{"run": A, "label": None, "status": "finished", "to": f"other/{A}"}]
    assert invoke("mv", A, "--to", "other", "--yes").exit_code == 0
    assert names(store) == sorted([B, C, D]) and names(tmp_path / "other") == [A]
    shown = CliRunner().invoke(app, ["show", "run", "last", "--runs-dir", "other", "--json"])
    assert json.loads(shown.stdout)["status"] == "finished"
    assert RunFolder(tmp_path / "other" / A).checkpoints() and not (tmp_path / "other" / A / ".holder").exists()


def test_a_run_that_lies_there_is_not_overwritten(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store / A, tmp_path / "other" / A)
    (tmp_path / "other" / A / "metrics.jsonl").write_text("{'mine': 1}\n")
    result = invoke("mv", A, "--to", "other", "--yes")
    assert result.exit_code == 1 and "another run lies there; it is left as it is" in result.stderr
    assert (store / A).is_dir() and "mine" in (tmp_path / "other" / A / "metrics.jsonl").read_text()
    again = invoke("mv", A, "--to", "runs", "--yes")
    assert again.exit_code == 1 and "lies there already" in again.stderr and (store / A).is_dir()


def other_file_system(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    """Have no folder renamed out of the store, as where the other store is another file system."""
    rename = os.rename

    def renamed(source: str | Path, target: str | Path) -> None:
        inside = [Path(path).absolute().is_relative_to(store) for path in (source, target)]
        if inside[0] != inside[1]:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(housekeeping.os, "rename", renamed)


def test_a_run_moves_to_another_file_system(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other_file_system(monkeypatch, store)
    assert invoke("mv", A, "--to", "other", "--yes").exit_code == 0
    assert names(store) == sorted([B, C, D]) and names(tmp_path / "other") == [A]
    assert not list((tmp_path / "other").rglob(".moving-*")) and not list((tmp_path / "other").rglob(".lock"))


@pytest.mark.parametrize("call", ["copytree", "_remove_tree"])
def test_an_interrupted_move_leaves_one_whole_run(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Killed while copying, or after it and before the removal: the old one is whole; the command finishes it."""
    other_file_system(monkeypatch, store)
    before = {path.name: path.read_bytes() for path in (store / A).iterdir() if path.is_file()}
    home, copytree = (shutil, shutil.copytree) if call == "copytree" else (housekeeping, None)

    def killed(source: Path, target: Path | None = None, **_: object) -> None:
        if copytree is not None and target is not None:
            target.mkdir()
            shutil.copy(source / "record.json", target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(home, call, killed)
        assert invoke("mv", A, "--to", "other", "--yes").exit_code == 130
    assert before == {p.name: p.read_bytes() for p in (store / A).iterdir() if p.name in before}
    assert names(tmp_path / "other") in ([], [A])  # a half copied one is hidden
    listed = CliRunner().invoke(app, ["list", "runs", "--runs-dir", "other", "--json"]).stdout
    assert len(json.loads(listed)) == (call != "copytree")
    assert invoke("mv", A, "--to", "other", "--yes").exit_code == 0
    assert not (store / A).exists() and names(tmp_path / "other") == [A]


def test_sizes_stand_by_model_and_checkpoints_apart(store: Path) -> None:
    rows = {(row["task"], row["model"]): row for row in json.loads(invoke("du", "--json").stdout)}
    assert set(rows) == {("copy", "rnn"), ("copy", "lstm"), ("adding", "rnn")}
    row = rows["copy", "rnn"]
    assert row["runs"] == 2 and row["checkpoints"] == row["prunable"] == 2000 and row["bytes"] > 2000
    assert rows["adding", "rnn"]["checkpoints"] == 1000 and rows["adding", "rnn"]["prunable"] == 0
    text = invoke("du").stdout
    assert "all" in text and "runs rm --checkpoints" in text


def test_a_label_is_shown_and_removed(store: Path) -> None:
    assert invoke("label", A, B, "--as", "leak 0.05").exit_code == 0
    listed = json.loads(CliRunner().invoke(app, ["list", "runs", "--json"]).stdout)
    assert {run["name"]: run.get("label") for run in listed} == {A: "leak 0.05", B: "leak 0.05", C: None, D: None}
    assert "leak 0.05" in CliRunner().invoke(app, ["show", "run", A]).stdout
    page = CliRunner().invoke(app, ["report", "copy/rnn", "-o", "page.html"])
    assert page.exit_code == 0 and "leak 0.05" in Path("page.html").read_text()
    assert names(store) == sorted([A, B, C, D])
    assert invoke("label", A, "--as", "").exit_code == 0
    (only,) = json.loads(invoke("list", "--where", "label=leak 0.05", "--json").stdout)
    assert only["name"] == B


def test_a_difference_says_settings_and_results(store: Path) -> None:
    document = json.loads(invoke("diff", A, C, "--json").stdout)
    assert document["runs"] == [A, C]
    assert {d["key"]: (d["a"], d["b"]) for d in document["settings"]} == {
        "model.name": ("rnn", "lstm"),
        "model.params.activation": ("rnn", "lstm"),
    }
    assert {"what": "status", "a": "finished", "b": "failed"} in document["results"]
    assert {"what": "test loss", "a": 0.25, "b": 0.25} in document["results"]
    text = invoke("diff", A, C).stdout
    assert "Settings that differ" in text and "the model's default" in text and "Results" in text
    assert "seed" in invoke("diff", A, B).stdout


def test_plural_and_singular_are_one(store: Path) -> None:
    for word in ("run", "runs"):
        listed = json.loads(CliRunner().invoke(app, ["list", word, "--where", "status=failed", "--json"]).stdout)
        assert [run["name"] for run in listed] == [C]
    refused = CliRunner().invoke(app, ["list", "models", "--where", "status=failed"])
    assert refused.exit_code == 2 and "it chooses among runs, not among models" in refused.stderr
