"""A run finds out before its first update whether its engine computes what the reference does; no number changes."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_oracle
from tiny_runs import assert_same, run, tensors, tiny, without_times
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.engines import self_check
from stablebench.engines.fused import engine as fused
from stablebench.engines.fused.operations import OPERATIONS, Value
from stablebench.errors import UserError
from stablebench.process.signals import Interrupted
from stablebench.runs.progress import Silent
from stablebench.schema.run_record import RunRecord
from stablebench.training import checked_engine
from stablebench.training.loop import TrainingLoop
from stablebench.training.run import ExecutionOptions, train


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture
def wrong_tanh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the fused engine a derivative of tanh that is off by a thousandth, and no C compiler to wait for."""
    right = OPERATIONS["tanh"]

    def derivative(*values: Value) -> tuple[Value, ...]:
        assert right.derivative is not None
        (part,) = right.derivative(*values)
        assert part is not None
        return (0.999 * part,)

    monkeypatch.setitem(OPERATIONS, "tanh", dataclasses.replace(right, derivative=derivative))
    monkeypatch.setattr(fused, "_new_backend", torch_oracle.new_backend)


@pytest.mark.usefixtures("wrong_tanh")
@pytest.mark.parametrize(("model", "task"), [("rnn", "copy"), ("roafnn", "digits_flat")])
def test_under_auto_reference_takes_over_and_record_says_why(model: str, task: str, tmp_path: Path) -> None:
    """Under auto the reference takes over and the record says why."""
    notes = Notes()
    record = train(tiny(model, task, engine="auto"), ExecutionOptions(tmp_path / "auto"), notes).record
    (warning,) = [text for text in notes.texts if text.startswith("warning: the fused engine does not compute")]
    assert "the gradient of" in warning and "differs by" in warning
    assert (record.status, record.self_check, record.environment.engine) == ("finished", "failed", "reference")
    (line,) = record.resumed_elsewhere
    assert line.startswith("step 0: engine: fused then, reference now (self-check: the gradient of")
    expected = run(tiny(model, task), tmp_path / "reference")
    assert record.result.test == expected.read_record().result.test


@pytest.mark.usefixtures("wrong_tanh")
def test_engine_asked_for_by_name_is_refused(tmp_path: Path) -> None:
    """An engine asked for by name is refused and leaves no folder."""
    small = ["--task", "copy", "--T", "5", "--hidden", "6", "--steps", "3", "--batch-size", "4", "--engine", "fused"]
    arguments = ["train", "--model", "rnn", *small, "--runs-dir", str(tmp_path / "runs"), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and "--engine fused: it does not compute what the reference" in result.stderr
    assert not list((tmp_path / "runs").rglob("record.json"))
    result = CliRunner().invoke(app, [*arguments, "--no-self-check"])
    assert result.exit_code == 0 and json.loads(result.stdout)["self_check"] == "off"


@pytest.mark.usefixtures("wrong_tanh")
def test_what_failed_once_is_not_taken_up_by_the_engine_again(tmp_path: Path) -> None:
    resolved = tiny("rnn", "copy", engine="auto")
    whole = run(resolved, tmp_path / "whole")
    folder = run(tiny("rnn", "copy", engine="auto"), tmp_path / "parts")  # for its name alone
    for path in [*folder.checkpoints(), folder.record_path, folder.curve_path, folder.best_path]:
        path.unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingLoop, "_report", _stop_at(11))
        train(resolved, ExecutionOptions(tmp_path / "parts"), Silent())
    record = train(resolved, ExecutionOptions(tmp_path / "parts"), Silent()).record
    assert record.resumed_at and record.self_check == "failed" and len(record.resumed_elsewhere) == 1
    assert all(torch.equal(a, b) for a, b in zip(tensors(whole).values(), tensors(folder).values(), strict=True))


def _stop_at(step: int) -> object:
    def report(self: TrainingLoop, loss: float) -> bool:
        if self.state.step == step:
            raise Interrupted
        return True

    return report


