"""A run with a probe is the run without, and its measurements survive interruption and death."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from stablebench.runs import checkpoint
from stablebench.runs.curve import read_curve
from stablebench.runs.progress import Progress, Silent
from stablebench.runs.store import RunFolder
from stablebench.specs.resolve import Resolved, RunRequest, resolve
from stablebench.training.failures import RunFailed
from stablebench.training.monitor import MonitorConfig, TrainingProbe
from stablebench.training.run import ExecutionOptions, train

PROBE = "every=4,what=all,batch=2,samples=1"


def small(model: str = "nnrnn", task: str = "copy") -> Resolved:
    options = {"model.hidden": 6, "train.steps": 20, "train.batch_size": 4, "train.eval_every": 10}
    return resolve(RunRequest(model, task, T=5, options=options, settings={"train.checkpoint_every": 6}))


class InterruptAt(Silent):
    """Sends this process a signal when a run reaches a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def update(self, progress: Progress) -> bool:
        if progress.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)
        return True


def curve_without_times(folder: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "wall_s"} for line in read_curve(folder.curve_path)]


def final_tensors(folder: RunFolder) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder.checkpoints()[0]).tensors


def probed(folder: RunFolder) -> list[dict[str, Any]]:
    return [line for line in curve_without_times(folder) if line["split"] == "probe"]


@pytest.mark.parametrize("model", ["nnrnn", "dtriv", "bn_lstm"])
def test_weights_and_curve_are_bitwise_those_without_a_probe(tmp_path: Path, model: str) -> None:
    bare = train(small(model), ExecutionOptions(tmp_path / "bare"), Silent())
    seen = train(small(model), ExecutionOptions(tmp_path / "seen", probe=PROBE), Silent())
    assert seen.record.spec_hash == bare.record.spec_hash
    expected = final_tensors(bare.folder)
    for name, tensor in final_tensors(seen.folder).items():
        assert torch.equal(tensor, expected[name]), name
    rest = [line for line in curve_without_times(seen.folder) if line["split"] != "probe"]
    assert rest == curve_without_times(bare.folder)
    assert seen.record.result.test == bare.record.result.test


def test_there_is_line_every_n_updates_and_one_before_first(tmp_path: Path) -> None:
    """There is a line every n updates and one before the first."""
    outcome = train(small(), ExecutionOptions(tmp_path, probe=PROBE), Silent())
    lines = probed(outcome.folder)
    assert [line["step"] for line in lines] == [0, 4, 8, 12, 16, 20]
    assert all(isinstance(value, int | float) for line in lines for key, value in line.items() if key != "split")
    assert lines[0]["diagnostics.layers.0.lower_energy"] == 0
    assert lines[-1]["diagnostics.layers.0.lower_energy"] > 0
    assert outcome.record.probe == str(MonitorConfig.parse(PROBE))


@pytest.mark.parametrize("stops", [(1,), (8,), (5, 12, 19)])
def test_an_interrupted_run_goes_on_probing_to_the_same_lines(tmp_path: Path, stops: tuple[int, ...]) -> None:
    whole = train(small(), ExecutionOptions(tmp_path / "whole", probe=PROBE), Silent())
    how = ExecutionOptions(tmp_path / "cut", probe=PROBE)
    for step in stops:
        assert train(small(), how, InterruptAt(step)).record.step == step
        how = ExecutionOptions(tmp_path / "cut")  # from here on it is the record that knows
    resumed = train(small(), how, Silent())
    assert curve_without_times(resumed.folder) == curve_without_times(whole.folder)
    assert resumed.record.probe == whole.record.probe


def test_killed_run_cuts_what_was_measured_after_checkpoint(tmp_path: Path) -> None:
    """A killed run cuts what was measured after its checkpoint."""

    class KillAt(Silent):
        def update(self, progress: Progress) -> bool:
            if progress.step == 17:
                raise RuntimeError("killed")
            return True

    whole = train(small(), ExecutionOptions(tmp_path / "whole", probe=PROBE), Silent())
    with pytest.raises(RunFailed, match="killed"):
        train(small(), ExecutionOptions(tmp_path / "cut", probe=PROBE), KillAt())
    (path,) = tmp_path.glob("cut/*/*/*/metrics.jsonl")
    assert [line["step"] for line in read_curve(path) if line["split"] == "probe"][-1] == 16
    resumed = train(small(), ExecutionOptions(tmp_path / "cut"), Silent())
    assert resumed.record.resumed_at == [12]
    assert curve_without_times(resumed.folder) == curve_without_times(whole.folder)


def test_a_resumed_run_may_be_probed_otherwise(tmp_path: Path) -> None:
    train(small(), ExecutionOptions(tmp_path), InterruptAt(7))
    resumed = train(small(), ExecutionOptions(tmp_path, probe="every=5,what=energy"), Silent())
    assert [line["step"] for line in probed(resumed.folder)] == [10, 15, 20]
    assert "energy.mean" in probed(resumed.folder)[0] and "gradient.whole" not in probed(resumed.folder)[0]


def test_the_run_s_clock_stands_still_while_it_is_probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object) -> dict[str, float]:
        time.sleep(0.1)
        return {}

    monkeypatch.setattr(TrainingProbe, "measure", slow)
    outcome = train(small(), ExecutionOptions(tmp_path, probe="every=1"), Silent())
    assert outcome.record.wall_s < 0.1 * 20
