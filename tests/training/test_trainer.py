"""A run, an interrupted run, a diverging run: what they leave behind."""

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stablebench.engines.fused.c import tuning
from stablebench.errors import UserError
from stablebench.process import c_library as library
from stablebench.runs import checkpoint
from stablebench.runs.curve import read_curve
from stablebench.runs.progress import Progress, Silent
from stablebench.runs.store import RunFolder, run_folder
from stablebench.specs.resolve import Resolved, RunRequest, resolve
from stablebench.training import record as run_record
from stablebench.training.build import build_run
from stablebench.training.failures import RunFailed
from stablebench.training.run import ExecutionOptions, train
from stablebench.training.step import TrainingStep

STEPS = 40


def small(model: str = "rnn", /, **settings: object) -> Resolved:
    options = {"model.hidden": 8, "train.steps": STEPS, "train.batch_size": 4, "train.eval_every": 10}
    every = {"train.checkpoint_every": 15, "task.S": 2, "optim.name": "adam"} | settings
    return resolve(RunRequest(model, "copy", T=5, options=options, settings=every))


class InterruptAt(Silent):
    """Sends this process a signal when a run reaches a step."""

    def __init__(self, step: int, signum: int) -> None:
        self.step, self.signum = step, signum

    def update(self, progress: Progress) -> bool:
        if progress.step == self.step:
            os.kill(os.getpid(), self.signum)
        return True


def curve_without_times(folder: RunFolder) -> list[dict[str, object]]:
    return [{k: v for k, v in line.items() if k != "wall_s"} for line in read_curve(folder.curve_path)]


def final_tensors(folder: RunFolder) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder.checkpoints()[0]).tensors


def test_a_run_leaves_record_curve_and_checkpoints(tmp_path: Path) -> None:
    outcome = train(small(), ExecutionOptions(tmp_path), Silent())
    record = json.loads(outcome.folder.record_path.read_text())
    assert (record["status"], record["step"], outcome.exit_code) == ("finished", STEPS, 0)
    assert set(record["result"]["test"]) == {"loss", "accuracy", "sequence_accuracy", "scaled_accuracy"}
    assert [e["step"] for e in record["evaluations"]] == [10, 20, 30, 40]
    lines = list(read_curve(outcome.folder.curve_path))
    assert [line["step"] for line in lines if line["split"] == "train"] == [10, 20, 30, 40]
    assert [path.name for path in outcome.folder.checkpoints()] == ["step-40.safetensors", "step-30.safetensors"]
    assert outcome.folder.path == tmp_path / "copy" / "rnn" / f"{record['spec_hash']}-s0"


