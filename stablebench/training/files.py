"""One atomic writer for everything: a reader sees the old file or the new one, never half of one."""

import os
import tempfile
from pathlib import Path

from stablebench.errors import StablebenchError


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file through a temporary one beside it: written, synced, renamed, the folder synced.

    Raises:
        StablebenchError: The disk is full or the folder cannot be written; what was there before is intact.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise StablebenchError(f"{path}: {len(data):,} bytes cannot be written ({error.strerror}).") from error
    finally:
        if temporary is not None:  # it failed, or a second Ctrl-C came
            Path(temporary).unlink(missing_ok=True)


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
