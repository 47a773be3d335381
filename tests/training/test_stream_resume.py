"""A run on a stream of text, interrupted in the middle of an epoch: it goes on with states and rates as they were."""

import random
import signal
from pathlib import Path

import pytest
import tiny_ptb
import torch
from test_trainer import InterruptAt, curve_without_times, final_tensors

from stablebench.data.task import Task
from stablebench.runs import checkpoint
from stablebench.runs.progress import Silent
from stablebench.runs.store import RunFolder
from stablebench.specs.resolve import Resolved, RunRequest, resolve
from stablebench.training.build import build_run
from stablebench.training.run import ExecutionOptions, train

STEPS = 24
STREAMS, BPTT = 3, 5


@pytest.fixture(autouse=True)
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, rng = [*"abcdef", "<unk>", "N"], random.Random(0)
    lines = {
        part: "".join(f" {' '.join(rng.choices(words, k=rng.randint(2, 8)))} \n" for _ in range(n))
        for part, n in {"train": 30, "valid": 12, "test": 12}.items()
    }
    tiny_ptb.install(tmp_path, monkeypatch, lines)


def small(model: str = "lstm", **settings: object) -> Resolved:
    options = {"model.hidden": 6, "train.steps": STEPS, "train.batch_size": STREAMS}
    every = {
        "train.eval_every": 4,
        "train.checkpoint_every": 100,
        "task.embedding": 4,
        "optim.lr": 0.03,
        "engine": "reference",
    } | settings
    return resolve(RunRequest(model, "ptb_word", T=BPTT, options=options, settings=every))


def epoch(resolved: Resolved) -> int:
    """The updates of an epoch, counted where the states begin anew."""
    task = Task(resolved.card, resolved.spec.task.params)
    anew = [i for i in range(STEPS) if task.starts_from_initial_states(i, STREAMS)]
    assert anew[0] == 0 and 4 < anew[1] < STEPS - 4
    return anew[1]


def assert_same(one: RunFolder, other: RunFolder) -> None:
    expected, found = final_tensors(one), final_tensors(other)
    assert set(expected) == set(found)
    for name in expected:
        assert torch.equal(expected[name], found[name]), name
    assert curve_without_times(one) == curve_without_times(other)
    assert one.read_record().result.test == other.read_record().result.test


@pytest.mark.parametrize("where", ["in the first epoch", "at its end", "in the second", "often"])
@pytest.mark.parametrize("model", ["lstm", "nnrnn"])
def test_a_stream_goes_on_bit_for_bit(tmp_path: Path, model: str, where: str) -> None:
    per_epoch = epoch(small(model))
    stops = {
        "in the first epoch": [3],
        "at its end": [per_epoch],
        "in the second": [per_epoch + 2],
        "often": [1, per_epoch - 1, per_epoch + 1],
    }[where]
    whole = train(small(model), ExecutionOptions(tmp_path / "whole"), Silent())
    for step in stops:
        outcome = train(small(model), ExecutionOptions(tmp_path / "cut"), InterruptAt(step, signal.SIGINT))
        assert (outcome.exit_code, outcome.record.step) == (130, step)
    resumed = train(small(model), ExecutionOptions(tmp_path / "cut"), Silent())
    assert resumed.record.resumed_at == stops
    assert_same(whole.folder, resumed.folder)


def test_states_are_in_the_checkpoint_and_matter(tmp_path: Path) -> None:
    """The states of every stream are kept; with others in their place the run ends elsewhere."""
    whole = train(small(), ExecutionOptions(tmp_path / "whole"), Silent())
    cut = train(small(), ExecutionOptions(tmp_path / "cut"), InterruptAt(3, signal.SIGINT))
    (path,) = cut.folder.checkpoints()
    found = checkpoint.load(path)
    carried = {name: tensor for name, tensor in found.tensors.items() if name.startswith("carried.")}
    assert {name: tuple(tensor.shape) for name, tensor in carried.items()} == {
        "carried.0.0": (STREAMS, 6),
        "carried.0.1": (STREAMS, 6),
    }
    for name in carried:
        assert carried[name].abs().max() > 0
        found.tensors[name] = torch.zeros_like(carried[name])
    checkpoint.save(path, found)
    resumed = train(small(), ExecutionOptions(tmp_path / "cut"), Silent())
    assert resumed.record.status == "finished"
    weights = [final_tensors(folder)["network.head.weight"] for folder in (whole.folder, resumed.folder)]
    assert not torch.equal(*weights)


def rate_factor(folder: Path, resolved: Resolved) -> float:
    """What the rates of a run are multiplied by in its next update, as a new process resumes it."""
    trainer = build_run(resolved, RunFolder(folder), reporter=Silent())
    return trainer.parts.updater.rate_factor(trainer.state.step, trainer.state.stalls)


def test_stalls_are_counted_across_an_interruption(tmp_path: Path) -> None:
    """Rates fall before and after it, and the run is the same as without one."""
    settings = {"optim.schedule": {"on_stall": True, "factor": 0.8}, "optim.lr": 1.0, "train.eval_every": 2}
    whole = train(small(**settings), ExecutionOptions(tmp_path / "whole"), Silent())
    perplexities = [e.metrics["perplexity"] for e in whole.record.evaluations]
    stalled = [value > min(perplexities[: i + 1]) for i, value in enumerate(perplexities)]
    first, last = stalled.index(True), len(stalled) - 1 - stalled[::-1].index(True)
    assert first + 1 < last  # a stall before and one after the evaluation at which it is cut
    stop = 2 * (first + 1) + 1
    cut = train(small(**settings), ExecutionOptions(tmp_path / "cut"), InterruptAt(stop, signal.SIGINT))
    assert cut.record.step == stop
    assert rate_factor(cut.folder.path, small(**settings)) == 0.8
    resumed = train(small(**settings), ExecutionOptions(tmp_path / "cut"), Silent())
    assert_same(whole.folder, resumed.folder)
    assert rate_factor(resumed.folder.path, small(**settings)) == 0.8 ** sum(stalled)
