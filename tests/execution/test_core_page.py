"""The pages of the suite `core` are counted from recipes and archives, and say what is missing."""

import importlib.util
import json
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


ROW = {"rank": 1, "parameters": 1000, "score": 0.5, "min": 0.25, "max": 0.75, "steps": 600, "ended": 5}
ROW |= {"reached_baseline": 5, "steps_to_baseline": 30.0, "reached_target": 2, "steps_to_target": None}


def test_the_seven_models_that_are_not_tuned_alike_are_named(seven_page: ModuleType) -> None:
    """As long as one is missing, the runs with registered recipes stay on the page."""
    earlier = json.loads((ROOT / "docs" / "results" / "seven_models.json").read_text())
    equal = {task: {model: ROW | {"model": model} for model in seven_page.MODELS} for task in seven_page.TASKS}
    whole = seven_page.page(equal, earlier)
    assert "**21 of 21 cells" in whole and "registered recipe" not in whole and "Not yet" not in whole
    del equal["copy/t100"]["lstm"]
    page = seven_page.page(equal, earlier)
    assert "**20 of 21 cells" in page and "Not yet from equal tuning: lstm.\n" in page
    assert "### digits: accuracy, higher is better" in page and "67,201" in page
    (row,) = [line for line in seven_page.readme(equal).splitlines() if line.startswith("| lstm")]
    assert [cell.strip() for cell in row.split("|")[2:5]] == ["0.5 (2/5)", "not yet", "0.5 (2/5)"]


def test_arrivals_say_how_many_arrived(seven_page: ModuleType) -> None:
    assert seven_page.arrival(ROW, "baseline") == "30"
    assert seven_page.arrival(ROW, "target") == "(2 of 5)"
    assert seven_page.arrival(ROW | {"reached_target": 3, "steps_to_target": 1200.0}, "target") == "1,200 (3 of 5)"
    assert seven_page.arrival(ROW | {"reached_target": 0}, "target") == "never"
