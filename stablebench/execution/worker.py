"""One process that runs something: whether it lives, its last message, how much memory it had, how it ended."""

import contextlib
import multiprocessing.process as processes
import re
import signal
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

_NO_SERVER = 255
"""Exit code that a process gets whose fork server has died, so that nobody knows the real one."""


@dataclass
class Worker:
    """A process.

    Args:
        index: What it runs.
        process: The process.
        connection: To it; what it sends there can be answered.
        last: Its last message; None before the first.
    """

    index: int
    process: BaseProcess
    connection: Connection
    last: Any = None
    has_closed: bool = False
    """Whether its end of the connection is closed: nothing more comes from it."""
    last_message_at: float = field(default_factory=time.monotonic)
    silences: int = 0
    """How often its silence was reported since its last message."""
    update_s: float = 0.0
    """Seconds between two of its updates, where it has reported them."""
    peak_bytes: int = 0
    """The most memory that it was seen to have."""
    killed_for: str | None = None
    """Why we killed it."""
    out_of_memory: bool = False
    """Whether the kernel has killed it because memory had run out."""
    _released: bool = False
    _code: int | None = None

    def __post_init__(self) -> None:
        """Remember which process it is: its number may be given to another one."""
        pid = getattr(self.process, "pid", None)
        try:
            self._system = psutil.Process(pid) if pid is not None else None
        except psutil.Error:  # it has ended
            self._system = None

    def receive(self, message: Any) -> None:
        """Note a message from it."""
        self.last, self.last_message_at, self.silences = message, time.monotonic(), 0
        speed = getattr(message, "steps_per_s", 0.0)
        self.update_s = 1 / speed if speed > 0 else self.update_s

    def is_alive(self) -> bool:
        """Return whether it runs, or could: seen at the process itself, as its fork server may be gone."""
        try:
            return self._system is not None and self._system.is_running() and not self._has("zombie", "dead")
        except psutil.Error:
            return False

    def is_stopped(self) -> bool:
        """Return whether a signal has stopped it."""
        try:
            return self._system is not None and self._has("stopped", "tracing-stop")
        except psutil.Error:
            return False

    def _has(self, *status: str) -> bool:
        return self._system is not None and self._system.status() in status

    def send(self, *signums: int) -> None:
        """Send it signals, if it is still there."""
        with contextlib.suppress(psutil.Error):
            for signum in signums:
                if self._system is not None:
                    self._system.send_signal(signum)

    def kill(self, why: str | None = None) -> None:
        """Kill it, also where it is stopped."""
        self.killed_for = why
        self.send(signal.SIGKILL, signal.SIGCONT)

    def look_at_memory(self) -> None:
        """Note the most memory that it has had, which nobody can ask for when it has been killed."""
        with contextlib.suppress(OSError):  # it has ended, or there is no such file on this system
            peak = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
            self.peak_bytes = max(self.peak_bytes, 1024 * int(peak[1]) if peak else 0)

    def release(self, within_s: float) -> None:
        """Release its resources, having waited a little for its exit code; the interpreter waits for it no more."""
        self.process.join(within_s)
        self.connection.close()  # so that a thousand hold no more than one
        self._code, self._released = self.process.exitcode, True
        try:
            self.process.close()
        except ValueError:  # its exit code has not come, and may never
            processes._children.discard(self.process)  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def code(self) -> int | None:
        """Its exit code; a negative one is the signal that killed it; None where it is not known."""
        code = self._code if self._released else self.process.exitcode
        return None if code == _NO_SERVER else code

    def death(self) -> str:
        """Return how it ended, in words."""
        code = self.code
        if self.killed_for is not None:
            return self.killed_for
        if self.out_of_memory:
            return f"out of memory: the kernel killed its process, whose peak was at least {self.peak_bytes:,} bytes"
        if code is None:
            return "its process ended, and how is not known: the fork server that would say was killed"
        if code < 0:
            return f"its process was killed by {signal.Signals(-code).name}"
        return f"its process ended with code {code}"

    def ended_by_request(self) -> bool:
        """Return whether it may have ended because it was asked to before it could take the signal as a wish.

        The signal ends it, or, during its imports, an error that the signal's handler raised there.
        """
        return self.killed_for is None and (self.code is None or self.code == -signal.SIGTERM or self.code > 0)
