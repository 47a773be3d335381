"""`report` and `plot` of a suite: the words that `compare` ran it with find its runs."""

import csv
import shlex
from pathlib import Path

import pytest
from run_maker import made_record, store
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.execution.suites import SuiteOverrides, runs_of, suite_of

SPOT = "--models rnn,roarnn --tasks copy --seeds 2 --T 5 --hidden 6 --steps 12 --batch-size 4 --set task.S=2"
SUITE = "roarnn/fig2_copy --models roarnn,rnn_orth --tasks copy --T 5 --hidden 6 --steps 12 --batch-size 4 --seeds 1"
SHORT = "roarnn/fig3_adding --tasks adding --T 6 --seeds 1 --budget short --hidden 6 --batch-size 4"
OPTIONS = {"model.hidden": 6, "train.batch_size": 4}


def invoke(words: str, *more: str | Path) -> Result:
    return CliRunner().invoke(app, [*shlex.split(words), *map(str, more)])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a record of every cell that the words ask for, resolved as `compare` resolves them."""
    folder = tmp_path_factory.mktemp("runs")
    for asked, suite in (
        (SuiteOverrides(["rnn", "roarnn"], ["copy"], [0, 1], 5, OPTIONS | {"train.steps": 12}, {"task.S": 2}), None),
        (SuiteOverrides(["roarnn", "rnn_orth"], ["copy"], [0], 5, OPTIONS | {"train.steps": 12}), "roarnn/fig2_copy"),
        (SuiteOverrides(None, ["adding"], [0], 6, OPTIONS, short=True), "roarnn/fig3_adding"),
    ):
        for cell in runs_of(suite_of(suite, asked)[1], asked):
            made = made_record(seed=cell.spec.seed)
            made = made.model_copy(update={"spec": cell.spec, "spec_hash": cell.spec.spec_hash()})
            store(folder, made)
    return folder


@pytest.mark.parametrize(("words", "count"), [(SPOT, 4), (SUITE, 2), (SHORT, 3)])
def test_the_words_of_compare_find_its_runs(runs: Path, tmp_path: Path, words: str, count: int) -> None:
    path = tmp_path / "r.html"
    result = invoke(f"report {words}", "--runs-dir", runs, "-o", path)
    assert result.exit_code == 0, result.output
    assert f"{path}: {count} runs" in result.stdout
    how = f"stablebench report {words}".partition(" --")[0]
    text = path.read_text()
    assert how in text and "--hidden" in text.partition("<code>")[2].partition("</code>")[0]


@pytest.mark.parametrize("words", [SPOT, SUITE, SHORT])
def test_the_page_says_how_to_make_it_again(runs: Path, tmp_path: Path, words: str) -> None:
    import html

    invoke(f"report {words}", "--runs-dir", runs, "-o", tmp_path / "r.html")
    first = (tmp_path / "r.html").read_text()
    command = html.unescape(first.partition("<code>")[2].partition("</code>")[0])
    again = invoke(command.removeprefix("stablebench "), "-o", tmp_path / "again.html")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again.html").read_text().replace("again.html", "r.html") == first


@pytest.mark.parametrize("command", ["curves", "profiles", "time-to-target"])
def test_figures_are_of_the_same_runs(runs: Path, tmp_path: Path, command: str) -> None:
    path = tmp_path / "figure.svg"
    result = invoke(f"plot {command} {SPOT}", "--runs-dir", runs, "-o", path)
    assert result.exit_code == 0, result.output
    found = list(csv.DictReader(path.with_suffix(".csv").read_text().splitlines()))
    assert {line["model"] for line in found} == {"rnn", "roarnn"}


def test_the_page_of_a_suite_says_what_it_reproduces(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    assert invoke(f"report {SHORT}", "--runs-dir", runs, "-o", path).exit_code == 0
    text = path.read_text()
    assert (
        "Reproduction of roaRNN paper (arXiv:2210.01245), figure 3; short budget: numbers not reproduced are expected"
        in text
    )
    assert text.count('id="reproduction-note-') == text.count('href="#reproduction-note-') >= 3
    assert "length 1,000, ours 6" in text and "&lt;= 5000" in text
    assert "&#39;" not in text.partition("<main")[2]  # no list as the program writes it
    assert invoke(f"report {SPOT}", "--runs-dir", runs, "-o", tmp_path / "spot.html").exit_code == 0
    assert "Reproduction" not in (tmp_path / "spot.html").read_text()


def test_the_terminal_says_the_same_of_a_short_budget(runs: Path) -> None:
    result = invoke(f"compare {SHORT} --no-run", "--runs-dir", runs)
    assert result.exit_code == 0, result.output
    assert "figure 3; short budget: numbers not reproduced are expected; with T 6, model.hidden 6" in result.stdout
    assert "not run" not in result.stdout.partition("Reproduction of")[2]


def test_missing_runs_are_named_by_the_words_that_run_them(tmp_path: Path) -> None:
    """Runs that are not there are named by the words that would run them."""
    result = invoke("report quick --steps 3", "--runs-dir", tmp_path)
    assert result.exit_code == 2
    assert "There are no runs of the suite quick with --steps 3" in result.stderr
    assert f"`stablebench compare quick --steps 3 --runs-dir {tmp_path}` runs them" in result.stderr
    for words, said in (
        ("report --tasks copy", "name the models as well"),
        ("report quick --models rnnn", "Did you mean rnn?"),
        ("report nnrnn/fig2_psmnist --budget shortt", "must be one of full, short"),
    ):
        wrong = invoke(words, "--runs-dir", tmp_path)
        assert wrong.exit_code == 2 and said in wrong.stderr, wrong.output
