"""Precedence, provenance, and what is refused."""

from pathlib import Path

import pytest

from stablebench.errors import UserError
from stablebench.specs.resolve import Resolved, RunRequest, resolve

RECIPE = """
task: copy
model: rnn
source: a test
tuned_by: us
search: nothing
when: {length: 100}
hidden: 11
params: {activation: relu}
optim: {name: sgd, lr: 0.25, momentum: 0.5}
train: {steps: 70, batch_size: 7}
variants:
  - when: {length: 400}
    hidden: 12
    optim: {lr: 0.125}
  - when: {length: 400, hidden: 64}
    optim: {name: rmsprop}
"""


def resolved(tmp_path: Path, **asked: object) -> Resolved:
    path = tmp_path / "rnn.yaml"
    path.write_text(RECIPE)
    return resolve(RunRequest("rnn", "copy", recipe=path, **asked))  # pyright: ignore[reportArgumentType]


def test_recipe_over_card_set_over_recipe_options_over_set(tmp_path: Path) -> None:
    run = resolved(tmp_path, settings={"optim.lr": 0.5, "train.steps": 80}, options={"train.steps": 90})
    assert (run.spec.optim.name, run.spec.optim.lr, run.spec.optim.momentum) == ("sgd", 0.5, 0.5)
    assert (run.spec.train.steps, run.spec.train.batch_size) == (90, 7)
    assert run.spec.model.params["activation"] == "relu"
    assert run.origin["optim.lr"] == "--set"
    assert run.origin["train.steps"] == "option"
    assert run.origin["model.layers"] == "card"
    assert run.origin["model.hidden"].startswith("--recipe")


@pytest.mark.parametrize(("T", "hidden"), [(100, 11), (150, 11), (300, 12), (2000, 12)])
def test_the_recipe_made_for_the_nearest_length_is_taken(tmp_path: Path, T: int, hidden: int) -> None:
    assert resolved(tmp_path, T=T).spec.model.hidden == hidden


def test_with_equal_lengths_nearest_width_decides(tmp_path: Path) -> None:
    """With equal lengths the nearest width decides and another optimiser keeps no old rate."""
    run = resolved(tmp_path, T=400, options={"model.hidden": 60})
    assert (run.spec.optim.name, run.spec.optim.lr, run.spec.optim.momentum) == ("rmsprop", 1e-3, None)


def test_another_optimiser_leaves_the_recipes_options(
    tmp_path: Path,
) -> None:
    """Another optimiser named by the user does without the recipes options but keeps its rate."""
    run = resolved(tmp_path, settings={"optim.name": "adam"})
    assert (run.spec.optim.name, run.spec.optim.lr, run.spec.optim.momentum) == ("adam", 0.25, None)
    run = resolved(tmp_path, settings={"optim.name": "rmsprop", "optim.momentum": 0.3})
    assert (run.spec.optim.name, run.spec.optim.momentum) == ("rmsprop", 0.3)
    assert resolved(tmp_path, settings={"optim.name": "sgd"}).spec.optim.momentum == 0.5


def test_a_named_variant_and_its_length_are_one_run() -> None:
    named, length = resolve(RunRequest("rnn", "copy/t400")), resolve(RunRequest("rnn", "copy", T=400))
    assert named.spec.spec_hash() == length.spec.spec_hash()
    assert named.spec.horizon == 420