def test_updates_a_second_leave_out_the_first_which_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Updates a second are those behind the first which compiles."""
    gradients = TrainingStep.gradients

    def slow_at_first(step: TrainingStep, parts: Any) -> Any:
        time.sleep(2 if step.state.step == 0 else 0.005)
        return gradients(step, parts)

    monkeypatch.setattr(TrainingStep, "gradients", slow_at_first)
    speed = train(small(), ExecutionOptions(tmp_path), Silent()).record.result.steps_per_s
    assert speed is not None and 20 < speed < 200  # 40 updates in 2.2 s and more are 18


def test_a_finished_run_is_not_run_again_unless_asked(tmp_path: Path) -> None:
    first = train(small(), ExecutionOptions(tmp_path), Silent())
    again = train(small(), ExecutionOptions(tmp_path), Silent())
    assert not again.ran and again.record == first.record
    beside = train(small(), ExecutionOptions(tmp_path, rerun=True), Silent())
    assert beside.ran and beside.folder.path.name == f"{first.folder.path.name}-r2"
    for name, tensor in final_tensors(first.folder).items():
        assert torch.equal(tensor, final_tensors(beside.folder)[name]), name


@pytest.mark.parametrize("stops", [(1,), (10,), (7, 15, 39)])
def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path: Path, stops: tuple[int, ...]) -> None:
    whole = train(small(), ExecutionOptions(tmp_path / "whole"), Silent())
    for step in stops:
        outcome = train(small(), ExecutionOptions(tmp_path / "cut"), InterruptAt(step, signal.SIGINT))
        assert (outcome.exit_code, outcome.record.status, outcome.record.step) == (130, "interrupted", step)
    resumed = train(small(), ExecutionOptions(tmp_path / "cut"), Silent())
    assert resumed.record.resumed_at == list(stops)
    expected = final_tensors(whole.folder)
    assert set(final_tensors(resumed.folder)) == set(expected)
    for name, tensor in final_tensors(resumed.folder).items():
        assert torch.equal(tensor, expected[name]), name
    assert curve_without_times(resumed.folder) == curve_without_times(whole.folder)
    assert resumed.record.result.test == whole.record.result.test


def test_killed_run_goes_on_from_checkpoint_and_cuts_curve(tmp_path: Path) -> None:
    """A killed run goes on from its checkpoint and cuts the curve."""

    class KillAt(Silent):
        def update(self, progress: Progress) -> bool:
            if progress.step == 35:
                raise RuntimeError("killed")
            return True

    whole = train(small(), ExecutionOptions(tmp_path / "whole"), Silent())
    with pytest.raises(RunFailed, match="killed"):
        train(small(), ExecutionOptions(tmp_path / "cut"), KillAt())
    resumed = train(small(), ExecutionOptions(tmp_path / "cut"), Silent())
    assert resumed.record.resumed_at == [30]
    assert curve_without_times(resumed.folder) == curve_without_times(whole.folder)


def test_terminate_ends_with_143(tmp_path: Path) -> None:
    outcome = train(small(), ExecutionOptions(tmp_path), InterruptAt(3, signal.SIGTERM))
    assert (outcome.exit_code, outcome.record.step) == (143, 3)


def test_damaged_newest_checkpoint_falls_back_to_one_before(tmp_path: Path) -> None:
    """A damaged newest checkpoint falls back to the one before."""
    whole = train(small(), ExecutionOptions(tmp_path / "whole"), Silent())
    outcome = train(small(), ExecutionOptions(tmp_path / "cut"), InterruptAt(33, signal.SIGINT))
    newest = outcome.folder.checkpoints()[0]
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1
    newest.write_bytes(content)
    resumed = train(small(), ExecutionOptions(tmp_path / "cut"), Silent())
    assert resumed.record.resumed_at == [30]
    for name, tensor in final_tensors(resumed.folder).items():
        assert torch.equal(tensor, final_tensors(whole.folder)[name]), name


def test_divergence_is_a_result_with_its_step(tmp_path: Path) -> None:
    resolved = small("rnn", **{"optim.name": "sgd", "optim.lr": 1e30, "model.activation": "identity"})
    outcome = train(resolved, ExecutionOptions(tmp_path), Silent())
    assert (outcome.record.status, outcome.exit_code) == ("diverged", 3)
    assert (outcome.record.step < STEPS and "nan" in (outcome.record.error or "")) or "inf" in (
        outcome.record.error or ""
    )
    assert outcome.record.result.test is None
    json.loads(outcome.folder.record_path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in the record"))


def test_resuming_elsewhere_is_refused_without_force(tmp_path: Path) -> None:
    train(small(), ExecutionOptions(tmp_path), InterruptAt(5, signal.SIGINT))
    folder = next(iter(tmp_path.glob("*/*/*/record.json"))).parent
    path = RunFolder(folder).checkpoints()[0]
    found = checkpoint.load(path)
    found.state["environment"]["versions"]["torch"] = "1.0"
    checkpoint.save(path, found)
    with pytest.raises(UserError, match=r"would not give the same numbers.*1\.0"):
        train(small(), ExecutionOptions(tmp_path), Silent())
    assert train(small(), ExecutionOptions(tmp_path, force=True), Silent()).record.status == "finished"


def test_a_run_stops_early_when_the_target_holds(tmp_path: Path) -> None:
    resolved = small(**{"train.stop_at_target": 2})
    assert resolved.card.target is not None
    easy = resolved.card.model_copy(update={"target": resolved.card.target.model_copy(update={"value": 0.0})})
    outcome = train(replace(resolved, card=easy), ExecutionOptions(tmp_path), Silent())
    assert (outcome.record.status, outcome.record.step) == ("finished", 20)


def test_seed_decides_weights_and_data(tmp_path: Path) -> None:
    """Seed decides weights and data and the global generator does not."""

    def weights(seed: int, name: str) -> torch.Tensor:
        torch.manual_seed(len(name))
        run = small()
        run = replace(run, spec=run.spec.model_copy(update={"seed": seed}))
        outcome = train(run, ExecutionOptions(tmp_path / name), Silent())
        return final_tensors(outcome.folder)["network.head.weight"]

    assert torch.equal(weights(3, "a"), weights(3, "bbbbb"))
    assert not torch.equal(weights(3, "a"), weights(4, "c"))


def test_another_process_in_the_folder_is_refused(tmp_path: Path) -> None:
    resolved = small()
    outcome = train(resolved, ExecutionOptions(tmp_path), InterruptAt(2, signal.SIGINT))
    with outcome.folder.lock(), pytest.raises(Exception, match="another process is running this run"):
        train(resolved, ExecutionOptions(tmp_path), Silent())


def test_gradient_clipping_bounds_the_update(tmp_path: Path) -> None:
    resolved = small("rnn", **{"optim.name": "sgd", "optim.clip_norm": 1e-3, "optim.lr": 1.0})
    folder = RunFolder(tmp_path)
    trainer = build_run(resolved, folder, reporter=Silent())
    before = [p.detach().clone() for p in trainer.parts.updater.parameters]
    trainer._update()
    moved = sum((p.detach() - b).square().sum() for p, b in zip(trainer.parts.updater.parameters, before, strict=True))
    assert torch.as_tensor(moved).sqrt().item() == pytest.approx(1e-3, rel=1e-3)


def test_seconds_of_training_leave_out_compilation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of training leave out what the engine is compiled in."""
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    library.cache_folder.cache_clear()
    compile_ = library.compile_library

    def slow(text: str, folders: tuple[str, ...], *flags: tuple[str, ...]) -> bytes:
        time.sleep(1)
        return compile_(text, folders, *flags)

    tuning.chosen()  # this, and whatever else takes time once in a process
    monkeypatch.setattr(library, "compile_library", slow)
    train(small(engine="reference"), ExecutionOptions(tmp_path / "runs"), Silent())
    before, began = library.compiling_s(), time.perf_counter()
    try:
        record = train(small(engine="fused"), ExecutionOptions(tmp_path / "runs"), Silent()).record
    finally:
        library.cache_folder.cache_clear()
    took, compiling = time.perf_counter() - began, library.compiling_s() - before
    assert record.status == "finished" and compiling >= 1
    assert record.train_s < took - compiling


class Watching(Silent):
    """Notes how many evaluations the record of a run has after each update."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder, self.found = folder, list[int]()

    def update(self, progress: Progress) -> bool:
        self.found.append(len(self.folder.read_record().evaluations))
        return True


@pytest.mark.parametrize(("every_s", "found"), [(0.0, [1, 2, 3, 4]), (60.0, [0, 1, 1, 3])])
def test_evaluations_a_moment_apart_share_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_s: float, found: list[int]
) -> None:
    """A checkpoint, here that of updates 15 and 30, has one of its own."""
    monkeypatch.setattr(run_record, "_EVERY_S", every_s)
    watching = Watching(run_folder(tmp_path, small().spec))
    outcome = train(small(), ExecutionOptions(tmp_path), watching)
    assert watching.found[9::10] == found
    assert len(outcome.record.evaluations) == len(outcome.folder.read_record().evaluations) == 4
