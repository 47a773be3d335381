"""Examples of different lengths in one batch, for every task with a length."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from stablebench import registry
from stablebench.cli.app import app
from stablebench.data.metrics import LOSS_SUMS
from stablebench.data.task import Task, resolve_params
from stablebench.errors import UserError
from stablebench.stats.lengths import longest_held

WITH_LENGTH = [
    name
    for name in registry.task_names()
    if (card := registry.task_card(name)).data.generator
    and card.length
    and name not in ("delayed_xor", "mqar")  # even ones only
]


def task(name: str, **settings: object) -> Task:
    card = registry.task_card(name)
    return Task(card, resolve_params(card, settings=settings))


@pytest.mark.parametrize("name", WITH_LENGTH)
def test_each_example_is_one_of_its_own_length(name: str) -> None:
    """Padded with what nothing counts; steps of a longer batch than the sequence are not scored."""
    settings = {"train_lengths": [4, 9], "test_lengths": None}
    settings |= {"S": 3} if name in ("selective_copy", "copy_masked", "denoise") else {}
    source = task(name, **settings)
    batch = source.train_batch(seed=0, index=0, size=60)
    assert batch.lengths is not None and len(batch.lengths.unique()) > 1
    assert batch.inputs.shape[1] == batch.lengths.max() <= source.sizes.steps
    for row, steps in enumerate(batch.lengths.tolist()):
        assert not batch.inputs[row, steps:].any()
        assert batch.mask is None or not batch.mask[row, steps:].any()
        assert batch.scored is None or not batch.scored[row, steps:].any()
    if source.card.readout == "every":
        assert batch.mask is not None and batch.targets.shape[1] == batch.inputs.shape[1]
    else:
        assert len(batch.targets) == 60 and batch.mask is None


def test_answers_stay_with_their_examples() -> None:
    batch = task("parity").train_batch(seed=0, index=0, size=200)
    assert batch.lengths is not None and set(batch.lengths.tolist()) <= set(range(3, 41))
    assert batch.targets.tolist() == [row.count(1) % 2 for row in batch.inputs.tolist()]
    words = task("counter").train_batch(seed=0, index=0, size=50)
    assert words.mask is not None and words.lengths is not None
    assert torch.equal(words.mask.sum(1), words.lengths)


def test_lengths_are_uniform_and_test_examples_longer() -> None:
    source = task("parity")
    drawn = torch.cat([source.train_batch(0, i, 500).lengths for i in range(20)])  # pyright: ignore
    counts = drawn.bincount(minlength=41)[3:]
    assert counts.sum() == 10_000 and (counts - 10_000 / 38).abs().max() < 5 * (10_000 / 38) ** 0.5
    test = source.split("test")
    assert test.lengths is not None and 40 <= int(test.lengths.min()) <= 42 and 250 < int(test.lengths.max()) <= 256


def test_a_padded_batch_has_the_loss_of_its_examples_alone() -> None:
    """Whatever batch an example is in, its part of the loss is one."""
    from stablebench.models.build import build_network
    from stablebench.specs.resolve import RunRequest, resolve

    for name in ("parity", "counter"):
        source = task(name)
        resolved = resolve(RunRequest("gru", name, options={"model.hidden": 8}))
        network = build_network(resolved.spec, source.card, source.sizes).double()
        batch = source.train_batch(seed=0, index=0, size=7)
        loss = LOSS_SUMS[source.card.loss]
        whole, counted = loss(network(batch.inputs, None, batch.lengths)[0], batch)
        total, number = torch.zeros(()).double(), 0
        for row in range(7):
            steps = int(batch.lengths[row])  # pyright: ignore
            one = batch.map(lambda part, row=row: part[row : row + 1])
            cut = one._replace(inputs=one.inputs[:, :steps], lengths=None)
            if source.card.readout == "every":
                cut = cut._replace(targets=one.targets[:, :steps], mask=None)
            part, n = loss(network(cut.inputs, None, None)[0], cut)
            total, number = total + part, number + n
        assert number == counted and total.item() == pytest.approx(whole.item(), rel=1e-12)


def test_one_length_is_asked_for_by_name() -> None:
    card = registry.task_card("parity")
    assert resolve_params(card, T=64) == {"length": 64} == resolve_params(card, variant="t20", settings={"length": 64})
    assert resolve_params(card)["length"] == 40
    assert resolve_params(card, settings={"train_lengths": [2, 8]})["length"] == 8
    for name in ("parity", "group_word"):
        card = registry.task_card(name)
        every: list[dict[str, Any]] = [{}, {"T": 64}, *({"variant": variant} for variant in card.variants)]
        for asked in every:
            params = resolve_params(card, **asked)
            assert resolve_params(card, settings=params) == params


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("parity", {"train_lengths": [40, 3]}, "least <= most, got"),
        ("parity", {"train_lengths": 40}, "two whole numbers"),
        ("parity", {"test_lengths": [0, 3]}, "1 <= least"),
        ("parity", {"train_lengths": [3, True]}, "two whole numbers"),
        ("parity", {"length": 30, "train_lengths": [3, 40]}, "leave one of the two out"),
        ("mqar", {"train_lengths": [16, 18]}, "length` must be even"),
        ("kth_highest", {"test_lengths": [2, 9]}, "test_lengths` .* must be <= length = 2"),
        ("parity", {"train_lengths": [0, 9]}, "1 <= least"),
        ("even_pairs", {"train_lengths": [1, 9]}, "length 1"),
        ("digits", {"train_lengths": [3, 40]}, "have their own lengths"),
    ],
)
def test_a_range_that_is_none_is_refused(name: str, settings: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        task(name, **settings)


def test_a_run_on_different_lengths_is_trained_and_scored(tmp_path: Path) -> None:
    small = ["--hidden", "6", "--set", "task.train_lengths=[2, 6]", "--set", "task.test_lengths=[5, 9]"]
    words = ["train", "--model", "rnn", "--task", "adding", *small, "--steps", "4", "--batch-size", "5", "-q"]
    result = CliRunner().invoke(app, [*words, "--runs-dir", str(tmp_path)])
    assert result.exit_code == 0, result.output
    (record,) = tmp_path.glob("*/*/*/record.json")
    scored = CliRunner().invoke(app, ["evaluate", str(record.parent), "--T", "30"])
    assert scored.exit_code == 0 and "length: 30" in scored.output and "test_lengths" not in scored.output
    table = CliRunner().invoke(app, ["evaluate", str(record.parent), "--lengths", "9,3,5"])
    assert table.exit_code == 0 and [line.split()[0] for line in table.stdout.splitlines()[1:5]] == [
        "length",
        "3",
        "5",
        "9",
    ]
    again = CliRunner().invoke(app, ["verify", str(record.parent)])
    assert again.exit_code == 0, again.output


def test_lengths_of_a_trained_run_are_scored_one_by_one(tmp_path: Path) -> None:
    words = "train --model rnn --task parity --hidden 4 --steps 2 --batch-size 4 -q --runs-dir".split()
    assert CliRunner().invoke(app, [*words, str(tmp_path)]).exit_code == 0
    (record,) = tmp_path.glob("*/*/*/record.json")
    result = CliRunner().invoke(app, ["evaluate", str(record.parent), "--lengths", "1,40", "--json"])
    document = json.loads(result.stdout)
    one = json.loads(CliRunner().invoke(app, ["evaluate", str(record.parent), "--T", "40", "--json"]).stdout)
    assert document["lengths"]["40"]["metrics"] == one["evaluation"]["metrics"]
    accuracy = {int(length): scored["metrics"]["accuracy"] for length, scored in document["lengths"].items()}
    assert document["longest_held"] == longest_held(accuracy)
    shown = CliRunner().invoke(app, ["evaluate", str(record.parent), "--lengths", "1,40"]).stdout
    assert "Longest length held at 90%" in shown
    refused = CliRunner().invoke(app, ["evaluate", str(record.parent), "--lengths", "1", "--T", "3"])
    assert refused.exit_code == 2 and "leave --T and --sample out" in refused.stderr


@pytest.mark.parametrize(
    ("accuracies", "held"),
    [
        ({40: 1.0, 64: 0.9, 128: 0.89, 256: 1.0}, 64),
        ({40: 0.5, 64: 1.0}, None),
        ({256: 1.0, 40: 0.95}, 256),
        ({}, None),
    ],
)
def test_the_longest_length_held_has_no_gap_below(accuracies: dict[int, float], held: int | None) -> None:
    assert longest_held(accuracies) == held
