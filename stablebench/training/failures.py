"""How a run ends that does not finish: its status, its message, and the error that the command ends with."""

import contextlib
import traceback
from dataclasses import dataclass
from pathlib import Path

from stablebench.errors import (
    StablebenchError,
    described,
    device_failure,
    first_line,
    not_deterministic,
    ran_out_of_memory,
    users_line,
)
from stablebench.process import device
from stablebench.process.signals import Interrupted
from stablebench.runs.atomic import write_atomically
from stablebench.schema.run_record import Status
from stablebench.training.diverged import Diverged as Diverged
from stablebench.training.parts import RunParts

_FILE = "traceback.txt"


class RunFailed(StablebenchError):
    """A run ended with an error that nothing in stablebench expects; it is the cause of this one."""


@dataclass(frozen=True)
class Failure:
    """How a run ends.

    Args:
        status: What its record says.
        message: The record's `error`.
        raise_as: The error that the command ends with; None where the run ends with its record.
    """

    status: Status
    message: str
    raise_as: BaseException | None = None


def classify(error: BaseException, parts: RunParts) -> Failure:
    """Return how a run ends after an error; the traceback of an unexpected one is written to its folder.

    Args:
        error: What ended it.
        parts: The run.
    """
    folder, step = parts.folder.path, parts.state.step
    if isinstance(error, Interrupted):
        return Failure("interrupted", parts.interrupt.description or "stopped on request")
    if isinstance(error, Diverged):
        return Failure("diverged", str(error))
    if isinstance(error, KeyboardInterrupt):
        return Failure("interrupted", "ended at once, before its checkpoint", error)
    expected = isinstance(error, StablebenchError)
    written = None if expected else keep_traceback(folder, error)
    if ran_out_of_memory(error):
        return _failed(
            f"out of memory: {first_line(error)}",
            f"{folder}: out of memory at step {step}, with a peak of {device.peak_bytes(parts.device):,} bytes; take a "
            "smaller size, batch or --recompute-every.",
        )
    if (reason := device_failure(error)) is not None:  # nothing more can be asked of the device
        return _failed(
            f"the device failed: {reason}",
            f"{folder}: the device failed at step {step} ({reason}); started again, the run goes on from its last "
            "checkpoint.",
        )
    if (reason := not_deterministic(error)) is not None:
        return _failed(reason, f"{folder}: {reason}; leave --deterministic out.")
    if expected:
        return Failure("failed", str(error), error)
    if not all(bool(p.isfinite().all()) for p in parts.network.parameters()):
        return Failure("diverged", f"the weights are not finite after update {step}, {type(error).__name__}")
    what = f"{type(error).__name__}: {first_line(error)}{users_line(error)}"
    where = "" if written is None else f" The traceback is in {written}."
    message = f"{folder}: the run failed at step {step} with {what.rstrip('.')}.{where}"
    return Failure("failed", described(error), RunFailed(message))


def _failed(message: str, raised: str) -> Failure:
    return Failure("failed", message, StablebenchError(raised))


def keep_traceback(folder: Path, error: BaseException) -> Path | None:
    """Write an error's traceback to the run's folder, and return the file; None where the disk does not take it.

    Args:
        folder: The run's.
        error: The error, with its causes.
    """
    path = folder / _FILE
    with contextlib.suppress(StablebenchError):
        write_atomically(path, "".join(traceback.format_exception(error)).encode(errors="replace"), within=folder)
        return path
    return None


def forget_traceback(folder: Path) -> None:
    """Remove the traceback of an earlier failure, once the run has finished."""
    with contextlib.suppress(OSError):
        (folder / _FILE).unlink(missing_ok=True)
