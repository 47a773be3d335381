"""`compare --rates`: how many learning rates of a fixed grid reach the goal, and how few tries find one."""

import json
from dataclasses import replace
from itertools import pairwise
from math import comb
from pathlib import Path

import pytest
from run_maker import made_record
from typer.testing import CliRunner, Result

from stablebench import leaderboard
from stablebench.cli.app import app
from stablebench.errors import UserError
from stablebench.execution.suites import SuiteOverrides, runs_of, suite_of
from stablebench.leaderboard.learning_rates import learning_rates
from stablebench.schema.learning_rates import RATES, RateRow, RateTable
from stablebench.schema.run_record import Result as RunResult
from stablebench.schema.run_record import RunRecord
from stablebench.stats import median_interval


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["compare", *(str(a) for a in arguments)])


def run_at(model: str, rate: float, seed: int, *, score: float = 0.5, at: int | None = None) -> RunRecord:
    """Return the record of a finished run at a rate, which reached the target after `at` updates; None for never."""
    made = made_record(model, "copy", seed)
    optim = made.spec.optim.model_copy(update={"lr": rate})
    spec = made.spec.model_copy(update={"optim": optim})
    metric = made.metric
    result = RunResult(test={metric: score}, best=score, best_step=1, steps_to_target=at)
    changed = {"spec": spec, "spec_hash": spec.spec_hash(), "result": result, "status": "finished"}
    return made.model_copy(update=changed | {"target": 0.01, "target_metric": metric})


def table_of(records: list[RunRecord]) -> RateTable:
    (table,) = learning_rates(records, leaderboard.build("mine", records).tables)
    return table


def row_of(good: list[list[int]], *, model: str = "rnn", leave_out: int | None = None) -> RateRow:
    """Return the row of a model; for each seed the places of the rates that reach the target."""
    records = [
        run_at(model, rate, seed, at=10 if place in places else None, score=0.1 * (1 + abs(place - 3)))
        for seed, places in enumerate(good)
        for place, rate in enumerate(RATES)
        if (seed, place) != (len(good) - 1, leave_out)
    ]
    (row,) = table_of(records).rows
    return row


def test_the_grid_is_seven_rates_over_three_decades() -> None:
    assert len(RATES) == 7 and RATES[-1] / RATES[0] == pytest.approx(1000)
    ratios = [high / low for low, high in pairwise(RATES)]
    assert ratios == pytest.approx([10**0.5] * 6, rel=2e-3)


def test_counts_window_and_tries_by_hand() -> None:
    row = row_of([[1, 2, 3], [2, 3], [2, 3, 4, 6]])
    assert (row.reached, row.lowest, row.highest, row.seeds) == (3, 2, 4, [0, 1, 2])
    assert row.interval is None
    assert row.window == (RATES[2], RATES[3])  # at places 1, 4 and 6 one seed of three does
    for k in range(1, 8):
        by_seed = [1 - comb(7 - m, k) / comb(7, k) for m in (3, 2, 4)]
        assert row.tries[k - 1] == pytest.approx(sum(by_seed) / 3)
        assert row.tries_range[k - 1] == (min(by_seed), max(by_seed))
    assert row.tries[0] == pytest.approx(3 / 7) and row.tries[6] == 1
    assert row.best_rate == RATES[3] and row.best_score == pytest.approx(0.1)  # copy's metric is a loss
    assert [cell.reached for cell in row.cells] == [0, 1, 3, 3, 1, 0, 1]


def test_five_seeds_have_an_interval() -> None:
    counts = [1, 2, 2, 3, 5]
    row = row_of([list(range(count)) for count in counts])
    assert row.reached == 2 and row.interval == median_interval([float(count) for count in counts])


def test_a_seed_that_misses_a_rate_is_left_out() -> None:
    row = row_of([[0, 1], [0, 1, 2, 3]], leave_out=5)
    assert row.seeds == [0] and row.reached == 2
    alone = row_of([[0, 1]], leave_out=5)
    assert alone.seeds == [] and alone.reached is None and alone.tries == [] and alone.best_rate is None


def test_a_run_that_diverged_after_the_target_counts_as_none() -> None:
    records = [run_at("rnn", rate, 0, at=5) for rate in RATES]
    records[6] = records[6].model_copy(update={"status": "diverged", "result": RunResult(steps_to_target=5)})
    (row,) = table_of(records).rows
    assert row.reached == 6 and row.cells[6].diverged == 1 and row.cells[6].score is None


def test_models_are_ranked_by_how_many_rates_learn() -> None:
    wide = [run_at("gru", rate, 0, at=5, score=0.2) for rate in RATES]
    good = [run_at("rnn", rate, 0, at=5 if rate == 1e-2 else None, score=0.0) for rate in RATES]
    also = [run_at("lstm", rate, 0, at=5 if rate == 1e-3 else None, score=0.1) for rate in RATES]
    rows = table_of([*also, *good, *wide]).rows
    assert [(row.name, row.rank) for row in rows] == [("gru", 1), ("rnn", 2), ("lstm", 2)]


def test_rates_of_groups_keep_their_ratio() -> None:
    asked = SuiteOverrides(models=["exprnn"], tasks=["copy/t100"], rates=True)
    _, suite = suite_of(None, asked)
    (plain,) = runs_of(suite, SuiteOverrides(models=["exprnn"], tasks=["copy/t100"]))
    groups = {name: group.lr for name, group in plain.spec.optim.groups.items() if group.lr is not None}
    assert groups
    runs = runs_of(suite, asked)
    assert [run.spec.optim.lr for run in runs] == list(RATES)
    for run in runs:
        for name, lr in groups.items():
            ratio = (run.spec.optim.groups[name].lr or 0) / run.spec.optim.lr
            assert ratio == pytest.approx(lr / plain.spec.optim.lr, rel=1e-3)
        assert run.spec.train == plain.spec.train and run.spec.model == plain.spec.model


def test_a_rate_of_ones_own_is_refused() -> None:
    plain = SuiteOverrides(models=["rnn"], tasks=["copy/t100"], rates=True)
    for asked in (replace(plain, options={"optim.lr": 0.1}), replace(plain, settings={"optim.lr": 0.1})):
        with pytest.raises(UserError, match="leave --lr"):
            runs_of(suite_of(None, asked)[1], asked)


def test_the_command_runs_the_grid_and_prints_one_row_a_model(tmp_path: Path) -> None:
    words = ["--model", "rnn,gru", "--task", "first_recall", "--T", 5, "--steps", 3, "--hidden", 8, "--rates"]
    words += ["--runs-dir", tmp_path / "runs", "--quiet"]
    first = invoke(*words)
    assert first.exit_code == 0, first.output
    assert "7 learning rates from 0.0001 to 0.1" in first.stdout and "0/7" in first.stdout
    assert len(list((tmp_path / "runs").rglob("record.json"))) == 14
    as_json = json.loads(invoke(*words, "--no-run", "--json").stdout)
    (table,) = as_json["learning_rates"]
    assert [len(row["cells"]) for row in table["rows"]] == [7, 7] and len(table["rows"][0]["tries"]) == 7
    assert "reproduction" not in as_json


@pytest.mark.parametrize(
    "option", [["--until-decided"], ["--statistics"], ["--columns", "all"], ["--lr", "0.1"], ["--check", "x.json"]]
)
def test_options_of_the_leaderboard_are_refused(option: list[str]) -> None:
    result = invoke("--model", "rnn", "--task", "copy", "--rates", *option)
    assert result.exit_code == 2 and "--rates" in result.stderr
