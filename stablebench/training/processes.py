"""Processes that run one thing each, tell what happens, and end together."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

_SAFE_PATH = "PYTHONSAFEPATH"
_LOOK_S = 0.5
"""Seconds after which it is looked whether a signal came."""


@dataclass
class Worker:
    """A process.

    Args:
        index: What it runs.
        process: The process.
        connection: To it; what it sends there can be answered.
        last: What it said last; None before the first word.
    """

    index: int
    process: BaseProcess
    connection: Connection
    last: Any = None

    def death(self) -> str:
        """Return how it ended, in words."""
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"its process was killed by {signal.Signals(-code).name}"
        return f"its process ended with code {code}"

    def ended_by_request(self) -> bool:
        """Return whether it may have ended because it was asked to before it could take the signal as a wish.

        The signal ends it, or amid its imports an error that the signal's handler raised there.
        """
        code = self.process.exitcode
        return code is not None and (code == -signal.SIGTERM or code > 0)


class Processes:
    """Context of the processes that run; a second Ctrl-C, which leaves it as KeyboardInterrupt, kills them.

    They come from a fork server that has torch loaded, so that one begins in tenths of a second.
    """

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["stablebench.training.preload"])
        self._running: dict[Any, Worker] = {}
        self._asked_to_end = False

    def __enter__(self) -> Self:
        """Start the fork server."""
        with _deaf_to_ctrl_c(), without_current_folder():
            forkserver.ensure_running()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill what runs, where a second Ctrl-C came."""
        if isinstance(error, KeyboardInterrupt):
            for worker in self._running.values():
                worker.process.kill()

    def __len__(self) -> int:
        """Return how many run."""
        return len(self._running)

    @property
    def indices(self) -> list[int]:
        """What runs."""
        return [worker.index for worker in self._running.values()]

    def start(self, index: int, target: Callable[..., None], *arguments: Any) -> None:
        """Begin a process that calls `target` with the arguments and its end of a connection."""
        mine, theirs = self._context.Pipe()
        process = self._context.Process(target=target, args=(*arguments, theirs))
        process.start()
        theirs.close()
        self._running[mine] = Worker(index, process, mine)

    def heard(self) -> Iterator[tuple[Worker, Any]]:
        """Yield the next word of each that has one, for a moment; None where it has ended."""
        for ready in wait(list(self._running), timeout=_LOOK_S):
            worker = self._running[ready]
            try:
                worker.last = worker.connection.recv()
            except (EOFError, OSError):  # the end, or one in the middle of a word
                worker.process.join()
                del self._running[ready]
                yield worker, None
                worker.connection.close()  # so that a thousand hold no more than one
                worker.process.close()
            else:
                yield worker, worker.last

    def end_all(self) -> None:
        """Ask all that run to end, once; they write their checkpoints first."""
        if not self._asked_to_end:
            for worker in self._running.values():
                if worker.process.pid is not None and worker.process.is_alive():
                    os.kill(worker.process.pid, signal.SIGTERM)
        self._asked_to_end = True


@contextlib.contextmanager
def without_current_folder() -> Iterator[None]:
    """Context in which Python starts without the current folder in its path.

    Else a user's `random.py` there would be taken for the standard library's. Processes of runs get this one's path.
    """
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Context in which a process is begun that, with its children, takes no Ctrl-C.

    A terminal sends it to all of them. The fork server would end while it loads torch; the children are told by us.
    """
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
