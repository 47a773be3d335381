"""Cells as submitit jobs, run by its local executor; one is taken back in the middle and queued again."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from small_runs import Heard, cells, folder_of

from stablebench.errors import UserError
from stablebench.execution.slurm_executor import Queue, minutes_of, run_on_slurm
from stablebench.training.run import ExecutionOptions


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("30:00", 30), ("30:01", 31), ("2:00:00", 120), ("1-12", 2160), ("1-00:30", 1470), ("0-1:0:5", 61)],
)
def test_a_time_is_read_as_slurm_reads_it(text: str, minutes: int) -> None:
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "0", "-5"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--time"):
        minutes_of(text)


def run(asked: list[Any], runs_dir: Path, heard: Heard) -> int:
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    return run_on_slurm(Queue(cluster="local"), asked, ExecutionOptions(runs_dir), 2, heard.listener())


@pytest.mark.slow  # a process of its own that imports torch, three times
@pytest.mark.filterwarnings("ignore")
def test_job_that_is_taken_back_goes_on_from_checkpoint(tmp_path: Path) -> None:
    """A job that is taken back goes on from its checkpoint and a failing one leaves it alone."""
    asked = [*cells(0, steps=400), *cells(1)]
    failing = folder_of(asked[1], tmp_path)
    failing.path.mkdir(parents=True)
    (failing.path / "metrics.jsonl").mkdir()  # where the curve is to be written
    heard = Heard()
    taken_back: list[int] = []

    def take_back(index: int, message: Any) -> None:
        Heard.on_update(heard, index, message)
        if index == 0 and not isinstance(message, str) and not taken_back:
            taken_back.append(_process_of(folder_of(asked[0], tmp_path).path))
            os.kill(taken_back[0], signal.SIGUSR1)

    heard.on_update = take_back  # pyright: ignore[reportAttributeAccessIssue]
    assert run(asked, tmp_path, heard) == 0
    assert heard.statuses() == ["finished", "failed"], heard.ends
    record = folder_of(asked[0], tmp_path).read_record()
    assert record.status == "finished" and len(record.resumed_at) == 1 and 0 < record.resumed_at[0] < 400
    assert heard.ends[0].message.startswith("test loss") and sorted(heard.started) == [0, 1]
    assert any(progress.value is not None for progress in heard.progress[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_signal_cancels_the_jobs_after_their_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = pytest.importorskip("submitit.local.local", reason="the extra `slurm` is not installed")
    # as scancel does it, with time to end; the local executor's own gives a second
    monkeypatch.setattr(local.LocalJob, "cancel", lambda self, check=True: self._process.terminate())
    asked = cells(0, steps=1_000_000)
    heard = Heard()

    def interrupt(index: int, message: Any) -> None:
        Heard.on_update(heard, index, message)
        if not isinstance(message, str) and len(heard.progress[0]) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    heard.on_update = interrupt  # pyright: ignore[reportAttributeAccessIssue]
    assert run(asked, tmp_path, heard) == 143
    folder = folder_of(asked[0], tmp_path)
    assert heard.statuses() == ["interrupted"] and folder.checkpoints()


def _process_of(folder: Path) -> int:
    """Return the process that has the run's lock."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            held = [os.readlink(link) for link in (path / "fd").iterdir()]
        except OSError:
            continue
        if any(name.startswith(str(folder)) and name.endswith(".lock") for name in held):
            return int(path.name)
    raise AssertionError(f"no process runs {folder}")
