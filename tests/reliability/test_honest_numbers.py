"""What is not a number is never passed off as one; a hash changes when a number can."""

import json
import math
import os
import re
import signal
from pathlib import Path

import pytest
import torch
from tiny_runs import RunFolder, curve, run, tiny
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.data.metrics import METRICS, Mean
from stablebench.errors import StablebenchError, UserError
from stablebench.models.recurrent.rnn import Rnn
from stablebench.runs import checkpoint
from stablebench.runs.progress import Silent
from stablebench.specs.resolve import RunRequest, resolve
from stablebench.training.loop import TrainingLoop
from stablebench.training.run import ExecutionOptions, train
from stablebench.training.step import TrainingStep

EXPLODING = {"optim.name": "sgd", "optim.lr": 1e30, "model.activation": "identity", "train.steps": 50}


def no_constants(path: Path) -> None:
    for line in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} in {path.name}"))


def test_a_diverging_run_says_where_and_keeps_what_it_measured(tmp_path: Path) -> None:
    outcome = train(tiny(**EXPLODING), ExecutionOptions(tmp_path), Silent())
    assert (outcome.record.status, outcome.exit_code) == ("diverged", 3)
    assert f"in update {outcome.record.step + 1}" in (outcome.record.error or "")
    assert outcome.record.result.test is None
    no_constants(outcome.folder.record_path)
    no_constants(outcome.folder.curve_path)


