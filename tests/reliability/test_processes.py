"""Processes that die, hang, or cannot be begun: what runs others ends in time, says so, and keeps what was finished."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from killable_runs import ENDLESS, SMALL, cells, process_of, run_all
from tiny_runs import folder_of
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.errors import LimitReached, StablebenchError, UserError, reached_limit
from stablebench.execution import worker
from stablebench.execution import workers as processes
from stablebench.execution.workers import Processes, silence_s
from stablebench.process.signals import Interrupt
from stablebench.runs.progress import Progress


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait seconds where it would be minutes."""
    monkeypatch.setattr(processes, "_END_S", 1.0)
    monkeypatch.setattr(processes, "_GONE_S", 1.0)
    monkeypatch.setenv("STABLEBENCH_NO_NEWS_S", "1")


# -- a fork server that dies ------------------------------------------------------------------------------------------


def server() -> int:
    return forkserver._forkserver._forkserver_pid  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("afterwards", ["a signal", pytest.param("nothing", marks=pytest.mark.slow)])
def test_orphans_of_a_fork_server_are_told_to_end(afterwards: str, tmp_path: Path) -> None:
    """Processes whose fork server was killed are told to end and new ones begin."""
    asked = [*cells(1, **ENDLESS), *cells(3)[1:]] if afterwards == "a signal" else cells(3, **{"train.steps": 400})
    hit: list[float] = []

    def kill(index: int, message: Progress | str) -> None:
        if index == 0 and not hit:
            os.kill(server(), signal.SIGKILL)
            hit.append(time.monotonic())
            if afterwards == "a signal":
                threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()

    code, ends = run_all(asked, tmp_path, workers=1, on_update=kill)
    if afterwards == "a signal":
        assert code == 143 and time.monotonic() - hit[0] < 20
        assert ends[0].status == "interrupted"
        assert folder_of(asked[0], tmp_path).read_record().status == "interrupted"
    else:
        assert code == 0 and {end.status for end in ends.values()} == {"finished"} and len(ends) == 3


@pytest.mark.slow  # a fork server loads torch anew
def test_process_that_dies_after_fork_server_is_begun_again(tmp_path: Path) -> None:
    """A process that dies after its fork server is begun again."""
    asked = cells(1, **{"train.steps": 1500, "train.checkpoint_every": 10})
    notes: list[str] = []

    def kill(index: int, message: Progress | str) -> None:
        if isinstance(message, str):
            notes.append(message)
        elif not notes:
            notes.append("killed")
            os.kill(server(), signal.SIGKILL)
            time.sleep(0.2)
            os.kill(process_of(asked[0], tmp_path), signal.SIGKILL)

    code, ends = run_all(asked, tmp_path, workers=1, on_update=kill)
    assert code == 0 and ends[0].status == "finished"
    assert any("the fork server that would say was killed" in note and "restarting it" in note for note in notes)


@pytest.mark.usefixtures("fast")
@pytest.mark.slow  # a fork server loads torch anew
def test_a_fork_server_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    asked = cells(2)

    def stop(index: int) -> None:
        os.kill(server(), signal.SIGSTOP)

    began = time.monotonic()
    code, ends = run_all(asked, tmp_path, workers=1, on_start=stop)  # the second begins when that one was replaced
    assert code == 0 and ends[1].status == "finished" and time.monotonic() - began < 60


# -- a process that hangs ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fast")
def test_a_stopped_process_is_said_and_goes_on_where_it_is_let(tmp_path: Path) -> None:
    asked = cells(1, **{"train.steps": 300})
    notes: list[str] = []
    stopped: list[int] = []

    def stop(index: int, message: Progress | str) -> None:
        if not isinstance(message, str) and not stopped:
            stopped.append(process_of(asked[0], tmp_path))
            os.kill(stopped[0], signal.SIGSTOP)
        elif isinstance(message, str) and stopped:
            notes.append(message)
            if len(notes) == 2:
                os.kill(stopped[0], signal.SIGCONT)

    code, ends = run_all(asked, tmp_path, workers=1, on_update=stop)
    assert code == 0 and ends[0].status == "finished"
    times = [float(note.removeprefix("no news for ").partition(" s: ")[0]) for note in notes]
    assert times[0] >= 1 and times[1] >= 2 * times[0] - 1  # rarer and rarer
    assert f"process {stopped[0]} was stopped by a signal; `kill -CONT {stopped[0]}`" in notes[0]


@pytest.mark.usefixtures("fast")
def test_stopped_process_that_is_asked_to_end_writes_checkpoint(tmp_path: Path) -> None:
    """A stopped process that is asked to end writes its checkpoint."""
    asked = cells(1, **ENDLESS)

    def stop(index: int, message: Progress | str) -> None:
        if not isinstance(message, str):
            os.kill(process_of(asked[0], tmp_path), signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGTERM)

    code, ends = run_all(asked, tmp_path, workers=1, on_update=stop)
    assert code == 143 and ends[0].status == "interrupted"
    assert folder_of(asked[0], tmp_path).read_record().status == "interrupted"


