"""What runs would take on this machine: a few updates of each kind and a part of an evaluation, timed."""

import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stablebench.errors import StablebenchError
from stablebench.process.settings import prepare_process
from stablebench.runs.progress import Progress, Silent
from stablebench.runs.store import RunFolder
from stablebench.specs.request import Resolved
from stablebench.training.build import build_run
from stablebench.training.evaluation import cut, evaluate, metric_names
from stablebench.training.loop import run_part
from stablebench.training.parts import RunParts

_LEAST_UPDATES = 3
"""Updates that are made at least; the first is not counted, it may compile."""


@dataclass(frozen=True)
class Estimate:
    """What one kind of run, all its seeds, would take.

    Args:
        task: The task, with its variant.
        model: The model.
        hidden: Its width.
        parameters: Trainable scalars; None where it cannot be run.
        steps: Updates of a run.
        runs: Runs of this kind.
        missing: Those of them that the run store does not have.
        update_s: Seconds of an update, median.
        evaluations_s: Seconds of all evaluations of a run, the test included.
        run_s: Seconds of a run, data and compilation included; at most, as a target may end it.
        problem: Why it cannot be run here; None where it can.
    """

    task: str
    model: str
    hidden: int
    steps: int
    runs: int
    missing: int
    parameters: int | None = None
    update_s: float | None = None
    evaluations_s: float | None = None
    run_s: float | None = None
    problem: str | None = None

    @property
    def missing_s(self) -> float | None:
        """Seconds that the missing runs take one after another; None where they cannot be run."""
        return None if self.run_s is None else self.missing * self.run_s

    def document(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self) | {"missing_s": self.missing_s}


class _Stopwatch(Silent):
    """Notes what each update takes, and ends the run when that is known well enough."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.marks: list[float] = []

    def update(self, progress: Progress) -> bool:
        """Note it; a few updates or `seconds` later, end the run."""
        self.marks.append(progress.train_s)
        return len(self.marks) <= _LEAST_UPDATES or self.marks[-1] - self.marks[0] < self.seconds

    def taken(self) -> list[float]:
        """Return the seconds of each update but the first; of that one where the run has no other."""
        return [b - a for a, b in zip(self.marks, self.marks[1:], strict=False)] or self.marks


def estimates(
    runs: Iterable[Resolved], missing: Iterable[Resolved], *, data_dir: Path | None = None, seconds: float = 2.0
) -> Iterator[Estimate]:
    """Yield what each kind of run would take: runs that differ only in their seed are one kind.

    Every kind is trained for about `seconds` in a temporary folder, in this process; nothing is kept.

    Args:
        runs: All runs.
        missing: Those that are still to be run.
        data_dir: Folder of the real data sets.
        seconds: Seconds of training for a kind, beyond its first update.
    """
    left = {(run.spec.spec_hash(), run.spec.seed) for run in missing}
    kinds: dict[str, list[Resolved]] = {}
    for run in runs:
        kinds.setdefault(run.spec.spec_hash(), []).append(run)
    for key, same in kinds.items():
        yield _estimate(same[0], len(same), sum((key, c.spec.seed) in left for c in same), data_dir, seconds)


def _estimate(resolved: Resolved, runs: int, missing: int, data_dir: Path | None, seconds: float) -> Estimate:
    spec = resolved.spec
    task = spec.task.name if spec.task.variant is None else f"{spec.task.name}/{spec.task.variant}"
    estimate = Estimate(task, resolved.model_label, spec.model.hidden, spec.train.steps, runs, missing)
    began = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="stablebench-estimate-") as folder:
            parts, watch = _trained(resolved, Path(folder), data_dir, seconds)
    except StablebenchError as error:
        return replace(estimate, problem=str(error))
    if not watch.marks:
        return replace(estimate, problem="it diverged in its first update")
    update_s = statistics.median(watch.taken())
    started_s = time.perf_counter() - began - sum(watch.taken())
    protocol = parts.task.protocol
    looks = -(-spec.train.steps // spec.train.eval_every)
    evaluations_s = _validation_s(parts, seconds) * (looks + protocol.test / max(protocol.validation, 1))
    run_s = started_s + spec.train.steps * update_s + evaluations_s
    return replace(estimate, parameters=parts.parameters, update_s=update_s, evaluations_s=evaluations_s, run_s=run_s)


def _trained(resolved: Resolved, folder: Path, data_dir: Path | None, seconds: float) -> tuple[RunParts, _Stopwatch]:
    """Return the parts of a run after some updates without an evaluation, and what they took."""
    prepare_process(resolved.spec.threads, resolved.spec.precision, resolved.spec.deterministic)
    never = max(resolved.spec.train.steps, 1)
    train = resolved.spec.train.model_copy(update={"eval_every": never, "checkpoint_every": never})
    watch = _Stopwatch(seconds)
    timed = replace(resolved, spec=resolved.spec.model_copy(update={"train": train}))
    loop = build_run(timed, RunFolder(folder / "run"), reporter=watch, data_dir=data_dir)
    run_part(loop)
    return loop.parts, watch


def _validation_s(parts: RunParts, seconds: float) -> float:
    """Return the seconds of one look at the validation split, from about `seconds` of it."""
    card = parts.card
    names = metric_names(card)
    chunk = max(parts.spec.train.batch_size, 100)
    pieces = parts.validation()
    seen, taken = 0, 0.0
    for number, part in enumerate(pieces if parts.task.carries_states else cut(pieces, chunk)):
        if number == 1:
            seen, taken = 0, 0.0  # the first may have compiled
        began = time.perf_counter()
        evaluate(parts.network, [part], card.loss, names, chunk)
        seen, taken = seen + len(part.inputs), taken + time.perf_counter() - began
        if number and taken >= seconds:
            break
    whole = sum(len(piece.inputs) for piece in pieces) if parts.task.carries_states else parts.task.protocol.validation
    return whole * taken / seen
