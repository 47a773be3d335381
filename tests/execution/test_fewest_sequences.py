"""The fewest training sequences that reach a target: the bisection, the fixed training set, the command."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stablebench import registry
from stablebench.cli.app import app
from stablebench.data.task import Task, resolve_params
from stablebench.errors import UserError
from stablebench.execution.tuning.fewest import FewestPlan, SizeTrial, next_size, run_of, search
from stablebench.runs.progress import Silent
from stablebench.runs.store import RunFolder, run_folder
from stablebench.specs.request import Resolved, RunRequest
from stablebench.training.run import ExecutionOptions, train


@pytest.mark.parametrize("needed", [1, 7, 64, 65, 1000, 65536])
def test_the_bisection_finds_the_size_that_is_needed(needed: int) -> None:
    known: dict[int, bool] = {}
    while (size := next_size(known, 1, 65536, 1.1)) is not None:
        assert size not in known
        known[size] = size >= needed
    fewest = min(size for size, good in known.items() if good)
    assert needed <= fewest <= max(needed * 1.1, needed) and len(known) <= 11
    if needed > 1:
        assert list(known)[:3] == [65536, 1, 256]  # the ends, then their geometric mean


def test_it_ends_at_once_where_an_end_decides() -> None:
    assert next_size({}, 8, 64, 1.2) == 64 and next_size({64: False}, 8, 64, 1.2) is None
    assert next_size({64: True}, 8, 64, 1.2) == 8 and next_size({64: True, 8: True}, 8, 64, 1.2) is None


def fixed(count: int, **settings: object) -> Task:
    card = registry.task_card("parity")
    return Task(card, resolve_params(card, settings={"train_sequences": count, **settings}))


def rows(task: Task, seed: int, batches: range, size: int) -> list[tuple[int, ...]]:
    return [tuple(row) for i in batches for row in task.train_batch(seed, i, size).inputs.tolist()]


def test_every_epoch_has_each_sequence_once() -> None:
    task = fixed(10, train_lengths=[12, 12])
    first, second = rows(task, 0, range(3), 4), rows(task, 0, range(3, 6), 4)
    assert len(first) == 10 and sorted(first) == sorted(second) and first != second
    assert sorted(rows(task, 1, range(3), 4)) != sorted(first)
    assert rows(fixed(10, train_lengths=[12, 12]), 0, range(5, 6), 4) == second[8:]  # a resumed run's next batch


def test_only_training_is_another() -> None:
    """A set that is smaller than a batch is a batch; validation, test and sizes are those of the task."""
    task = fixed(3)
    assert len(task.train_batch(0, 0, 64).inputs) == 3
    assert task.sizes == fixed(7).sizes and "train_sequences" not in registry.task_card("parity").data.params
    for split in ("validation", "test"):
        assert task.split(split).inputs.shape == fixed(7).split(split).inputs.shape


@pytest.mark.parametrize(("name", "count", "said"), [("parity", 0, ">= 1"), ("digits", 5, "own training examples")])
def test_a_size_that_is_none_is_refused(name: str, count: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        resolve_params(registry.task_card(name), settings={"train_sequences": count})


REQUEST = RunRequest("rnn", "parity", options={"model.hidden": 3, "train.steps": 2, "train.batch_size": 4})


def pretending(store: Path, needed: int, trained: list[int]):
    """Return an executor that trains, and then says in the record that so many sequences reach the target."""

    def execute(runs: list[Resolved]) -> int:
        for run in runs:
            folder: RunFolder = train(run, ExecutionOptions(store), Silent()).folder
            record = folder.read_record()
            size = run.spec.task.params["train_sequences"]
            trained.append(size)
            steps = 1 if size >= needed else None
            folder.write_record(
                record.model_copy(update={"result": record.result.model_copy(update={"steps_to_target": steps})})
            )
        return 0

    return execute


def test_an_interrupted_search_goes_on(tmp_path: Path) -> None:
    plan, trained = FewestPlan(1, 16, 1.5, 2), []
    execute = pretending(tmp_path, 5, trained)
    begun = search(REQUEST, plan, tmp_path, execute)
    first = next(begun)
    assert isinstance(first, SizeTrial) and first.sequences == 16 and first.succeeds and len(first.records) == 2
    sizes = [trial.sequences for trial in search(REQUEST, plan, tmp_path, execute) if isinstance(trial, SizeTrial)]
    assert sizes == [16, 1, 4, 8, 6] and trained == [16, 16, 1, 1, 4, 4, 8, 8, 6, 6]
    assert [
        trial.sequences for trial in search(REQUEST, plan, tmp_path, execute) if isinstance(trial, SizeTrial)
    ] == sizes
    assert len(trained) == 10  # nothing again
    assert list(search(REQUEST, FewestPlan(1, 99, 1.5, 1), tmp_path, lambda runs: 130)) == [130]


def test_a_trial_is_an_ordinary_run(tmp_path: Path) -> None:
    run = run_of(REQUEST, 8)
    assert run.spec.train.stop_at_target == 3 and run.spec.task.params["train_sequences"] == 8
    list(search(REQUEST, FewestPlan(4, 8, 1.5, 1), tmp_path, pretending(tmp_path, 99, [])))
    assert run_folder(tmp_path, run.spec).read_record().status == "finished"
    words = "sweep --model rnn --task parity --hidden 3 --steps 2 --batch-size 4 --fewest-sequences 4,8 --json -q"
    result = CliRunner().invoke(app, [*words.split(), "--runs-dir", str(tmp_path)])  # all is there
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["ended"] and document["fewest"] is None and [t["sequences"] for t in document["trials"]] == [8]
    shown = CliRunner().invoke(app, [*words.replace("--json ", "").split(), "--runs-dir", str(tmp_path)])
    assert "The target is not reached with 8 training sequences" in shown.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--fewest-sequences 8", "LEAST,MOST"),
        ("--fewest-sequences 8,8", "LEAST < MOST"),
        ("--fewest-sequences 1,8 --within 1", "must be > 1"),
        ("--fewest-sequences 1,8 --trials 3", "searches no hyper-parameters"),
        ("--repeats 3 --trials 2", "is --fewest-sequences'"),
    ],
)
def test_options_that_do_not_fit_are_refused(words: str, said: str, tmp_path: Path) -> None:
    command = ["sweep", "--model", "rnn", "--task", "parity", "--runs-dir", str(tmp_path), *words.split()]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and said in " ".join(result.stderr.split())
    assert not list(tmp_path.iterdir())
