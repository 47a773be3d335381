"""A folder that a process writes into, known by what it is: it may be renamed or removed while the process runs."""

import contextlib
import os
from pathlib import Path

from stablebench.errors import StablebenchError

try:
    import fcntl
except ImportError:  # no Unix
    fcntl = None

_PATH_BYTES = 1024
"""What macOS writes a path into."""


class FolderLost(StablebenchError):
    """A run's folder is no longer where it was, or no longer this process's: nothing can be written there.

    Args:
        path: Where it was.
        now: Where it is, if it was renamed; None where nothing more can be written.
        what: What happened; by default that it was renamed or removed.
    """

    def __init__(self, path: Path, now: Path | None, what: str | None = None) -> None:
        where = "removed, or moved where it cannot be found" if now is None else f"renamed to {now}"
        self.what = what or f"its folder was {where}, while the run went on"
        super().__init__(f"{path}: {self.what}.")
        self.path, self.now = path, now


class HeldFolder:
    """A folder held open, so that it is seen again under another name.

    Args:
        path: The folder, which must be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        with contextlib.suppress(OSError):  # Windows opens no folders, and renames none with an open file in it
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def check(self) -> None:
        """Check that the folder is in its place.

        Raises:
            FolderLost: It is not.
        """
        if not self._is(self.path):
            raise FolderLost(self.path, self.now())

    def now(self) -> Path | None:
        """Return where the folder is now; None where it was removed or the system does not say."""
        if self._is(self.path):
            return self.path
        named = None if self._descriptor is None else _path_of(self._descriptor)
        return named if named is not None and self._is(named) else None

    def close(self) -> None:
        """Close it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _is(self, path: Path) -> bool:
        try:
            there = os.stat(path)
        except OSError:
            return False
        return self._descriptor is None or os.path.samestat(there, os.fstat(self._descriptor))


def _path_of(descriptor: int) -> Path | None:
    """Return the present path of an open folder, as far as the system says it."""
    with contextlib.suppress(OSError, ValueError):
        if os.path.isdir("/proc/self/fd"):
            return Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if fcntl is not None and hasattr(fcntl, "F_GETPATH"):
            wanted = fcntl.F_GETPATH  # pyright: ignore[reportAttributeAccessIssue]
            return Path(os.fsdecode(fcntl.fcntl(descriptor, wanted, bytes(_PATH_BYTES)).rstrip(b"\0")))
    return None