def test_the_last_finite_metric_stays_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update = TrainingLoop._update

    def poisoned(trainer: TrainingLoop) -> float:
        if trainer.state.step == 17:
            with torch.no_grad():
                next(trainer.parts.network.parameters()).fill_(math.nan)
        return update(trainer)

    monkeypatch.setattr(TrainingLoop, "_update", poisoned)
    record = train(tiny(), ExecutionOptions(tmp_path), Silent()).record
    assert (record.status, record.step, record.evaluations[-1].step) == ("diverged", 17, 16)
    assert math.isfinite(record.evaluations[-1].metrics["loss"]) and record.result.best is not None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_error_that_weights_without_number_cause_is_divergence(
    value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that weights without a number cause is a divergence."""
    projected = Rnn.input_projection

    def failing(model: Rnn, x: torch.Tensor) -> torch.Tensor:
        weights = next(model.parameters())
        if not weights.isfinite().all():
            raise RuntimeError("the algorithm failed to converge")
        return projected(model, x)

    update = TrainingLoop._update

    def poisoned(trainer: TrainingLoop) -> float:
        if trainer.state.step == 5:
            with torch.no_grad():
                next(trainer.parts.network.parameters()).fill_(value)
        return update(trainer)

    monkeypatch.setattr(Rnn, "input_projection", failing)
    monkeypatch.setattr(TrainingLoop, "_update", poisoned)
    record = train(tiny(), ExecutionOptions(tmp_path), Silent()).record
    assert record.status == "diverged" and "the weights are not finite after update 5" in (record.error or "")


def test_a_spike_between_two_lines_of_the_curve_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = TrainingStep.gradients

    def spiky(step: TrainingStep, parts: object) -> tuple[torch.Tensor, torch.Tensor]:
        loss, norm = gradients(step, parts)  # pyright: ignore[reportArgumentType]
        return (loss * 1000 if step.state.step == 13 else loss), norm

    monkeypatch.setattr(TrainingStep, "gradients", spiky)
    lines = [line for line in curve(run(tiny(), tmp_path)) if line["split"] == "train"]
    assert lines[1]["loss_max"] > 500 * lines[1]["loss"] and lines[0]["loss_max"] < 5


def test_divergence_is_a_result_in_compare_and_ranks_last(tmp_path: Path) -> None:
    sizes = "--T 5 --hidden 6 --steps 50 --batch-size 4 --set task.S=2 --set optim.name=sgd --seeds 1".split()
    wild = ["--set", "optim.lr=1e30", "--set", "model.activation=identity"]
    base = ["compare", "--models", "rnn", "--tasks", "copy", "--runs-dir", str(tmp_path), "--json"]
    result = CliRunner().invoke(app, [*base, *sizes, *wild])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(name))
    row = document["tables"][0]["rows"][0]
    assert (row["diverged"], row["score"], row["rank"]) == (1, None, None)


@pytest.mark.parametrize("metric", sorted(METRICS.keys() - {"scaled_accuracy"}))  # it is computed from the accuracy
def test_a_metric_of_nothing_is_an_error(metric: str) -> None:
    with pytest.raises(StablebenchError, match="nothing to score"):
        _ = Mean(metric, "mse").value


SAME = [
    (["task.S=2", "task.length=5"], ["task.length=5", "task.S=2"]),
    (["optim.lr=1e-3"], ["optim.lr=0.001"]),
    (["train.checkpoint_every=7"], ["train.checkpoint_every=9"]),
]
DIFFERENT = [
    ("optim.lr=1e-3", "optim.lr=1.0000001e-3"),
    ("train.steps=24", "train.steps=25"),
    ("model.hidden=6", "model.hidden=7"),
    ("precision=float32", "precision=float64"),
    ("threads=1", "threads=2"),
    ("engine=auto", "engine=reference"),
    ("task.S=2", "task.S=3"),
    ("model.activation=tanh", "model.activation=relu"),
]


def hashed(*items: str) -> str:
    from stablebench.cli.shared.options import parse_settings

    return resolve(RunRequest("rnn", "copy", settings=parse_settings(list(items)))).spec.spec_hash()


@pytest.mark.parametrize(("a", "b"), SAME)
def test_what_user_writes_otherwise_and_means_same_has_same_hash(a: list[str], b: list[str]) -> None:
    """What a user writes otherwise and means the same has the same hash."""
    assert hashed(*a) == hashed(*b)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_what_can_change_a_number_changes_the_hash(a: str, b: str) -> None:
    assert hashed(a) != hashed(b)


def test_a_hash_that_changes_is_a_run_of_its_own(tmp_path: Path) -> None:
    folders = {run(tiny(**{"optim.lr": lr}), tmp_path).path for lr in (1e-3, 2e-3)}
    assert len(folders) == 2
    assert all(RunFolder(folder).read_record().status == "finished" for folder in folders)


def test_going_on_elsewhere_is_refused_and_if_forced_recorded(tmp_path: Path) -> None:
    """Under another torch, device, processor, engine, number of threads or flag."""
    train(tiny(), ExecutionOptions(tmp_path), StopAt(5))
    folder = RunFolder(next(tmp_path.glob("*/*/*")))
    path = folder.checkpoints()[0]
    found = checkpoint.load(path)
    now = {**found.state["environment"]}
    then = {
        "versions": now["versions"] | {"torch": "2.0.0"},
        "device": "cuda",
        "hardware": "another",
        "engine": "fused",
        "threads": 8,
        "flags": now["flags"] | {"deterministic": True},
    }
    said = {key: f"{key}: {value} then, {now[key]} now" for key, value in then.items()}
    for key, value in then.items():
        found.state["environment"] = now | {key: value}
        checkpoint.save(path, found)
        with pytest.raises(UserError, match=re.escape(said[key]) + ".*--force-resume"):
            run(tiny(), tmp_path)
    found.state["environment"] = now | then
    checkpoint.save(path, found)
    result = CliRunner().invoke(app, ["train", "--resume", str(folder.path)])
    assert result.exit_code == 2 and all(line in result.stderr for line in said.values())
    changed = CliRunner().invoke(app, ["train", "--resume", str(folder.path), "--lr", "1", "--force-resume"])
    assert changed.exit_code == 2 and "continues with the run's own spec, which optim.lr would change" in changed.stderr
    forced = CliRunner().invoke(app, ["train", "--resume", str(folder.path), "--force-resume"])
    assert forced.exit_code == 0, forced.output
    record = folder.read_record()
    assert record.status == "finished" and record.resumed_elsewhere == [f"step 5: {line}" for line in said.values()]


class StopAt(Silent):
    """Sends this process a signal when a run reaches a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def update(self, progress: object) -> bool:
        if getattr(progress, "step", None) == self.step:
            os.kill(os.getpid(), signal.SIGTERM)
        return True
