"""The leaderboard, on run records made by hand."""

import csv
import io
import json
import math
import re
import time
from pathlib import Path
from typing import Any

import pytest

from stablebench.errors import UserError
from stablebench.leaderboard import build, check, read_baseline, render
from stablebench.schema.card import Baseline, DataSpec, Protocol, Published, TaskCard
from stablebench.schema.leaderboard import Leaderboard, LeaderboardRow, SeedStatistics
from stablebench.schema.optim import OptimSpec
from stablebench.schema.run_record import Environment, Result, RunRecord
from stablebench.schema.run_spec import ModelSpec, RunSpec, TaskSpec, TrainSpec
from stablebench.schema.stored_leaderboard import BaselineLeaderboard


def record(
    model: str = "rnn",
    seed: int = 0,
    score: float | None = 0.1,
    *,
    status: Any = "finished",
    metric: str = "loss",
    also: dict[str, float] | None = None,
    task: str = "copy",
    variant: str | None = "t100",
    params: dict[str, Any] | None = None,
    hidden: int = 32,
    lr: float = 1e-3,
    engine: str = "reference",
    started: str = "2026-01-01T00:00:00+00:00",
    **result: Any,
) -> RunRecord:
    spec = RunSpec(
        task=TaskSpec(name=task, version=1, variant=variant, params=params or {"length": 100}),
        model=ModelSpec(name=model, hidden=hidden, layers=1, params={}),
        horizon=120,
        readout="every",
        optim=OptimSpec(lr=lr),
        train=TrainSpec(steps=100, batch_size=8, eval_every=10),
        seed=seed,
    )
    test = None if score is None else {metric: score, **(also or {})}
    return RunRecord(
        spec=spec,
        spec_hash=spec.spec_hash(),
        status=status,
        metric=metric,  # pyright: ignore[reportArgumentType]
        baseline=0.5,
        target=0.99,
        target_metric="accuracy",
        card_sha256="0",
        selection="the last weights tested; validation drawn apart",
        parameters=1000,
        started=started,
        result=Result(test=test if status == "finished" else None, steps_per_s=10.0 + seed, peak_bytes=1000, **result),
        environment=Environment(
            versions={}, device="cpu", hardware="hand-made", engine=engine, threads=1, flags={}, commit=None
        ),
    )


def board(*records: RunRecord) -> Leaderboard:
    return build("test", records, cards=lambda name: None, tidy=True)


def lines_of(found: Leaderboard) -> list[dict[str, str]]:
    """Return the lines of a leaderboard's CSV."""
    return list(csv.DictReader(io.StringIO(render(found, "csv"))))


def stored(found: Leaderboard) -> BaselineLeaderboard:
    """Return a leaderboard as it is read from its file."""
    return BaselineLeaderboard.model_validate(found.as_dict())


def rows(*records: RunRecord) -> list[LeaderboardRow]:
    (table,) = board(*records).tables
    return table.rows


def row(*records: RunRecord) -> LeaderboardRow:
    (only,) = rows(*records)
    return only


def test_a_row_sums_up_its_seeds() -> None:
    scores = [0.4, 0.1, 0.2, 0.9, 0.3]
    found = row(*(record(seed=i, score=x, also={"accuracy": 1 - x}) for i, x in enumerate(scores)))
    assert found.score == 0.3
    assert (found.min, found.max, found.n) == (0.1, 0.9, 5)
    assert found.iqm == pytest.approx(0.3)  # of 0.1 ... 0.9 the middle three
    low, high = found.interval or (0, 0)
    assert 0.1 <= low < 0.3 < high <= 0.9
    assert found.seeds == {"0": 0.4, "1": 0.1, "2": 0.2, "3": 0.9, "4": 0.3}
    assert found.others == {"accuracy": 0.7}
    assert found.steps_per_s == 12.0
    assert (found.parameters, found.peak_bytes, found.rank) == (1000, 1000, 1)
    assert found.statuses == {"finished": 5}


