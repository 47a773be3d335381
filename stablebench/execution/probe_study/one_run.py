"""What a study measures of one run: at initialisation, and after the first of its updates, which are made again."""

import json
import math
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from stablebench.data.task import Task, resolve_params
from stablebench.errors import StablebenchError
from stablebench.execution.probe_study.measures import ScalarValues, scalars
from stablebench.models.network import AnyNetwork
from stablebench.process.settings import prepare_process
from stablebench.runs.atomic import write_atomically
from stablebench.runs.progress import StopAfter
from stablebench.runs.store import RunFolder
from stablebench.schema.run_record import RunRecord
from stablebench.specs.request import Resolved
from stablebench.training.build import build_run
from stablebench.training.loop import run_part
from stablebench.training.monitor import undisturbed, validation_examples
from stablebench.training.run import resolved_of

CACHE = "probe_study.json"
"""In the run's folder: what was measured, and how."""
_VERSION = 2
"""Of what is measured; counted up when a scalar changes."""
MAX_STATE = 1024
"""Width of the states up to which singular values over 50 steps take less than a minute."""
LoadCode = Callable[[RunFolder, RunRecord, str | None], None]


@dataclass(frozen=True)
class StudyOptions:
    """How runs are measured.

    Args:
        early: After which part of the updates they are measured again, in (0, 1).
        examples: Validation examples of the gradient, >= 1.
        T: Another length of the task than in training; None for the run's own.
        data_dir: Folder of the real data sets.
        max_state: Width of a network's states beyond which its singular values are left out, >= 1.
    """

    early: float = 0.05
    examples: int = 8
    T: int | None = None
    data_dir: Path | None = None
    max_state: int = MAX_STATE

    def key(self) -> dict[str, Any]:
        """Return what decides the numbers."""
        own = {"early": self.early, "examples": self.examples, "T": self.T, "max_state": self.max_state}
        return {"version": _VERSION, **own}


@dataclass(frozen=True)
class RunProbes:
    """What was measured of a run; None for a scalar that its model does not have, or that is no number.

    Args:
        initial: At initialisation.
        early: After the first part of the updates; None where the run had diverged by then.
        early_step: After how many updates.
        wide: The width of its states where singular values were left out for it; else None.
        failed: Why a measure failed, by its name.
    """

    initial: dict[str, float | None]
    early: dict[str, float | None] | None
    early_step: int
    wide: int | None = None
    failed: dict[str, str] = field(default_factory=dict[str, str])


def early_step(record: RunRecord, part: float) -> int:
    """Return after how many updates a run is measured the second time: at least 1."""
    return max(1, math.ceil(part * record.spec.train.steps - 1e-9))


def measured(
    folder: RunFolder, options: StudyOptions, load_code: LoadCode, scratch: Path | None = None
) -> tuple[RunRecord, RunProbes]:
    """Return a run's record and what was measured of it, stored in its folder and read from there the next time.

    Args:
        folder: The run.
        options: How it is measured.
        load_code: Loads the code of a run's own model or task.
        scratch: Where its updates are made again; None for the system's own folder.

    Raises:
        StablebenchError: The model has no derivative, or the run cannot be built here.
        KeyboardInterrupt: SIGINT came while its updates were made again.
        SystemExit: Another signal came.
    """
    record = folder.read_record()
    known = stored(folder, options)
    if known is not None:
        return record, known
    load_code(folder, record, None)
    resolved = resolved_of(record)
    probes = _measure(record, resolved, options, scratch)
    document = {"options": options.key(), **asdict(probes)}
    with suppress(OSError):  # of a store that cannot be written, runs are measured again the next time
        write_atomically(folder.path / CACHE, (json.dumps(document, indent=1) + "\n").encode())
    return record, probes


def stored(folder: RunFolder, options: StudyOptions) -> RunProbes | None:
    """Return what was measured of a run with the same options; None where nothing was."""
    try:
        document = json.loads((folder.path / CACHE).read_text(encoding="utf-8"))
        if document.pop("options") != options.key():
            return None
        return RunProbes(**document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _measure(record: RunRecord, resolved: Resolved, options: StudyOptions, scratch: Path | None) -> RunProbes:
    spec, stop = record.spec, early_step(record, options.early)
    train = spec.train.model_copy(update={"checkpoint_every": spec.train.steps})
    quiet = replace(resolved, spec=spec.model_copy(update={"train": train, "device": "cpu"}))
    prepare_process(spec.threads, spec.precision, spec.deterministic)
    with tempfile.TemporaryDirectory(prefix="stablebench-study-", dir=scratch) as temporary:
        loop = build_run(
            quiet,
            RunFolder(Path(temporary) / "run"),
            reporter=StopAfter(stop),
            data_dir=options.data_dir,
            self_check=False,
        )
        initial = _scalars(loop.parts.network, resolved, options)
        ended = run_part(loop)  # after a signal it has not made all of these updates
        if ended.status == "diverged":
            return RunProbes(initial.values, None, stop, initial.wide, initial.failed)
        try:
            early = _scalars(loop.parts.network, resolved, options)
        except StablebenchError as error:  # its states have left float64: what it began with still counts
            failed = initial.failed | {"all measures after the updates": str(error)}
            return RunProbes(initial.values, None, stop, initial.wide, failed)
    return RunProbes(initial.values, early.values, stop, initial.wide, initial.failed | early.failed)


def _scalars(network: AnyNetwork, resolved: Resolved, options: StudyOptions) -> ScalarValues:
    card, spec = resolved.card, resolved.spec
    params = resolve_params(card, T=options.T, settings=spec.task.params)
    task = Task(card, params, options.data_dir)
    with undisturbed():
        batch = validation_examples(task, options.examples, "--examples")
        return scalars(network, batch, loss=card.loss, optim=spec.optim, max_state=options.max_state)
