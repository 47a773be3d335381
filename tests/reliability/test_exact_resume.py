"""A run that is killed and resumed ends like one that never was: weights, optimiser, curve and record, bit for bit."""

import random
import time
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import assert_same, begin_processes, folder_of, in_a_process, killed_at_random, run, tiny

from stablebench.data.task import Task
from stablebench.specs.request import Resolved

ADAM = {"optim.name": "adam", "optim.clip_norm": 1.0}
RMSPROP = {"optim.name": "rmsprop", "optim.momentum": 0.5, "optim.alpha": 0.9}
ADAGRAD = {"optim.name": "adagrad", "optim.lr": 1e-2}
SGD = {"optim.name": "sgd", "optim.momentum": 0.9, "optim.nesterov": True, "optim.warmup": 5}
DROPS = {"optim.name": "adam", "optim.schedule.factor": 0.5, "optim.schedule.on_stall": True}
SHORT = {"train.steps": 12, "train.eval_every": 4}  # four epochs
CASES: dict[str, tuple[str, str, bool, dict[str, Any]]] = {
    "roarnn": ("roarnn", "copy", False, ADAM),
    "eyernn": ("eyernn", "copy", False, RMSPROP),
    "roafnn": ("roafnn", "digits_flat", False, ADAM | SHORT),
    "dizzy": ("dizzy", "adding", False, ADAGRAD),
    "nnrnn": ("nnrnn", "copy", False, RMSPROP),
    "urnn": ("urnn", "copy", False, RMSPROP),
    "ugru": ("ugru", "adding", False, ADAM),
    "exprnn": ("exprnn", "copy", False, ADAGRAD),
    "cornn": ("cornn", "digits", True, ADAM | SHORT),
    "lstm": ("lstm", "adding", False, SGD),
    "rnn": ("rnn", "digits", False, SGD | SHORT),
    "lstm, rates that drop": ("lstm", "digits", True, DROPS | SHORT),
}
"""Name: model, task, whether the weights best on validation are tested, optimiser. `digits` has three updates an epoch,
so that kills fall in the middle of epochs."""


def case(name: str) -> Resolved:
    model, task, best, settings = CASES[name]
    return tiny(model, task, best, **settings)


def check_random_kills(resolved: Resolved, tmp_path: Path, rng: random.Random, kills: int) -> None:
    begin_processes()
    began = time.perf_counter()
    whole = in_a_process(resolved, tmp_path / "whole")
    whole.join(120)
    took = time.perf_counter() - began
    assert whole.exitcode == 0
    for runs_dir in killed_at_random(resolved, tmp_path / "cut", rng, kills, took):
        assert_same(folder_of(resolved, tmp_path / "whole"), folder_of(resolved, runs_dir))


@pytest.mark.parametrize("name", CASES)
def test_run_killed_at_random_ends_bit_for_bit(name: str, tmp_path: Path) -> None:
    """A run killed at random ends bit for bit as if it had not been."""
    check_random_kills(case(name), tmp_path, random.Random(name), kills=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_hundred_random_kills(name: str, tmp_path: Path) -> None:
    """Seventeen kills for each of twelve runs: 204."""
    check_random_kills(case(name), tmp_path, random.Random(f"{name}, slow"), kills=17)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "optimiser"),
    list(product(["roarnn", "eyernn", "dizzy", "nnrnn", "urnn", "ugru", "exprnn", "cornn", "lstm", "rnn"], range(5))),
)
def test_every_model_with_every_optimiser(model: str, optimiser: int, tmp_path: Path) -> None:
    settings = {"optim.betas": None} | [ADAM, RMSPROP, ADAGRAD, SGD, DROPS][optimiser]  # a recipe's are Adam's
    check_random_kills(tiny(model, "copy", **settings), tmp_path, random.Random(f"{model}{optimiser}"), kills=1)


@pytest.mark.parametrize(
    "moments",
    [
        [("update", 4), ("update", 3), ("evaluation", 2)],  # at an epoch's boundary, amid one, in an evaluation
        [("save", 1), ("save", 5), ("final record", 1)],  # the very first save, a later one, the last write of all
        [("evaluation", 4)],  # of the test examples
    ],
)
def test_kills_at_the_worst_moments_leave_no_trace(moments: list[tuple[str, int]], tmp_path: Path) -> None:
    resolved = case("lstm, rates that drop")
    whole = run(resolved, tmp_path / "whole")
    for moment in moments:
        process = in_a_process(resolved, tmp_path / "cut", moment)
        process.join(120)
        assert process.exitcode == -9, moment
    cut = run(resolved, tmp_path / "cut")
    assert cut.read_record().resumed_at or moments[0][0] == "save"
    assert_same(whole, cut)


@pytest.mark.parametrize("task", ["digits", "copy"])
def test_the_order_of_the_data_depends_on_seed_and_update_alone(task: str) -> None:
    """Resumed at four points."""
    resolved = tiny("rnn", task)

    def batch(source: Task, index: int) -> torch.Tensor:
        return source.train_batch(3, index, 100).inputs

    unbroken = Task(resolved.card, resolved.spec.task.params)
    stream = [batch(unbroken, i) for i in range(20)]
    for start in (1, 7, 12, 19):
        fresh = Task(resolved.card, resolved.spec.task.params)
        assert all(torch.equal(batch(fresh, i), stream[i]) for i in range(start, 20))
    assert not torch.equal(stream[0], stream[1])


def test_two_runs_that_differ_are_told_apart(tmp_path: Path) -> None:
    """The comparison that all of these tests rest on can fail."""
    a, b = (run(tiny("rnn", "copy", seed=seed), tmp_path) for seed in (0, 1))
    with pytest.raises(AssertionError):
        assert_same(a, b)
