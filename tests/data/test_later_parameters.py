"""Parameters that tasks got when there were runs of them: twins that need no memory, and transitions held out."""

import inspect

import pytest
import torch

from stablebench import registry
from stablebench.data.source import source_module
from stablebench.data.task import Task, resolve_params
from stablebench.data.tasks.group_word import held_out
from stablebench.errors import UserError
from stablebench.schema.card import TaskCard
from stablebench.specs.resolve import RunRequest, resolve
from stablebench.training.evaluation import chance

TWINS = ("first_recall", "copy", "adding")
WITH_OPTIONAL = [name for name in registry.task_names() if registry.task_card(name).optional]


def task(name: str, variant: str | None = None, **settings: object) -> Task:
    card = registry.task_card(name)
    return Task(card, resolve_params(card, variant=variant, settings=settings))


@pytest.mark.parametrize("name", registry.task_names())
def test_parameters_that_may_be_left_out_are_named(name: str) -> None:
    """The card names those whose default is None, and only those are left out of a run's parameters."""
    card = registry.task_card(name)
    defaults = inspect.signature(getattr(source_module(card), card.data.function)).parameters
    none = {key for key, one in defaults.items() if one.default is None}
    assert set(card.optional) == none - {"data_dir"}


@pytest.mark.parametrize("name", WITH_OPTIONAL)
def test_runs_without_them_stay_what_they_were(name: str) -> None:
    card = registry.task_card(name)
    assert not set(card.optional) & resolve_params(card).keys()
    before = card.model_copy(
        update={"variants": {k: v for k, v in card.variants.items() if not v.keys() & set(card.optional)}}
    )
    assert isinstance(before, TaskCard) and before.sha256() == card.sha256()


@pytest.mark.parametrize(
    ("name", "digest", "spec"),
    [
        ("copy", "968ba2e8c0ee", "69d40a8cc37f"),
        ("adding", "8465910e50c4", "dc79fda83b79"),
        ("first_recall", "82c67b2cb8ea", "6fd7d40f0767"),
    ],
)
def test_hashes_are_those_of_before(name: str, digest: str, spec: str) -> None:
    """Taken before the twins were there."""
    assert registry.task_card(name).sha256()[:12] == digest
    assert resolve(RunRequest("lstm", name)).spec.spec_hash() == spec


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_has_the_inputs_of_its_task(name: str) -> None:
    """The same sequences, classes and scored steps: only the answer is another."""
    twin, whole = task(name, "lag0"), task(name)
    assert twin.sizes == whole.sizes and twin.protocol == whole.protocol
    one, other = twin.train_batch(0, 0, 300), whole.train_batch(0, 0, 300)
    assert torch.equal(one.inputs, other.inputs) and not torch.equal(one.targets, other.targets)
    if one.scored is not None and other.scored is not None:
        assert torch.equal(one.scored.sum(1), other.scored.sum(1))
    assert twin.card.baseline(twin.card.metric, twin.params) == whole.card.baseline(whole.card.metric, whole.params)


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_needs_the_input_of_its_own_step_only(name: str) -> None:
    """Equal inputs at a step have equal answers there, whatever came before."""
    batch = task(name, "lag0").train_batch(0, 0, 2000)
    if name == "adding":
        u, answer = batch.inputs[:, -1, 0], batch.targets[:, 0]
        order = u.argsort()
        assert (answer[order].diff() >= 0).all() and answer.min() >= 0 and answer.max() <= 2
        assert answer.mean().item() == pytest.approx(1, abs=0.04)
        assert answer.var().item() == pytest.approx(1 / 6, rel=0.1)
    elif name == "first_recall":
        assert torch.equal(batch.targets, batch.inputs[:, -1])
    else:
        blank_or_shown = torch.where(batch.inputs <= 8, batch.inputs, 0)
        assert torch.equal(batch.targets, blank_or_shown)


def test_no_table_takes_a_twin_for_its_task() -> None:
    """Else a published number of the task would stand next to the twin's score."""
    card = registry.task_card("first_recall")
    params = resolve_params(card, variant="lag0")
    assert card.has_params("lag0", params) and not card.has_params("t50", params) and not card.has_params(None, params)
    assert card.has_params("t50", resolve_params(card))


def pairs_in(words: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
    return held[words[:, :-1], words[:, 1:]]


@pytest.mark.parametrize(("group", "pairs", "length"), [("S3", 6, 5), ("Z2", 2, 4), ("S3xS3", 324, 8)])
def test_held_out_pairs_are_in_test_words_only(group: str, pairs: int, length: int) -> None:
    source = task("group_word", group=group, length=length, held_out_pairs=pairs, test_lengths=[2, 9])
    held = held_out(group, pairs)
    assert int(held.sum()) == pairs and held.sum(0).unique().numel() == held.sum(1).unique().numel() == 1
    seen = torch.zeros_like(held)
    for seed in range(3):
        words = source.train_batch(seed, 1, 2000).inputs
        assert not pairs_in(words, held).any()
        seen[words[:, :-1], words[:, 1:]] = True
    assert torch.equal(seen, ~held)  # every other pair is there
    validation, test = source.split("validation"), source.split("test")
    for batch, expected in ((validation, False), (test, True)):
        assert batch.lengths is not None
        for word, steps in zip(batch.inputs, batch.lengths.tolist(), strict=True):
            assert bool(pairs_in(word[None, :steps], held).any()) == expected


def test_guessing_on_held_out_words_is_as_the_card_says() -> None:
    """The best guess from the last element alone, counted on many test words."""
    source = task("group_word", "held_out_pairs", test_lengths=None)
    params = source.params
    card = source.card.model_copy(update={"protocol": source.card.protocol.model_copy(update={"test": 200_000})})
    batch = Task(card, params).split("test")
    n, right = 36, 0.0
    for t in range(params["length"]):
        joint = torch.bincount(batch.inputs[:, t] * n + batch.targets[:, t], minlength=n * n).view(n, n)
        right += joint.max(1).values.sum().item() / len(batch.inputs)
    guessed = right / params["length"]
    expected = chance(source.card, params)
    assert expected is not None
    excess = 2 / (params["length"] * (params["length"] - 1))
    assert expected - 0.002 < guessed < expected + excess + 0.01  # the most frequent of 36 is found by looking


@pytest.mark.parametrize("pairs", [7, 1296, 0])
def test_pairs_that_cannot_be_held_out_are_refused(pairs: int) -> None:
    with pytest.raises(UserError, match="held_out_pairs"):
        task("group_word", group="S3xS3", held_out_pairs=pairs)
    with pytest.raises(UserError, match="a pair has two elements"):
        task("group_word", "held_out_pairs", length=1)
