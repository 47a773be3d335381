"""What a leaderboard says around its numbers, in a terminal of any width and in every format."""

from pathlib import Path
from typing import Any

import pytest
from made_boards import made_board, made_row, made_table
from typer.testing import CliRunner

from stablebench import tables
from stablebench.cli.app import app
from stablebench.errors import UserError
from stablebench.leaderboard import render, statistics
from stablebench.schema.leaderboard import Leaderboard, LeaderboardRow, SeedStatistics
from stablebench.stats import mean, standard_deviation

OLD, NEW = "cpu, Old (i386), 1 thread", "cpu, New (i786), 1 thread"


def row(name: str, *scores: float, **given: object) -> LeaderboardRow:
    seeds = {str(i): score for i, score in enumerate(scores)}
    ends = {"min": min(scores), "max": max(scores), "score": sorted(scores)[len(scores) // 2]}
    summed = SeedStatistics(
        mean=mean(scores), best=1.0, worst=0.0, best_on_validation=None, standard_deviation=standard_deviation(scores)
    )
    never = {"steps": [], "seconds": [], "steps_followed": [9], "seconds_followed": [9.0]}
    given = {"arrivals": {"baseline": never, "target": never}} | given
    counts = {"n": len(scores), "ended": len(scores), "rank": 1, "solved": 0, "statistics": {"accuracy": summed}}
    return made_row(name, metric="accuracy", seeds=seeds, **(ends | counts | given))


def board(*rows: LeaderboardRow) -> Leaderboard:
    return made_board(
        made_table(
            "first_recall",
            *rows,
            metric="accuracy",
            higher_is_better=True,
            target=0.99,
            target_metric="accuracy",
            selection=["validation drawn apart"],
        )
    )


def test_the_interval_of_a_mean_ends_where_the_metric_does() -> None:
    """Student's interval of 0.99, 1.0, 0.8 goes from 0.65 to 1.21, that of 0.0, 0.01, 0.2 below 0."""
    two = board(row("a", 0.99, 1.0, 0.8), row("b", 0.0, 0.01, 0.2))
    text = render(two, interval="mean")
    assert "0.93 [0.6501, 1]" in text and "0.07 [0, 0.3499]" in text
    assert [one.mean_interval for one in statistics(two).tables[0].rows] == [
        (pytest.approx(0.65009, abs=1e-4), 1.0),
        (0.0, pytest.approx(0.34991, abs=1e-4)),
    ]


def test_a_mean_is_bold_where_its_interval_lies_clear() -> None:
    clear = board(row("a", 0.7, 0.71, 0.72), row("b", 0.2, 0.21, 0.22))
    for asked in (["model", "mean_sd"], ["model", "mean_score"]):
        assert render(clear, "latex", asked).count(r"\textbf{0.71") == 1
    near = board(row("a", 0.7, 0.71, 0.72), row("b", 0.71, 0.72, 0.73))
    assert "textbf" not in render(near, "latex", ["model", "mean_sd", "mean_score"])
    lost = board(row("a", 0.7, 0.71, 0.72), row("b", 0.2, ended=2, diverged=1))
    assert render(lost, "latex", ["model", "mean_sd"]).count("textbf") == 1


def test_the_table_of_a_paper_says_what_its_numbers_are() -> None:
    """Not in comments, which no reader of the paper sees."""
    text = render(board(row("a_b", 0.7), row("c", 0.2, marks="d")), "latex")
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    assert r"\caption{first\_recall: accuracy (higher is better), target accuracy 0.99}" in lines
    assert any(line.startswith(r"\item Medians over seeds") for line in lines)
    assert r"\item Solved: seeds that finished with a test score at the target." in lines
    for name in ("table", "threeparttable", "tabular", "tablenotes"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1
    assert text.count("{") == text.count("}")


def test_no_cell_of_a_paper_is_an_argument() -> None:
    r"""LaTeX takes a bracket behind `\\`, `\midrule` and `\item`, and a star behind the first, as theirs."""
    both = tables.Table(["[a]", "b"], [["[1, 2]", "[3]"], ["*", "*"]], notes=["* is a mark", "[kept]"])
    lines = [line.strip() for line in tables.render([both], "latex").splitlines()]
    assert not [line for line in lines if line.startswith(("[", "*"))]
    cells = [line.split("&")[0].strip() for line in lines if "&" in line]
    assert cells == ["{}[a]", "{}[1, 2]", "{}*"]
    assert r"\item {}* is a mark" in lines and r"\item {}[kept]" in lines


def test_speeds_of_other_hardware_are_told_apart() -> None:
    old, new = (
        [row(name, 0.5, hardware=on, steps_per_s=9.0) for name in names] for on, names in ((OLD, "a"), (NEW, "bc"))
    )
    said = f"Updates/s and seconds compare within one hardware only: a on {OLD}; all others on {NEW}."
    assert said in render(board(*old, *new)) and "compare within" not in render(board(*new))
    assert "compare within" not in render(board(*old, *new), asked=["model", "score"])


def test_seconds_of_other_hardware_are_told_apart() -> None:
    """A row of two processors has no median of seconds, as it has none of updates/s."""
    never = {"steps": [], "seconds": [], "steps_followed": [], "seconds_followed": []}
    there = never | {"steps": [5], "seconds": [7.5]}
    given: dict[str, Any] = {"train_s": 8.5, "arrivals": {"baseline": never, "target": there}, "reached_target": 1}
    given |= {"seconds_to_target": 7.5, "steps_to_target": 5.0, "solved": 1}
    three = board(*(row(on[5:8], 0.5, hardware=on, **given) for on in (OLD, NEW, f"{OLD} and {NEW}")))
    said = f"Updates/s and seconds compare within one hardware only: Old on {OLD}; all others on {NEW}."
    for name, value in (("train_s", "8.5"), ("s_to_target", "7.5")):
        text = render(three, asked=["model", name])
        assert said in text and text.count(value) == 2
    assert render(three, asked=["model", "to_target"]).count("5") == 3


def test_columns_that_a_terminal_leaves_out_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    one = board(row("a_model_of_a_long_name", 0.5, 0.6, steps_per_s=9.0))
    monkeypatch.setattr(tables, "terminal_width", lambda: 66)
    assert "Left out of 66 characters: updates/s." in render(one)
    monkeypatch.setattr(tables, "terminal_width", lambda: 100)
    assert "Left out" not in render(one)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["model", "score"], "Medians over seeds, in brackets the lowest and the highest seed; validation"),
        (["model", "solved", "updates/s"], "Medians over seeds; validation"),
        (["rank", "model", "mean_sd"], "Ranked by medians over seeds; validation"),
        (["model", "mean_sd", "interval"], "Validation"),
        (
            ["rank", "model", "mean_score"],
            "Means over seeds, in brackets Student's 95 % interval; ranked by medians over",
        ),
        (
            ["rank", "score", "mean_score"],
            "the highest seed; means over seeds, in brackets Student's 95 % interval; val",
        ),
    ],
)
def test_the_note_is_about_the_columns_that_are_there(asked: list[str], said: str) -> None:
    lines = render(board(row("a", 0.5, 0.6, steps_per_s=9.0), row("b", 0.3, 0.4)), asked=asked).splitlines()
    (note,) = (line for line in lines if "drawn apart" in line)
    assert said in note and (note.startswith(said) or said.startswith("the"))
    assert ("brackets" in note) == ("[" in lines[2])


