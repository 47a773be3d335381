from collections import Counter
from types import ModuleType

import pytest
import torch

from stablebench import registry
from stablebench.data import task as task_module
from stablebench.data.batch import Batch, Sizes
from stablebench.data.task import Task, first, resolve_params, sizes_of, source_module, take
from stablebench.errors import UserError
from stablebench.schema.card import DataSpec


def card(name: str):
    return registry.task_card(name)


class Numbered(ModuleType):
    """A data set whose example i has input and target i."""

    def sizes(self) -> Sizes:
        return Sizes(1, 10, 1)

    def load(self, name: str, *, data_dir: object = None) -> Batch:
        count = 23 if name == "train" else 11
        start = 0 if name == "train" else 100
        numbers = torch.arange(start, start + count)
        return Batch(numbers.float().view(-1, 1, 1), numbers)


def numbered(monkeypatch: pytest.MonkeyPatch, **protocol: object) -> Task:
    monkeypatch.setattr(task_module, "source_module", lambda _: Numbered("numbered"))
    digits = card("digits")
    changed = digits.protocol.model_copy(update=protocol)
    return Task(digits.model_copy(update={"protocol": changed}), {})


@pytest.mark.parametrize("size", [1, 4, 23, 50])
def test_epoch_has_every_training_example_once(monkeypatch, size: int):
    """An epoch has every training example once and the next one another order."""
    source = numbered(monkeypatch, train=23, validation=5, test=11, validation_from="test")
    per_epoch = source.steps_per_epoch(size)
    assert per_epoch is not None and per_epoch == -(-23 // size)
    epochs = [
        torch.cat([source.train_batch(0, epoch * per_epoch + i, size).targets for i in range(per_epoch)]).tolist()
        for epoch in range(3)
    ]
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 3
    assert source.train_batch(1, 0, 23).targets.tolist() != source.train_batch(0, 0, 23).targets.tolist()


def test_held_out_examples_are_not_trained_on(monkeypatch):
    source = numbered(monkeypatch, train=18, validation=5, test=11, validation_from="train")
    held_out = source.split("validation").targets.tolist()
    trained = source.train_batch(0, 0, 18).targets.tolist()
    assert len(held_out) == 5 and sorted(held_out + trained) == list(range(23))


def test_validation_from_test_is_the_first_test_examples(monkeypatch):
    source = numbered(monkeypatch, train=23, validation=5, test=11, validation_from="test")
    assert source.split("validation").targets.tolist() == [100, 101, 102, 103, 104]
    assert source.split("test").targets.tolist() == list(range(100, 111))


def test_a_card_that_miscounts_its_data_is_refused(monkeypatch):
    source = numbered(monkeypatch, train=24, validation=5, test=11, validation_from="test")
    with pytest.raises(UserError, match="the card says 24 training examples, the data have 23"):
        source.train_batch(0, 0, 4)


def test_digits_trains_on_every_image_that_is_not_held_out():
    source = Task(card("digits"), resolve_params(card("digits")))
    steps = source.steps_per_epoch(50)
    assert steps is not None and steps == 22
    trained = [source.train_batch(0, i, 50) for i in range(steps)]
    assert [len(batch.targets) for batch in trained] == [50] * 21 + [47]
    parts = [*trained, source.split("validation")]
    images = Counter(map(tuple, torch.cat([batch.inputs for batch in parts]).squeeze(2).tolist()))
    from stablebench.data.tasks import digits

    assert images == Counter(map(tuple, digits.load("train").inputs.squeeze(2).tolist()))


def test_variant_settings_and_length_override_in_that_order():
    assert resolve_params(card("copy"), variant="t400")["length"] == 400
    assert resolve_params(card("copy"), variant="t400", T=400)["length"] == 400
    assert resolve_params(card("copy"), settings={"length": 7, "S": 3}, T=9) | {"layout": 0} == {
        "length": 9,
        "S": 3,
        "alphabet": 8,
        "layout": 0,
    }


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("copy", {"variant": "t40"}, "Task copy has no variant 't40'. Did you mean t400"),
        ("copy", {"variant": "t400", "T": 100}, "the variant copy/t400 has length 400"),
        ("copy", {"T": 0}, "length: .*>= 1, got 0"),
        ("copy", {"settings": {"s": 3}}, "s: unknown key"),
        ("adding", {"settings": {"markers": "any_too"}}, "Did you mean any_two"),
        ("adding", {"T": 1}, "length: .*>= 2, got 1"),
        ("digits", {"T": 64}, "the task digits has a fixed length; leave --T out"),
        ("psmnist", {"T": 784}, "the task psmnist has a fixed length"),
        ("psmnist", {"settings": {"permutation": "none"}}, "permutation: "),
        ("smnist", {"settings": {"permutation": "lmu"}}, "permutation: unknown key"),
    ],
)
def test_wrong_parameters_are_refused(name: str, arguments: dict, message: str):
    with pytest.raises(UserError, match=message):
        resolve_params(card(name), **arguments)


@pytest.mark.parametrize("module", ["nothing", "batch", "copy", "task"])
def test_a_card_must_name_a_source_of_its_kind(module: str):
    broken = card("digits").model_copy(update={"data": DataSpec(dataset=module)})
    with pytest.raises(UserError, match="task digits: "):
        source_module(broken)


def test_impossible_combinations_are_refused_undrawn():
    """Impossible combinations are refused before anything is drawn."""
    masked = card("copy_masked")
    with pytest.raises(UserError, match=r"`length` must be > S = 10"):
        sizes_of(masked, resolve_params(masked, T=10))


def test_take_and_first_keep_parts_together():
    """Take and first keep parts together and missing parts missing."""
    batch = Batch(torch.arange(6).view(6, 1), torch.arange(6), scored=torch.arange(6) > 2)
    taken = take(batch, torch.tensor([4, 1]))
    assert taken.inputs.tolist() == [[4], [1]] and taken.targets.tolist() == [4, 1] and taken.mask is None
    assert taken.scored is not None and taken.scored.tolist() == [True, False]
    assert first(batch, 2).targets.tolist() == [0, 1]
