"""`compare` as a user types it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.cli.compare import _in_order
from stablebench.specs.resolve import RunRequest, resolve

SMALL = ["--T", "5", "--hidden", "6", "--steps", "12", "--batch-size", "4", "--set", "task.S=2"]


def compare(tmp_path: Path, *more: str) -> Result:
    arguments = ["compare", "--models", "rnn,roarnn", "--tasks", "copy", "--seeds", "2", *SMALL]
    return CliRunner().invoke(app, [*arguments, "--runs-dir", str(tmp_path / "runs"), *more])


def test_compare_runs_what_is_missing_once_and_draws_the_board(tmp_path: Path) -> None:
    first = compare(tmp_path, "--json")
    assert first.exit_code == 0, first.output
    document = json.loads(first.stdout)
    (table,) = document["tables"]
    assert {row["model"] for row in table["rows"]} == {"rnn", "roarnn"}
    assert "4 of 4 runs to do" in first.stderr
    records = sorted((tmp_path / "runs").glob("*/*/*/record.json"))
    times = [path.stat().st_mtime_ns for path in records]
    assert len(records) == 4
    again = compare(tmp_path, "--json")
    assert json.loads(again.stdout) == document
    assert [path.stat().st_mtime_ns for path in records] == times


def test_a_stored_failure_is_said_and_exits_1(tmp_path: Path) -> None:
    """`--no-run` draws what is there; that a run of it failed is no less true than when it did."""
    assert compare(tmp_path, "--quiet").exit_code == 0
    path = min((tmp_path / "runs").glob("*/rnn/*/record.json"))
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | {"status": "failed", "error": "out of memory"}))
    result = compare(tmp_path, "--no-run")
    assert result.exit_code == 1 and "failed: rnn on copy seed 0: out of memory" in result.stderr
    path.write_text(json.dumps(json.loads(whole) | {"status": "diverged"}))
    assert compare(tmp_path, "--no-run").exit_code == 0


def test_a_board_that_got_worse_exits_5(tmp_path: Path) -> None:
    board = tmp_path / "board.json"
    assert compare(tmp_path, "-o", str(board)).exit_code == 0
    assert compare(tmp_path, "--no-run", "--check", str(board)).exit_code == 0
    document = json.loads(board.read_text())
    for row in document["tables"][0]["rows"]:
        row["score"] /= 2
    board.write_text(json.dumps(document))
    result = compare(tmp_path, "--no-run", "--check", str(board))
    assert result.exit_code == 5 and "regression: " in result.stderr


def test_an_existing_file_is_not_overwritten_unasked(tmp_path: Path) -> None:
    board = tmp_path / "board.json"
    board.write_text("mine")
    refused = compare(tmp_path, "-o", str(board))
    assert refused.exit_code == 2 and "this file exists; --force overwrites it" in refused.stderr
    assert board.read_text() == "mine" and not (tmp_path / "runs").exists()  # nothing was run first
    assert compare(tmp_path, "-o", str(board), "--force", "--quiet").exit_code == 0
    assert json.loads(board.read_text())["statistics"]["overall"]["models"] == ["rnn", "roarnn"]
    assert compare(tmp_path, "--no-run", "-o", str(tmp_path)).exit_code == 2


def test_statistics_come_on_demand_and_with_json(tmp_path: Path) -> None:
    compare(tmp_path, "--quiet")
    plain, more = compare(tmp_path, "--no-run"), compare(tmp_path, "--no-run", "--statistics")
    assert "Over tasks" not in plain.stdout and more.stdout.startswith(plain.stdout.rstrip())
    for words in ("mean rank", "IQM", "pairs differ", "Probability of improvement"):
        assert words in more.stdout
    for arguments in (["--json"], ["--format", "json", "--statistics"]):
        document = json.loads(compare(tmp_path, "--no-run", *arguments).stdout)
        (table,) = document["statistics"]["tables"]
        assert {row["n"] for row in table["rows"]} == {2}
        assert len(table["pairs"]) == 1


def test_every_format_names_every_model(tmp_path: Path) -> None:
    compare(tmp_path, "--quiet")
    for fmt in ("table", "github", "latex", "html", "csv", "json"):
        result = compare(tmp_path, "--no-run", "--format", fmt)
        assert result.exit_code == 0 and "roarnn" in result.stdout, fmt


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quik"], "No suite named 'quik'. Did you mean quick?"),
        (["--tasks", "copy"], "name the models as well"),
        (["quick", "--models", "rnnn"], "No model named 'rnnn'. Did you mean rnn?"),
        (["quick", "--modle", "rnn"], "compare has no option --modle. Did you mean --model?"),
        (["quick", "--seed", "1"], "compare has no option --seed. Did you mean --seeds?"),
        (["quick", "--set", "seed=3"], "--set seed: give --seeds instead"),
        (["quick", "--recipe", "a.yaml"], "compare has no option --recipe."),
        (["quick", "--no-run", "--check", "nowhere.json"], "nowhere.json"),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["compare", *arguments, "--runs-dir", str(tmp_path)])
    assert result.exit_code == 2 and message in result.stderr, result.output


def test_an_estimate_runs_a_few_updates_and_keeps_nothing(tmp_path: Path) -> None:
    result = compare(tmp_path, "--estimate", "--json", "--workers", "2")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [(kind["model"], kind["runs"], kind["missing"]) for kind in document["cells"]] == [
        ("rnn", 2, 2),
        ("roarnn", 2, 2),
    ]
    assert document["missing_s"] == document["missing_core_s"] / 2 > 0
    assert not (tmp_path / "runs").exists()
    assert "All 4 runs: 0:0" in compare(tmp_path, "--estimate").stdout
    compare(tmp_path, "--quiet")
    assert "the missing 0: 0:00" in compare(tmp_path, "--estimate").stdout


def test_what_cannot_be_run_has_no_estimate(tmp_path: Path) -> None:
    words = ["compare", "--models", "rnn", "--seeds", "2", "--estimate", "--runs-dir", str(tmp_path)]
    words += ["--data-dir", str(tmp_path), "--quiet", "--steps", "3", "--hidden", "4"]
    result = CliRunner().invoke(app, [*words, "--tasks", "har2/hapt"])
    assert result.exit_code == 1 and "2 runs cannot be run here; what they would take is not known." in result.stdout
    assert "0:00" not in result.stdout
    document = json.loads(CliRunner().invoke(app, [*words, "--tasks", "har2/hapt", "--json"]).stdout)
    assert document["core_s"] is document["missing_s"] is document["cells"][0]["missing_s"] is None
    both = CliRunner().invoke(app, [*words, "--tasks", "har2/hapt,copy"]).stdout
    assert "\n2 runs: 0:0" in both and "2 runs cannot be run here" in both and "All" not in both


@pytest.mark.parametrize("words", [("--models", ""), ("--models", "rnn,"), ("--tasks", " ")])
def test_an_empty_name_is_refused(words: tuple[str, str], tmp_path: Path) -> None:
    result = compare(tmp_path, *words)
    assert result.exit_code == 2
    assert f"{words[0].removesuffix('s')} '{words[1]}': must be names with commas between" in result.stderr


def test_a_reason_that_stops_several_cells_is_said_once_in_full(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    words = [
        "compare",
        "--models",
        "rnn,lstm",
        "--tasks",
        "imdb",
        "--workers",
        "1",
        "--data-dir",
        str(tmp_path / "data"),
    ]
    result = CliRunner().invoke(app, [*words, "--runs-dir", str(tmp_path / "runs")])
    assert result.exit_code == 1
    assert result.stderr.count("Official source") == 1
    assert "failed: rnn on imdb seed 0, lstm on imdb seed 0: " in result.stderr
    assert "--task " not in result.stderr


def test_failures_are_listed_in_the_order_of_the_suite() -> None:
    """Whichever run ended first."""
    runs = [resolve(RunRequest("rnn", "copy", settings={"seed": seed})) for seed in range(3)]
    first, second, third = (run.label for run in runs)
    assert _in_order([(third, "a"), (first, "b"), (second, "a")], runs) == [(first, "b"), (second, "a"), (third, "a")]


def test_stored_runs_with_other_settings_are_told(tmp_path: Path) -> None:
    """Stored runs with other settings are told where those asked for are missing."""
    assert compare(tmp_path, "--quiet").exit_code == 0
    told = f"{tmp_path / 'runs' / 'copy' / 'rnn'} has other runs of rnn on copy: 2 with "
    words = ["--models", "rnn", "--tasks", "copy", *SMALL, "--lr", "0.25", "--runs-dir", str(tmp_path / "runs")]
    for command in (["compare", "--no-run"], ["report"], ["plot", "curves", "-o", str(tmp_path / "a.png")]):
        result = CliRunner().invoke(app, [*command, *words])
        line = next(line for line in result.stderr.splitlines() if line.startswith(told))
        assert line.removeprefix(told).startswith("optim.lr 0.0001 in place of 0.25"), result.stderr


def test_the_suite_that_is_taken_is_said(tmp_path: Path) -> None:
    words = ["--no-run", "--models", "lstm", "--runs-dir", str(tmp_path)]
    assert "the suite quick is taken" in CliRunner().invoke(app, ["compare", *words]).stderr
    assert not CliRunner().invoke(app, ["compare", "smoke", *words]).stderr
    result = CliRunner().invoke(app, ["compare", "smoke", "--tasks", "adding", *words])
    assert "the suite smoke has copy, digits; adding gets none of the settings" in result.stderr
    assert "Did you mean" not in result.stderr
    for command in (["compare", "core", *words], ["tune", "core", *words, "-o", str(tmp_path / "recipes")]):
        said = CliRunner().invoke(app, [*command, "--tasks", "first_recall"]).stderr
        assert "first_recall gets none of the settings of these. Did you mean first_recall/t50?" in said


def test_a_dry_run_lists_the_runs_and_runs_nothing(tmp_path: Path) -> None:
    words = ["compare", "--models", "rnn", "--tasks", "copy", "--seeds", "2", *SMALL, "--quiet"]
    assert CliRunner().invoke(app, [*words, "--runs-dir", str(tmp_path / "runs")]).exit_code == 0
    before = sorted(tmp_path.rglob("*"))
    rows = json.loads(compare(tmp_path, "--dry-run", "--json").stdout)
    assert [(row["model"], row["updates"], row["to run"]) for row in rows] == [("rnn", 12, 0), ("roarnn", 12, 2)]
    result = compare(tmp_path, "--dry-run")
    assert "2 of 4 runs would be run, 24 updates in all" in result.stdout and sorted(tmp_path.rglob("*")) == before


def test_models_within_a_margin_are_called_equal(tmp_path: Path) -> None:
    command = ["compare", "--models", "rnn,roarnn", "--tasks", "copy", "--seeds", "6", *SMALL, "--quiet"]
    found = CliRunner().invoke(app, [*command, "--runs-dir", str(tmp_path / "runs"), "--equal-within", "100"])
    assert "equal within 100" in found.stdout and "1 are equal within 100 at 5 %" in found.stdout
    refused = compare(tmp_path, "--max-seeds", "6")
    assert refused.exit_code == 2 and "--max-seeds is --until-decided's" in refused.stderr


def until_decided(tmp_path: Path, *more: str) -> Result:
    task = ["--T", "5", "--batch-size", "4", *([] if "two.yaml" in more else ["--steps", "12"])]
    task += [] if more[0].endswith(".yaml") else ["--tasks", "copy"]
    arguments = ["compare", *task, "--until-decided", "--runs-dir", str(tmp_path / "runs"), "--quiet"]
    return CliRunner().invoke(app, [*arguments, *more])


def test_seeds_are_added_until_models_are_told_apart(tmp_path: Path) -> None:
    """A model of one unit learns less in 12 updates than one of 32, so that five or seven seeds decide."""
    suite = tmp_path / "two.yaml"
    suite.write_text(
        "summary: two sizes\nmodels: [rnn]\nseeds: [0]\n"
        "tasks:\n  - {task: adding, overrides: {model.hidden: 1}}\n  - {task: adding, overrides: {model.hidden: 32}}\n"
    )
    found = until_decided(tmp_path, str(suite), "--max-seeds", "10", "--set", "optim.lr=0.01", "--across-budgets")
    assert found.exit_code == 0, found.output
    assert "1 of 1 pairs decided" in found.stderr and "is better than" in found.stderr
    assert "looked at after 5, 7, 10 seeds, each at p <= 0.017" in found.stderr
    records = list((tmp_path / "runs").glob("*/*/*/record.json"))
    assert len(records) in (10, 14)
    (said,) = [line for line in found.stderr.splitlines() if "is better than" in line]
    board = ["--max-seeds", "10", "--set", "optim.lr=0.01", "--across-budgets", "--json"]
    document = json.loads(until_decided(tmp_path, str(suite), *board).stdout)["seed_decisions"]
    assert (document["looks"], document["pairs"], document["equal_within"]) == ([5, 7, 10], 1, None)
    (decision,) = document["decisions"]
    assert (
        decision["verdict"] == "better" and decision["seeds"] == len(records) / 2 and decision["p"] <= document["level"]
    )
    assert said.startswith(f"{decision['task']}: {decision['better']} is better than {decision['worse']} (p ")
    again = until_decided(tmp_path, str(suite), "--max-seeds", "10", "--set", "optim.lr=0.01", "--across-budgets")
    assert again.exit_code == 0 and len(list((tmp_path / "runs").glob("*/*/*/record.json"))) == len(records)


def test_lengths_of_a_task_may_have_budgets_of_their_own(tmp_path: Path) -> None:
    lengths = ({"task": "copy", "T": T, "overrides": {"train.steps": 3 * T, "train.batch_size": 4}} for T in (2, 3))
    suite = tmp_path / "lengths.yaml"
    suite.write_text(json.dumps({"summary": "two", "models": ["rnn", "gru"], "seeds": [0], "tasks": list(lengths)}))
    command = ["compare", str(suite), "--until-decided", "--max-seeds", "6", "--runs-dir", str(tmp_path / "runs")]
    found = CliRunner().invoke(app, [*command, "--set", "task.S=2", "--set", "model.hidden=4", "--quiet"])
    assert found.exit_code == 0, found.output
    assert "5 % false decisions at most in all: 2 pairs" in found.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--models", "rnn,gru", "--seeds", "3"], "--until-decided and --seeds"),
        (["--models", "rnn,gru", "--no-run"], "--until-decided and --no-run"),
        (["--models", "rnn"], "no task with two models"),
        (["two.yaml"], "on copy updates are unequal"),
        (["widths.yaml"], "on copy units and parameters are unequal"),
        (["--models", "rnn,gru,lstm,cornn,irnn", "--max-seeds", "5"], "so few seeds decide none of 10 pairs"),
    ],
)
def test_what_cannot_be_decided_is_refused(
    tmp_path: Path, more: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.yaml").write_text(
        "summary: two budgets\nmodels: [rnn]\nseeds: [0]\n"
        "tasks:\n  - {task: copy, overrides: {train.steps: 5}}\n  - {task: copy, overrides: {train.steps: 6}}\n"
    )
    (tmp_path / "widths.yaml").write_text(
        "summary: two widths\nmodels: [rnn]\nseeds: [0]\n"
        "tasks:\n  - {task: copy, overrides: {model.hidden: 5}}\n  - {task: copy, overrides: {model.hidden: 9}}\n"
    )
    refused = until_decided(tmp_path, *more)
    assert refused.exit_code == 2 and message in refused.stderr
    assert not (tmp_path / "runs").exists()


def test_an_estimate_says_once_what_stops_several_kinds(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    words = ["compare", "--models", "rnn,lstm", "--tasks", "smnist", "--data-dir", str(tmp_path / "data"), "--estimate"]
    result = CliRunner().invoke(app, [*words, "--runs-dir", str(tmp_path / "runs")])
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stdout.splitlines() if "data fetch" in line]
    assert line.startswith("rnn on smnist, lstm on smnist: mnist: ") and "`stablebench data fetch mnist`" in line
    assert result.stderr.count("`stablebench data fetch mnist`") == 2  # one line for each while they are timed
