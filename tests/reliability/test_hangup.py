"""A terminal that is closed ends a run as SIGTERM does, after its checkpoint; under `nohup` it changes nothing."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_runs import assert_same, folder_of, run, tiny

from stablebench.execution.events import RunCallbacks, RunEnd
from stablebench.execution.local import run_locally
from stablebench.process.signals import Interrupt
from stablebench.runs.progress import Progress, Silent
from stablebench.training.run import ExecutionOptions, train


class HangsUpAt(Silent):
    def __init__(self, step: int) -> None:
        self._step = step

    def update(self, progress: Progress) -> bool:
        if progress.step == self._step:
            os.kill(os.getpid(), signal.SIGHUP)
        return True


@pytest.fixture(autouse=True)
def hangs_up() -> Iterator[None]:
    """A hangup ends a process also where the tests themselves run under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def nohup(hangs_up: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_a_hangup_ends_a_run_after_its_checkpoint(tmp_path: Path) -> None:
    whole = run(tiny(), tmp_path / "whole")
    outcome = train(tiny(), ExecutionOptions(tmp_path / "cut"), HangsUpAt(13))
    assert (outcome.exit_code, outcome.record.status, outcome.record.step) == (129, "interrupted", 13)
    assert "SIGHUP" in (outcome.record.error or "")
    assert_same(whole, run(tiny(), tmp_path / "cut"))


@pytest.mark.usefixtures("nohup")
def test_a_hangup_that_is_ignored_stays_so(tmp_path: Path) -> None:
    outcome = train(tiny(), ExecutionOptions(tmp_path), HangsUpAt(13))
    assert (outcome.exit_code, outcome.record.status) == (0, "finished")
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_what_handled_a_hangup_before_does_so_again() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGHUP)
    assert (interrupt.signum, interrupt.exit_code) == (signal.SIGHUP, 129)
    assert signal.getsignal(signal.SIGHUP) == before


def test_a_hangup_ends_all_cells_after_their_checkpoints(tmp_path: Path) -> None:
    asked = [tiny(**{"train.steps": 1_000_000, "train.eval_every": 1_000_000, "train.checkpoint_every": 1000})]
    ends: list[RunEnd] = []

    def hang_up(index: int, message: Progress | str) -> None:
        os.kill(os.getpid(), signal.SIGHUP)

    code = run_locally(asked, ExecutionOptions(tmp_path), 1, RunCallbacks(on_update=hang_up, on_end=ends.append))
    assert code == 129 and [end.status for end in ends] == ["interrupted"]
    folder = folder_of(asked[0], tmp_path)
    assert folder.read_record().status == "interrupted" and folder.checkpoints()