def test_row_by_row_no_column_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks have no heading, and so no colon."""
    monkeypatch.setattr(tables, "terminal_width", lambda: 30)
    lines = render(board(row("a_model_of_a_long_name", 0.5, 0.6, steps_per_s=9.0, marks="d"))).splitlines()
    assert {"  updates/s: 9", "  parameters: 1000", "  d"} <= set(lines)
    assert not [line for line in lines if "Left out" in line or line.strip().startswith(":")]


def test_a_column_is_printed_once_and_an_empty_one_is_named() -> None:
    text = render(board(row("a", 0.5)), asked=["model", "model", "mean_40_256", "growth_trained"])
    assert text.splitlines()[1:3] == ["model", "a"]
    assert "Without values on this task: mean_40_256, growth_trained." in text
    empty = render(board(row("a", 0.5)), asked=["mean_40_256"])
    assert empty.splitlines()[1:3] == ["model", "a"]
    mean = render(board(row("a", 0.5)), asked=["model", "score"], interval="mean")
    assert "mean accuracy" in mean and "Without values" not in mean


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--columns", "bogus"], "--columns: there is no column 'bogus'. There are rank, model, score"),
        (["--columns", "scores"], "Did you mean score?"),
        (["--columns", "rank,all"], "`all` stands alone"),
        (["--columns", "rank", "--format", "csv"], "--columns and --format csv"),
        (["--columns", "rank", "--json"], "--columns and --json"),
        (["--interval", "mean", "--json"], "--interval and --json"),
        (["--interval", "mean", "--format", "csv"], "--interval and --format csv"),
        (["--interval", "mean", "--rates"], "--interval and --rates"),
        (["--equal-within", "0.1", "--rates"], "--equal-within and --rates"),
        (["--margin", "0.2"], "--margin is --check's"),
        (["--output", f"{__file__}/board.json"], "test_table_text.py is a file, not a folder."),
    ],
)
def test_options_of_a_table_are_checked_before_training(options: list[str], message: str, tmp_path: Path) -> None:
    command = [
        "compare",
        "--models",
        "rnn",
        "--tasks",
        "copy",
        "--T",
        "5",
        "--steps",
        "2",
        "--runs-dir",
        f"{tmp_path}/runs",
    ]
    result = CliRunner().invoke(app, [*command, *options])
    assert result.exit_code == 2 and message in result.stderr
    assert not list(tmp_path.iterdir())


def test_an_unknown_column_is_refused_from_python_too() -> None:
    with pytest.raises(UserError, match="no column 'bogus'"):
        render(board(row("a", 0.5)), asked=["bogus"])
