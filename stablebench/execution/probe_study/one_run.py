"""What a study measures of one run: at initialisation, and after the first of its updates, which are made again."""

import json
import math
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stablebench.data.task import Task, resolve_params
from stablebench.execution.probe_study.measures import scalars
from stablebench.models.network import AnyNetwork
from stablebench.process.settings import prepare_process
from stablebench.process.signals import pass_on
from stablebench.runs.atomic import write_atomically
from stablebench.runs.progress import StopAfter
from stablebench.runs.store import RunFolder
from stablebench.schema.run_record import RunRecord
from stablebench.specs.request import Resolved
from stablebench.training.build import build_run
from stablebench.training.monitor import undisturbed, validation_examples
from stablebench.training.run import resolved_of

CACHE = "probe_study.json"
"""In the run's folder: what was measured, and how."""
_VERSION = 1
"""Of what is measured; counted up when a scalar changes."""
LoadCode = Callable[[RunFolder, RunRecord, str | None], None]


@dataclass(frozen=True)
class StudyOptions:
    """How runs are measured.

    Args:
        early: After which part of the updates they are measured again, in (0, 1).
        examples: Validation examples of the gradient, >= 1.
        T: Another length of the task than in training; None for the run's own.
        data_dir: Folder of the real data sets.
    """

    early: float = 0.05
    examples: int = 8
    T: int | None = None
    data_dir: Path | None = None

    def key(self) -> dict[str, Any]:
        """Return what decides the numbers."""
        return {"version": _VERSION, "early": self.early, "examples": self.examples, "T": self.T}


@dataclass(frozen=True)
class RunProbes:
    """What was measured of a run; None for a scalar that its model does not have, or that is no number.

    Args:
        initial: At initialisation.
        early: After the first part of the updates; None where the run had diverged by then.
        early_step: After how many updates.
    """

    initial: dict[str, float | None]
    early: dict[str, float | None] | None
    early_step: int


def early_step(record: RunRecord, part: float) -> int:
    """Return after how many updates a run is measured the second time: at least 1."""
    return max(1, math.ceil(part * record.spec.train.steps - 1e-9))


def measured(folder: RunFolder, options: StudyOptions, load_code: LoadCode) -> tuple[RunRecord, RunProbes]:
    """Return a run's record and what was measured of it, stored in its folder and read from there the next time.

    Args:
        folder: The run.
        options: How it is measured.
        load_code: Loads the code of a run's own model or task.

    Raises:
        StablebenchError: The model has no derivative, or the run cannot be built here.
    """
    record = folder.read_record()
    stored = _stored(folder, options)
    if stored is not None:
        return record, stored
    load_code(folder, record, None)
    resolved = resolved_of(record)
    probes = _measure(record, resolved, options)
    document = {"options": options.key(), **asdict(probes)}
    with suppress(OSError):  # of a store that cannot be written, runs are measured again the next time
        write_atomically(folder.path / CACHE, (json.dumps(document, indent=1) + "\n").encode())
    return record, probes


def _stored(folder: RunFolder, options: StudyOptions) -> RunProbes | None:
    try:
        document = json.loads((folder.path / CACHE).read_text(encoding="utf-8"))
        if document.pop("options") != options.key():
            return None
        return RunProbes(**document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _measure(record: RunRecord, resolved: Resolved, options: StudyOptions) -> RunProbes:
    spec, stop = record.spec, early_step(record, options.early)
    train = spec.train.model_copy(update={"checkpoint_every": spec.train.steps})
    quiet = replace(resolved, spec=spec.model_copy(update={"train": train, "device": "cpu"}))
    prepare_process(spec.threads, spec.precision, spec.deterministic)
    with tempfile.TemporaryDirectory(prefix="stablebench-study-") as temporary:
        loop = build_run(
            quiet,
            RunFolder(Path(temporary) / "run"),
            reporter=StopAfter(stop),
            data_dir=options.data_dir,
            self_check=False,
        )
        initial = _scalars(loop.parts.network, resolved, options)
        ended = loop.run()
        pass_on(loop.exit_code)
        early = None if ended.status == "diverged" else _scalars(loop.parts.network, resolved, options)
    return RunProbes(initial, early, stop)


def _scalars(network: AnyNetwork, resolved: Resolved, options: StudyOptions) -> dict[str, float | None]:
    params = resolve_params(resolved.card, T=options.T, settings=resolved.spec.task.params)
    task = Task(resolved.card, params, options.data_dir)
    with undisturbed():
        batch = validation_examples(task, options.examples, "--examples")
        return scalars(network, batch, loss=resolved.card.loss)
