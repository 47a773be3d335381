"""Stored runs as rows: one a run, with every setting and test metric, or one an entry of its curve."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stablebench.leaderboard.tidy import tidy_runs
from stablebench.runs.curve import read_curve
from stablebench.runs.store import RunFolder
from stablebench.schema.run_record import RunRecord

StoredRuns = Iterable[tuple[Path, RunRecord]]
"""Folder and record of each run."""


def run_rows(runs: StoredRuns) -> list[dict[str, Any]]:
    """Return a row a run: `run`, its name in the store, and what `compare --format csv` has of it."""
    return [{"run": _name(folder)} | row for folder, record in runs for row in tidy_runs([record])]


def curve_rows(runs: StoredRuns) -> list[dict[str, Any]]:
    """Return a row an entry of each run's curve: the run, `step`, `split` (`train`, `validation`), what was measured.

    Raises:
        UserError: A curve is damaged.
    """
    return [
        {
            "run": _name(folder),
            "task_name": record.spec.task.name,
            "variant": record.spec.task.variant,
            "model_name": record.spec.model.label,
            "seed": record.spec.seed,
            **line,
        }
        for folder, record in runs
        for line in read_curve(RunFolder(folder).curve_path)
    ]


def _name(folder: Path) -> str:
    return "/".join(str(folder.resolve()).split(os.sep)[-3:])
