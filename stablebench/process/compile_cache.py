"""Compiled libraries in a folder, each with a digest next to it: what is loaded is what this user's compiler wrote.

A library decides every number of a run and runs with the rights of the user. It is loaded only if file and folder are
the user's own (or root's) and nobody else can write to them, and the digest holds. All of this is asked of the opened
file, and what is loaded is a private copy of the bytes that were checked, so that no change in between matters.
"""

import contextlib
import ctypes
import hashlib
import logging
import os
import secrets
import stat
import tempfile
from pathlib import Path

_log = logging.getLogger(__name__)

_DIGEST = ".sha256"
_MFD_EXEC = 0x10
"""linux/memfd.h; kernels before 6.3 do not know it."""


def untrusted_reason(status: os.stat_result) -> str | None:
    """Return why a file or folder may have been written by somebody else, or None."""
    if status.st_uid not in (os.geteuid(), 0):
        return f"it belongs to another user (uid {status.st_uid})"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may write to it"
    return None


def read(path: Path) -> bytes | None:
    """Return a library whose owner, permissions and digest hold; None where there is none that may be loaded.

    One that is there and may not be loaded is logged.
    """
    try:
        library = _trusted(path)
        if library is None:
            return None
        digest = _trusted(_digest_path(path))
        if digest is None:
            raise _NotTrusted("it has no digest")
        if digest.decode("ascii", errors="replace").strip() != hashlib.sha256(library).hexdigest():
            raise _NotTrusted("its digest does not hold")
    except _NotTrusted as reason:
        _log.warning("The compiled step %s is not loaded but compiled again: %s.", path, reason)
        return None
    return library


class _NotTrusted(Exception):
    pass


def _trusted(path: Path) -> bytes | None:
    """Return the bytes of a file that nobody else can have written; None where there is no file."""
    try:
        # not a link, and no waiting for the other end of a pipe
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        is_link = path.is_symlink()
        raise _NotTrusted(f"{path.name} is a link" if is_link else f"{path.name}: {error.strerror}") from None
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _NotTrusted(f"{path.name} is no regular file")
        if (reason := untrusted_reason(status)) is not None:
            raise _NotTrusted(f"{path.name}: {reason}")
        try:
            return file.read()
        except OSError as error:
            raise _NotTrusted(f"{path.name} cannot be read: {error.strerror}") from None


def write(path: Path, library: bytes) -> None:
    """Write a library and its digest, each whole and synced before it is in its place.

    Raises:
        OSError: They cannot be written; what was there before is intact, or is known by its digest not to be.
    """
    _write(path, library)
    _write(_digest_path(path), f"{hashlib.sha256(library).hexdigest()}\n".encode())


def _digest_path(path: Path) -> Path:
    return path.with_name(path.name + _DIGEST)


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def open_library(library: bytes) -> ctypes.CDLL:
    """Return a library, loaded from a private copy of its bytes: a file of this process, else a piece of memory.

    Neither is there afterwards for anybody to change. Memory is for temporary folders that are full or mounted so that
    nothing in them can be run.

    Raises:
        OSError: It is no library, or nothing can be loaded here.
    """
    path = None
    try:
        with tempfile.TemporaryDirectory(prefix="stablebench-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "step.so"
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700), "wb") as file:
                file.write(library)
            return ctypes.CDLL(str(path))
    except OSError as error:
        try:
            return _open_in_memory(library)
        except (OSError, AttributeError):  # the first error says more; AttributeError: not on Linux
            raise OSError(str(error).removeprefix(f"{path}: ")) from error


def _open_in_memory(library: bytes) -> ctypes.CDLL:
    try:
        descriptor = os.memfd_create("step.so", os.MFD_CLOEXEC | _MFD_EXEC)
    except OSError:
        descriptor = os.memfd_create("step.so", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(library)
        # left open where it works: the loader knows libraries by their names, and the number would be given out again
        return ctypes.CDLL(f"/proc/self/fd/{descriptor}")
    except OSError:
        os.close(descriptor)
        raise