def test_rows_are_ranked_in_the_direction_of_the_metric() -> None:
    lower = rows(record("a", score=0.3), record("b", score=0.1), record("c", score=0.2))
    assert [r.name for r in lower] == ["b", "c", "a"]
    higher = rows(*(record(m, score=s, metric="accuracy") for m, s in (("a", 0.3), ("b", 0.1), ("c", 0.2))))
    assert [r.name for r in higher] == ["a", "c", "b"]
    assert [r.rank for r in higher] == [1, 2, 3]


def test_equal_scores_share_a_rank() -> None:
    found = rows(record("b", score=0.1), record("a", score=0.1), record("c", score=0.2))
    assert [(r.name, r.rank) for r in found] == [("a", 1), ("b", 1), ("c", 3)]


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_a_diverged_seed_counts_as_worse_than_any(metric: str) -> None:
    scores = {"loss": [0.1, 0.2, 0.3], "accuracy": [0.3, 0.2, 0.1]}[metric]  # best first
    seeds = [record("a", i, x, metric=metric) for i, x in enumerate(scores)]
    lost = [record("a", 3 + i, status="diverged", metric=metric) for i in range(4)]
    two = row(*seeds, *lost[:2])
    assert two.score == scores[2]  # best, middle, worst, diverged, diverged
    assert (two.n, two.diverged, two.ended) == (3, 2, 5)
    assert two.interval is None
    four = row(*seeds, *lost)
    assert four.score is None
    assert four.rank is None


def test_diverged_ranks_last_but_before_what_has_no_result() -> None:
    found = rows(
        record("failed", status="failed"), record("diverged", status="diverged"), record("poor", score=99.0)
    )  # fmt: skip
    assert [(r.name, r.rank) for r in found] == [("poor", 1), ("diverged", None), ("failed", None)]
    text = render(board(record("gone", status="diverged"), record("late", status="interrupted")))
    assert "diverged" in text
    assert "late: 1 interrupted." in text


def test_only_what_the_interval_supports_is_bold() -> None:
    def seeds(model: str, *scores: float) -> list[RunRecord]:
        return [record(model, i, x) for i, x in enumerate(scores)]

    low, high = (0.1, 0.105, 0.11, 0.115, 0.12), (0.5, 0.55, 0.6, 0.65, 0.7)
    clear = rows(*seeds("a", *low), *seeds("b", *high))
    assert [r.best for r in clear] == [True, False]
    four_seeds = rows(*seeds("a", *low[:4]), *seeds("b", *high))
    assert not any(r.best for r in four_seeds)
    overlapping = rows(*seeds("a", 0.1, 0.2, 0.3, 0.4, 0.6), *seeds("b", *high))
    assert [r.best for r in overlapping] == [False, False]
    third = rows(*seeds("a", *low), *seeds("b", *high), *seeds("c", 0.01, 0.8, 0.9, 0.9, 0.9))
    assert not any(r.best for r in third)
    one_seed = rows(record("a", score=0.1), record("b", score=0.9))
    assert not any(r.best for r in one_seed)
    two_seeds = rows(*seeds("a", 0.1, 0.11), *seeds("b", 0.5, 0.6, 0.7))
    assert not any(r.best for r in two_seeds)
    alone = rows(*seeds("a", *low))
    assert not any(r.best for r in alone)
    against_diverged = rows(*seeds("a", *low), record("b", status="diverged"))
    assert [r.best for r in against_diverged] == [True, False]
    against_failed = rows(*seeds("a", *low), record("b", status="failed"))
    assert not any(r.best for r in against_failed)
    text = render(board(*seeds("a", *low), *seeds("b", *high)), "github")
    assert "| **0.11 \\[" in text
    assert text.count("**0.") == 1


