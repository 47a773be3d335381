"""Removing, moving, pruning and labelling stored runs: under the run's lock, and whole or not at all.

A folder that goes is first renamed to a hidden one next to it, which no command looks into, so that whoever is
interrupted leaves either the whole run or what the next `rm` or `mv` clears away.
"""

import errno
import filecmp
import os
import secrets
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stablebench.errors import UserError
from stablebench.runs.atomic import write_atomically
from stablebench.runs.run_paths import LAST
from stablebench.runs.store import LABEL, RunFolder

_GOING, _COMING = ".removing-", ".moving-"
_LOCKS = (".lock", ".holder")
_LONGEST_LABEL = 80
_ABANDONED_S = 86_400
"""Seconds after which a copy that was never finished is nobody's: a younger one may still be written."""


@dataclass(frozen=True)
class DiskSize:
    """Bytes of a run's files.

    Args:
        total: All of them.
        checkpoints: Those in `checkpoints/`.
    """

    total: int = 0
    checkpoints: int = 0

    def __add__(self, other: "DiskSize") -> "DiskSize":
        return DiskSize(self.total + other.total, self.checkpoints + other.checkpoints)


def size_of(folder: RunFolder) -> DiskSize:
    """Return what a run's files take."""
    return DiskSize(_bytes(folder.path), _bytes(folder.path / "checkpoints"))


def _bytes(folder: Path | str) -> int:
    try:
        with os.scandir(folder) as entries:
            return sum(
                _bytes(entry.path) if entry.is_dir(follow_symlinks=False) else entry.stat(follow_symlinks=False).st_size
                for entry in entries
            )
    except OSError:  # it went meanwhile, or was never there
        return 0


def remove(folder: RunFolder) -> None:
    """Remove a run.

    Raises:
        RunTaken: A process is running it.
    """
    with folder.lock():
        clear(folder.path.parent)
        _remove_tree(folder.path)
    _remove_empty(folder.path.parent, folder.path.parent.parent)


def prune(folder: RunFolder) -> None:
    """Remove a run's checkpoints; record, curve and code stay.

    Raises:
        RunTaken: A process is running it.
    """
    with folder.lock():
        if (folder.path / "checkpoints").is_dir():
            _remove_tree(folder.path / "checkpoints")


def destination(folder: RunFolder, store: Path) -> Path:
    """Return where a run lies in another store."""
    return store.joinpath(*folder.path.absolute().parts[-3:])


def move(folder: RunFolder, store: Path) -> Path:
    """Move a run into another store, and return its folder there.

    To another file system it is copied under a hidden name, synced, renamed, and only then removed here. Where an
    interrupted move has left an equal copy there, the move is finished.

    Raises:
        RunTaken: A process is running it.
        UserError: Another run lies there.
    """
    target = destination(folder, store)
    if os.path.lexists(target) and os.path.samefile(target, folder.path):
        raise UserError(f"{target}: the run lies there already.")
    with folder.lock():
        if os.path.lexists(target) and not _equal(folder.path, target):
            raise UserError(f"{target}: another run lies there; it is left as it is, and so is {folder.path}.")
        target.parent.mkdir(parents=True, exist_ok=True)
        clear(target.parent)
        if os.path.lexists(target):
            _remove_tree(folder.path)
        else:
            try:
                os.rename(folder.path, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                _copy(folder.path, target)
                _remove_tree(folder.path)
    _remove_empty(folder.path.parent, folder.path.parent.parent)
    return target


def clear(parent: Path) -> None:
    """Remove what interrupted removals have left in a folder of runs, and moves of more than a day ago."""
    left = [*parent.glob(f"{_GOING}*"), *(path for path in parent.glob(f"{_COMING}*") if _age_s(path) > _ABANDONED_S)]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:  # it was finished meanwhile
        return 0.0


def label(folder: RunFolder, text: str) -> None:
    """Store what the user calls a run; an empty text removes the label.

    Raises:
        UserError: The text is longer than 80 characters, has line breaks or `/`, or is `last`.
    """
    text = text.strip()
    if not text:
        (folder.path / LABEL).unlink(missing_ok=True)
        return
    if len(text) > _LONGEST_LABEL or not text.isprintable() or "/" in text or text == LAST:
        raise UserError(f"a label must be at most {_LONGEST_LABEL} printable characters without /, not `{LAST}`.")
    write_atomically(folder.path / LABEL, f"{text}\n".encode(), within=folder.path)


def _remove_tree(path: Path) -> None:
    gone = path.with_name(f"{_GOING}{secrets.token_hex(4)}")
    os.rename(path, gone)
    shutil.rmtree(gone, ignore_errors=True)  # what is left of it is hidden, and cleared by the next command


def _copy(source: Path, target: Path) -> None:
    coming = target.with_name(f"{_COMING}{secrets.token_hex(4)}")
    shutil.copytree(source, coming, symlinks=True, ignore=shutil.ignore_patterns(*_LOCKS))
    for folder, _, files in os.walk(coming):
        for name in (".", *(file for file in files if not os.path.islink(os.path.join(folder, file)))):
            descriptor = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    os.rename(coming, target)


def _equal(first: Path, second: Path) -> bool:
    """Return whether two folders have the same files, locks left out."""
    names = [{path.relative_to(root).as_posix() for path in root.rglob("*")} for root in (first, second)]
    files = names[0] - set(_LOCKS)
    if files != names[1] - set(_LOCKS):
        return False
    pairs = [(first / name, second / name) for name in files if not (first / name).is_dir()]
    return all(filecmp.cmp(*pair, shallow=False) for pair in pairs)


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        with suppress(OSError):  # it has other runs
            folder.rmdir()
