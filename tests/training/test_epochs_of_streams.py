"""Budgets in epochs: what an epoch of a stream is, and what is no budget."""

import pytest

from stablebench import registry
from stablebench.data.task import Task, resolve_params
from stablebench.errors import UserError
from stablebench.specs.resolve import RunRequest, resolve


@pytest.mark.parametrize(
    ("task", "batch", "steps"),
    [("ptb_char/t150", 128, 261), ("ptb_char/t300", 128, 130), ("ptb_word/t35", 20, 1327), ("ptb_word/t150", 20, 309)],
)
def test_an_epoch_of_a_stream_is_one_pass_over_its_stretches(task: str, batch: int, steps: int) -> None:
    name, _, variant = task.partition("/")
    card = registry.task_card(name)
    params = resolve_params(card, variant=variant)
    tokens = card.protocol.train
    assert tokens is not None
    assert (tokens // batch - 1) // params["bptt"] == steps  # a stream's last token is a target only
    assert Task(card, params).steps_per_epoch(batch) == steps
    asked = {"train.epochs": 3, "train.batch_size": batch}
    assert resolve(RunRequest("rnn", task, options=asked)).spec.train.steps == 3 * steps


def test_an_epoch_of_a_data_set_sees_every_example() -> None:
    options = {"train.epochs": 2, "train.batch_size": 7}
    assert resolve(RunRequest("rnn", "psmnist", options=options)).spec.train.steps == 2 * 8572  # 60000 / 7 = 8571.4


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("epochs", 0, "train.epochs: must be a whole number >= 1, got 0"),
        ("epochs", 1.5, "train.epochs: must be a whole number >= 1, got 1.5"),
        ("epochs", "many", "train.epochs: must be a whole number >= 1, got 'many'"),
        ("batch_size", 0, "train.batch_size: must be >= 1, got 0"),
        ("batch_size", "all", "train.batch_size: must be a whole number, got 'all'"),
    ],
)
def test_what_is_no_budget_is_refused(key: str, value: object, message: str) -> None:
    settings = {"train.epochs": 1} | {f"train.{key}": value}
    with pytest.raises(UserError, match=message):
        resolve(RunRequest("rnn", "psmnist", settings=settings))