def test_every_format_says_what_an_interval_is_of() -> None:
    of_four = board(*(record("a", i, x) for i, x in enumerate([0.1, 0.2, 0.3, 0.4])))
    of_five = board(*(record("a", i, x) for i, x in enumerate([0.1, 0.2, 0.3, 0.4, 0.5])))
    for fmt in ("table", "github", "latex", "html"):
        assert re.search(r"0\.25 \\?\[0\.1, 0\.4\]", render(of_four, fmt)), fmt
        assert "in brackets the lowest and the highest seed" in render(of_four, fmt)
        assert re.search(r"0\.3 \\?\[0\.1, 0\.5\]", render(of_five, fmt)), fmt
        assert re.search(r"in brackets the 94 \\?% interval", render(of_five, fmt))
        assert "brackets Student" in render(of_five, fmt, interval="mean")
    # mean 0.3 and 2.77645 standard errors of 0.0707107
    assert "0.3 [0.1037, 0.4963]" in render(of_five, interval="mean")
    assert "Student's 95 % interval; ranked by medians" in render(of_five, interval="mean")
    both = render(of_five, asked=["all"])
    assert "Medians over seeds, in brackets the 94 % interval; means over seeds, in brackets Student's 95" in both
    assert render(of_five, asked=["all"], interval="mean").count(f"mean {of_five.tables[0].metric}") == 1
    assert "94 %" in render(of_five, asked=["model", "interval"]) and "0.1 to 0.4" in render(of_four, asked=["range"])
    assert (of_four.tables[0].rows[0].interval, of_four.tables[0].rows[0].coverage) == (None, None)


def test_steps_to_a_goal_count_a_seed_that_never_got_there() -> None:
    def seeds(*steps: int | None) -> LeaderboardRow:
        arrivals = [None if s is None else s / 10 for s in steps]
        return row(
            *(
                record(seed=i, steps_to_baseline=s, seconds_to_baseline=t)
                for i, (s, t) in enumerate(zip(steps, arrivals, strict=True))
            )
        )

    all_there = seeds(10, 30, 20)
    assert (all_there.steps_to_baseline, all_there.seconds_to_baseline) == (20, 2.0)
    most = seeds(10, None, 30, None, 20)
    assert (most.steps_to_baseline, most.reached_baseline) == (30, 3)
    few = seeds(10, None, None)
    assert (few.steps_to_baseline, few.reached_baseline) == (None, 1)
    records = [record(seed=i, steps_to_baseline=s) for i, s in enumerate([10, None, 30, None, 20])]
    assert "30 (3/5)" in render(board(*records), asked=["to_baseline"])
    assert "(1/2)" in render(board(record(steps_to_baseline=5), record(seed=1)), asked=["to_baseline"])


def test_an_unfinished_run_is_no_result() -> None:
    found = row(record(seed=0, score=0.1, steps_to_baseline=10), record(seed=1, status="running"))
    assert (found.n, found.ended, found.score) == (1, 1, 0.1)
    assert found.interval is None
    assert found.statuses == {"finished": 1, "running": 1}


def test_specs_engines_and_widths_have_rows_of_their_own() -> None:
    found = rows(record(hidden=32), record(hidden=64), record("lstm"))
    assert sorted(r.name for r in found) == ["lstm", "rnn (hidden 32)", "rnn (hidden 64)"]
    engines = rows(record(), record(engine="fused"))
    assert sorted(r.name for r in engines) == ["rnn (engine fused)", "rnn (engine reference)"]
    rates = rows(record(lr=1e-3), record(lr=0.1))
    assert sorted(r.name for r in rates) == ["rnn (optim.lr 0.001)", "rnn (optim.lr 0.1)"]


def test_tasks_and_lengths_have_own_tables_in_natural_order() -> None:
    """Tasks and lengths have tables of their own in natural order."""
    found = board(
        record(variant="t1000", params={"length": 1000}),
        record(variant="t200", params={"length": 200}),
        record(variant=None, params={"length": 7}),
        record(variant=None, params={"length": 9}),
        record(task="adding", variant=None),
    )
    names = [table.task for table in found.tables]
    assert names == ["adding", "copy (length 7)", "copy (length 9)", "copy/t200", "copy/t1000"]


def test_of_a_rerun_the_last_that_ended_counts() -> None:
    first = record(score=0.3, started="2026-01-01T00:00:00+00:00")
    again = record(score=0.1, started="2026-01-02T00:00:00+00:00")
    broken_off = record(status="interrupted", started="2026-01-03T00:00:00+00:00")
    for order in ([first, again, broken_off], [broken_off, again, first]):
        assert row(*order).score == 0.1
        assert row(*order).n == 1
    worse = record(status="diverged", started="2026-01-04T00:00:00+00:00")
    assert row(again, worse).diverged == 1  # the better one is not picked


