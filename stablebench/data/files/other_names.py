"""Files of a data set as others unpack or pack them: a dot for a hyphen, other letter cases, a folder deeper, one zip.

Only names are compared here; whether it is the right file is checked by its checksum when it is read.
"""

import os
import tarfile
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from stablebench.data.files import archives

_MAX_DEPTH = 3
"""Folders inside of a data set's own that are looked into."""
_MAX_FILES = 50_000
"""Files of a folder that are looked at."""
_IGNORED = (".part", ".damaged", ".lock")


def likeness(name: str) -> str:
    """Return what the names of one file have in common, however it was unpacked: `train-images-idx3-ubyte`."""
    stem = os.path.basename(name.replace("\\", "/")).lower()
    for ending in archives.packed_endings():
        if not archives.is_archive(stem):
            stem = stem.removesuffix(ending)
    return stem.replace(".", "-").replace("_", "-").replace(" ", "-")


def like(path: str, folders: list[Path], n_bytes: int | None = None) -> Path | None:
    """Return a file of another name that may be the one at `path`; of several, one of the right size.

    Args:
        path: Where the file should lie.
        folders: Where the data set may lie.
        n_bytes: The file's size in plain form; None where it is not known.
    """
    wanted = likeness(path)
    files = [file for folder in folders for file in _files(folder) if likeness(file.name) == wanted]
    return next((file for file in files if file.stat().st_size == n_bytes), next(iter(files), None))


def archive_with(path: str, folders: list[Path]) -> Path | None:
    """Return an archive of whatever name that lists a file like the one at `path`."""
    wanted = likeness(path)
    for folder in folders:
        for file in _files(folder):
            if archives.is_archive(file.name):
                at = file.stat()
                if wanted in _listed(file, at.st_mtime_ns, at.st_size):
                    return file
    return None


def present(folders: list[Path]) -> list[Path]:
    """Return the folders that there are, also under names in other letter cases."""
    existing: dict[Path, None] = {}
    for folder in folders:
        if folder.is_dir():
            existing[folder] = None
            continue
        try:
            with os.scandir(folder.parent) as entries:
                same = sorted(e.path for e in entries if e.is_dir() and e.name.lower() == folder.name.lower())
        except OSError:
            continue
        existing |= dict.fromkeys(map(Path, same))
    return list(existing)


def _files(folder: Path, depth: int = 0) -> Iterator[Path]:
    """Yield the files in a folder and those inside of it, so many at most."""
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)[:_MAX_FILES]
    except OSError:
        return
    inside = []
    for entry in listed:
        if entry.name.startswith(".") or entry.name.endswith(_IGNORED):
            continue
        if entry.is_dir():
            inside.append(Path(entry.path))
        elif entry.is_file():
            yield Path(entry.path)
    if depth < _MAX_DEPTH:
        for below in inside:
            yield from _files(below, depth + 1)


@lru_cache(maxsize=32)
def _listed(archive: Path, mtime_ns: int, size: int) -> frozenset[str]:
    """Return the likenesses of an archive's files; none of one that cannot be read."""
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as opened:
                names = [entry.filename for entry in opened.infolist() if not entry.is_dir()]
        else:
            with tarfile.open(archive) as opened:
                names = [entry.name for entry in opened if entry.isreg()]
    except (*archives.BROKEN, OSError):
        return frozenset()
    return frozenset(map(likeness, names))
