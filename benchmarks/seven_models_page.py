"""Writes docs/results/seven_models.md: seven models from the archived runs of equal tuning, and says which are missing.

python benchmarks/seven_models_page.py              # the page
python benchmarks/seven_models_page.py --readme     # prints the README's table, writes nothing
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stablebench import registry
from stablebench.tables import Table, render

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
MODELS = ("roarnn", "dizzy", "cornn", "nnrnn", "exprnn", "lstm", "rnn")
COLUMNS = "rank,model,score,solved,to_baseline,to_target,parameters,marks"
INTRO = f"""# Seven models, tuned alike, five seeds

```
stablebench runs unpack docs/results/core --runs-dir core_runs
stablebench compare core --recipes core --no-run --runs-dir core_runs --models {",".join(MODELS)}
python benchmarks/seven_models_page.py
```

Each model had eight trials on each task from its own space, and all of a task have one budget and 128 units;
[core.md](core.md) has all models and what a search was worth. Ranks are among the seven.

"""

Row = Mapping[str, Any]


def stablebench(*words: str) -> str:
    """Return what a command prints; its exit code is 1 where a part is not done."""
    command = [sys.executable, "-m", "stablebench", *words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode not in (0, 1) or not ended.stdout:
        raise SystemExit(f"{' '.join(command)}: {ended.stderr}")
    return ended.stdout


def unpacked(archives: Path, store: Path) -> Path:
    """Make a run store of archived runs, and return it."""
    stablebench("runs", "unpack", str(archives.resolve()), "--runs-dir", str(store))
    return store


def board(store: Path, tasks: Sequence[str], *words: str) -> str:
    """Return what `compare` prints of the seven models on some tasks of a run store of `core`."""
    suite = ["compare", "core", "--recipes", "core", "--no-run", "--runs-dir", str(store)]
    return stablebench(*suite, "--models", ",".join(MODELS), "--tasks", ",".join(tasks), *words)


def rows_of(store: Path) -> dict[str, dict[str, Row]]:
    """Return by task of `core` and model the rows whose seeds have all ended."""
    suite = registry.suite("core")
    tasks = [task.task for task in suite.tasks]
    rows: dict[str, dict[str, Row]] = {task: {} for task in tasks}
    for table in json.loads(board(store, tasks, "--json"))["tables"]:
        whole = {row["model"]: row for row in table["rows"] if row["ended"] >= len(suite.seeds)}
        rows[table["task"]] = {model: whole[model] for model in MODELS if model in whole}
    return rows


def whole(rows: Mapping[str, Mapping[str, Row]]) -> list[str]:
    """Return the tasks that have a row of each model."""
    return [task for task, by_model in rows.items() if set(by_model) == set(MODELS)]


def missing(rows: Mapping[str, Mapping[str, Row]]) -> str:
    """Return a paragraph on the tasks that lack a model; none where there are none."""
    lacking = [
        f"{task} ({', '.join(model for model in MODELS if model not in by_model)})"
        for task, by_model in rows.items()
        if task not in whole(rows)
    ]
    return f"Not yet whole, and not above: {'; '.join(lacking)}.\n" if lacking else ""


def readme(rows: Mapping[str, Mapping[str, Row]]) -> str:
    """Return the README's table: median and how many seeds are at the target, on each task that is whole."""

    def cell(row: Row) -> str:
        score = (row.get("quoted") or row)["score"]
        return f"{score:.3g} ({row['solved']}/{row['ended']}) {row['marks']}".strip()

    tasks = whole(rows)
    cells = []
    for model in MODELS:
        found = [rows[task][model] for task in tasks]
        held = [cell(row) for row in found]
        cells.append([model, *held])
    return render([Table(["model", *tasks], cells)], "github").strip("\n") + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes docs/results/seven_models.md.")
    parser.add_argument("--archives", type=Path, default=RESULTS / "core", help="folder of archived runs")
    parser.add_argument("--readme", action="store_true", help="print the README's table instead")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = unpacked(asked.archives, Path(folder) / "runs")
        rows = rows_of(store)
        if asked.readme:
            print(readme(rows), end="")
        else:
            tables = board(store, whole(rows), "--format", "github", "--columns", COLUMNS)
            text = INTRO + tables.rstrip("\n") + "\n\n" + missing(rows)
            (RESULTS / "seven_models.md").write_text(text.rstrip("\n") + "\n", encoding="utf-8")
