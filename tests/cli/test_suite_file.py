"""A suite of the user's own, named by its file."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stablebench.cli.app import app

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
