"""Why a job of submitit's has no result: what it raised, else how it died.

The end of a dead job's log is what it happened to say last, and no reason. submitit's own state is none either, where
it is not Slurm's: it calls a job finished that was killed.
"""

import shutil
import signal
import subprocess
from typing import Any

_SACCT_S = 30.0
"""Seconds that Slurm's accounting gets to answer."""
_RULE = "-" * 22
"""What submitit puts around a job's traceback."""


def why_it_failed(job: Any, error: Exception) -> str:
    """Return in one line why a job failed.

    Args:
        job: submitit's job.
        error: What submitit says of it: `FailedJobError` with a traceback, `UncompletedJobError` where it died.
    """
    parts = str(error).split(_RULE)
    if type(error).__name__ == "FailedJobError" and len(parts) > 1:
        return parts[1].strip().rpartition("\n")[2]
    state, code = _accounted(str(job.job_id)) or (_state(job), "")
    return f"its job {_how(state, code)} and left no result ({state_in_words(state, code)})"


def _how(state: str, code: str) -> str:
    status, _, signum = code.partition(":")
    if state == "OUT_OF_MEMORY":
        return "was killed because it ran out of memory"
    if signum.isdigit() and int(signum):
        number = int(signum)
        names = {each.value: each.name for each in signal.Signals}
        return f"was killed by {names.get(number, f'signal {number}')}"
    if status.isdigit() and int(status):
        return f"died with exit code {status}"
    return "died"


def state_in_words(state: str, code: str) -> str:
    """Return what Slurm, or submitit, says of a job."""
    return f"state {state}" + (f", exit code {code}" if code else "")


def _state(job: Any) -> str:
    try:
        return str(job.state)
    except Exception as error:  # whatever asks the cluster may fail
        return f"unknown, {type(error).__name__}"


def _accounted(job_id: str) -> tuple[str, str] | None:
    """Return state and exit code (`code:signal`) of a job as Slurm accounts for them; None where it does not."""
    if shutil.which("sacct") is None:
        return None
    command = ["sacct", "-X", "-n", "--parsable2", "-o", "State,ExitCode", "-j", job_id]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SACCT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    fields = done.stdout.strip().partition("\n")[0].split("|")
    if done.returncode or len(fields) < 2 or not fields[0]:
        return None
    return fields[0].partition(" ")[0], fields[1]  # CANCELLED by 1000
