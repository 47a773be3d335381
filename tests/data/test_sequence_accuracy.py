"""Sequence accuracy, and accuracy on a scale from guessing to perfect."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from stablebench import registry
from stablebench.cli.app import app
from stablebench.data.batch import Batch
from stablebench.data.metrics import Mean, scaled_accuracy
from stablebench.training.evaluation import chance, metric_names


def test_a_sequence_counts_if_all_of_its_steps_are_right() -> None:
    """By hand: the first is right where it is scored, the second has one error, the third has no scored step."""
    targets = torch.tensor([[0, 1, 1], [1, 1, 0], [0, 0, 0]])
    answers = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 1]])
    output = torch.nn.functional.one_hot(answers, 2).float()
    scored = torch.tensor([[False, True, True], [True, True, True], [False, False, False]])
    for batch in (Batch(targets, targets, mask=scored), Batch(targets, targets, scored=scored)):
        mean = Mean("sequence_accuracy", "cross_entropy")
        mean.add(output[:1], batch.map(lambda part: part[:1]))
        mean.add(output[1:], batch.map(lambda part: part[1:]))
        assert mean.value == 0.5
    mean = Mean("sequence_accuracy", "cross_entropy")
    mean.add(output, Batch(targets, targets))
    assert mean.value == 0


def test_guessing_is_zero_and_perfect_is_one() -> None:
    assert scaled_accuracy(0.2, 0.2) == 0 and scaled_accuracy(1.0, 0.2) == 1
    assert scaled_accuracy(0.1, 0.2) == pytest.approx(-0.125) and scaled_accuracy(1.0, 1.0) is None


def test_tasks_with_an_answer_at_every_step_have_it() -> None:
    named = {name: metric_names(registry.task_card(name)) for name in registry.task_names()}
    with_it = {name for name, metrics in named.items() if "sequence_accuracy" in metrics}
    assert {"group_word", "dyck", "counter", "delayed_xor", "copy", "mqar"} <= with_it
    assert not with_it & {"parity", "adding", "first_recall", "ptb_char", "ptb_word", "lorenz96"}


def test_guessing_is_scored_at_the_lengths_of_the_test() -> None:
    card = registry.task_card("group_word")
    at = chance(card, {"length": 32, "group": "S3", "test_lengths": [40, 256]})
    assert at == pytest.approx((1 + 147 / 6) / 148)
    assert chance(card, {"length": 32, "group": "S3"}) == pytest.approx((1 + 31 / 6) / 32)


def test_records_tables_and_csv_have_both(tmp_path: Path) -> None:
    words = "compare --model rnn --task counter/t20 --hidden 4 --steps 2 --batch-size 4 -q --runs-dir".split()
    words = [*words, str(tmp_path)]
    columns = ["--columns", "model,score,sequence_accuracy,scaled_accuracy"]
    shown = CliRunner().invoke(app, [*words, *columns])
    assert shown.exit_code == 0 and "sequence accuracy" in shown.stdout and "scaled accuracy" in shown.stdout
    (path,) = tmp_path.glob("*/*/*/record.json")
    record = json.loads(path.read_text())
    test, baseline = dict(record["result"]["test"]), record["baseline"]
    assert test["scaled_accuracy"] == pytest.approx((test["accuracy"] - baseline) / (1 - baseline))
    assert 0 <= test["sequence_accuracy"] <= test["accuracy"]
    heads = CliRunner().invoke(app, [*words, "--format", "csv"]).stdout.splitlines()[0].split(",")
    assert {"test.sequence_accuracy", "test.scaled_accuracy"} <= set(heads)
    for name in ("sequence_accuracy", "scaled_accuracy"):  # as an earlier version recorded it
        del record["result"]["test"][name]
    path.write_text(json.dumps(record))
    row = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)["tables"][0]["rows"][0]
    assert row["others"]["scaled_accuracy"] == pytest.approx(test["scaled_accuracy"])
    assert "sequence_accuracy" not in row["others"]
    verified = CliRunner().invoke(app, ["verify", str(path.parent)])
    assert verified.exit_code == 0, verified.output
