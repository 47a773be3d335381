"""From a resolved run to its record: find its folder, lock it, resume what is there, train."""

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stablebench.errors import OtherEnvironment, UserError
from stablebench.process.settings import prepare_process
from stablebench.runs.progress import Reporter
from stablebench.runs.store import RunFolder, fresh_run_folder, run_folder
from stablebench.schema.run_record import RunRecord
from stablebench.specs.limits import check_spec
from stablebench.specs.own_task import card_of_spec
from stablebench.specs.request import Resolved
from stablebench.training.run_card import keep_card
from stablebench.training.run_code import keep_code

_ENDED = ("finished", "diverged")


@dataclass(frozen=True)
class ExecutionOptions:
    """How a run is executed; none of it can change its numbers.

    Args:
        runs_dir: The run store.
        data_dir: Folder of the real data sets; None for the cache folder.
        rerun: Run again, in a folder of its own, even if a finished run exists.
        wait: Wait for another process that is running it.
        grace_s: Seconds to wait for another process that is about to end, where `wait` is false.
        force: Resume although engine, device or versions differ.
        folder: The run's folder where it is known; by default the spec's newest under `runs_dir`.
        probe: What is measured along the run, as `MonitorConfig.parse` reads it; by default what it was begun with.
        track: Trackers that receive the run's curve.
        self_check: Check the engine against the reference before the first update.
        check_model: Check a user's model against the contract, on a small instance, before the first update.
        test: Evaluate the test split at the end; without it a record has no test score, as of a trial while tuning.
        restart_elsewhere: Restart a run, instead of refusing it, whose checkpoint comes from where numbers are rounded
            differently: a cluster has chosen its machine.
        is_part: A signal also ends what the run is a part of, as `pass_on` does.
    """

    runs_dir: Path = Path("runs")
    data_dir: Path | None = None
    rerun: bool = False
    wait: bool = False
    grace_s: float = 0.0
    force: bool = False
    folder: RunFolder | None = None
    probe: str | None = None
    track: tuple[str, ...] = ()
    self_check: bool = True
    check_model: bool = False
    test: bool = True
    restart_elsewhere: bool = False
    is_part: bool = False


@dataclass(frozen=True)
class RunOutcome:
    """How a session of a run ended.

    Args:
        folder: The run's folder.
        record: Its record.
        ran: Whether it trained: a run that has ended is not trained again.
        exit_code: 0, 3 after divergence, 129, 130 or 143 after a signal, also where it came too late to interrupt it.
    """

    folder: RunFolder
    record: RunRecord
    ran: bool
    exit_code: int


def refuse_torchrun() -> None:
    """Refuse to be one of several processes that `torchrun` started.

    Raises:
        UserError: There are several; only the first says so.
        SystemExit: In the other processes, with the same exit code.
    """
    size = int(os.environ.get("WORLD_SIZE") or 1)
    if size == 1:
        return
    if os.environ.get("RANK", "0") != "0":
        raise SystemExit(UserError.exit_code)
    raise UserError(
        f"torchrun: one run uses one device, and WORLD_SIZE is {size}. Start `stablebench train` without torchrun, and "
        "run several seeds in parallel with `stablebench compare --workers K`."
    )


def train(resolved: Resolved, options: ExecutionOptions, reporter: Reporter) -> RunOutcome:
    """Train what is left of a run.

    Raises:
        UserError: The run cannot be built or its data are missing.
        StablebenchError: It failed, or another process is running it.
    """
    spec = resolved.spec
    folder = options.folder or run_folder(options.runs_dir, spec)
    if options.rerun and has_ended(folder):
        folder = fresh_run_folder(options.runs_dir, spec)
    if (ended := _whole_ended_record(folder)) is not None:
        return RunOutcome(folder, ended, False, _exit_code(ended))
    prepare_process(spec.threads, spec.precision, spec.deterministic)
    from stablebench.training.build import build_run
    from stablebench.training.loop import run_part
    from stablebench.training.model_check import check_before_run
    from stablebench.training.monitor import MonitorConfig

    with folder.lock(None if options.wait else options.grace_s, reporter.note):
        damage = folder.quarantine_corrupt_record()
        if damage is not None:
            reporter.note(f"{damage} It is set aside as record.json.damaged; the run is resumed from its checkpoints.")
        if (ended := ended_record(folder)) is not None:  # another process has finished it in the meantime
            return RunOutcome(folder, ended, False, _exit_code(ended))
        asked = options.probe or (folder.read_record().probe if folder.record_path.exists() else None)
        begin = partial(
            build_run,
            resolved,
            folder,
            reporter=reporter,
            data_dir=options.data_dir,
            force=options.force,
            monitor=None if asked is None else MonitorConfig.parse(asked),
            self_check=options.self_check,
            track=options.track,
        )
        if folder.unpacked_path.exists():
            reporter.note(f"{folder.why_no_weights()}: it starts again from the beginning")
            folder.forget()
        if options.check_model:
            check_before_run(spec, reporter.note)
        try:
            loop = begin()
        except OtherEnvironment as error:
            if not options.restart_elsewhere:
                raise
            folder.forget()
            reporter.note(f"restarted: {'; '.join(error.differences)}")
            loop = begin()
        parts, loop.tests = loop.parts, options.test
        reporter.start(
            f"{spec.model.label} on {spec.task.name} ({parts.parameters:,} parameters, {parts.engine.name} engine, "
            f"{parts.device}, seed {spec.seed}) in {folder.path}"
        )
        if spec.model.source is not None:
            reporter.note(f"runs the code of {spec.model.name} (sha256 {spec.model.source})")
            keep_code(folder, spec)
        keep_card(folder, resolved.card)
        if parts.engine.choice.note is not None:
            reporter.note(parts.engine.choice.note)
        record = run_part(loop) if options.is_part else loop.run()
        if record.uncovered:
            reporter.note(f"warning: {', '.join(record.uncovered)} ran too, which the run's hash does not cover")
        return RunOutcome(folder, record, True, loop.exit_code or _exit_code(record))


def _exit_code(record: RunRecord) -> int:
    return 3 if record.status == "diverged" else 0


def _whole_ended_record(folder: RunFolder) -> RunRecord | None:
    """Return the record of a run that has ended; None also where it is damaged, which is seen to under the lock."""
    with suppress(UserError):
        return ended_record(folder)
    return None


def has_ended(folder: RunFolder) -> bool:
    """Return whether a run finished or diverged; one whose record is damaged has not."""
    return _whole_ended_record(folder) is not None


def ended_record(folder: RunFolder) -> RunRecord | None:
    """Return the record of a run that finished or diverged, else None."""
    if not folder.record_path.exists():
        return None
    record = folder.read_record()
    return record if record.status in _ENDED else None


def resolved_of(
    record: RunRecord, force: bool = False, option: str = "--force-resume", *, check: bool = True
) -> Resolved:
    """Return what a record's run was resolved to.

    Args:
        record: The record.
        force: Whether the task's card may have changed since.
        option: What the user gives to say so.
        check: Whether something will be built: then its model has been named, and the spec is checked.

    Raises:
        UserError: The task's card changed since, and `force` is false; or the spec cannot be built here.
    """
    card = card_of_spec(record.spec.task)
    if card.sha256() != record.card_sha256 and not force:
        raise UserError(
            f"The card of {card.task} changed since this run began (version {record.spec.task.version} then, "
            f"{card.version} now); {option} goes on with the present one."
        )
    if check:
        check_spec(record.spec, card)
    return Resolved(record.spec, card, record.origin)