@pytest.mark.parametrize(("model", "task"), [("rnn", "copy"), ("roafnn", "digits_flat"), ("mingru", "copy")])
def test_the_check_changes_no_number(model: str, task: str, tmp_path: Path) -> None:
    resolved = tiny(model, task, engine="auto")
    checked, unchecked = run(resolved, tmp_path / "with"), run(resolved, tmp_path / "without", self_check=False)
    records = [folder.read_record() for folder in (checked, unchecked)]
    assert [record.self_check for record in records] == ["passed", "off"]
    without = unchecked.read_record().model_copy(update={"self_check": "passed"})
    unchecked.write_record(without)
    assert_same(checked, unchecked)


def test_a_resumed_run_is_checked_too_and_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = tiny("rnn", "copy", engine="auto")
    whole = run(resolved, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingLoop, "_report", _stop_at(11))
        train(resolved, ExecutionOptions(tmp_path / "parts"), Silent())
    steps: list[int] = []
    right = checked_engine.engine_differs
    monkeypatch.setattr(
        checked_engine, "engine_differs", lambda parts: (steps.append(parts.state.step), right(parts))[1]
    )
    folder = run(resolved, tmp_path / "parts")
    assert steps == [11]
    assert without_times(folder.read_record().result.model_dump()) == without_times(
        whole.read_record().result.model_dump()
    )
    assert all(torch.equal(a, b) for a, b in zip(tensors(whole).values(), tensors(folder).values(), strict=True))


def test_the_reference_has_nothing_to_be_held_against(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_check, "difference", None)
    assert run(tiny(), tmp_path).read_record().self_check is None


def test_records_that_do_not_say_are_read(tmp_path: Path) -> None:
    folder = run(tiny(), tmp_path)
    document = json.loads(folder.record_path.read_text())
    del document["self_check"]
    assert RunRecord.model_validate(document).self_check is None


def test_compare_passes_the_option_to_its_cells(tmp_path: Path) -> None:
    few = ["--set", "train.steps=2", "--set", "train.eval_every=2", "--hidden", "4", "--T", "5", "--seeds", "1"]
    arguments = ["compare", "--models", "rnn", "--tasks", "copy", *few, "--runs-dir", str(tmp_path), "--quiet"]
    assert CliRunner().invoke(app, [*arguments, "--no-self-check"]).exit_code == 0
    (record,) = tmp_path.rglob("record.json")
    assert json.loads(record.read_text())["self_check"] == "off"


def test_a_reference_that_fails_too_is_the_runs_own_error(tmp_path: Path) -> None:
    resolved = tiny("rnn", "copy", engine="auto")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match="of the model itself"):
        patch.setattr("stablebench.models.network.Network.encode", _fail)
        train(resolved, ExecutionOptions(tmp_path), Silent())


def _fail(*_: object) -> None:
    raise UserError("of the model itself")


@pytest.fixture
def wrong_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the fused engine outputs that are off by a thousandth, and no C compiler to wait for."""
    monkeypatch.setattr(fused, "_new_backend", torch_oracle.new_backend)
    monkeypatch.setitem(torch_oracle.FUNCTIONS, "tanh", lambda x: 0.999 * torch.tanh(x))


@pytest.mark.parametrize(("model", "task"), [("rnn", "copy"), ("roafnn", "digits_flat")])
def test_an_evaluation_holds_the_outputs_first(model: str, task: str, tmp_path: Path, request: Any) -> None:
    folder = run(tiny(model, task), tmp_path)
    expected = folder.read_record().result.test
    request.getfixturevalue("wrong_values")
    evaluate = ["evaluate", str(folder.path), "--json"]
    result = CliRunner().invoke(app, evaluate)
    assert result.exit_code == 0 and "warning: the fused engine does not compute" in result.stderr
    assert json.loads(result.stdout)["evaluation"]["metrics"] == pytest.approx(expected, rel=1e-6)
    result = CliRunner().invoke(app, [*evaluate, "--engine", "fused"])
    assert result.exit_code == 2 and "it does not compute what the reference engine does: the " in result.stderr
