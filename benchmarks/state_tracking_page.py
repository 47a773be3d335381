"""Writes docs/results/state_tracking.md from archived runs of the suite `state_tracking/core` alone.

stablebench compare state_tracking/core
stablebench plot expressivity state_tracking/core
stablebench runs pack state_tracking/core -o docs/results/state_tracking
python benchmarks/state_tracking_page.py
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
from stablebench.runs.archive import read_archive
from stablebench.tables import Table, render

ROOT = Path(__file__).resolve().parent.parent
SUITE = "state_tracking/core"
ARCHIVES = "docs/results/state_tracking"
COLUMNS = "rank,model,score,scaled_accuracy,longest_held,held_interval,mean_40_256,seeds_solved,marks"
INTRO = f"""# State tracking

```
stablebench compare {SUITE}
stablebench plot expressivity {SUITE}
stablebench runs pack {SUITE} -o {ARCHIVES}
python benchmarks/state_tracking_page.py
```

This page is made of [the archived runs](state_tracking) alone; `stablebench runs unpack {ARCHIVES} --runs-dir
tracking_runs` makes a run store of them, from which `compare`, `report` and `plot length` draw.

The suite `{SUITE}`: {{models}} models on {{tasks}} tasks, {{seeds}} seeds, one budget and width; trained on 3 to 40
symbols, scored at {{lengths}}. [statistics.md](../statistics.md) says what "held" and its interval are. A model that
fails here fails at this width and budget, and not in general.

"""


BOTH = """## What a cell can do, and what its gradient does

Means over tasks of medians over seeds. Growth: d ln of the gradient's norm per step back in time, below 0 it vanishes.
Isometry: ln of the largest over the smallest singular value of dh_T/dh_1, per step; 0 is an isometry. Both at 40
symbols, with the tested weights and with those at initialisation. A cell is empty where a task lacks it.

"""


def output(*words: str) -> str:
    """Return what a command of stablebench prints; its exit code is 1 where a part is not done."""
    command = [sys.executable, "-m", "stablebench", *words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode not in (0, 1) or not ended.stdout:
        raise SystemExit(f"{' '.join(command)}: {ended.stderr}")
    return ended.stdout.rstrip("\n") + "\n"


def github(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table as GitHub shows it."""
    return render([Table(list(columns), [list(row) for row in rows])], "github").strip("\n") + "\n"


def both(tables: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of what each model can do and what its gradient does, means over the tasks that have it.

    Args:
        tables: Those of the leaderboard's JSON.
    """
    models = list(dict.fromkeys(row["name"] for table in tables for row in table["rows"]))
    rows = []
    for model in models:
        of_model = [row for table in tables for row in table["rows"] if row["name"] == model]
        scaled = [row["others"].get("scaled_accuracy") for row in of_model]
        held = [None if row["lengths"] is None else row["lengths"]["longest_held"] for row in of_model]
        cells = [mean(scaled, ".3f"), mean(held, ".0f")]
        for moment in ("trained", "initial"):
            for measure in ("growth", "isometry"):
                values = [row["gradients"].get(moment, {}).get(measure) for row in of_model]
                cells.append(mean(values, ".3g"))
        rows.append([model, len(of_model), *cells])
    rows.sort(key=lambda row: (-(float(row[2]) if row[2] else -1.0), row[0]))
    heads = ["model", "tasks", "scaled accuracy", "longest held"]
    heads += ["growth, trained", "isometry, trained", "growth, initial", "isometry, initial"]
    return github(heads, rows)


def mean(values: Sequence[float | None], form: str) -> str | None:
    """Return the mean as text; None where a value is missing."""
    held = [value for value in values if value is not None]
    return format(sum(held) / len(held), form) if held and len(held) == len(values) else None


def state(archives: Path) -> str:
    """Return the section on how much of the suite is archived, and what it took."""
    suite = registry.suite(SUITE)
    runs = {path.stem: read_archive(path) for path in sorted(archives.glob("*.jsonl"))}
    records = [run.record for of_task in runs.values() for run in of_task.values()]
    whole = len(suite.tasks) * len(suite.models) * len(suite.seeds)
    ended = sum(record.status in ("finished", "diverged") for record in records)
    hours = sum(record.wall_s for record in records) / 3600
    return (
        f"## State\n\n**{ended:,} of {whole:,} runs have ended and are archived.** {hours:.1f} hours went into their "
        "training, with or without other programs on the machine; scoring them at other lengths is not counted.\n\n"
    )


def page(archives: Path = ROOT / ARCHIVES) -> str:
    """Return the page.

    Args:
        archives: The folder of archived runs.
    """
    suite = registry.suite(SUITE)
    intro = INTRO.format(
        models=len(suite.models),
        tasks=len(suite.tasks),
        seeds=len(suite.seeds),
        lengths=", ".join(map(str, suite.lengths)),
    )
    text = intro + state(archives)
    if not any(archives.glob("*.jsonl")):
        return text + "None is archived yet.\n"
    with tempfile.TemporaryDirectory() as store:
        output("runs", "unpack", str(archives), "--runs-dir", store)
        board = ["compare", SUITE, "--no-run", "--runs-dir", store]
        tables = json.loads(output(*board, "--json"))["tables"]
        text += BOTH
        text += both(tables)
        text += f"\n## Accuracy by length\n\n{output(*board, '--format', 'github')}"
        text += f"\n## Scores\n\n{output(*board, '--format', 'github', '--columns', COLUMNS)}"
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes docs/results/state_tracking.md.")
    parser.add_argument("--archives", type=Path, default=ROOT / ARCHIVES, help="folder of archived runs")
    target = ROOT / "docs" / "results" / "state_tracking.md"
    target.write_text(page(parser.parse_args().archives.resolve()), encoding="utf-8")