def test_the_order_of_the_records_changes_nothing() -> None:
    records = [record(m, s, 0.1 * s + len(m)) for m in ("rnn", "lstm", "gru") for s in range(3)]
    assert board(*records) == board(*reversed(records))


def test_scores_are_given_as_papers_give_theirs() -> None:
    runs = [record(seed=i, score=s, metric="accuracy", best=b) for i, (s, b) in enumerate([(0.7, 0.9), (0.9, 0.8)])]
    whole = row(*runs).statistics["accuracy"]
    assert whole.mean == pytest.approx(0.8)
    assert (whole.best, whole.worst, whole.best_on_validation) == (0.9, 0.7, 0.7)
    lost = row(*runs, record(seed=2, status="diverged", metric="accuracy")).statistics["accuracy"]
    assert lost == SeedStatistics(mean=None, best=0.9, worst=None, best_on_validation=0.7)
    assert whole.standard_deviation == pytest.approx(0.02**0.5)
    text = render(board(*runs), "github", ["best", "best_on_validation", "mean_sd"])
    assert re.search(r"\| +0\.9 \| +0\.7 \| +0\.8 ± 0\.14 +\|", text), text


def test_vectors_of_tokens_are_counted_apart() -> None:
    found = board(record().model_copy(update={"parameters": 2_546_466, "embedding_parameters": 2_500_200}))
    assert "46266 + 2500200 embedded" in render(found)
    (line,) = lines_of(found)
    assert (line["parameters"], line["embedding_parameters"]) == ("2546466", "2500200")


def test_published_numbers_stand_beside_ours() -> None:
    entry: dict[str, Any] = {"source": "a paper", "where": "Table 1", "variant": "t100"}
    elsewhere: dict[str, Any] = {**entry, "variant": "t200"}
    stated: dict[str, Any] = {"length": 100, "selection": "last"}
    card = TaskCard(
        task="copy",
        version=1,
        summary="s",
        reference="r",
        data=DataSpec(generator="copy", params={"length": 50}),
        length="length",
        variants={"t100": {"length": 100}, "t200": {"length": 200}},
        input="tokens",
        readout="every",
        loss="cross_entropy",
        metric="loss",
        extra_metrics=["accuracy"],
        protocol=Protocol(validation=1, test=1),
        baselines=[Baseline(name="b", metric="loss", value=1.0, derivation="w")],
        published=[
            Published(
                key="k1", model="rnn", metric="loss", statistic="mean", value=0.2, reported_protocol=stated, **entry
            ),
            Published(
                key="k2",
                model="rnn",
                metric="accuracy",
                statistic="best",
                value=0.98,
                bound="at_least",
                reported_protocol=stated | {"batch_size": 50},
                quoted="Someone",
                **entry,
            ),
            Published(key="k3", model="urnn", metric="loss", statistic="unknown", value=0.3, **entry),
            Published(key="k4", model="rnn", metric="loss", statistic="curve", value=None, **entry),
            Published(key="k5", model="rnn", metric="loss", statistic="unknown", value=9.0, **elsewhere),
            Published(key="k6", model="rnn", event="diverged", statistic="count", value=5, units=64, **entry),
            Published(key="k7", model="rnn", metric="loss", statistic="best_on_validation", value=0.1, **entry),
            Published(key="k8", model="rnn", metric="loss", statistic="unknown", value=0.1, **entry),
        ],
        changelog=["1"],
    )
    records = [
        record(seed=0, score=0.1, also={"accuracy": 0.5}, best=0.2),
        record(seed=1, score=0.3, also={"accuracy": 0.7}, best=0.1),
        record(seed=2, score=0.11, also={"accuracy": 0.6}, best=0.4),
    ]
    found = build("s", records, cards=lambda name: card)
    by_key = {p.key: p for p in found.tables[0].published}
    assert set(by_key) == {"k1", "k2", "k3", "k6", "k7", "k8"}
    assert (by_key["k1"].published, by_key["k1"].protocol) == (0.2, "same")
    assert (by_key["k1"].ours, by_key["k1"].our_statistic) == (pytest.approx(0.17), "mean")
    assert (by_key["k2"].published, by_key["k2"].ours) == (0.98, 0.7)
    assert (by_key["k2"].protocol, by_key["k2"].differs) == ("differs", ["batch_size 50, ours 8"])
    assert (by_key["k3"].ours, by_key["k3"].protocol) == (None, "unknown")
    assert (by_key["k6"].ours, by_key["k6"].differs) == (0, ["units 64, ours 32"])
    assert by_key["k7"].ours == 0.3  # the test score of the seed that is best on validation
    assert (by_key["k8"].ours, by_key["k8"].our_statistic) == (0.11, "median")
    text = render(found)
    assert "copy/t100: published" in text
    assert "batch_size 50, ours 8" in text
    assert "r, quoting Someone" in text
    assert ">= 0.98" in text
    assert "0.11 (median)" in text
    assert "urnn" not in text  # it has no row here
    unnamed = build("s", [record(variant=None)], cards=lambda name: card)
    assert unnamed.tables[0].task == "copy/t100"  # --T 100 is the variant t100


