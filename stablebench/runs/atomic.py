"""One atomic writer for everything: a reader sees the old file or the new one, never half of one."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from stablebench.errors import StablebenchError


def write_atomically(path: Path, data: bytes, *, within: Path | None = None) -> None:
    """Write a file through a temporary one next to it: written, synced, renamed, the folder synced.

    A new file may be read by whom the umask lets; one that is replaced keeps its permissions.

    Args:
        path: The file.
        data: Its content.
        within: Its folder, or the one above, which must be there; None makes all folders that are missing.

    Raises:
        StablebenchError: The disk is full or the folder cannot be written; what was there before is intact.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    replaced = False
    try:
        if path.parent != within:
            path.parent.mkdir(parents=within is None, exist_ok=True)
        with open(temporary, "xb") as file:
            if path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        replaced = True
        _sync_folder(path.parent)
    except OSError as error:
        raise StablebenchError(f"{path}: {len(data):,} bytes cannot be written ({error.strerror}).") from error
    finally:
        if not replaced:  # it failed, or a second Ctrl-C came
            _remove(temporary)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # never made, or in a folder that cannot be written
        path.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Remove what a killed writer left in `folder`."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)
