"""Writes docs/results/core.md: what is tuned and run of the suite `core`, from its recipes and archives alone.

stablebench tune core -o configs/tuned/core                          # any part of it: --model, --task
stablebench compare core --recipes configs/tuned/core
stablebench runs pack core --recipes configs/tuned/core -o docs/results/core
python benchmarks/core_page.py
"""

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stablebench import registry
from stablebench.data.metrics import beats_baseline, higher_is_better
from stablebench.execution.tuned_recipes import cells_of, tuned_recipe
from stablebench.runs.archive import read_archive
from stablebench.schema.suite import Suite, SuiteTask
from stablebench.tables import Table, render

ROOT = Path(__file__).resolve().parent.parent
RECIPES = "configs/tuned/core"
ARCHIVES = "docs/results/core"
REMARK = "docs/results/core.remark.md"
"""What came of looking into single rows; a part of the page."""
COLUMNS = "rank,model,score,solved,to_target,parameters,recipe,marks"
RANK_CHANGES = 10
_GOALS = {"updates_to_baseline": "beats the baseline", "updates_to_target": "holds the target"}
INTRO = f"""# Every model tuned alike

```
stablebench tune core --trials 8 -o {RECIPES}
stablebench compare core --recipes {RECIPES}
stablebench runs pack core --recipes {RECIPES} -o {ARCHIVES}
python benchmarks/core_page.py
```

This page is made of the recipes and of [the archived runs](core) alone; `stablebench runs unpack {ARCHIVES} --runs-dir
core_runs` makes a run store of them, from which `compare`, `report` and `plot` draw with `--recipes core`.

The suite `core`: {{models}} recurrent models on {{tasks}} tasks, 128 units, one budget of updates a task, five seeds.
Each model has eight random trials on each task, from its own space (`configs/sweeps/MODEL/any_task.yaml`) over the
task's card, judged on validation examples with a seed that is not scored; [scaling.md](../scaling.md) has the rules.
Hand-tuned recipes take no part. A model without a search on a task is missing there, not last.

What eight trials are: the best of them on one seed. Where few seeds of a row solve the task, the search came to a
setting that works sometimes; where "best of 8" is far above "best of 4", more trials would help. A model that fails
here fails at this width, in so many updates and trials, and not in general.

"""


