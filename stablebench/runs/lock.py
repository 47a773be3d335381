"""The lock of a run folder: one process at a time, and whoever waits for it learns who has it.

The lock itself is the system's (`flock`), which ends with its process, however that ends. Next to it lies `.holder`,
which says who has it: process, host, when it began. A holder's file without a lock is that of a process that died.

Where the file system has no such locks, the holder's file is the lock: it is stale where its process does not run any
more, which can be seen on its own host only.
"""

import contextlib
import itertools
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import psutil

from stablebench.errors import StablebenchError
from stablebench.process.cgroups import memory_kills
from stablebench.runs.held_folder import FolderLost, HeldFolder
from stablebench.runs.progress import ExpectedSilence

try:
    import fcntl
except ImportError:  # no Unix
    fcntl = None

_LOCK = ".lock"
_TRIES = 10
"""Times that a folder is made again which another process removes."""
_PAUSE_S = 0.05
_SAY_AFTER_S = 1.0
"""Seconds of waiting after which the holder is named."""


class RunTaken(StablebenchError):
    """Another process is running the run."""


@dataclass(frozen=True)
class Holder:
    """Who has a lock.

    Args:
        pid: The process.
        host: Where it runs.
        began: When it began, in seconds since its host started; tells two processes of one number apart.
        since: UTC time at which it took the lock, ISO 8601.
        memory_group: Its control group for memory; None where that is not known.
        memory_kills: Processes of that group that had been killed for memory by then.
    """

    pid: int
    host: str
    began: float
    since: str
    memory_group: int | None = None
    memory_kills: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    @property
    def is_here(self) -> bool:
        """Whether it is of this host."""
        return self.host == socket.gethostname()

    @property
    def is_me(self) -> bool:
        """Whether it is this process."""
        return self.is_here and self.pid == os.getpid()

    @property
    def has_died(self) -> bool:
        """Whether it is of this host and does not run any more."""
        return self.is_here and (not psutil.pid_exists(self.pid) or abs(_began(self.pid) - self.began) > 1)

    @property
    def killed_since(self) -> int:
        """How many processes of its control group have been killed for memory since; 0 where that is not known."""
        now = memory_kills()
        known = self.is_here and now is not None and now.group == self.memory_group
        return max(0, now.count - self.memory_kills) if known and now is not None else 0


