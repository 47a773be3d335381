"""Records say what their author likes; names in them are text in every table, page and figure, and name no file."""

import csv
import io
import re
from pathlib import Path

import pytest
from run_maker import made_record, store
from typer.testing import CliRunner

from stablebench import leaderboard
from stablebench.cli.app import app
from stablebench.report.page import page
from stablebench.schema.leaderboard import Leaderboard
from stablebench.tables import Format

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "../../../etc/passwd",
    "a|b|[x](javascript:alert(1))`c`",
    "\u202egnirts\u2066\u200b",
    "\x1b[31mred\x1b]0;title\x07",
    "\\input{/etc/passwd}$x^2$%&#_~",
    "line\nbreak\r,\x00;'\"",
    "=1+1",
]
FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")


def records() -> list:
    found = []
    for name in HOSTILE:
        for seed in (0, 1):
            made = made_record(f"x.py:{name}", "copy", seed, hardware=name, selection=name, source="0" * 64)
            task = made.spec.task.model_copy(update={"name": name})
            spec = made.spec.model_copy(update={"task": task})
            found += [made, made.model_copy(update={"spec": spec, "spec_hash": spec.spec_hash()})]
    return found


@pytest.fixture(scope="module")
def board() -> Leaderboard:
    return leaderboard.build("<s>\u202e", records(), lambda name: None, tidy=True)


@pytest.mark.parametrize("fmt", ["table", "github", "latex", "html", "csv"])
def test_tables_hold_names_as_text(board: Leaderboard, fmt: Format) -> None:
    statistics = leaderboard.render_statistics(leaderboard.statistics(board), fmt)
    for text in (leaderboard.render(board, fmt), statistics):
        assert not FORBIDDEN.search(text), repr(FORBIDDEN.search(text))
        assert "\\u202e" in text or "textbackslash" in text
    text = leaderboard.render(board, fmt)
    if fmt in ("github", "html"):
        assert "<script" not in text and "<img" not in text
    if fmt == "github":
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert not re.search(r"(?<!\\)\[x\]", text) and len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 2
    if fmt == "latex":
        assert "\\input" not in text and not re.search(r"(?<!\\)\$", text)
    if fmt == "csv":
        lines = list(csv.DictReader(io.StringIO(text)))
        assert {line["model_name"] for line in lines} >= {HOSTILE[0], HOSTILE[1], "\\u202egnirts\\u2066\\u200b"}


def test_the_page_shows_the_marks_that_turn_text(tmp_path: Path) -> None:
    runs = [(tmp_path / str(i), record) for i, record in enumerate(records())]
    text = page(
        "\u202etitle", runs, how="stablebench report", unreadable={"\x1b[2J": "\u202e"}, cards=lambda name: None
    )
    assert not FORBIDDEN.search(text) and text.count("<script") == 1 and "<img" not in text
    assert "\\u202egnirts" in text and "<h1>\\u202etitle</h1>" in text


@pytest.mark.parametrize("command", ["report", "plot curves", "plot time-to-target", "plot profiles"])
def test_nothing_is_written_beside_the_file_that_was_asked_for(tmp_path: Path, command: str) -> None:
    for i, record in enumerate(records()):
        path = store(tmp_path / "runs" / str(i), made_record(seed=i))
        (path / "record.json").write_text(record.model_dump_json())
    (tmp_path / "out").mkdir()
    before = {path for path in tmp_path.rglob("*")}
    name = "r.html" if command == "report" else "r.svg"
    folders = sorted(map(str, (tmp_path / "runs").iterdir()))
    result = CliRunner().invoke(app, [*command.split(), *folders, "-o", str(tmp_path / "out" / name)])
    assert result.exit_code == 0, result.output
    written = {path for path in tmp_path.rglob("*")} - before
    assert {path.name for path in written} <= {name, "r.csv"} and {p.parent for p in written} == {tmp_path / "out"}
    if name == "r.svg":
        drawn = (tmp_path / "out" / name).read_text()
        assert not FORBIDDEN.search(drawn) and "<script" not in drawn and "<img" not in drawn
