"""Cells small enough for tests, and what a runner says of them."""

from pathlib import Path

from stablebench.execution.events import RunCallbacks, RunEnd
from stablebench.runs.progress import Progress
from stablebench.runs.store import RunFolder, run_folder
from stablebench.specs.resolve import Resolved, RunRequest, resolve


def cells(*seeds: int, steps: int = 20, model: str = "rnn", **settings: object) -> list[Resolved]:
    values = {"task.S": 2, "train.eval_every": 10, "train.batch_size": 4, "model.hidden": 4, "train.steps": steps}
    asked = values | {"engine": "reference"} | {key.replace("__", "."): value for key, value in settings.items()}
    run = resolve(RunRequest(model, "copy", T=5, settings=asked))
    return [run.seeded(seed) for seed in seeds]


class Heard:
    """What a runner calls while it runs cells."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.progress: dict[int, list[Progress]] = {}
        self.notes: dict[int, list[str]] = {}
        self.ends: dict[int, RunEnd] = {}

    def on_start(self, index: int) -> None:
        self.started.append(index)

    def on_update(self, index: int, message: Progress | str) -> None:
        if isinstance(message, str):
            self.notes.setdefault(index, []).append(message)
        else:
            self.progress.setdefault(index, []).append(message)

    def on_end(self, end: RunEnd) -> None:
        self.ends[end.index] = end

    def listener(self) -> RunCallbacks:
        return RunCallbacks(self.on_start, self.on_update, self.on_end)

    def statuses(self) -> list[str]:
        return [self.ends[index].status for index in sorted(self.ends)]


def folder_of(cell: Resolved, runs_dir: Path) -> RunFolder:
    return run_folder(runs_dir, cell.spec)
