"""Cells of a suite that take no time, or no end, and the processes that run them."""

from pathlib import Path
from typing import Any

from tiny_runs import folder_of, tiny

from stablebench.execution.events import RunCallbacks, RunEnd
from stablebench.execution.local import run_locally
from stablebench.runs import lock as run_lock
from stablebench.specs.request import Resolved
from stablebench.training.run import ExecutionOptions

SMALL = ["--T", "5", "--hidden", "6", "--batch-size", "4", "--set", "task.S=2"]
ENDLESS = {"train.steps": 1_000_000, "train.eval_every": 1_000_000, "train.checkpoint_every": 1000}


def cells(count: int, **settings: object) -> list[Resolved]:
    return [tiny(**settings).seeded(seed) for seed in range(count)]


def run_all(asked: list[Resolved], runs_dir: Path, workers: int = 2, **told: Any) -> tuple[int, dict[int, RunEnd]]:
    ends: dict[int, RunEnd] = {}
    code = run_locally(
        asked,
        ExecutionOptions(runs_dir, wait=True),
        workers,
        RunCallbacks(on_end=lambda end: ends.update({end.index: end}), **told),
    )
    return code, ends


def process_of(cell: Resolved, runs_dir: Path) -> int:
    holder = run_lock.RunLock(folder_of(cell, runs_dir).path).holder()
    assert holder is not None
    return holder.pid
