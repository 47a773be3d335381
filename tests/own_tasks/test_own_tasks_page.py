"""docs/own_tasks.md and the files of `new` run as they stand; the short scripts of Python, too."""

import re
import shlex
from pathlib import Path

import pytest
from own_files import as_in_a_new_process, cli, write_npz

import stablebench as sb
from stablebench.errors import UserError

PAGE = Path(__file__).parents[2] / "docs" / "own_tasks.md"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder."""
    monkeypatch.chdir(tmp_path)
    as_in_a_new_process()
    return tmp_path


def test_every_block_of_the_page_runs() -> None:
    blocks = re.findall(r"```(\w*)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert [kind for kind, _ in blocks] == ["python", "yaml", "", "python", "yaml", ""]
    for kind, text in blocks:
        named = re.match(r"# (\w+\.\w+)\n", text)
        if named is not None:
            Path(named[1]).write_text(text)
        elif kind == "python":
            exec(compile(text, str(PAGE), "exec"), {})
        for line in text.splitlines() if not kind else ():
            words = shlex.split(line)
            result = cli(*words[1:], *(["--workers", "1"] if words[1] == "compare" else []))
            assert result.exit_code == 0, f"{line}\n{result.output}"


def test_three_models_are_ranked_on_a_file_from_python(here: Path) -> None:
    write_npz(here / "mine.npz")
    board = sb.compare(["roarnn", "lstm", "rnn"], "mine.npz", seeds=2, steps=4, hidden=4, batch_size=4, workers=1)
    (table,) = board.board.tables
    assert {row.name for row in table.rows} == {"roarnn", "lstm", "rnn"} and not board.failures
    assert table.name == "mine" and all(len(row.seeds) == 2 for row in table.rows)


def test_python_trains_and_evaluates_a_card(here: Path) -> None:
    cli("new", "task", "mine")
    run = sb.train("gru", "mine.yaml", hidden=4, steps=3, batch_size=4)
    assert run.status == "finished" and sb.evaluate(run).metrics["mse"] == pytest.approx(run.test["mse"], rel=1e-6)
    with pytest.raises(UserError, match=r"--task other\.yaml: there is no such file"):
        sb.train("gru", "other.yaml")


@pytest.mark.parametrize(
    ("kind", "files", "command"),
    [
        ("model", ["my_thing.py"], "check my_thing.py:MyThing"),
        ("task", ["my_thing.yaml", "my_thing.py"], "validate my_thing.yaml"),
        ("suite", ["my_thing.yaml"], "validate my_thing.yaml"),
    ],
)
def test_new_files_hold_and_nothing_is_overwritten(kind: str, files: list[str], command: str, here: Path) -> None:
    made = cli("new", kind, "MyThing")
    assert made.exit_code == 0 and made.stdout.splitlines()[:-1] == files, made.output
    assert cli(*command.split()).exit_code == 0
    following = shlex.split(made.stdout.splitlines()[-1].removeprefix("next: stablebench "))
    if "--steps" in following:
        following[following.index("--steps") + 1] = "2"
    small = ["--hidden", "4", *([] if "--steps" in following else ["--steps", "2"])]
    ran = cli(*following, *small, *(["--workers", "1"] if kind == "suite" else []))
    assert ran.exit_code == 0, ran.output
    before = (here / files[0]).read_text()
    again = cli("new", kind, "my_thing")
    assert again.exit_code == 2 and "there is such a file, which is not overwritten" in again.stderr
    assert (here / files[0]).read_text() == before
    elsewhere = cli("new", kind, "my_thing", "-o", "below")
    assert elsewhere.exit_code == 0 and str(Path("below") / files[0]) in elsewhere.stdout


@pytest.mark.parametrize(("kind", "name"), [("task", "copy"), ("model", "a.b"), ("suite", "../x"), ("task", "1st")])
def test_a_name_that_cannot_be_is_refused(kind: str, name: str, here: Path) -> None:
    result = cli("new", kind, name)
    assert result.exit_code == 2 and result.stderr.startswith("Error: NAME: ") and not list(here.iterdir())