@pytest.mark.parametrize("fmt", ["table", "github", "latex", "html", "csv", "json"])
def test_every_format_holds_every_model_and_no_nan(fmt: Any) -> None:
    found = board(record("rnn", score=0.5), record("lstm", status="diverged"), record("gru", status="failed"))
    text = render(found, fmt)
    assert all(model in text for model in ("rnn", "lstm", "gru"))
    assert "nan" not in text.lower()
    assert "inf" not in text.lower()


def test_json_is_one_document_of_plain_numbers() -> None:
    found = board(record(score=0.25), record("lstm", status="diverged"))
    again = json.loads(render(found, "json"))
    assert again == found.as_dict() | {"tables": again["tables"]}
    assert Leaderboard.model_validate_json(render(found, "json")) == found
    assert (again["schema_version"], again["suite"]) == (1, "test")
    assert [r["name"] for r in again["tables"][0]["rows"]] == ["rnn", "lstm"]


def test_csv_has_a_line_a_run() -> None:
    found = board(record(score=0.25), record(score=0.5, seed=1), record(task="adding", variant=None, lr=0.5))
    lines = lines_of(found)
    assert [(line["task_name"], line["variant"], line["seed"], line["score"]) for line in lines] == [
        ("adding", "", "0", "0.1"),
        ("copy", "t100", "0", "0.25"),
        ("copy", "t100", "1", "0.5"),
    ]
    assert [line["optim.lr"] for line in lines] == ["0.5", "0.001", "0.001"]
    assert {(line["task.length"], line["train.steps"], line["test.loss"] == line["score"]) for line in lines} == {
        ("100", "100", True)
    }


def test_hostile_names_are_escaped() -> None:
    found = board(record("x.py:<script>|$a_b"))
    assert "<script>" not in render(found, "html")
    assert "\\$a\\_b" in render(found, "latex")
    assert "\\|" in render(found, "github")


def test_nothing_run_yet_is_said() -> None:
    assert render(board()) == "test: no runs yet."
    assert json.loads(render(board(), "json")) == {"schema_version": 1, "suite": "test", "tables": []}


def test_check_names_each_regression() -> None:
    before = board(
        record("a", score=0.1, steps_to_baseline=100),
        record("b", score=0.2),
        record("c", score=0.3),
        record("d", score=0.4, steps_to_baseline=100),
        record("e", status="diverged"),
    )
    now = board(
        record("a", score=0.12, steps_to_baseline=100),
        record("b", status="diverged"),
        record("d", score=0.4, steps_to_baseline=150),
        record("e", status="diverged"),
        record("new", score=9.0),
    )
    found = check(now, stored(before), 0.1)
    assert sorted(found) == [
        "copy/t100: a: loss 0.12, 0.1 before; the margin is 10%.",
        "copy/t100: b: 1 seeds diverged, 0 before.",
        "copy/t100: b: no loss now, 0.2 before.",
        "copy/t100: c is missing.",
        "copy/t100: d: steps to baseline 150, 100 before; the margin is 10%.",
    ]
    assert check(before, stored(before), 0.0) == []
    assert check(now, stored(before), 0.5) == [line for line in found if "margin" not in line]


