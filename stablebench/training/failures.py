"""Unexpected errors of a run: the traceback is kept in its folder, and the message says where it is."""

import contextlib
import traceback
from pathlib import Path

from stablebench.errors import StablebenchError, first_line, users_line
from stablebench.runs.atomic import write_atomically

_FILE = "traceback.txt"


class RunFailed(StablebenchError):
    """A run ended with an error that nothing in stablebench expects; it is the cause of this one."""


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
    """Remove the traceback of an earlier failure, once the run has come to its end."""
    with contextlib.suppress(OSError):
        (folder / _FILE).unlink(missing_ok=True)


def unexpected(folder: Path, step: int, error: Exception, kept: Path | None) -> RunFailed:
    """Return an error in one line, with the line of the user's own code that it came from, if there is one.

    Args:
        folder: The run's.
        step: Updates made.
        error: What was raised.
        kept: Where its traceback is.
    """
    said = f"{type(error).__name__}: {first_line(error)}{users_line(error)}"
    where = "" if kept is None else f" The traceback is in {kept}."
    return RunFailed(f"{folder}: the run failed at step {step} with {said.rstrip('.')}.{where}")
