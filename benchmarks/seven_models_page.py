"""Writes docs/results/seven_models.md: seven models from the archived runs of equal tuning, and says which are missing.

python benchmarks/seven_models_page.py              # the page
python benchmarks/seven_models_page.py --readme     # prints the README's table, writes nothing

Until all cells of equal tuning are archived, the page also has the runs of docs/results/seven_models.json, in which
each model had its registered recipe and that recipe's budget.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stablebench.tables import Table, render

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
MODELS = ("roarnn", "dizzy", "cornn", "nnrnn", "exprnn", "lstm", "rnn")
TASKS = ("adding/t200", "copy/t100", "digits/permuted")
SEEDS = 5
COLUMNS = ("model", "parameters", "median", "lowest to highest", "updates", "to the baseline", "to the target")

Row = Mapping[str, Any]


def equal_rows(archives: Path) -> dict[str, dict[str, Row]]:
    """Return by task and model the rows of equal tuning whose five seeds are all archived."""
    tables: dict[str, dict[str, Row]] = {task: {} for task in TASKS}
    if not any(archives.glob("*.jsonl")):
        return tables
    with tempfile.TemporaryDirectory() as store:
        _stablebench("runs", "unpack", str(archives), "--runs-dir", store)
        board = ["compare", "core", "--recipes", "core", "--models", ",".join(MODELS), "--tasks", ",".join(TASKS)]
        document = json.loads(_stablebench(*board, "--no-run", "--json", "--runs-dir", store))
    for table in document["tables"]:
        whole = {row["model"]: row for row in table["rows"] if row["ended"] >= SEEDS}
        tables[table["task"]] = {model: whole[model] for model in MODELS if model in whole}
    return tables


def _stablebench(*words: str) -> str:
    command = [sys.executable, "-m", "stablebench", *words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode not in (0, 1) or not ended.stdout:
        raise SystemExit(f"{' '.join(command)}: {ended.stderr}")
    return ended.stdout


def arrival(row: Row, goal: str) -> str:
    """Return when the median seed reached a goal, and how many did where not all did."""
    reached, steps = row[f"reached_{goal}"], row[f"steps_to_{goal}"]
    few = f"({reached} of {row['ended']})"
    if not reached:
        return "never"
    if steps is None:
        return few
    return f"{steps:,.0f}" + ("" if reached == row["ended"] else f" {few}")


def table_of(rows: Sequence[Row]) -> str:
    """Return rows, best first as they come, as GitHub shows a table."""
    cells = []
    for row in rows:
        ends = [row["min"], row["max"]]
        spread = "" if None in ends else " to ".join(f"{value:.4g}" for value in ends)
        score = "none" if row["score"] is None else f"{row['score']:.4g}"
        times = [arrival(row, goal) for goal in ("baseline", "target")]
        cells.append([row["model"], f"{row['parameters']:,}", score, spread, f"{row['steps']:,}", *times])
    return render([Table(list(COLUMNS), cells)], "github").strip("\n") + "\n"


def ordered(rows: Mapping[str, Row]) -> list[Row]:
    """Return the rows of one task, best first."""
    return sorted(rows.values(), key=lambda row: (row["rank"] is None, row["rank"] or 0, row["model"]))


def page(equal: Mapping[str, Mapping[str, Row]], earlier: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        equal: The rows of equal tuning, by task and model.
        earlier: The leaderboard of the registered recipes.
    """
    there, cells = sum(map(len, equal.values())), len(MODELS) * len(TASKS)
    text = f"# Seven models on three tasks, five seeds\n\n**{there} of {cells} cells are from equal tuning.** "
    text += (
        "There each model had eight trials from its own space, and all of a task\nhave one budget and 128 units; "
        "[core.md](core.md) has all 46 models and what a search was worth.\n\n"
        "```\nstablebench runs unpack docs/results/core --runs-dir core_runs\n"
        f"stablebench compare core --recipes core --no-run --runs-dir core_runs --models {','.join(MODELS)}\n"
        "python benchmarks/seven_models_page.py\n```\n\n## Tuned alike\n\n"
    )
    for task in TASKS:
        rows, missing = equal[task], [model for model in MODELS if model not in equal[task]]
        text += f"### {task}\n\n"
        text += table_of(ordered(rows)) + "\n" if rows else ""
        text += f"Not yet from equal tuning: {', '.join(missing)}.\n\n" if missing else ""
    if there == cells:
        return text.rstrip("\n") + "\n"
    text += (
        "## Each with its registered recipe\n\nThe 105 runs of commit f8912bd, in which every model had the recipe and "
        "the budget of updates that were\nregistered for it, tuned by hand: on adding 1,500 updates are compared with "
        "20,000 and 50,000. Not a ranking of\nequals, and here only until the cells above are whole. All seeds and "
        "settings: [seven_models.json](seven_models.json).\n\n"
    )
    for table in earlier["tables"]:
        better = "higher" if table["higher_is_better"] else "lower"
        text += f"### {table['task']}: {table['metric']}, {better} is better\n\n{table_of(table['rows'])}\n"
    return text.rstrip("\n") + "\n"


def readme(equal: Mapping[str, Mapping[str, Row]]) -> str:
    """Return the README's table: median and how many of five seeds held the target, on each task."""
    cells = []
    for model in MODELS:
        row = [model]
        for task in TASKS:
            found = equal[task].get(model)
            row.append("not yet" if found is None else f"{found['score']:.3g} ({found['reached_target']}/{SEEDS})")
        cells.append(row)
    return render([Table(["tuned alike, five seeds", *TASKS], cells)], "github").strip("\n") + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes docs/results/seven_models.md.")
    parser.add_argument("--archives", type=Path, default=RESULTS / "core", help="folder of archived runs")
    parser.add_argument("--readme", action="store_true", help="print the README's table instead")
    asked = parser.parse_args()
    rows = equal_rows(asked.archives.resolve())
    if asked.readme:
        print(readme(rows), end="")
    else:
        earlier = json.loads((RESULTS / "seven_models.json").read_text(encoding="utf-8"))
        (RESULTS / "seven_models.md").write_text(page(rows, earlier), encoding="utf-8")
