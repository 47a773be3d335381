"""Runs scored at several lengths: once each, kept next to the run, and shown in tables, figures, page and archive."""

import csv
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stablebench import registry
from stablebench.cli.app import app
from stablebench.errors import UserError
from stablebench.execution import scored_lengths
from stablebench.execution.asked_lengths import lengths_of
from stablebench.execution.scored_lengths import score_missing
from stablebench.runs.progress import Silent
from stablebench.runs.store import RunFolder, run_folder
from stablebench.schema.suite import Suite
from stablebench.specs.request import Resolved, RunRequest
from stablebench.specs.resolve import resolve
from stablebench.training.run import ExecutionOptions, train
from stablebench.training.score import score

LENGTHS = [4, 40, 256]
COMPARE = (
    "compare --model rnn,gru --task parity --hidden 4 --steps 2 --batch-size 4 --seeds 2 --match recipe --no-run "
    "--runs-dir"
)


def runs(task: str = "parity") -> list[Resolved]:
    options = {"model.hidden": 4, "train.steps": 2, "train.batch_size": 4}
    return [
        resolve(RunRequest(model, task, options=options)).seeded(seed) for model in ("rnn", "gru") for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for run in runs():
        train(run, ExecutionOptions(folder), Silent())
    notes: list[str] = []
    assert score_missing(runs(), [LENGTHS] * 4, folder, None, notes.append) == {}
    assert len(notes) == 4
    return folder


def one(store: Path) -> RunFolder:
    return run_folder(store, runs()[0].spec)


def test_each_length_is_scored_as_evaluate_scores_it(store: Path) -> None:
    folder = one(store)
    measured, record = folder.read_measured(), folder.read_record()
    assert measured is not None and list(measured.lengths) == ["4", "40", "256", "40-256"]
    for length in (4, 256):
        assert measured.lengths[str(length)] == score(folder, record, T=length).metrics
    assert measured.lengths["40-256"] == record.result.test  # whose test lengths are these


def test_the_range_of_papers_is_drawn_for_other_tests(tmp_path: Path) -> None:
    run = resolve(RunRequest("rnn", "counter", options={"model.hidden": 3, "train.steps": 1, "train.batch_size": 2}))
    assert run.spec.task.params["test_lengths"] == [41, 500]
    folder = train(run, ExecutionOptions(tmp_path), Silent()).folder
    score_missing([run], [[40, 256]], tmp_path, None, print)
    measured, record = folder.read_measured(), folder.read_record()
    assert measured is not None
    assert measured.lengths["40-256"] == score(folder, record, drawn=(40, 256)).metrics != record.result.test


@pytest.fixture
def copied(store: Path, tmp_path: Path) -> Path:
    """The store, with nothing scored."""
    shutil.copytree(store, tmp_path / "runs")
    for path in (tmp_path / "runs").rglob(one(store).measured_path.name):
        path.unlink()
    return tmp_path / "runs"


def test_processes_score_what_this_one_does(store: Path, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr(scored_lengths, "_score", lambda *_: pytest.fail("scored in this process"))
    assert score_missing(runs(), [LENGTHS] * 4, copied, None, notes.append, workers=2) == {}
    assert len(notes) == 4
    for run in runs():
        found, expected = (run_folder(folder, run.spec).read_measured() for folder in (copied, store))
        assert found == expected and found is not None and len(found.lengths) == 4


def test_one_that_cannot_be_scored_leaves_the_others(copied: Path) -> None:
    """A run without a checkpoint, and a process that is killed; the rest is scored."""
    broken = run_folder(copied, runs()[1].spec)
    for path in [*broken.checkpoints(), broken.best_path]:
        path.unlink(missing_ok=True)
    failed = score_missing(runs(), [[4]] * 4, copied, None, lambda line: None, workers=3)
    assert list(failed) == [runs()[1].label] and "checkpoint" in failed[runs()[1].label]
    scored = [run_folder(copied, run.spec).read_measured() for run in runs()]
    assert [measured is not None for measured in scored] == [True, False, True, True]


def test_a_process_that_dies_is_named(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scored_lengths, "_score_and_send", _die)
    failed = score_missing(runs(), [[4]] * 4, copied, None, lambda line: None, workers=4)
    assert list(failed) == [run.label for run in runs()]
    assert set(failed.values()) == {"its process was killed by SIGKILL"}


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_signal_ends_it_and_keeps_what_was_scored(copied: Path) -> None:
    def note(line: str) -> None:
        lines.append(line)
        if len(lines) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        score_missing(runs(), [[4]] * 4, copied, None, note, workers=2)
    assert len(lines) == 3
    assert any(run_folder(copied, run.spec).read_measured() is not None for run in runs())


def test_nothing_is_scored_twice(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = one(store).measured_path.read_bytes()
    monkeypatch.setattr(scored_lengths, "score_lengths", lambda *_: pytest.fail("scored again"))
    assert score_missing(runs(), [LENGTHS] * 4, store, None, print) == {}
    assert one(store).measured_path.read_bytes() == before


def test_scores_of_other_weights_do_not_count(store: Path) -> None:
    """As of a run that was trained on: its tested step is another."""
    folder = one(store)
    record = folder.read_record()
    record.take_measured(folder.read_measured())
    assert record.measured is not None
    later = record.model_copy(update={"result": record.result.model_copy(update={"tested_step": 3})})
    later.take_measured(folder.read_measured())
    assert later.measured is None


def test_a_suite_says_lengths_of_its_tasks() -> None:
    named = {"summary": "-", "models": ["rnn"], "seeds": [0], "lengths": [40, 64]}
    suite = Suite.model_validate(
        named | {"tasks": [{"task": "parity", "lengths": [300]}, {"task": "counter"}, {"task": "digits"}]}
    )
    made = [resolve(RunRequest("rnn", name)) for name in ("parity", "counter", "digits")]
    assert lengths_of(suite, made, None) == [[300], [40, 64], []]
    assert lengths_of(suite, made, [9, 5]) == [[5, 9], [5, 9], []]
    with pytest.raises(UserError, match="--lengths"):
        lengths_of(suite, made[2:], [5])
    assert registry.suite("state_tracking/core").lengths == [40, 64, 128, 256, 512]


def test_compare_prints_accuracy_by_length(store: Path) -> None:
    asked = [*COMPARE.split(), str(store)]
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 0, shown.output
    text = " ".join(shown.stdout.split())
    assert "parity: accuracy by length" in text and "Trained on lengths 3 to 40" in text and "range none" in text
    row = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)["tables"][0]["rows"][0]
    curve = row["lengths"]
    assert set(curve["median"]) == {"4", "40", "256"} and curve["ended"] == 2 and curve["interval"] is None
    heads = CliRunner().invoke(app, [*asked, "--format", "csv"]).stdout.splitlines()[0].split(",")
    assert {"accuracy_at_4", "accuracy_at_40_256", "longest_held"} <= set(heads)
    columns = CliRunner().invoke(app, [*asked, "--columns", "model,longest_held,held_interval,seeds_solved"])
    assert columns.exit_code == 0 and "0/2" in columns.stdout and "by length" not in columns.stdout


def test_python_has_the_lengths_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are trained here in place of processes of their own."""
    import stablebench as sb
    from stablebench.api import compare as command

    def here(runs: list[Resolved], execution: ExecutionOptions, *_: object) -> list[tuple[str, str]]:
        for run in runs:
            train(run, execution, Silent())
        return []

    monkeypatch.setattr(command, "_run", here)
    small = {"hidden": 3, "steps": 1, "batch_size": 2, "runs_dir": tmp_path}
    board = sb.compare(["rnn"], ["parity"], lengths=[3, 9], **small)
    (row,) = board.board.tables[0].rows
    assert row.lengths is not None and set(row.lengths.median) == {"3", "9"}
    with pytest.raises(UserError, match="a list of lengths"):
        sb.compare(["rnn"], ["parity"], lengths="3,9", **small)


def test_a_figure_and_the_page_have_the_curves(store: Path, tmp_path: Path) -> None:
    figure, page = tmp_path / "length.svg", tmp_path / "page.html"
    result = CliRunner().invoke(app, ["plot", "length", "--runs-dir", str(store), "-o", str(figure)])
    assert result.exit_code == 0, result.output
    assert "lengths trained on" in figure.read_text()
    with figure.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["model"] for row in rows} == {"rnn", "gru", "guessing"}
    assert [float(row["x"]) for row in rows if row["model"] == "rnn"] == LENGTHS
    assert {float(row["y"]) for row in rows if row["model"] == "guessing"} == {0.5}
    assert CliRunner().invoke(app, ["report", "--runs-dir", str(store), "-o", str(page)]).exit_code == 0
    text = page.read_text()
    assert "test accuracy over length, trained on 3 to 40" in text and 'class="shade"' in text


def test_an_archive_keeps_what_was_measured(store: Path, tmp_path: Path) -> None:
    archive, again = tmp_path / "a.jsonl", tmp_path / "again"
    assert CliRunner().invoke(app, ["runs", "pack", "--runs-dir", str(store), "-o", str(archive)]).exit_code == 0
    assert CliRunner().invoke(app, ["runs", "unpack", str(archive), "--runs-dir", str(again)]).exit_code == 0
    assert run_folder(again, runs()[0].spec).read_measured() == one(store).read_measured()
    folder = one(store)
    measured = folder.read_measured()
    assert measured is not None
    folder.write_measured(measured.model_copy(update={"lengths": measured.lengths | {"5": {"accuracy": 1.0}}}))
    packed = CliRunner().invoke(app, ["runs", "pack", "--runs-dir", str(store), "-o", str(archive)])
    assert packed.exit_code == 0 and "1 of them new" in packed.stdout
    folder.write_measured(measured)


def test_no_curve_without_scores(tmp_path: Path) -> None:
    train(runs()[0], ExecutionOptions(tmp_path), Silent())
    result = CliRunner().invoke(app, ["plot", "length", "--runs-dir", str(tmp_path), "-o", str(tmp_path / "a.png")])
    assert result.exit_code == 2 and "compare SUITE --lengths" in result.stderr


def test_gradients_are_measured_once_and_drawn(store: Path, tmp_path: Path) -> None:
    figure = tmp_path / "both.svg"
    words = ["plot", "expressivity", "--runs-dir", str(store), "-o", str(figure), "--force"]
    for weights in ("trained", "initial"):
        result = CliRunner().invoke(app, [*words, "--weights", weights])
        assert result.exit_code == 0, result.output
    measured = one(store).read_measured()
    assert measured is not None and measured.lengths and set(measured.gradients) == {"trained", "initial"}
    probe = ["probe-gradients", str(one(store).path), "--json", "--what", "flow", "--T", "40"]
    document = json.loads(CliRunner().invoke(app, probe).stdout)["measures"]
    growth = document["gradient_flow"]["growth_rate"]["per_step_back"]
    assert measured.gradients["trained"].growth == pytest.approx(growth, rel=1e-9)
    assert measured.gradients["trained"].length == 40
    assert measured.gradients["trained"] != measured.gradients["initial"]
    with figure.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 and {row["model"] for row in rows} == {"rnn", "gru"}
    shown = CliRunner().invoke(app, [*words, "--score", "length", "--each-task"])
    assert shown.exit_code == 0, shown.output
    table = CliRunner().invoke(
        app, [*COMPARE.split(), str(store), "--columns", "model,growth_trained,isometry_initial"]
    )
    assert table.exit_code == 0 and "growth trained" in table.stdout
