"""A run shared by several processes: a signal to any of them ends all, also while the first one evaluates."""

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import PROCESSES, assert_same, folder_of, tiny

from stablebench.runs.progress import Silent
from stablebench.runs.store import all_runs
from stablebench.training import trainer
from stablebench.training.run import Options, train

ALONE = {"device": "cpu", "precision": "float64"}


def _process(rank: int, port: int, runs_dir: Path, moment: tuple[int, int, int] | None) -> None:
    """Be one of two processes of a run; at `moment`, (whose signal, which, in which evaluation), a signal comes."""
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_WORLD_SIZE": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    calls, evaluate = [0], trainer.evaluate

    def evaluated(*arguments: Any, between: Callable[[], None], **named: Any) -> Any:
        calls[0] += 1
        if moment is not None and calls[0] == moment[2]:
            if moment[0] == 0:
                os.kill(os.getpid(), moment[1])
            else:
                (runs_dir / "now").write_text("")
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                between()  # as between two pieces of a long evaluation
        return evaluate(*arguments, between=between, **named)

    trainer.evaluate = evaluated
    resolved = tiny("rnn", "copy", **ALONE)
    outcome = train(resolved, Options(runs_dir, torchrun=True), Silent())
    raise SystemExit(outcome.exit_code)


def together(runs_dir: Path, moment: tuple[int, int, int] | None = None) -> list[int | None]:
    """Run the two processes and return their exit codes."""
    runs_dir.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [PROCESSES.Process(target=_process, args=(rank, port, runs_dir, moment)) for rank in (0, 1)]
    for process in processes:
        process.start()
    if moment is not None and moment[0] == 1:
        deadline = time.monotonic() + 60
        while not (runs_dir / "now").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(processes[1].pid or 0, moment[1])
    for process in processes:
        process.join(60)
        process.kill()
        process.join()
    return [process.exitcode for process in processes]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs_dir = tmp_path_factory.mktemp("together")
    assert together(runs_dir) == [0, 0]
    return runs_dir


@pytest.mark.parametrize(
    ("moment", "code", "evaluations"),
    [
        pytest.param((0, signal.SIGTERM, 2), 143, 1, id="to the one that evaluates"),
        pytest.param((1, signal.SIGINT, 2), 130, 1, id="to one that waits"),
        pytest.param((1, signal.SIGHUP, 2), 129, 1, id="a hangup", marks=pytest.mark.slow),
        pytest.param((1, signal.SIGUSR1, 4), 143, 3, id="in the last evaluation of all", marks=pytest.mark.slow),
    ],
)
def test_a_signal_amid_an_evaluation_ends_all_processes_and_the_run_goes_on_equal(
    moment: tuple[int, int, int], code: int, evaluations: int, whole: Path, tmp_path: Path
) -> None:
    assert together(tmp_path, moment) == [code, code]
    (folder,) = all_runs(tmp_path)
    record = folder.read_record()
    assert (record.status, len(record.evaluations)) == ("interrupted", evaluations)
    assert together(tmp_path) == [0, 0]
    resolved = tiny("rnn", "copy", **ALONE)
    assert_same(folder_of(resolved, whole), folder)