def _began(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time() - psutil.boot_time()  # both move when the clock is set
    except psutil.Error:
        return 0.0


class RunLock:
    """Context in which this process has a run folder for itself.

    Where nothing was written, nothing is left: a folder that was made for the lock goes with it.

    Args:
        folder: The run folder, which is made if it is not there.
        wait_s: Seconds to wait for another process; None for as long as it takes.
        note: Called with a line about a lock that was left behind, and about whom is waited for.

    Raises:
        RunTaken: Another process has it; the message says which.
    """

    def __init__(
        self, folder: Path, wait_s: float | None = 0.0, note: Callable[[str], None] = lambda text: None
    ) -> None:
        self.folder, self._wait_s, self._note = folder, wait_s, note
        self._descriptor: int | None = None
        self._held: HeldFolder | None = None
        self._taken_over: FolderLost | None = None
        self._made: list[Path] = []
        """Folders that were made for it, the innermost first."""

    @property
    def holder_path(self) -> Path:
        """The file that says who has it."""
        return self.folder / ".holder"

    def __enter__(self) -> "RunLock":
        """Acquire the lock."""
        self._open()
        try:
            began = time.monotonic()
            named = False
            while not self._take():
                waited = time.monotonic() - began
                if self._wait_s is not None and waited >= self._wait_s:
                    raise RunTaken(self._taken())
                if not named and waited >= _SAY_AFTER_S:
                    named = True
                    who = self.holder() or "another process"
                    self._note(ExpectedSilence(f"waiting for {who}, which is running {self.folder}"))
                time.sleep(_PAUSE_S)
        except BaseException:
            self._close()
            raise
        self._held = HeldFolder(self.folder)
        return self

    def check(self) -> None:
        """Check that the folder is still in its place and still this process's; a lock that was removed is taken again.

        Raises:
            FolderLost: It was renamed or removed, or the lock was, and another process has taken it since.
        """
        if self._held is None:
            return
        if self._taken_over is None:
            self._held.check()
            if self._is_gone(self.folder):
                self._take_again()
        if self._taken_over is not None:
            raise self._taken_over

    def _take_again(self) -> None:
        """Take a lock whose file was removed, unless another process was faster."""
        self._close()
        self._descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        locked, other = _lock(self._descriptor), self.holder()
        mine = locked is not False and not self._is_gone(self.folder)
        if other is None:
            mine = mine and self._write_holder(is_the_lock=locked is None, left=None)
        if not mine or (other is not None and not other.is_me):
            who = f" ({other})" if other is not None else ""
            reason = f"its lock was removed while the run went on, and another process runs it now{who}"
            self._taken_over = FolderLost(self.folder, None, reason)
            return
        self._note(f"{self.folder / _LOCK}: was removed while the run went on; it is taken again")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock."""
        place = None if self._held is None else self._held.now()
        # what lies under the old name may be another process's by now
        mine = place is not None and self._taken_over is None and not self._is_gone(place)
        if place is not None and mine:
            (place / self.holder_path.name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another process has put something there
            if mine and place == self.folder and self._made and os.listdir(self.folder) == [_LOCK]:
                (self.folder / _LOCK).unlink()
                for made in self._made:
                    made.rmdir()
        if self._held is not None:
            self._held.close()
            self._held = None
        self._close()

    def _open(self) -> None:
        """Open the lock's file, and make it and its folder where they are not there."""
        missing = list(itertools.takewhile(lambda path: not path.exists(), (self.folder, *self.folder.parents)))
        self._made = missing or self._made
        for last in range(_TRIES, -1, -1):
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                return
            except FileNotFoundError:  # another process has just removed the folder that it had made
                if not last:
                    raise

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _is_gone(self, folder: Path) -> bool:
        """Return whether the file that was opened is no longer the one in the folder: its holder has removed it."""
        assert self._descriptor is not None
        try:
            there = os.stat(folder / _LOCK)
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, os.fstat(self._descriptor))

    def holder(self) -> Holder | None:
        """Return who has it, or left it behind; None where nobody says so."""
        try:
            return Holder(**json.loads(self.holder_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _take(self) -> bool:
        locked = _lock(self._descriptor)
        for _ in range(_TRIES):
            if locked is False:
                return False
            if not self._is_gone(self.folder):
                break
            self._close()
            self._open()
            locked = _lock(self._descriptor)
        left = self.holder()
        if locked is None and left is not None and not left.has_died:
            return False
        if left is not None:
            where = "" if left.is_here else "; it was another host's, whose processes cannot be seen from here"
            freed = "its lock is free" if locked else "it does not run any more"
            self._note(f"{self.folder}: {left}, left its lock behind; {freed}, so this run is taken over{where}")
            if (killed := left.killed_since) > 0:
                self._note(
                    f"{self.folder}: since then the kernel has killed {killed} process{'es' if killed > 1 else ''} of "
                    "its control group because memory had run out; if that run was one, take a smaller size, batch or "
                    "--recompute-every."
                )
        return self._write_holder(is_the_lock=locked is None, left=left)

    def _write_holder(self, is_the_lock: bool, left: Holder | None) -> bool:
        """Write who has the lock; return False where another process was faster, which only happens without `flock`."""
        pid = os.getpid()
        since, kills = datetime.now(UTC).isoformat(timespec="seconds"), memory_kills()
        group = () if kills is None else (kills.group, kills.count)
        me = Holder(pid, socket.gethostname(), _began(pid), since, *group)
        if left is not None or not is_the_lock:
            self.holder_path.unlink(missing_ok=True)
        try:
            with self.holder_path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(asdict(me)))
        except FileExistsError:
            return False
        except OSError:  # a full disk: the lock holds without it, and what follows says what is wrong
            return not is_the_lock
        return True

    def _taken(self) -> str:
        holder = self.holder()
        who = f" ({holder})" if holder is not None else ""
        text = f"{self.folder}: another process is running this run{who}; --wait waits for it."
        if holder is not None and not holder.is_here:
            text += f" If that host is no more, remove {self.holder_path}."
        return text


def _lock(descriptor: int | None) -> bool | None:
    """Return whether the lock could be taken at once; None where the file system has none."""
    if fcntl is None or descriptor is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except PermissionError:  # some file systems say so
        return False
    except OSError:  # ENOSYS, ENOLCK, ENOTSUP
        return None
    return True
