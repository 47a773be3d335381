"""A suite of the user's own, named by its file."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stablebench import registry
from stablebench.cli.app import app
from stablebench.execution.suites import SuiteOverrides, runs_of
from stablebench.schema.suite import Suite, SuiteTask

SUITE = """\
summary: mine
tasks:
  - {task: copy, T: 5, overrides: {task.S: 2, train.steps: 2, train.batch_size: 2}}
models: [rnn, lstm]
seeds: [0]
overrides: {model.hidden: 4}
"""


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE)
    return path


def test_it_is_run_shown_and_reported_by_its_path(mine: Path, tmp_path: Path) -> None:
    runs = ("--runs-dir", tmp_path / "runs")
    shown = call("show", "suite", mine)
    assert shown.exit_code == 0 and "rnn, lstm" in shown.stdout
    ran = call("compare", mine, "--workers", "1", "--json", *runs)
    assert ran.exit_code == 0, ran.stderr
    assert f"{mine}: 2 of 2 runs to do" in ran.stderr
    (table,) = json.loads(ran.stdout)["tables"]
    assert {row["model"] for row in table["rows"]} == {"rnn", "lstm"}
    report = call("report", mine, "-o", tmp_path / "page.html", *runs)
    assert report.exit_code == 0 and "lstm" in (tmp_path / "page.html").read_text()


def test_what_is_wrong_with_it_is_said(mine: Path) -> None:
    mine.write_text(SUITE.replace("models: [rnn, lstm]", "modles: [rnn]"))
    broken = call("compare", mine, "--no-run")
    assert broken.exit_code == 2 and f"{mine}:4: modles: unknown key. Did you mean models?" in broken.stderr
    missing = call("compare", mine.with_name("other.yaml"), "--no-run")
    assert missing.exit_code == 2 and "other.yaml" in missing.stderr and missing.stderr.count("\n") == 1


def test_the_documented_example_is_a_suite(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "suites.md").read_text()
    (example,) = re.findall(r"```yaml\n(# my_suite\.yaml\n.*?)```", text, re.DOTALL)
    path = tmp_path / "my_suite.yaml"
    path.write_text(example)
    assert call("validate", path).exit_code == 0
    suite = registry.suite(str(path))
    runs = runs_of(suite, SuiteOverrides())
    assert len(runs) == 3 * (3 + 3 + 2)
    adding = next(run.spec for run in runs if run.spec.task.name == "adding" and run.spec.model.name == "roarnn")
    assert (adding.train.steps, adding.train.batch_size, adding.model.params["rho"]) == (600, 64, 0.9)
    keys = {line.split("|")[1].strip(" `") for line in text.splitlines() if line.startswith("| `")}
    assert keys == set(Suite.model_fields)
    (sentence,) = re.findall(r"A task takes (.*)\.", text)
    assert set(re.findall(r"`(\w+)`", sentence)) == set(SuiteTask.model_fields)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "seeds: [0]",
            "seeds: [0]\nsteps: 5",
            "steps: unknown key. Write `overrides: {train.steps: ...}`. Known keys: ",
        ),
        ("T: 5,", "T: 5, lr: 0.1,", "tasks.0.lr: unknown key. Write `overrides: {optim.lr: ...}`."),
        ("seeds: [0]", "seeds: [0]\nT: 5", "T: unknown key. Write it with each task: `{task: copy, T: 100}`."),
        ("{model.hidden: 4}", "{hidden: 4}", "optim.NAME, train.NAME. Did you mean model.hidden?"),
        ("[rnn, lstm]", "5", "models: must be a list: [a, b], got 5 (int)."),
        ("[rnn, lstm]", "rnn, lsm", "models.1: No model named 'lsm'. Did you mean lstm?"),
        ("seeds: [0]", "seeds: none", "seeds: must be a list: [a, b], got 'none' (str)."),
        (
            "{task: copy, T: 5, overrides: {task.S: 2, train.steps: 2, train.batch_size: 2}}",
            "5",
            "tasks.0: must be keys",
        ),
    ],
)
def test_a_misplaced_key_is_said_with_its_place(mine: Path, old: str, new: str, message: str) -> None:
    mine.write_text(SUITE.replace(old, new))
    result = call("validate", mine)
    assert result.exit_code == 2 and message in result.output and "Suite" not in result.output, result.output