def output(*words: str) -> str:
    """Return what a command of stablebench prints; its exit code is 1 where a part is not done."""
    command = [sys.executable, "-m", "stablebench", *words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode not in (0, 1) or not ended.stdout:
        raise SystemExit(f"{' '.join(command)}: {ended.stderr}")
    return ended.stdout.rstrip("\n") + "\n"


def github(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> str:
    """Return a table as GitHub shows it."""
    return render([Table(list(columns), [list(row) for row in rows], title=title or "")], "github").strip("\n") + "\n"


def searches_of(task: SuiteTask, suite: Suite, recipes: Path) -> dict[str, dict[str, Any]]:
    """Return by model what `tune` wrote next to its recipe on a task."""
    found = {}
    for model in task.models or suite.models:
        path = tuned_recipe(recipes, task, model).with_suffix(".trials.json")
        if path.is_file():
            found[model] = json.loads(path.read_text(encoding="utf-8"))
    return found


def chance_of_one(trials: int, good: int, k: int) -> float:
    """Return how likely k of the trials of a search, drawn without repetition, hold at least one of the good ones."""
    return 1 - math.comb(trials - good, k) / math.comb(trials, k)


def curve_row(searches: Sequence[Mapping[str, Any]], goal: str) -> list[float]:
    """Return in how many searches 1, 2, 4 and 8 trials can be expected to hold one that reached a goal."""
    expected = []
    for k in (1, 2, 4, 8):
        chances = [
            chance_of_one(len(search["trials"]), sum(t.get(goal) is not None for t in search["trials"]), k)
            for search in searches
            if len(search["trials"]) >= k
        ]
        expected.append(sum(chances))
    return expected


def recorded(task: SuiteTask, models: Sequence[str]) -> dict[str, float]:
    """Return by model the test score that its registered recipe for the very task records, in the task's metric."""
    card = registry.task_card(task.task.partition("/")[0])
    params = card.data.params | card.variants.get(task.task.partition("/")[2], {})
    scores: dict[str, float] = {}
    for model in models:
        recipe = registry.recipe(card.task, model)
        if recipe is None:
            continue
        variant = task.task.partition("/")[2] or None
        same = recipe.when.length == params.get(card.length) if card.length else recipe.when.variant == variant
        said = re.search(rf"test (?:[a-z]+ [-\d.e]+, )?{card.metric} ([-\d.e]*\d)", recipe.result or "")
        if said and same:
            scores[model] = float(said[1])
    return scores


def ranks(scores: Mapping[str, float], metric: str) -> dict[str, int]:
    """Return the rank of each model; equal scores share the first of their places."""
    ordered = sorted(scores.values(), reverse=higher_is_better(metric))
    return {model: ordered.index(score) + 1 for model, score in scores.items()}


def rank_changes(before: Mapping[str, float], now: Mapping[str, float], metric: str) -> list[tuple[str, int, int]]:
    """Return the models that have both scores with their ranks among these, before and now."""
    both = [model for model in now if model in before]
    was, is_ = (ranks({model: scores[model] for model in both}, metric) for scores in (before, now))
    return [(model, was[model], is_[model]) for model in both]


def state(suite: Suite, recipes: Path, tables: Mapping[str, Any], seconds: Mapping[str, float]) -> str:
    """Return the sections on how far the suite is, and what more trials bring."""
    rows, curves, total = [], [], [0, 0, 0, 0]
    hours = 0.0
    for task in suite.tasks:
        cells = len(task.models or suite.models)
        searches = searches_of(task, suite, recipes)
        spent = sum(t.get("seconds") or 0 for search in searches.values() for t in search["trials"])
        table = tables.get(task.task.partition("/")[0])
        ended = sum(row["ended"] for row in table["rows"]) if table else 0
        whole = [row for row in table["rows"] if row["ended"] >= len(suite.seeds)] if table else []
        beat = sum(row["steps_to_baseline"] is not None for row in whole)
        spent += seconds.get(task.task.partition("/")[0], 0.0)
        hours += spent / 3600
        done = len(searches) == cells and ended == cells * len(suite.seeds)
        counts = [len(searches), ended, len(whole), beat]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        named = task.task + (f" T {task.T}" if task.T is not None else "")
        runs = cells * len(suite.seeds)
        parts = f"{counts[0]} of {cells}", f"{ended} of {runs}"
        rows.append([named, "yes" if done else "no", *parts, *counts[2:], f"{spent / 3600:.2f}"])
        if searches:
            for goal, words in _GOALS.items():
                expected = curve_row(list(searches.values()), goal)
                curves.append([named, len(searches), words, *(f"{value:.1f}" for value in expected)])
    cells = len(cells_of(suite))
    runs = cells * len(suite.seeds)
    registered = [registry.recipe(task.task.partition("/")[0], model) for task, model in cells_of(suite)]
    older = sum(recipe is not None and recipe.outcome in ("baseline", "target") for recipe in registered)
    text = (
        f"## State\n\n**{total[0]} of {cells} searches have ended, {total[1]:,} of {runs:,} scored runs are "
        f"archived.**\nAt most {hours:.1f} core hours went into them: by the clock in their records and trials, "
        "which also ran\nwhile a process waited or was paused (of selective_copy, 28 searches). Of "
        f"{total[2]} cells with all\n{len(suite.seeds)} seeds, {total[3]} beat the baseline in the median. (Of the "
        f"registered recipes, which were\ntuned by hand at budgets of their own, {older} of {cells} say that they "
        "do.)\n\n"
    )
    columns = ["task", "complete", "searches", "scored runs", "whole cells", "beat the baseline", "core hours"]
    text += github(columns, rows) + "\n"
    if curves:
        text += (
            "## What more trials bring\n\nIn how many of the searches that have ended k of the eight trials, drawn at\n"
            "random, can be expected to hold at least one that reached the goal:\n\n"
        )
        text += github(["task", "searches", "a trial", "k = 1", "2", "4", "8"], curves) + "\n"
    return text


def changes(suite: Suite, tables: Mapping[str, Any]) -> str:
    """Return the section on ranks that changed against the registered recipes' recorded results."""
    moved = []
    for task in suite.tasks:
        table = tables.get(task.task.partition("/")[0])
        if table is None or task.T is not None:
            continue
        now = {row["model"]: row["score"] for row in table["rows"] if row["score"] is not None}
        for model, was, is_ in rank_changes(recorded(task, list(now)), now, table["metric"]):
            moved.append((abs(was - is_), task.task, model, was, is_))
    moved = [row for row in sorted(moved, key=lambda row: (-row[0], *row[1:])) if row[0]]
    text = (
        "## Ranks that changed\n\nAgainst the registered recipes, among the models that have both: the rank by what\n"
        "such a recipe records of its one run (seed 0, a budget of its own, tuned by hand), and the rank here. No\n"
        "leaderboard of those recipes at these tasks was kept, so that both the tuning and the budget differ.\n\n"
    )
    if not moved:
        return text + "No rank of an archived cell differs yet.\n\n"
    columns = ["task", "model", "rank by the recipe", "rank here"]
    return text + github(columns, [row[1:] for row in moved[:RANK_CHANGES]]) + "\n"


def failures(suite: Suite, tables: Mapping[str, Any]) -> str:
    """Return the section on who does not beat the baseline of a task, once all of its cells are there."""
    lines = []
    for task in suite.tasks:
        cells = len(task.models or suite.models)
        table = tables.get(task.task.partition("/")[0])
        rows = [] if table is None else table["rows"]
        if table is None or len([row for row in rows if row["ended"] >= len(suite.seeds)]) < cells:
            lines.append(f"- {task.task}: not said before all {cells} models have been scored.")
            continue
        failed = [
            row["model"]
            for row in rows
            if row["score"] is None or not beats_baseline(row["metric"], table["baseline"])(row["score"])
        ]
        lines.append(f"- {task.task}: {', '.join(sorted(failed)) or 'none'}.")
    return "## Who does not beat the baseline, in the median over seeds\n\n" + "\n".join(lines) + "\n\n"


def same_networks(tables: Mapping[str, Any]) -> str:
    """Return a sentence a task on models of one size whose seeds have the same scores; none where there are none."""
    lines = []
    for table in tables.values():
        by_scores: dict[tuple[Any, ...], list[str]] = {}
        for row in table["rows"]:
            if len(row["seeds"]) > 1 and len({*row["seeds"].values()}) > 1:
                key = (row["parameters"], *sorted(row["seeds"].items()))
                by_scores.setdefault(key, []).append(row["model"])
        lines += [
            f"On {table['task']} {' and '.join(sorted(same))} have the same parameters and scores, seed by seed: "
            "searches with equal rates in equal trials came to the same network."
            for same in by_scores.values()
            if len(same) > 1
        ]
    return "\n\n".join(lines) + "\n\n" if lines else ""


def page(archives: Path = ROOT / ARCHIVES, recipes: Path = ROOT / RECIPES) -> str:
    """Return the page.

    Args:
        archives: The folder of archived runs.
        recipes: The folder of recipes.
    """
    suite = registry.suite("core")
    tables: dict[str, Any] = {}
    scores, seconds = "None is archived yet.\n", {}
    if any(archives.glob("*.jsonl")):
        for path in archives.glob("*.jsonl"):
            seconds[path.stem] = sum(run.record.wall_s for run in read_archive(path).values())
        with tempfile.TemporaryDirectory() as store:
            output("runs", "unpack", str(archives), "--runs-dir", store)
            board = ["compare", "core", "--recipes", str(recipes), "--no-run", "--runs-dir", store]
            tables = {table["name"]: table for table in json.loads(output(*board, "--json"))["tables"]}
            scores = output(*board, "--format", "github", "--columns", COLUMNS)
    searches = output("tune", "core", "--no-run", "-o", str(recipes), "--format", "github")
    return (
        INTRO.format(models=len(suite.models), tasks=len(suite.tasks))
        + state(suite, recipes, tables, seconds)
        + changes(suite, tables)
        + failures(suite, tables)
        + (ROOT / REMARK).read_text(encoding="utf-8")
        + "\n"
        + f"## Scores\n\n{same_networks(tables)}{scores}\n## Searches\n\n{searches}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes docs/results/core.md.")
    parser.add_argument("--archives", type=Path, default=ROOT / ARCHIVES, help="folder of archived runs")
    (ROOT / "docs" / "results" / "core.md").write_text(page(parser.parse_args().archives.resolve()), encoding="utf-8")
