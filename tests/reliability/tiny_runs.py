"""Runs of a fraction of a second, processes that are killed, and what two runs of one spec must have in common."""

import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from stablebench.runs import atomic as files
from stablebench.runs import checkpoint
from stablebench.runs.curve import read_curve
from stablebench.runs.progress import Silent
from stablebench.runs.store import RunFolder, run_folder
from stablebench.specs.resolve import Resolved, RunRequest, resolve
from stablebench.training import loop
from stablebench.training.run import ExecutionOptions, train

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["stablebench.execution.preload", "sklearn.datasets"])
TIMES = {"train_s", "wall_s", "started", "resumed_at", "steps_per_s", "peak_bytes", "seconds_to_baseline"}
TIMES |= {"seconds_to_target", "commit"}
"""What two runs of one spec may differ in: times, memory, when they were taken up, and the state of the checkout."""


def tiny(model: str = "rnn", task: str = "copy", best: bool = False, /, **settings: Any) -> Resolved:
    """Return a run of 24 updates with a checkpoint every second one; `best` selects weights on validation."""
    common = {"train.eval_every": 8, "train.batch_size": 8, "train.checkpoint_every": 2, "train.steps": 24}
    common |= {"model.hidden": 6, "engine": "reference"}
    few = {"dizzy": {"model.rotations": 3}, "ornn": {"model.reflections": 4}}  # as many as so few units can have
    common |= few.get(model, {})
    own = {
        "copy": {"task.S": 2, "task.length": 5},
        "adding": {"task.length": 8},
        "first_recall": {"task.length": 6, "task.alphabet": 4},
        "kth_highest": {"task.length": 6, "task.alphabet": 12},
        "digits": {"train.batch_size": 500},  # three updates an epoch
        "digits_flat": {"train.batch_size": 500, "model.layers": 4},
    }[task]
    resolved = resolve(RunRequest(model, task, settings={**common, **own, **settings}))
    if best:
        protocol = resolved.card.protocol.model_copy(update={"select_on": "validation"})
        resolved = replace(resolved, card=resolved.card.model_copy(update={"protocol": protocol}))
    return resolved


def run(resolved: Resolved, runs_dir: Path, **options: Any) -> RunFolder:
    """Run to the end in this process, and return the folder."""
    return train(resolved, ExecutionOptions(runs_dir, **options), Silent()).folder


def begin_processes() -> None:
    """Return when a process can begin in hundredths of a second, so that none is timed that waits for the first."""
    process = PROCESSES.Process(target=_nothing)
    process.start()
    process.join()


def _nothing() -> None:
    pass


def in_a_process(resolved: Resolved, runs_dir: Path, moment: "tuple[str, int] | None" = None) -> BaseProcess:
    """Start a run in a process of its own; at `moment`, (what, which time), it kills itself."""
    process = PROCESSES.Process(target=_run_and_die, args=(resolved, runs_dir, moment))
    process.start()
    return process


def _run_and_die(resolved: Resolved, runs_dir: Path, moment: tuple[str, int] | None) -> None:
    if moment is not None:
        what, which = moment
        count = 0

        def dying(function: Callable[..., Any], *, is_it: Callable[..., bool] = lambda *a, **k: True) -> Any:
            def called(*arguments: Any, **named: Any) -> Any:
                nonlocal count
                count += is_it(*arguments, **named)
                if count == which:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **named)

            return called

        if what == "update":
            loop.TrainingLoop._update = dying(loop.TrainingLoop._update)
        elif what == "evaluation":
            loop.evaluate = dying(loop.evaluate)
        elif what == "save":  # the checkpoint is written and not yet in its place
            files.os.replace = dying(os.replace, is_it=lambda source, target: ".safetensors" in str(target))
        elif what == "final record":
            is_final = "finished"
            RunFolder.write_record = dying(RunFolder.write_record, is_it=lambda _, record: record.status == is_final)
        else:
            raise AssertionError(what)
    raise SystemExit(train(resolved, ExecutionOptions(runs_dir, grace_s=30.0), Silent()).exit_code)


def killed_at_random(resolved: Resolved, runs_dir: Path, rng: random.Random, kills: int, whole_s: float) -> list[Path]:
    """Kill runs of one spec at random until that many kills have hit; return their folders, every run finished."""
    folders, hits = [runs_dir / "0"], 0
    while hits < kills:
        process = in_a_process(resolved, folders[-1])
        process.join(rng.uniform(0, whole_s))
        if process.pid is not None:
            process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            hits += 1
        else:
            folders.append(runs_dir / str(len(folders)))
    for folder in folders:
        process = in_a_process(resolved, folder)
        process.join(120)
        assert process.exitcode == 0
    return folders


def tensors(folder: RunFolder) -> dict[str, torch.Tensor]:
    """Return the newest checkpoint's tensors."""
    return checkpoint.load(folder.checkpoints()[0]).tensors


def curve(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the curve without times."""
    return [{k: v for k, v in line.items() if k != "wall_s"} for line in read_curve(folder.curve_path)]


def without_times(value: Any) -> Any:
    """Return a record's document without what two runs of one spec may differ in."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def assert_same(a: RunFolder, b: RunFolder) -> None:
    """Hold two runs against each other: weights, optimiser, generators, curve and record, bit for bit."""
    left, right = tensors(a), tensors(b)
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype
        assert torch.equal(*(t.reshape(-1).view(torch.uint8) for t in (tensor, right[name]))), name
    assert curve(a) == curve(b)
    records = [without_times(folder.read_record().model_dump(mode="json")) for folder in (a, b)]
    differ = {key: (value, records[1].get(key)) for key, value in records[0].items() if value != records[1].get(key)}
    assert not differ and records[0].keys() == records[1].keys(), differ
    assert not list(b.path.rglob("*.tmp")) and not list(b.path.rglob(".*.tmp"))


def folder_of(resolved: Resolved, runs_dir: Path) -> RunFolder:
    """Return where a run lies."""
    return run_folder(runs_dir, resolved.spec)
