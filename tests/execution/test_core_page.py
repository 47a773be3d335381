"""The pages of the suite `core` are counted from recipes and archives, and say what is missing."""

import importlib.util
import statistics
import sys
from pathlib import Path
from types import ModuleType

import pytest

from stablebench import registry
from stablebench.runs.archive import read_archive

ROOT = Path(__file__).resolve().parents[2]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def core_page() -> ModuleType:
    return script("core_page")


@pytest.fixture(scope="module")
def seven_page() -> ModuleType:
    return script("seven_models_page")


def test_models_that_are_the_same_network_are_named(core_page: ModuleType) -> None:
    """Of equal scores in every seed, unless all are one number, such as 1."""
    seeds = {"a": {"0": 0.5, "1": 0.7}, "c": {"0": 0.7, "1": 0.5}, "b": {"0": 0.5, "1": 0.7}}
    seeds |= {name: {"0": 1.0, "1": 1.0} for name in ("d", "e")}
    rows = [{"model": model, "parameters": 9, "seeds": scores} for model, scores in seeds.items()]
    rows.append({"model": "f", "parameters": 8, "seeds": seeds["a"]})
    text = core_page.same_networks({"copy": {"task": "copy/t100", "rows": rows}})
    assert (
        text.startswith("On copy/t100 a and b have the same parameters and scores, seed by seed")
        and text.count("On ") == 1
    )
    assert not core_page.same_networks({"copy": {"task": "copy/t100", "rows": rows[:2]}})


def test_trials_that_hold_a_good_one(core_page: ModuleType) -> None:
    """Two good ones of four: 1/2 of single trials, 1 - 1/6 of pairs; all four always, none never."""
    assert core_page.chance_of_one(4, 2, 1) == pytest.approx(1 / 2)
    assert core_page.chance_of_one(4, 2, 2) == pytest.approx(5 / 6)
    assert (core_page.chance_of_one(4, 2, 4), core_page.chance_of_one(4, 0, 4)) == (1, 0)
    searches = [{"trials": [{"updates_to_target": at} for at in ats]} for ats in ([1, None] * 4, [None] * 8)]
    assert core_page.curve_row(searches, "updates_to_target") == pytest.approx([1 / 2, 11 / 14, 69 / 70, 1])


def test_ranks_among_the_models_that_have_both(core_page: ModuleType) -> None:
    before, now = {"a": 0.1, "b": 0.2, "c": 0.3, "x": 0.0}, {"a": 0.5, "b": 0.5, "c": 0.4}
    assert core_page.rank_changes(before, now, "loss") == [("a", 1, 2), ("b", 2, 2), ("c", 3, 1)]
    assert core_page.rank_changes(before, now, "accuracy") == [("a", 3, 1), ("b", 2, 1), ("c", 1, 3)]


def test_recorded_results_are_those_of_the_very_length(core_page: ModuleType) -> None:
    copy, adding = [task for task in registry.suite("core").tasks if task.task in ("copy/t100", "adding/t200")]
    models = ["lstm", "dizzy", "urnn", "mingru", "nobody"]
    assert core_page.recorded(adding, models)["mingru"] == 0.00011
    assert 0 < core_page.recorded(copy, models)["dizzy"] < 0.1
    other = adding.model_copy(update={"task": "adding/t500"})
    assert core_page.recorded(other, ["mingru"]) == {}
    permuted = adding.model_copy(update={"task": "digits/permuted"})
    assert core_page.recorded(permuted, ["gru"]) == {}  # the recipe is for digits in their usual order


def test_the_committed_page_counts_the_committed_files() -> None:
    """After `tune` or `runs pack`, `python benchmarks/core_page.py` writes the page again."""
    text = (ROOT / "docs" / "results" / "core.md").read_text()
    searches = len(list((ROOT / "configs" / "tuned" / "core").glob("*/*.trials.json")))
    archives = [read_archive(path) for path in (ROOT / "docs" / "results" / "core").glob("*.jsonl")]
    runs = sum(run.ended for archive in archives for run in archive.values())
    assert f"**{searches} of 276 searches have ended, {runs:,} of 1,380 scored runs are archived.**" in text


def test_the_seven_models_are_shown_where_all_are_there(seven_page: ModuleType) -> None:
    """A task without one of them is named with who lacks; marks stand behind scores."""
    row = {"score": 0.5174, "solved": 2, "ended": 5, "marks": ""}
    rows = {task: dict.fromkeys(seven_page.MODELS, row) for task in ("adding/t200", "copy/t100")}
    rows["copy/t100"]["dizzy"] = row | {"score": 0.03, "quoted": {"score": 0.5174}, "marks": "t"}  # a loss
    assert seven_page.whole(rows) == ["adding/t200", "copy/t100"] and not seven_page.missing(rows)
    del rows["adding/t200"]["lstm"]
    assert seven_page.missing(rows) == "Not yet whole, and not above: adding/t200 (lstm).\n"
    lines = [line.split("|") for line in seven_page.readme(rows).splitlines()]
    assert [cell.strip() for cell in lines[0][1:-1]] == ["model", "copy/t100"]
    cells = {line[1].strip(): line[2].strip() for line in lines}
    assert cells["dizzy"] == "0.517 (2/5) t" and cells["lstm"] == "0.517 (2/5)"


def test_the_table_in_the_readme_is_that_of_the_archives(seven_page: ModuleType) -> None:
    """`python benchmarks/seven_models_page.py --readme` prints it; here it is counted from the records."""
    lines = (ROOT / "README.md").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| model") and "first_recall/t50" in line)
    table = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start : start + 2 + len(seven_page.MODELS)]
    ]
    assert [row[0] for row in table[2:]] == list(seven_page.MODELS)
    for column, task in enumerate(table[0][1:], 1):
        archive = read_archive(ROOT / "docs" / "results" / "core" / f"{task.partition('/')[0]}.jsonl")
        for row in table[2:]:
            results = [run.record.result for run in archive.values() if run.record.spec.model.name == row[0]]
            scores = [result.test["accuracy"] for result in results if result.test is not None]
            targets = [run.record.target or 1.0 for run in archive.values()]
            solved = sum(score >= targets[0] for score in scores)
            shown = f"{statistics.median(scores):.3g} ({solved}/5)"
            assert len(scores) == 5 and row[column].removesuffix(" t") == shown
