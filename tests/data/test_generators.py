"""What every generator promises, over all cards that have one."""

import pytest
import torch

from stablebench import registry
from stablebench.data.batch import Batch
from stablebench.data.task import Task, arguments_of, resolve_params, source_module

GENERATED = [name for name in registry.task_names() if registry.task_card(name).data.generator]


def task(name: str) -> Task:
    card = registry.task_card(name)
    return Task(card, resolve_params(card))


def same(a: Batch, b: Batch) -> bool:
    return all(
        x is y is None or (x is not None and y is not None and torch.equal(x, y)) for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("name", GENERATED)
def test_same_seed_same_bytes_and_anything_else_other_bytes(name: str):
    batch = task(name).train_batch(seed=3, index=7, size=4)
    assert same(batch, task(name).train_batch(seed=3, index=7, size=4))
    for seed, index in [(3, 8), (4, 7), (7, 3)]:
        assert not torch.equal(batch.inputs, task(name).train_batch(seed=seed, index=index, size=4).inputs)


@pytest.mark.parametrize("name", GENERATED)
def test_splits_are_fixed_distinct_and_of_the_cards_sizes(name: str):
    """Splits are fixed differ from each other and have the card's sizes."""
    source = task(name)
    validation, test = source.split("validation"), source.split("test")
    assert same(test, task(name).split("test"))
    assert len(validation.inputs) == source.card.protocol.validation and len(test.inputs) == source.card.protocol.test
    assert not torch.equal(validation.inputs[:4], test.inputs[:4])


@pytest.mark.parametrize("name", GENERATED)
def test_nothing_is_drawn_from_torch_s_global_generator(name: str):
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = task(name).train_batch(seed=0, index=0, size=4)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(12)
    assert same(first, task(name).train_batch(seed=0, index=0, size=4))


@pytest.mark.parametrize("name", GENERATED)
def test_a_generator_is_advanced_so_that_two_calls_differ(name: str):
    card = registry.task_card(name)
    rng = torch.Generator().manual_seed(0)
    params = resolve_params(card)
    one, two = (source_module(card).generate(4, rng=rng, **arguments_of(params)) for _ in range(2))
    assert not torch.equal(one.inputs, two.inputs)
