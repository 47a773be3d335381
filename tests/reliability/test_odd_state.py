"""A run that is taken up ends like one that never was, whatever its model has beside parameters and buffers."""

import random
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from odd_models import named
from safetensors import safe_open
from tiny_runs import assert_same, run, tiny
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.errors import UserError
from stablebench.models import registry as model_registry
from stablebench.runs import checkpoint
from stablebench.runs.progress import Silent, StopAfter
from stablebench.runs.store import RunFolder
from stablebench.specs.request import Resolved
from stablebench.training.build import build_run
from stablebench.training.network_state import NetworkState, StateKeeper
from stablebench.training.reproducibility import difference
from stablebench.training.score import EvaluationOptions, score
from stablebench.training.verify import verify

_OF_ONE_UPDATE = {"bn_lstm: layers.0.moments"}
"""Written by a forward pass for the `after_update` that follows it, so that no checkpoint need hold it."""
HELD = ["TiedLinear", "TwoNames", "Counter", "Collected", "Noise", "ExtraState", "Unfreezes"]


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def resolved_of(name: str, best: bool = False, /, **settings: Any) -> Resolved:
    model_registry.model_entry(named(name))
    return tiny(named(name), "copy", best, **{"train.steps": 16, "train.eval_every": 4, **settings})


def in_sittings(resolved: Resolved, folder: RunFolder, *stops: int | None) -> Notes:
    notes = Notes()
    for stop in stops:
        build_run(resolved, folder, reporter=notes if stop is None else StopAfter(stop, notes)).run()
    return notes


@pytest.mark.parametrize("best", [False, True])
@pytest.mark.parametrize("name", HELD)
def test_a_run_in_three_sittings_is_the_unbroken_one_bit_for_bit(name: str, best: bool, tmp_path: Path) -> None:
    resolved = resolved_of(name, best)
    whole, cut = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
    in_sittings(resolved, whole, None)
    random.seed(99)
    numpy.random.seed(99)  # noqa: NPY002
    notes = in_sittings(resolved, cut, 3, 9, None)
    assert cut.read_record().resumed_at == [3, 9]
    assert_same(whole, cut)
    assert whole.read_record().environment.reproducible is True
    assert not any("warning" in said for said in notes.said)


@pytest.mark.parametrize("name", ["TwoNames", "Counter", "Collected", "ExtraState"])
def test_a_trained_run_scores_what_its_record_says(name: str, tmp_path: Path) -> None:
    """What is put back for `evaluate` is all that the test of the run had."""
    folder = run(resolved_of(name, True), tmp_path)
    record = folder.read_record()
    assert score(folder, record, EvaluationOptions(device="cpu", engine="reference")).metrics == record.result.test


def test_shared_tensors_are_stored_once(tmp_path: Path) -> None:
    folder = run(resolved_of("TiedLinear"), tmp_path)
    names = ["network.layers.0.up.weight", "network.layers.0.down.weight"]
    with safe_open(folder.checkpoints()[0], framework="pt") as file:
        stored = file.keys()
    assert len([name for name in names if name in stored]) == 1
    tensors = checkpoint.load(folder.checkpoints()[0]).tensors
    assert torch.equal(*(tensors[name] for name in names))


def test_run_draws_from_seed_alone(tmp_path: Path) -> None:
    """A run draws from its seed alone and leaves the generators of others as they were."""
    resolved = resolved_of("Noise")
    random.seed(1)
    numpy.random.seed(1)  # noqa: NPY002
    expected = random.random(), numpy.random.rand()  # noqa: NPY002
    random.seed(1)
    numpy.random.seed(1)  # noqa: NPY002
    first = run(resolved, tmp_path / "a")
    assert (random.random(), numpy.random.rand()) == expected  # noqa: NPY002
    assert_same(first, run(resolved, tmp_path / "b"))


def test_a_probe_moves_no_generator(tmp_path: Path) -> None:
    resolved = resolved_of("Noise")
    without, probed = run(resolved, tmp_path / "a"), run(resolved, tmp_path / "b", probe="every=3,what=gradients")
    left, right = (checkpoint.load(folder.checkpoints()[0]).tensors for folder in (without, probed))
    assert all(torch.equal(tensor, right[name]) for name, tensor in left.items())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Unseeded", "run twice from one state, its outputs differ"),
        ("BuiltUnseeded", "built twice, `layers.0.scale` differs"),
    ],
)
def test_a_model_that_no_seed_decides_is_not_called_reproducible(name: str, said: str, tmp_path: Path) -> None:
    resolved = resolved_of(name, False, **{"train.steps": 2})
    notes, folder = Notes(), RunFolder(tmp_path / "run")
    build_run(resolved, folder, reporter=notes).run()
    record = folder.read_record()
    assert record.environment.reproducible is False and said in (record.environment.irreproducible or "")
    verdict = verify(resolved, record, folder, 2)
    assert not verdict.promised and said in (verdict.cause or "")
    assert not verdict.is_equal


