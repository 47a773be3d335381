"""`report --summary`: pages of suites, their index, and what of the published numbers has been repeated."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from stablebench import registry
from stablebench.cli.app import app
from stablebench.leaderboard.coverage import PublishedState, coverage
from stablebench.schema.leaderboard import Leaderboard

RESULTS = Path(__file__).parents[2] / "docs" / "results"
RECALL = RESULTS / "suites" / "poster-recall.json"


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["report", "--summary", *(str(a) for a in arguments)])


def recall(**changes: Any) -> Leaderboard:
    """Return the stored leaderboard of poster/recall, parts of its reproduction changed."""
    stored = json.loads(RECALL.read_text())
    stored["reproduction"] |= changes
    return Leaderboard.model_validate_json(json.dumps(stored))


def state_of(key: str, **boards: Leaderboard) -> PublishedState:
    named = {name.replace("__", "/"): board for name, board in boards.items()}
    (found,) = [one for one in coverage(named) if one.entry.key == key]
    return found


def test_the_pages_of_the_documents_are_what_the_command_writes(tmp_path: Path) -> None:
    shutil.copytree(RESULTS / "suites", tmp_path / "boards")
    result = invoke(tmp_path / "boards", "-o", tmp_path / "suites.md")
    assert result.exit_code == 0, result.output
    written = {path.name: path.read_text() for path in (tmp_path / "suites").glob("*.md")}
    stored = {p.name: p.read_text() for p in (RESULTS / "suites").glob("*.md") if not p.name.endswith(".remark.md")}
    assert written == stored
    index = (tmp_path / "suites.md").read_text().replace(f"{tmp_path}/boards", "docs/results/suites")
    assert index.replace(f"{tmp_path}/", "docs/results/") == (RESULTS / "suites.md").read_text()


def test_every_published_entry_stands_in_the_coverage_once() -> None:
    entries = [entry for name in registry.paper_names() for t in registry.paper(name).tables for entry in t.entries]
    states = coverage({"poster/recall": recall()})
    assert [one.entry for one in states] == entries
    decided = [one for one in states if one.decided]
    assert {one.board for one in decided} == {"poster/recall"} and len(decided) == 5
    assert all(one.of_its_paper for one in decided)


def test_states_of_numbers_with_and_without_runs() -> None:
    board = recall()
    assert state_of("poster_urnn_tab1_t20", poster__recall=board).state == "better"
    assert state_of("poster_urnn_tab1_t100", poster__recall=board).state == "not reproduced"
    assert state_of("poster_rnn_tab1_t100", poster__recall=board).state == "reproduced"  # fails in both
    some_learn = state_of("poster_rnn_tab1_t50", poster__recall=board)
    assert some_learn.state == "undecided" and not some_learn.decided
    missing = state_of("poster_rnn_tab2_t100", poster__recall=board)
    assert missing.state == "not run" and missing.suites == ["poster/kth_highest"] and missing.line is None
    assert state_of("roarnn_constant_guess_baseline_memcop_t400").state == "by formula"
    assert state_of("cornn_cornn_fig1_t500").state == "curve or words"


def test_a_part_of_the_budget_decides_nothing() -> None:
    for part in ({"budget": "short"}, {"changed": {"train.steps": 10}}):
        state = state_of("poster_urnn_tab1_t100", poster__recall=recall(**part))
        assert state.state == "run in part" and not state.decided and state.line is not None
    whole, part = recall(), recall(budget="short")
    assert state_of("poster_urnn_tab1_t100", short__part=part, poster__recall=whole).board == "poster/recall"


def test_numbers_of_a_variant_are_for_its_rows() -> None:
    """The poster's first language table has three activations of each model."""
    stored = json.loads((RESULTS / "suites" / "poster-words_gru.json").read_text())
    (table,) = [one for one in stored["tables"] if one["variant"] == "t35"]
    rows = []
    for activation, score in (("relu", 150.0), ("abs", 140.0)):
        row = json.loads(json.dumps(table["rows"][0])) | {"name": f"urnn ({activation})", "model": "urnn"}
        row["settings"] |= {"activation": activation}
        row |= {"score": score, "seeds": {"0": score}, "spec_hash": activation}
        row["statistics"]["perplexity"] = dict.fromkeys(row["statistics"]["perplexity"], score)
        rows.append(row)
    table["rows"] = rows
    board = Leaderboard.model_validate_json(json.dumps(stored | {"tables": [table]}))
    states = {one.entry.key: one for one in coverage({"poster/words_activations": board})}
    for activation, score in (("relu", 150.0), ("abs", 140.0)):
        line = states[f"poster_urnn_tab1_{activation}_test"].line
        assert line is not None and line.ours == score and f"activation {activation}" in line.what
    assert states["poster_urnn_tab1_leakyrelu_test"].state == "not run"


def test_a_remark_stands_on_the_page_of_its_suite(tmp_path: Path) -> None:
    shutil.copy(RECALL, tmp_path / "mine.json")
    (tmp_path / "mine.remark.md").write_text("The recipe was another.\n")
    assert invoke(tmp_path / "mine.json", "-o", tmp_path / "index.md").exit_code == 0
    page = (tmp_path / "index" / "poster-recall.md").read_text()
    assert "\n\nThe recipe was another.\n\n" in page
    assert "0.14 hours of training" in page and "commit f8912bd8c90f" in page and "seeds 0, 1, 2" in page


def test_what_is_there_is_kept_and_bad_input_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    mine = tmp_path / "index" / "poster-recall.md"
    mine.write_text("mine")
    refused = invoke(RECALL, "-o", tmp_path / "index.md")
    assert refused.exit_code == 2 and "--force overwrites it" in refused.stderr and mine.read_text() == "mine"
    assert not (tmp_path / "index.md").exists()
    assert invoke(RECALL, "-o", tmp_path / "index.md", "--force").exit_code == 0 and mine.read_text() != "mine"


@pytest.mark.parametrize(
    ("made", "asked", "message"),
    [
        ({}, ["nowhere.json"], "no such file or folder"),
        ({}, [], "name leaderboards' files"),
        ({"empty/x.txt": ""}, ["empty"], "holds no leaderboard"),
        ({"a.json": "{}"}, ["a.json"], "is not a leaderboard that `compare` wrote: suite"),
        ({"a.json": "{"}, ["a.json"], "is not a leaderboard that `compare` wrote"),
        ({"a.json": RECALL, "b.json": RECALL}, ["a.json", "b.json"], "a leaderboard of poster/recall too"),
    ],
)
def test_bad_files_have_one_message(
    made: dict[str, str | Path], asked: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in made.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content.read_text() if isinstance(content, Path) else content)
    result = invoke(*asked, "-o", "out.md")
    assert result.exit_code == 2 and message in result.stderr, result.output
    assert not (tmp_path / "out.md").exists()


def test_an_index_without_suffix_is_refused(tmp_path: Path) -> None:
    assert "must have a suffix" in invoke(RECALL, "-o", tmp_path / "index").stderr
