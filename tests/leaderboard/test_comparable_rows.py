"""What makes rows comparable, and what a table says where they are not: budgets, widths, where settings come from."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from test_leaderboard import board, record

from stablebench.errors import UserError
from stablebench.leaderboard import build, render, statistics
from stablebench.leaderboard.marks import built_start, unequal
from stablebench.leaderboard.origin import format_origin, recipe_origin
from stablebench.schema.leaderboard import LeaderboardRow
from stablebench.schema.recipe import Recipe
from stablebench.schema.run_record import RunRecord


def changed(found: RunRecord, **values: Any) -> RunRecord:
    """Return a record with other values: `steps`, `batch_size` of its training, `hidden`, or fields of its own."""
    train = {key: values.pop(key) for key in ("steps", "batch_size") if key in values}
    hidden = values.pop("hidden", found.spec.model.hidden)
    model = found.spec.model.model_copy(update={"hidden": hidden, "params": values.pop("model_params", {})})
    spec = found.spec.model_copy(update={"train": found.spec.train.model_copy(update=train), "model": model})
    return found.model_copy(update={"spec": spec, "spec_hash": spec.spec_hash(), **values})


def seeds(model: str, *scores: float, **values: Any) -> Iterator[RunRecord]:
    return (changed(record(model, i, score), **values) for i, score in enumerate(scores))


def rows(*records: RunRecord, across_budgets: bool = False) -> list[LeaderboardRow]:
    (table,) = build("test", records, lambda name: None, across_budgets=across_budgets).tables
    return table.rows


GOOD, BAD = (0.1, 0.11, 0.12, 0.105, 0.115), (0.5, 0.6, 0.7, 0.55, 0.65)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"steps": 1000}, "Updates 100 to 1,000: not a ranking."),
        ({"batch_size": 64}, "Batch 8 to 64: not a ranking."),
        (
            {"hidden": 64, "parameters": 3000},
            "Units 32 to 64, parameters 1,000 to 3,000 (over 5 % apart): not a ranking.",
        ),
    ],
)
def test_rows_of_unequal_budgets_have_no_rank(values: dict[str, Any], said: str) -> None:
    records = [*seeds("a", *GOOD), *seeds("b", *BAD), *seeds("c", *BAD, **values)]
    assert [(row.name, row.rank, row.best) for row in rows(*records)] == [
        *(("a", None, False), ("b", None, False), ("c", None, False))
    ]
    text = render(board(*records))
    assert said in text
    lines = {line.split()[0]: line for line in text.splitlines() if line[:2] in ("a ", "b ", "c ")}
    assert ["~" in lines[name] for name in "abc"] == [False, False, True]
    found = statistics(board(*records))
    assert found.tables[0].pairs == [] and found.overall.left_out.tasks == ["copy/t100"]
    asked = rows(*records, across_budgets=True)
    assert [(row.rank, row.best) for row in asked] == [(1, True), (2, False), (2, False)]


def test_equal_parameters_are_as_good_as_equal_widths() -> None:
    records = [*seeds("a", *GOOD, parameters=1000), *seeds("b", *BAD, hidden=64, parameters=1040)]
    assert [row.rank for row in rows(*records)] == [1, 2]
    records = [*seeds("a", *GOOD, parameters=1000), *seeds("b", *BAD, hidden=64, parameters=1060)]
    assert unequal(rows(*records)) == {"units": [32, 64], "parameters": [1000, 1060]}


def recipe(**values: Any) -> Recipe:
    return Recipe.model_validate(
        {"task": "copy", "model": "rnn", "source": "a paper", "tuned_by": "us", "search": "2 trials"} | values
    )


VARIANT = {"when": {"length": 500}, "tuned_by": "paper", "outcome": "target"}


@pytest.mark.parametrize(
    ("origin", "of_recipe", "said", "mark"),
    [
        ({"optim.lr": "card"}, None, "card default", "*"),
        ({"optim.lr": "recipe copy/rnn"}, recipe(trials=2, outcome="baseline"), "tuned (2 trials)", ""),
        ({"optim.lr": "recipe copy/rnn"}, recipe(trials=1, outcome="failed"), "tuned (1 trial)", "!"),
        ({"optim.lr": "recipe copy/rnn"}, recipe(trials=0), "not tuned", "*"),
        ({"optim.lr": "recipe copy/rnn"}, recipe(tuned_by="paper", outcome="diverged"), "paper", "!"),
        (
            {"optim.lr": "recipe copy/rnn, its variant length 500", "model.a": "recipe copy/rnn"},
            recipe(trials=2, outcome="failed", variants=[VARIANT]),
            "paper",
            "",
        ),
        ({"optim.lr": "--recipe mine.yaml"}, recipe(), "own recipe", ""),
        ({"optim.lr": "recipe copy/rnn"}, None, "recipe", ""),
        (
            {"optim.lr": "option", "model.hidden": "--set", "optim.name": "recipe copy/rnn"},
            recipe(trials=2),
            "tuned (2 trials), 1 set",
            "",
        ),
    ],
)
def test_where_settings_come_from(origin: dict[str, str], of_recipe: Recipe | None, said: str, mark: str) -> None:
    found = record().model_copy(update={"origin": origin})
    assert format_origin(recipe_origin(found, lambda task, model: of_recipe)) == said
    (table,) = build("test", [found], lambda name: None, recipes=lambda task, model: of_recipe).tables
    assert table.rows[0].marks == mark and list(table.legend) == list(mark)


def test_a_start_that_is_built_for_the_task_is_marked() -> None:
    assert built_start("dizzy", {"angle_start": "ring"}) == "angle_start ring"
    assert built_start("dizzy", {"angle_start": "zero"}) is None and built_start("rnn", {}) is None
    (row,) = rows(changed(record("dizzy"), model_params={"angle_start": "ring"}))
    assert "t" in row.marks and row.built_start == "angle_start ring"


def test_the_metric_that_people_quote_is_shown_and_ranks() -> None:
    """The copy task is trained on a loss, and its target is an accuracy: equal ones share a rank."""
    scores = {"a": (0.3, 0.9), "b": (0.2, 0.5), "c": (0.1, 0.5)}
    records = [record(m, 0, loss, also={"accuracy": accuracy}) for m, (loss, accuracy) in scores.items()]
    assert [(row.name, row.rank) for row in rows(*records)] == [("a", 1), ("c", 2), ("b", 2)]
    text = render(board(*records))
    assert text.startswith("copy/t100: accuracy (higher is better), baseline loss 0.5, target accuracy 0.99")
    assert [line.split()[:3] for line in text.splitlines()[2:5]] == [
        ["1", "a", "0.9"],
        ["2", "c", "0.5"],
        ["2", "b", "0.5"],
    ]
    assert "0.3" in render(board(*records), asked=["model", "loss"])
    without = [record("a", 0, 0.3, also={"accuracy": 0.9}), record("a", 1, 0.3)]
    assert rows(*without)[0].quoted is None  # a seed was not tested in it
    mixed = rows(record("a", 0, 0.3, also={"accuracy": 0.9}), record("b", 0, 0.2))  # one metric for the whole table
    assert [(row.name, row.rank, row.quoted) for row in mixed] == [("b", 1, None), ("a", 2, None)]


def test_solved_counts_final_scores_of_finished_runs() -> None:
    """Runs that held the target while training and lost it, and that diverged later, have not solved the task."""
    solved, late = ({"accuracy": accuracy} for accuracy in (1.0, 0.99))
    (row,) = rows(
        record("a", 0, 0.1, also=solved, steps_to_target=40, seconds_to_target=1.0),
        record("a", 1, 0.1, also=late),
        record("a", 2, 0.1, also={"accuracy": 0.5}, steps_to_target=20, seconds_to_target=1.0),
        record("a", 3, None, status="diverged", steps_to_target=60, seconds_to_target=1.0),
        record("a", 4, 0.1, also={"accuracy": 0.5}),
    )
    assert (row.solved, row.reached_target, row.ended, row.steps_to_target) == (2, 2, 5, None)
    assert sorted(row.arrivals.target.steps) == [20, 40] and row.arrivals.target.steps_followed.count(None) == 1


def test_the_table_fits_100_characters_and_says_what_it_hides() -> None:
    names = ["antisymmetric_gated", "incremental_rnn", "eyernn_isometric"]
    records = [
        changed(
            record(name, seed, 0.123456 + seed / 1000, steps_to_target=12_345, seconds_to_target=1.0),
            parameters=123_456,
            steps=50_000,
        )
        for name, seed in itertools.product(names, range(3))
    ]
    text = render(board(*records))
    table = text.splitlines()[1 : 2 + len(names)]
    assert table[0].split("  ")[0] == "#" and max(map(len, table)) <= 100
    assert "updates to target" in table[0] and "parameters" in table[0] and "updates/s" in table[0]
    hidden = text.splitlines()[-1]
    assert (
        hidden.startswith("More columns, with --columns NAMES or all: ") and "recipe" in hidden and "updates" in hidden
    )
    whole = render(board(*records), asked=["all"])
    assert "recipe" in whole and "More columns" not in whole
    assert render(board(*records), asked=["model", "units"]).splitlines()[1].split() == ["model", "units"]


@pytest.mark.parametrize(("asked", "message"), [(["modle"], "Did you mean model"), (["all", "rank"], "stands alone")])
def test_a_column_that_is_none_is_refused(asked: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        render(board(record()), asked=asked)


def test_seeds_on_several_processors_are_told() -> None:
    first = record()
    elsewhere = first.environment.model_copy(update={"processor": "GenuineIntel cpu family 6 model 143"})
    second = record(seed=1).model_copy(update={"environment": elsewhere})
    (note,) = board(first, second).tables[0].code_notes
    assert "its seeds ran on" in note and "model 143" in note


def test_latex_has_the_rules_of_booktabs() -> None:
    text = render(board(*seeds("a", *GOOD)), "latex", ["model", "mean_sd"])
    assert [line for line in text.splitlines() if "rule" in line] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert r"0.11 $\pm$ 0.0079" in text and "hline" not in text
