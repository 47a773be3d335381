"""A job that died is said to have died, and how; what its log happens to end with is no reason."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_runs import Heard, cells, folder_of

from stablebench.execution.slurm_ends import why_it_failed
from stablebench.execution.slurm_executor import Queue, run_on_slurm
from stablebench.training.run import ExecutionOptions


class UncompletedJobError(RuntimeError):
    """As submitit's."""


class FailedJobError(UncompletedJobError):
    """As submitit's."""


DIED = UncompletedJobError(
    "Job 7 has not produced any output (state: FINISHED)\nError stream produced:\n----\nstep 5/9"
)


def sacct(folder: Path, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a `sacct` first on the path that says something of job 7 alone."""
    script = folder / "sacct"
    script.write_text(f'#!/bin/sh\ncase "$*" in *"-j 7_1"*) echo "{says}";; esac\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("accounted", "said"),
    [
        ("FAILED|3:0", "its job died with exit code 3 and left no result (state FAILED, exit code 3:0)"),
        ("FAILED|0:9", "its job was killed by SIGKILL and left no result (state FAILED, exit code 0:9)"),
        ("OUT_OF_MEMORY|0:125", "was killed because it ran out of memory and left no result (state OUT_OF_MEMORY"),
        ("CANCELLED by 1000|0:15", "was killed by SIGTERM and left no result (state CANCELLED, exit code 0:15)"),
        ("NODE_FAIL|0:0", "its job died and left no result (state NODE_FAIL, exit code 0:0)"),
        ("", "its job died and left no result (state FINISHED)"),
    ],
)
def test_dead_job_is_said_to_have_died_as_slurm_accounts_for_it(
    accounted: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead job is said to have died as slurm accounts for it."""
    sacct(tmp_path, accounted, monkeypatch)
    why = why_it_failed(SimpleNamespace(job_id="7_1", state="FINISHED"), DIED)
    assert said in why and "step 5/9" not in why and "\n" not in why


def test_a_job_that_raised_is_said_by_its_error() -> None:
    rule = "-" * 22
    error = FailedJobError(f"Job failed with trace:\n{rule}\nTraceback:\n  x\nValueError: no\n{rule}\npaths:\n  - /log")
    assert why_it_failed(SimpleNamespace(job_id="7", state="FINISHED"), error) == "ValueError: no"


@pytest.mark.slow  # a process of its own that imports torch
@pytest.mark.filterwarnings("ignore")
def test_a_killed_job_is_failed_and_so_is_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = pytest.importorskip("submitit.core.core", reason="the extra `slurm` is not installed")
    monkeypatch.setattr(core.Job, "_results_timeout_s", 1)
    asked = cells(0, steps=1_000_000)
    heard = Heard()

    def kill(index: int, message: Any) -> None:
        Heard.on_update(heard, index, message)
        if not isinstance(message, str) and len(heard.progress[0]) == 1:
            holder = folder_of(asked[0], tmp_path).path / ".holder"
            os.kill(int(holder.read_text().split('"pid": ')[1].split(",")[0]), signal.SIGKILL)

    heard.on_update = kill  # pyright: ignore[reportAttributeAccessIssue]
    assert run_on_slurm(Queue(cluster="local"), asked, ExecutionOptions(tmp_path), 1, heard.listener()) == 0
    assert heard.statuses() == ["failed"] and heard.ends[0].message.startswith("its job died and left no result")
    record = folder_of(asked[0], tmp_path).read_record()
    assert record.status == "failed" and (record.error or "").startswith("its job died")