def test_check_knows_the_direction() -> None:
    before, worse, better = (board(record(score=x, metric="accuracy")) for x in (0.9, 0.7, 0.95))
    assert len(check(worse, stored(before), 0.1)) == 1
    assert check(better, stored(before), 0.0) == []
    never, soon = board(record(score=0.5, steps_to_baseline=None)), board(record(score=0.5, steps_to_baseline=3))
    assert len(check(never, stored(soon), 1)) == 1


def test_check_refuses_leaderboard_without_runs() -> None:
    """Check refuses a leaderboard without runs and one of another suite."""
    before, other = board(record()), board(record(task="adding")).replaced(suite="other")
    empty = Leaderboard(suite="other", tables=[])
    with pytest.raises(UserError, match="nothing to compare with the leaderboard of test: there are no runs of other"):
        check(empty, stored(before), 0.1)
    with pytest.raises(UserError, match="there are no runs of test"):
        check(before.replaced(tables=[before.tables[0].replaced(rows=[])]), stored(before), 0.1)
    with pytest.raises(UserError, match="of test must share a task with that of other: it has copy/t100, this one add"):
        check(other, stored(before), 0.1)
    nameless = stored(before).replaced(suite=None)
    with pytest.raises(UserError, match="The leaderboard must share a task with that of other"):
        check(other, nameless, 0.1)
    assert check(before.replaced(tables=[*before.tables, *other.tables]), stored(before), 0.1) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be JSON"),
        ("[]", "no list `tables`"),
        ('{"tables": [1]}', "tables.0 has no `task`"),
        ('{"tables": [{"task": "copy", "metric": "elo", "rows": []}]}', "no known `metric`"),
        ('{"tables": [{"task": "copy", "metric": "loss"}]}', "no list `rows`"),
        ('{"tables": [{"task": "copy", "metric": "loss", "rows": [{}]}]}', "rows.0 has no `name`"),
        ('{"tables": [{"task": "c", "metric": "loss", "rows": [{"name": "a", "score": NaN}]}]}', "score is no number"),
        ("[" * 100_000, "must be JSON"),
        ('{"schema_version": 2, "tables": []}', "its `schema_version` must be 1"),
        ('{"tables": [{"task": "copy", "metric": "loss", "rows": [3]}]}', "rows.0 has no `name`"),
        ('{"tables": [{"task": "c", "metric": "loss", "rows": [{"name": "a", "diverged": "1"}]}]}', "d is no number"),
        ('{"tables": []}', "it has no rows"),
        ('{"tables": [{"task": "copy", "metric": "loss", "rows": []}]}', "it has no rows"),
    ],
)
def test_a_baseline_that_is_none_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message.replace("`", ".")):
        read_baseline(path)


def test_a_stored_leaderboard_is_a_baseline(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    found = board(record(score=0.25), record("lstm", status="diverged"))
    path.write_text(render(found, "json"))
    assert check(found, read_baseline(path), 0) == []
    with pytest.raises(UserError, match="cannot be read"):
        read_baseline(tmp_path / "none.json")


def test_ten_thousand_records_take_under_five_seconds() -> None:
    kinds = [
        record(f"model_{m}", 0, 0.1 * m + 1, params={"length": t}, variant=f"t{t}")
        for m in range(50)
        for t in range(20)
    ]
    # ten seeds of each, one of them diverged
    records = [
        kind.model_copy(
            update={
                "spec": kind.spec.model_copy(update={"seed": seed}),
                "status": "diverged" if seed == 9 and kind.spec.model.name == "model_7" else "finished",
                "result": kind.result.model_copy(update={"test": {"loss": math.sin(seed) + 2}}),
            }
        )
        for kind in kinds
        for seed in range(10)
    ]
    began = time.process_time()
    found = board(*records)
    text = render(found, "github")
    assert time.process_time() - began < 5
    assert len(found.tables) == 20
    assert text.count("model_7 ") == 20