def test_the_hash_leaves_out_seed_and_save_interval_only() -> None:
    base = resolve(RunRequest("rnn", "copy")).spec
    same = resolve(RunRequest("rnn", "copy", options={"seed": 9}, settings={"train.checkpoint_every": 7})).spec
    assert same.spec_hash() == base.spec_hash()
    for key, value in {"threads": 2, "precision": "float64", "optim.lr": 0.1, "model.layers": 2, "task.S": 3}.items():
        assert resolve(RunRequest("rnn", "copy", settings={key: value})).spec.spec_hash() != base.spec_hash(), key


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"task": "coppy"}, "No task named 'coppy'. Did you mean copy?"),
        ({"model": "rnnn"}, "No model named 'rnnn'. Did you mean rnn?"),
        ({"task": "copy/t401"}, "has no variant 't401'. Did you mean t400?"),
        ({"T": 0}, r"length: must be >= 1, got 0"),
        ({"task": "copy/t400", "T": 100}, "the variant copy/t400 has length 400"),
        ({"settings": {"model.activatoin": "tanh"}}, "unknown key. Did you mean activation?"),
        ({"settings": {"task.SS": 3}}, "SS: unknown key"),
        ({"settings": {"optim.lrr": 3}}, "optim.lrr: unknown key. Did you mean lr?"),
        ({"settings": {"optmi.lr": 3}}, "unknown key. Did you mean optim?"),
        ({"settings": {"optim.lr": "fast"}}, "optim.lr: must be a number, got 'fast'"),
        ({"settings": {"optim": 3}}, "--set optim: unknown key"),
        ({"settings": {"task.T": 5}}, "--set task.T: unknown key. Give --T 5 instead."),
        (
            {"task": "digits", "settings": {"task.T": 5}},
            "--set task.T: unknown key. The task digits has a fixed length.",
        ),
        ({"settings": {"T": 5}}, "--set T: unknown key. Give --T 5 instead."),
        ({"settings": {"train.lr": 0.1}}, "--set train.lr: unknown key. Give --lr 0.1 instead."),
        ({"settings": {"model.seed": 1}}, "--set model.seed: unknown key. Give --seed 1 instead."),
        ({"settings": {"task.variant": "t100"}}, "--set task.variant: unknown key. Give --task copy/t100 instead."),
        ({"settings": {"model": "lstm"}}, "--set model: unknown key. Give --model lstm instead."),
        ({"settings": {"steps": 3}}, "--set steps: unknown key. Did you mean train.steps?"),
        ({"settings": {"activation": "tanh"}}, "--set activation: unknown key. Did you mean model.activation?"),
        ({"settings": {"optim.lr.x": 3}}, "optim.lr.x: `lr` is a single value"),
        ({"options": {"train.epochs": 3}}, "has no epochs"),
        ({"model": "nowhere.py:Model"}, "there is no such file"),
        ({"model": "no.such.module:Model"}, "No module named"),
    ],
)
def test_wrong_input_is_named(asked: dict[str, object], message: str) -> None:
    request = RunRequest(**({"model": "rnn", "task": "copy"} | asked))  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        resolve(request)


def test_a_users_file_is_a_model_and_its_content_is_in_the_hash(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    source = """
from torch import nn
from stablebench.models.base import RecurrentModel

class Mine(RecurrentModel):
    def __init__(self, in_features, hidden, *, gain: float = 1.0):
        super().__init__(in_features, hidden)
        self.cell = nn.RNNCell(in_features, hidden)

    def step(self, projected, state, recurrent_weights):
        return (self.cell(projected, state[0]),)
"""
    path.write_text(source)
    first = resolve(RunRequest(f"{path}:Mine", "copy")).spec
    assert (first.model.label, first.model.params) == ("Mine", {"gain": 1.0})
    path.write_text(source + "# changed\n")
    assert resolve(RunRequest(f"{path}:Mine", "copy")).spec.spec_hash() != first.spec_hash()
    with pytest.raises(UserError, match=r"must define a class Other.*it has Mine"):
        resolve(RunRequest(f"{path}:Other", "copy"))


@pytest.mark.parametrize("value", ["wide", 0, -3, 2.5])
@pytest.mark.parametrize("key", ["hidden", "layers"])
def test_size_that_is_none_is_wrong_also_with_variants(key: str, value: object) -> None:
    """A size that is none is said to be wrong also where a recipe has variants."""
    with pytest.raises(UserError, match=f"model.{key}: "):
        resolve(RunRequest("roarnn", "copy", settings={f"model.{key}": value}))
