"""`stablebench report` and the plots of stored runs, as a user types them."""

import re
from pathlib import Path

import pytest
from run_maker import made_record, store
from typer.testing import CliRunner, Result

from stablebench.cli.app import app


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for model, rate in (("rnn", 0.02), ("gru", 0.05)):
        for seed in range(2):
            store(folder, made_record(model, "copy", seed, rate, points=8))
    return folder


def test_a_report_of_everything_of_a_folder_and_of_one_run(runs: Path, tmp_path: Path) -> None:
    one = next(runs.glob("copy/gru/*"))
    for i, (arguments, count) in enumerate([(["--runs-dir", runs], 4), ([runs / "copy" / "rnn"], 2), ([one], 1)]):
        path = tmp_path / f"{i}.html"
        result = invoke("report", *arguments, "-o", path)
        assert result.exit_code == 0, result.output
        assert f"{path}: {count} runs" in result.stdout
        assert f"{count} run{'s' if count > 1 else ''} of" in path.read_text()


def test_the_heading_of_single_runs_says_what_they_are(runs: Path, tmp_path: Path) -> None:
    """Runs that are named by folders, whose names are hashes, are called by model, setting and task."""
    wide = made_record("gru", "copy", points=8)
    wide = wide.model_copy(
        update={"spec": wide.spec.model_copy(update={"model": wide.spec.model.model_copy(update={"hidden": 64})})}
    )
    wide = wide.model_copy(update={"spec_hash": wide.spec.spec_hash()})
    folders = [next(runs.glob("copy/gru/*")), store(tmp_path / "more", wide)]
    path = tmp_path / "r.html"
    assert invoke("report", *folders, "-o", path).exit_code == 0
    (heading,) = re.findall("<h1>(.*?)</h1>", path.read_text())
    assert heading == "gru (hidden 32) and gru (hidden 64) on copy"


def test_an_existing_file_is_kept_unless_forced(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("mine")
    refused = invoke("report", runs, "-o", path)
    assert refused.exit_code == 2 and "--force overwrites it" in refused.stderr and path.read_text() == "mine"
    assert invoke("report", runs, "-o", path, "--force").exit_code == 0
    assert path.read_text().startswith("<!doctype html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]  # one file and nothing beside it


def test_broken_records_are_listed_and_the_rest_is_reported(tmp_path: Path) -> None:
    good = store(tmp_path / "runs", made_record("rnn", points=5))
    bad = good.with_name("bad-s0")
    bad.mkdir()
    (bad / "record.json").write_text('{"spec": "<b>')
    result = invoke("report", "--runs-dir", tmp_path / "runs", "-o", tmp_path / "r.html")
    assert result.exit_code == 1 and "bad-s0" in result.stderr and "Traceback" not in result.output
    text = (tmp_path / "r.html").read_text()
    assert "Records that cannot be read" in text and "bad-s0" in text and "1 run of 1 model on 1 task" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "quik"], "'quik' is neither a suite nor a folder with runs. Did you mean quick?"),
        (["report"], "There are no runs in"),
        (["report", "somewhere", "--seeds", "2"], "name a suite"),
        (["plot", "curves", "-o", "a.gif"], "must end in .png, .svg, .pdf"),
        (["plot", "curves", "--metric", "acuracy"], "Did you mean accuracy?"),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = invoke(*arguments, "--runs-dir", tmp_path)
    assert result.exit_code == 2 and message in result.stderr, result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["curves", "profiles", "time-to-target"])
def test_plots_write_a_figure_and_its_numbers(runs: Path, tmp_path: Path, command: str) -> None:
    path = tmp_path / "figure.svg"
    result = invoke("plot", command, runs, "-o", path)
    assert result.exit_code == 0, result.output
    assert "<svg" in path.read_text() and path.with_suffix(".csv").read_text().startswith("panel,model,x,y,low,high")