def _deaf(connection: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection.send("deaf")
    time.sleep(600)


def _talks_and_stays(connection: Any) -> None:
    connection.send("last word")
    connection.close()
    time.sleep(600)


def _leaves_a_child(connection: Any) -> None:
    """End with a child that has the connection open as well."""
    child = os.fork()
    if child == 0:
        time.sleep(600)
    connection.send(child)
    os._exit(3)


def heard_of(target: Callable[..., None], asks: bool) -> list[Any]:
    """Return all that is heard of a process until it has ended."""
    found: list[Any] = []
    with Interrupt() as interrupt, Processes(interrupt, lambda index, text: None) as running:
        running.start(0, target)
        while running:
            for one, word in running.messages():
                found.append(one.death() if word is None else word)
            if asks and found:
                running.end_all()
    return found


@pytest.mark.usefixtures("fast")
def test_a_process_that_does_not_end_when_asked_is_killed() -> None:
    began = time.monotonic()
    said = "its process did not end within 1 s of being asked to, and was killed"
    assert heard_of(_deaf, asks=True) == ["deaf", said]
    assert time.monotonic() - began < 15


@pytest.mark.usefixtures("fast")
def test_process_that_is_done_and_stays_is_killed() -> None:
    """A process that has nothing more to say and stays is killed."""
    assert heard_of(_talks_and_stays, asks=False)[0] == "last word"


def test_process_is_missed_though_child_holds_connection() -> None:
    """A process is missed though its child holds the connection."""
    child, death = heard_of(_leaves_a_child, asks=False)
    os.kill(child, signal.SIGKILL)
    assert death == "its process ended with code 3"


@pytest.mark.usefixtures("fast")
def test_an_error_in_the_parent_ends_what_runs(tmp_path: Path) -> None:
    asked = cells(1, **ENDLESS)

    def fail(index: int, message: Progress | str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_all(asked, tmp_path, workers=1, on_update=fail)
    assert folder_of(asked[0], tmp_path).read_record().status == "interrupted"


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan"])
def test_a_wrong_time_without_news_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STABLEBENCH_NO_NEWS_S", text)
    with pytest.raises(UserError, match=f"STABLEBENCH_NO_NEWS_S must be seconds > 0 .* got '{text}'"):
        silence_s()


# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.ENFILE, "Too many open files in system"), "fs.file-max"),
    ],
)
def test_a_limit_of_the_system_is_one_message_with_the_way_out(error: Exception, said: str) -> None:
    limit = reached_limit(error)
    assert limit is not None and said in str(limit) and "--workers" in str(limit) and limit.exit_code == 1
    assert reached_limit(OSError(errno.ENOENT, "no")) is None and reached_limit(RuntimeError("no")) is None


@contextlib.contextmanager
def refusing(after: int) -> Iterator[None]:
    """Have no more than `after` processes begin."""
    launch, begun = Processes._launch, [0]

    def refuse(self: Processes, process: Any) -> None:
        begun[0] += 1
        if begun[0] > after:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        launch(self, process)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Processes, "_launch", refuse)
        yield


def test_fewer_run_at_once_where_no_more_can_be_begun(tmp_path: Path) -> None:
    notes: list[str] = []
    launch, begun = Processes._launch, [0]

    def refuse_the_second(self: Processes, process: Any) -> None:
        begun[0] += 1
        if begun[0] == 2:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        launch(self, process)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Processes, "_launch", refuse_the_second)
        code, ends = run_all(
            cells(3),
            tmp_path,
            workers=2,
            on_update=lambda _, said: notes.append(said) if isinstance(said, str) else None,
        )
    assert code == 0 and {end.status for end in ends.values()} == {"finished"} and len(ends) == 3
    assert [note for note in notes if "with 1 at once from here on: The limit on processes and threads" in note]


def test_where_no_process_begins_there_is_one_message(tmp_path: Path) -> None:
    """Where no process begins there is one message and what was finished stays."""
    command = ["compare", "--models", "rnn", "--tasks", "copy", "--seeds", "2", "--workers", "1", "--steps", "12"]
    with refusing(after=1):
        result = CliRunner().invoke(app, [*command, *SMALL, "--runs-dir", str(tmp_path)])
    assert result.exit_code == 1 and result.stderr.splitlines()[-1].startswith("Error: The limit on processes")
    assert "Traceback" not in result.output
    again = CliRunner().invoke(app, [*command, *SMALL, "--runs-dir", str(tmp_path)])
    assert again.exit_code == 0 and "1 of 2 runs to do" in again.stderr


def test_a_fork_server_that_may_fork_no_more_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
import os, errno
def no(): raise BlockingIOError(errno.EAGAIN, "no")
os.fork = no
from stablebench.execution import fork_server
assert os.fork() == -errno.EAGAIN
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_death_of_a_worker_that_was_never_seen() -> None:
    from types import SimpleNamespace
    from typing import cast

    gone = worker.Worker(0, cast(Any, SimpleNamespace(exitcode=255)), cast(Any, None))
    assert not gone.is_alive() and not gone.is_stopped() and gone.code is None
    assert issubclass(LimitReached, StablebenchError)