def test_what_no_checkpoint_can_hold_is_said_once_and_recorded(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    notes = in_sittings(resolved_of("Iterates"), folder, 6, None)
    said = [note for note in notes.said if "`layers.0.numbers`" in note]
    assert len(said) == 2 and said[1].startswith("this run: ")  # once, and once more where it is taken up
    assert folder.read_record().environment.reproducible is False


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Sparse", "`layers.0.adjacency`: it is sparse_coo"),
        ("Meta", "`layers.0.mask`: it is on the device `meta`"),
        ("Quantised", "`layers.0.codes`: it is quantised"),
        ("OneWay", "`get_extra_state` and no `set_extra_state`"),
        ("ExtraFunction", "`layers.0._extra_state` "),
    ],
)
@pytest.mark.filterwarnings("ignore:.*quantize")
def test_what_a_checkpoint_cannot_hold_is_refused_at_once(name: str, said: str, tmp_path: Path) -> None:
    """What a checkpoint cannot hold is refused before the first update."""
    with pytest.raises(UserError) as caught:
        build_run(resolved_of(name), RunFolder(tmp_path / "run"), reporter=Silent())
    assert said in str(caught.value)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_parameter_that_is_replaced_is_refused(tmp_path: Path) -> None:
    """A parameter that is replaced is refused after the first update."""
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match=r"`layers\.0\.W` was replaced while training"):
        build_run(resolved_of("Replaces"), folder, reporter=Silent()).run()
    assert folder.read_record().status == "failed"


def test_a_checkpoint_of_an_earlier_version_is_taken_up(tmp_path: Path) -> None:
    """It has neither attributes, nor generators but torch's, nor the largest norm of a gradient."""
    resolved = resolved_of("Plain")
    whole, old = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "old")
    in_sittings(resolved, whole, None)
    in_sittings(resolved, old, 10)
    for path in old.checkpoints():
        found = checkpoint.load(path)
        tensors = {k: v for k, v in found.tensors.items() if not k.startswith(("attributes", "generators"))}
        newer = ("attributes", "best_attributes", "gradient_norm_max")
        state = {k: v for k, v in found.state.items() if k not in newer}
        del state["environment"]["irreproducible"]
        checkpoint.save(path, checkpoint.Checkpoint(tensors, state))
    stored = old.checkpoints()[0]
    record = old.read_record()
    assert verify(resolved, record, old, 10).differences == []
    assert stored.exists()
    in_sittings(resolved, old, None)
    left, right = (checkpoint.load(folder.checkpoints()[0]).part("network") for folder in (whole, old))
    assert all(torch.equal(tensor, right[name]) for name, tensor in left.items())


@pytest.mark.parametrize("family", ["recurrent", "deep"])
def test_registered_models_have_no_state_beside_tensors(family: str, tmp_path: Path) -> None:
    """It is what the checkpoints of registered models rest on: they hold these alone."""
    changed = []
    for name in model_registry.model_names(family):  # pyright: ignore[reportArgumentType]
        task = "copy" if family == "recurrent" else "digits_flat"
        resolved = tiny(name, task, **{"train.steps": 2, "train.eval_every": 2, "optim.betas": None})
        trainer = build_run(resolved, RunFolder(tmp_path / name), reporter=Silent())
        keeper = StateKeeper(trainer.parts.network, whole=True)
        before = keeper.state().copied()
        trainer.run()
        after = keeper.state()
        found = difference(*(NetworkState({}, state.outside, state.document) for state in (before, after)))
        changed += [] if found is None else [f"{name}: {found}"]
    assert set(changed) <= _OF_ONE_UPDATE


def test_compare_says_what_checkpoint_cannot_hold_once(tmp_path: Path) -> None:
    """Compare says what a checkpoint cannot hold once and before any update."""
    small = "--tasks copy --T 5 --hidden 4 --steps 4 --batch-size 4 --seeds 2 -q".split()
    command = ["compare", "--models", named("Sparse"), *small, "--runs-dir", str(tmp_path)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if "`layers.0.adjacency`: it is sparse_coo" in line]
    assert line.startswith("failed: Sparse on copy seed 0, Sparse on copy seed 1: ")
    assert not list(tmp_path.rglob("*.safetensors"))
