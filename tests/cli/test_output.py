"""Tables as text, and JSON."""

import csv
import io
import json
from typing import Any

import pytest

from stablebench import tables
from stablebench.cli.ui.output import Table, json_text, print_json, print_tables
from stablebench.tables import render

TABLE = Table(
    columns=["name", "score", "parameters", "summary"],
    rows=[["rnn", 0.123456, 1000, "the Elman network"], ["lstm", None, 20, "gates, memory and a long story of both"]],
    title="A title",
    notes=["A note."],
    bold=frozenset({(0, 1)}),
    wrap=frozenset({"summary"}),
    minor=["parameters"],
)


def test_a_table_is_aligned_and_has_title_and_notes() -> None:
    assert render([TABLE]) == (
        "A title\n"
        "name   score  parameters  summary\n"
        "rnn   0.1235        1000  the Elman network\n"
        "lstm                  20  gates, memory and a long story of both\n"
        "A note."
    )


@pytest.mark.parametrize("width", [20, 30, 40, 44, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_no_name_is_lost(width: int) -> None:
    text = render([TABLE], width=width)
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(text.split())
    assert "rnn" in words
    assert "lstm" in words
    assert "0.1235" in words
    for word in ("Elman", "memory", "story"):
        assert word in words


def test_words_are_broken_before_columns_are_left_out() -> None:
    broken = render([TABLE], width=50)
    assert "1000" in broken
    assert "gates, memory and a long story of both" not in broken
    assert "1000" not in render([TABLE], width=36)  # a minor column goes
    assert "  score: 0.1235" in render([TABLE], width=25)  # then the columns become lines


def test_a_terminal_gets_its_width(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tables, "terminal_width", lambda: 40)
    print_tables([TABLE])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 40


@pytest.mark.parametrize(
    ("fmt", "bold", "title"),
    [
        ("github", "**0.1235**", "**A title**"),
        ("latex", r"\textbf{0.1235}", r"\caption{A title}"),
        ("html", "<b>0.1235</b>", "<h3>A title</h3>"),
    ],
)
def test_markup_has_title_note_and_bold(fmt: Any, bold: str, title: str) -> None:
    text = render([TABLE], fmt)
    assert bold in text
    assert title in text
    assert "A note." in text


def test_markup_escapes_what_a_name_holds() -> None:
    hostile = Table(["a|b", "<i>"], [["x|y & $_%", "<script>\n</script>"]], title="<t>")
    assert "<script>" not in render([hostile], "html")
    assert "<t>" not in render([hostile], "html")
    assert r"x\|y" in render([hostile], "github")
    assert r"\& \$\_\%" in render([hostile], "latex")
    assert len(render([hostile], "github").splitlines()) == 5  # a line break in a cell makes no row


def test_csv_keeps_numbers_whole_and_quotes() -> None:
    table = Table(["name", "value"], [['a "b", c', 0.1 + 0.2], ["d", None], ["e", float("nan")]])
    lines = list(csv.reader(io.StringIO(render([table], "csv"))))
    assert lines == [["name", "value"], ['a "b", c', "0.30000000000000004"], ["d", ""], ["e", ""]]


def test_no_rows_are_no_fault() -> None:
    for fmt in ("table", "github", "latex", "html", "csv", "json"):
        assert "name" in render([Table(["name"], [])], fmt) or fmt == "json"
    assert render([]) == ""


def test_json_has_no_nan_and_no_infinity(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"a": [1.5, float("nan"), (float("inf"), -float("inf"))], 2: None, "s": "é", "t": True}
    assert json.loads(json_text(document)) == {"a": [1.5, None, [None, None]], "2": None, "s": "é", "t": True}
    print_json(document)
    assert json.loads(capsys.readouterr().out)["a"][1] is None
    assert json.loads(render([TABLE], "json"))[0]["rows"][1]["score"] is None
