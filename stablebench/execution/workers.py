"""Processes that run one thing each, tell what happens, and end together, whatever becomes of them.

No wait here is without an end. A silent process is reported and left running: it may be slow. One that
was asked to end and does not is killed after a while. What is known of a process is seen at the process itself, as the
fork server it comes from may die before it.
"""

import contextlib
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

import psutil

from stablebench.errors import StablebenchError, UserError, reached_limit
from stablebench.execution.memory_kills import MemoryKillCount
from stablebench.execution.worker import Worker
from stablebench.process.child import without_current_folder
from stablebench.process.signals import Interrupt, Interrupted
from stablebench.process.streams import lose_quietly
from stablebench.runs.progress import ExpectedSilence

__all__ = ["Processes", "Worker"]

_LOOK_S = 0.5
"""Seconds after which it is looked whether a signal came."""
_END_S = 60.0
"""Seconds that a process gets to end that was asked to, and two of its updates, before it is killed."""
_GONE_S = 10.0
"""Seconds after which one that was killed is given up: the system itself may hold it."""
_SILENCE_S = 120.0
"""Seconds after which the silence of a process is reported, unless `STABLEBENCH_NO_NEWS_S` says otherwise."""
_TRIES = 3
"""Times that a process is begun whose fork server dies."""


def silence_s() -> float:
    """Return after how many seconds the silence of a process is reported.

    Raises:
        UserError: `STABLEBENCH_NO_NEWS_S` is no such number.
    """
    text = os.environ.get("STABLEBENCH_NO_NEWS_S")
    if not text:
        return _SILENCE_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise UserError(f"STABLEBENCH_NO_NEWS_S must be seconds > 0 (inf: never), got '{text}'.")
    return seconds


