"""What a terminal would obey or hide, out of records, names and environments, is printed as its code."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from test_mutated_records import copied, mutated
from tiny_runs import run, tiny
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.cli.ui.progress import Bars
from stablebench.runs.progress import Lines, Progress
from stablebench.runs.store import RunFolder
from stablebench.tables import Table, render
from stablebench.visible import visible_json, visible_lines

EVIL = "\x1b]0;owned\x07\x1b[31m\x9b2J\x7f\u202e\u200b\r"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202e]")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(tiny(), tmp_path_factory.mktemp("whole"))


def hold_nothing_obeyed(result: Any) -> None:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert not OBEYED.search(result.stdout) and not OBEYED.search(result.stderr), result.output


PLACES = {
    "hardware": ("environment.hardware", EVIL),
    "platform": ("environment.platform", EVIL),
    "a flag's name": ("environment.flags", {EVIL: 1}),
    "a package": ("environment.packages", [EVIL]),
    "a version": ("environment.versions.stablebench", f"9.9{EVIL}"),
    "an error": ("error", EVIL),
    "the selection": ("selection", EVIL),
    "where a value came from": ("origin", {"seed": EVIL}),
    "a metric of the test": ("result.test", {"loss": 0.5, EVIL: 1.0}),
    "a metric of evaluations": ("evaluations", [{"step": 8, "train_s": 1.0, "metrics": {"loss": 1.0, EVIL: 1.0}}]),
    "the model": ("spec.model.name", EVIL),
    "the task": ("spec.task.name", EVIL),
    "a parameter of the task": ("spec.task.params.layout", EVIL),
    "a parameter's name": ("spec.task.params", {EVIL: 1}),
    "the variant": ("spec.task.variant", EVIL),
    "an unknown key": (EVIL, 1),
    "an unknown status": ("status", EVIL),
}


@pytest.mark.parametrize("name", PLACES)
def test_no_command_prints_what_a_terminal_would_obey(name: str, whole: RunFolder, tmp_path: Path) -> None:
    key, value = PLACES[name]
    folder = copied(whole, tmp_path, lambda record: mutated(record, key, value))
    runs_dir = str(folder.parents[2])
    commands = [
        ["show", "run", str(folder)],
        ["show", "run", str(folder), "--json"],
        ["list", "runs", "--runs-dir", runs_dir],
        ["list", "runs", "--runs-dir", runs_dir, "--json"],
        ["list", "runs", "--runs-dir", runs_dir, "--format", "csv"],
        ["verify", str(folder), "--steps", "2"],
        ["evaluate", str(folder)],
        ["train", "--resume", str(folder)],
        ["report", "--runs-dir", runs_dir, "-o", str(tmp_path / "report.html")],
    ]
    for command in commands:
        hold_nothing_obeyed(CliRunner().invoke(app, command))


@pytest.mark.parametrize(
    "command",
    [
        ["show", "model", EVIL],
        ["show", "task", EVIL],
        ["train", "--model", EVIL, "--task", "copy"],
        ["train", "--model", f"{EVIL}.py:A", "--task", "copy"],
        ["train", "--model", "rnn", "--task", "copy", "--set", f"{EVIL}=1"],
        ["evaluate", f"/no/{EVIL}"],
        ["validate", f"/no/{EVIL}"],
        ["data", "verify", EVIL],
        ["report", EVIL],
        ["--" + EVIL],
        [EVIL],
    ],
    ids=lambda command: " ".join(command)[:20].encode("unicode_escape").decode(),
)
def test_no_error_does(command: list[str]) -> None:
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    hold_nothing_obeyed(result)


def test_json_reads_back_the_same(whole: RunFolder, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path, lambda record: mutated(record, "environment.hardware", EVIL))
    result = CliRunner().invoke(app, ["show", "run", str(folder), "--json"])
    assert json.loads(result.stdout)["environment"]["hardware"] == EVIL
    assert json.loads(visible_json(json.dumps(EVIL + "ä", ensure_ascii=False))) == EVIL + "ä"


def test_progress_and_notes_do_not(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    lines = Lines(sys.stderr, every_s=0)
    lines.start(EVIL)
    lines.update(Progress(1, 2, 0.5, EVIL, 0.5, None, 1.0))
    Bars(quiet=False).note(EVIL)
    label = tiny().label
    assert label == "rnn on copy seed 0"
    assert not OBEYED.search(capsys.readouterr().err)


def test_headings_do_not() -> None:
    tables = [Table([EVIL, "b"], [[1, EVIL]], title=EVIL, notes=[EVIL], minor=[EVIL], wrap=frozenset({EVIL}))]
    for fmt in ("table", "github", "latex", "html", "csv", "json"):
        assert not OBEYED.search(render(tables, fmt))  # pyright: ignore[reportArgumentType]
    assert not OBEYED.search(render(tables, "table", 20))


def test_line_breaks_of_a_message_stay() -> None:
    assert visible_lines("a\n\tb \x1b[1m c é") == "a\n\tb \\x1b[1m c é"


def test_commands_print_through_one_function() -> None:
    """`say` and `note` of stablebench.cli.ui.output; tables see to their cells themselves."""
    import stablebench.cli

    bare = re.compile(r"^\s+(?:print|typer\.echo)\((?!.*render)", re.MULTILINE)
    for path in Path(stablebench.cli.__path__[0]).glob("*.py"):
        if path.name not in ("app.py",):
            assert not bare.search(path.read_text()), path
