"""A suite held against its paper: the verdicts on printed numbers and on what a figure shows."""

from typing import Any

import pytest

from stablebench.leaderboard import reproduction
from stablebench.leaderboard.reproduction import reproduction_table
from stablebench.schema.suite import Suite


def row(model: str, score: float | None, interval: list[float] | None = None, hidden: int = 128, **more: Any) -> dict:
    return {
        "model": model,
        "name": model,
        "hidden": hidden,
        "score": score,
        "interval": interval,
        "others": {},
        "ended": 1,
        "diverged": 0,
    } | more


def entry(published: float, **more: Any) -> dict:
    shared = {"key": "k", "model": "cornn", "metric": "accuracy", "ours": None, "units": 128, "where": "Table 1"}
    return shared | {"published": published, "protocol": "same"} | more


def board(rows: list[dict], *published: dict, metric: str = "accuracy", task: str = "har2/hapt") -> dict[str, Any]:
    table = {
        "task": task,
        "params": {"length": 7},
        "metric": metric,
        "higher_is_better": metric == "accuracy",
        "rows": rows,
        "published": list(published),
    }
    return {"suite": "s", "tables": [table]}


def suite(**parts: Any) -> Suite:
    base = {"summary": "s", "tasks": [{"task": "har2/hapt"}], "models": ["cornn"], "seeds": [0], "source": "a paper"}
    return Suite.model_validate(base | parts)


def verdict(made: Suite, document: dict[str, Any]) -> str:
    (line,) = reproduction(made, document)["reproduction"]["lines"]
    return line["verdict"]


@pytest.mark.parametrize(
    ("score", "interval", "expected"),
    [
        (0.96, [0.95, 0.97], "reproduced"),
        (0.95, None, "reproduced"),
        (0.94, [0.92, 0.955], "within interval"),
        (0.94, [0.92, 0.949], "below"),
        (0.94, None, "below"),
        (None, None, "below"),  # every seed diverged
    ],
)
def test_a_printed_accuracy_is_reached_or_not(score: float | None, interval: list[float] | None, expected: str) -> None:
    document = board([row("cornn", score, interval)], entry(0.95))
    assert verdict(suite(published={"har2": ["k"]}), document) == expected


def test_of_a_loss_lower_is_better() -> None:
    made = suite(published={"har2": ["k"]})
    for score, expected in ((0.1, "reproduced"), (0.3, "within interval")):
        document = board([row("cornn", score, [0.15, 0.4])], entry(0.2, metric="nrmse"), metric="nrmse")
        assert verdict(made, document) == expected


def test_the_row_of_the_printed_size_counts_and_another_metric_is_taken_from_the_others() -> None:
    made = suite(published={"har2": ["k"]})
    rows = [row("cornn", 0.99, hidden=256), row("cornn", 0.90)]
    assert verdict(made, board(rows, entry(0.95))) == "below"
    assert verdict(made, board(rows[:1], entry(0.95))) == "not run"
    assert verdict(made, board(rows, entry(0.95, units=None))) == "reproduced"
    alike = row("cornn", 0.5) | {"statistics": {"accuracy": {"best": 0.96}}}
    assert verdict(made, board([alike], entry(0.95, statistic="best"))) == "reproduced"
    other = board([row("cornn", 3.0, others={"accuracy": 0.96})], entry(0.95), metric="bpc")
    assert verdict(made, other) == "reproduced"
    assert verdict(made, board([], entry(0.95))) == verdict(made, {"suite": "s", "tables": []}) == "not run"


def test_what_a_figure_shows_holds_fails_or_has_not_been_run() -> None:
    def says(**parts: Any) -> Suite:
        return suite(expected=[{"says": "it learns", "task": "har2/hapt", "model": "cornn"} | parts])

    rows = [row("cornn", 0.9), row("lstm", 0.8), row("rnn", None, diverged=1)]
    assert verdict(says(better_than=["lstm", "rnn"]), board(rows)) == "holds"
    assert verdict(says(model="lstm", better_than=["cornn"]), board(rows)) == "fails"
    assert verdict(says(better_than=["gru"]), board(rows)) == "not run"
    assert verdict(says(reaches=0.9), board(rows)) == "holds"
    assert verdict(says(reaches=0.91), board(rows)) == "fails"
    assert verdict(says(model="rnn", misses=0.5), board(rows)) == "holds"
    assert verdict(says(model="lstm", misses=0.8), board(rows)) == "fails"
    assert verdict(says(T=7, task="har2", reaches=0.5), board(rows)) == "holds"
    assert verdict(says(T=8, task="har2", reaches=0.5), board(rows)) == "not run"


def test_it_is_a_table_and_a_suite_of_no_paper_has_none() -> None:
    document = board([row("cornn", None)], entry(0.95))
    part = reproduction(suite(published={"har2": ["k"]}), document)
    table = reproduction_table(part["reproduction"])
    assert table.title == "Reproduction of a paper"
    assert table.rows == [["cornn, 128 units on har2/hapt: accuracy (Table 1)", 0.95, None, None, "same", "below"]]
    assert reproduction(suite(), document) == {}