class Processes:
    """Context of the processes that run; a second Ctrl-C, which leaves it as KeyboardInterrupt, kills them.

    They come from a fork server that has torch loaded, so that one begins in tenths of a second.

    Args:
        interrupt: The signals of this process, which is waiting for them.
        on_silence: Called with what a process runs and a line where it has been silent for long.
    """

    def __init__(self, interrupt: Interrupt, on_silence: Callable[[int, str], None]) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["stablebench.execution.fork_server"])
        self._running: list[Worker] = []
        self._interrupt, self._on_silence = interrupt, on_silence
        self._silence_s = silence_s()
        self._asked_at: float | None = None
        self._looked = time.monotonic()
        self._memory_kills = MemoryKillCount()

    def __enter__(self) -> Self:
        """Start the fork server."""
        with _as_one_message():
            _ensure_server()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what runs, where an error leaves it: at once after a second Ctrl-C, else after their checkpoints."""
        try:
            if error is not None and not isinstance(error, KeyboardInterrupt):
                self.end_all()
                while self._running:
                    for _ in self.messages():
                        pass
        finally:
            for worker in self._running:
                worker.kill()

    def __len__(self) -> int:
        """Return how many run."""
        return len(self._running)

    @property
    def indices(self) -> list[int]:
        """What runs."""
        return [worker.index for worker in self._running]

    def start(self, index: int, target: Callable[..., None], *arguments: Any) -> None:
        """Begin a process that calls `target` with the arguments and its end of a connection.

        Raises:
            Interrupted: A signal came before it could begin.
            LimitReached: The system begins no more processes.
            StablebenchError: The fork server does not begin it.
        """
        with _as_one_message():
            for _ in range(_TRIES):
                mine, theirs = self._context.Pipe()
                process = self._context.Process(target=_begin, args=(target, *arguments, theirs))
                try:
                    self._launch(process)
                except (EOFError, ConnectionError):  # the server was killed; the next try starts another
                    mine.close()
                    if self._interrupt.signum is not None:
                        raise Interrupted from None
                    time.sleep(_LOOK_S)
                    continue
                finally:
                    theirs.close()
                self._running.append(Worker(index, process, mine))
                return
        raise StablebenchError(
            f"No process can be begun: the fork server ended {_TRIES} times; it was killed, or is at a limit of the "
            "system (`ulimit -n`, `ulimit -u`)."
        )

    def _launch(self, process: BaseProcess) -> None:
        _ensure_server()
        begun = threading.Event()
        threading.Thread(target=self._watch_server, args=(begun,), daemon=True).start()
        try:
            process.start()
        finally:
            begun.set()
        if process.pid is not None and process.pid < 0:  # how the server reports an error number
            number = -process.pid
            process._popen.returncode = number  # pyright: ignore[reportAttributeAccessIssue]
            process.close()
            raise OSError(number, os.strerror(number))

    def _watch_server(self, begun: threading.Event) -> None:
        """Kill the fork server where it is stopped, or a signal came, and a process still does not begin."""
        server, waited = _server(), 0.0
        while server is not None and not begun.wait(_LOOK_S):
            with contextlib.suppress(psutil.Error):
                if self._interrupt.signum is not None or server.status() == psutil.STATUS_STOPPED:
                    waited += _LOOK_S
                if waited >= _END_S:
                    server.kill()
                    return

    def messages(self) -> Iterator[tuple[Worker, Any]]:
        """Yield the next message of each that has one; None where it has ended."""
        by_connection = {worker.connection: worker for worker in self._running if not worker.has_closed}
        ending = [
            worker.process.sentinel for worker in self._running if worker.has_closed and worker.process.exitcode is None
        ]
        for ready in wait([*by_connection, *ending], timeout=_LOOK_S):
            worker = by_connection.get(ready)  # pyright: ignore[reportArgumentType, reportCallIssue]
            if worker is None:
                continue
            try:
                worker.receive(worker.connection.recv())
            except (EOFError, OSError):  # the end, or one in the middle of a message
                worker.has_closed = True
            else:
                yield worker, worker.last
        yield from self._ended()

    def _ended(self) -> Iterator[tuple[Worker, None]]:
        """Yield those that have ended, having seen to those that should."""
        now = time.monotonic()
        if now - self._looked > 10 * _LOOK_S:  # this process was stopped itself, or busy
            for worker in self._running:
                worker.last_message_at += now - self._looked
        self._looked = now
        self._memory_kills.look(now)
        for worker in list(self._running):
            alive = worker.is_alive()
            if alive:
                worker.look_at_memory()
                alive = not self._is_given_up(worker, now)
            if alive or (not worker.has_closed and worker.connection.poll()):
                continue
            self._running.remove(worker)
            worker.release(_LOOK_S)
            killed = worker.code == -signal.SIGKILL and worker.killed_for is None
            worker.out_of_memory = killed and self._memory_kills.take()
            yield worker, None

    def _is_given_up(self, worker: Worker, now: float) -> bool:
        """Say, kill or give up a process that lives and is silent; return whether it is given up."""
        asked_at = self._asked_at
        if asked_at is None and worker.has_closed:
            asked_at = worker.last_message_at
        if asked_at is None:
            self._say_silence(worker, now - worker.last_message_at)
            return False
        patience = _END_S + 2 * worker.update_s
        if now - asked_at >= patience and worker.killed_for is None:
            worker.kill(f"its process did not end within {patience:.0f} s of being asked to, and was killed")
        if now - asked_at < patience + _GONE_S:
            return False
        worker.killed_for = f"its process {worker.process.pid} does not end, though it was killed"
        return True

    def _say_silence(self, worker: Worker, silent_s: float) -> None:
        """Report that a process is silent: after a while, after twice as long, and so on."""
        if silent_s < self._silence_s * 2**worker.silences or isinstance(worker.last, ExpectedSilence):
            return
        worker.silences += 1
        pid = worker.process.pid
        if worker.is_stopped():
            why = f"process {pid} was stopped by a signal; `kill -CONT {pid}` has it go on"
        else:
            why = f"process {pid} runs, and may be slow; `kill -KILL {pid}` restarts it from its checkpoint"
        self._on_silence(worker.index, f"no news for {silent_s:.0f} s: {why}")

    def end_all(self) -> None:
        """Ask all that run to end, once; they write their checkpoints first, also those that a signal has stopped."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            for worker in self._running:
                worker.send(signal.SIGTERM, signal.SIGCONT)


def _begin(target: Callable[..., None], *arguments: Any) -> None:
    """Call `target` in this process, whose stdout and stderr may lead nowhere by now."""
    lose_quietly()
    target(*arguments)


def _server() -> psutil.Process | None:
    """Return the fork server."""
    pid = forkserver._forkserver._forkserver_pid  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return psutil.Process(pid) if pid is not None else None
    except psutil.Error:
        return None


def _ensure_server() -> None:
    """Start the fork server where it is not running, deaf to Ctrl-C and to the end of the terminal, as its children.

    A terminal sends them to all of its processes. The server would end while it loads torch; the children get
    theirs from us.
    """
    before = {}
    try:
        before = {signum: signal.signal(signum, signal.SIG_IGN) for signum in (signal.SIGINT, signal.SIGHUP)}
    except ValueError:  # not the main thread
        pass
    try:
        with without_current_folder():
            forkserver.ensure_running()
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextlib.contextmanager
def _as_one_message() -> Iterator[None]:
    """Raise a limit of the system that is reached as what can be read and acted on."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if (limit := reached_limit(error)) is None:
            raise
        raise limit from None
