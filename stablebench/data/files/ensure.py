"""Reads the files of a data set; what is missing from the cache folder is fetched where STABLEBENCH_FETCH=1 allows it.

Nothing is fetched unasked, nor into a folder that a user named with `--data-dir` or STABLEBENCH_DATA.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from stablebench.data.files import access
from stablebench.data.files.fetch import fetch
from stablebench.data.files.source import DataSource, SourceFile, data_root
from stablebench.process.folders import named_data_dir


def read(source: DataSource, file: SourceFile, data_dir: Path | None = None) -> bytes:
    """Return the verified content of a file, or of the one that serves instead of it.

    Args:
        source: The data set.
        file: One of its files.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Raises:
        UserError: It is missing, damaged or unreadable; the message says how to get it.
        StablebenchError: It cannot be fetched.
    """
    return next(content for _, content in read_all(source, [file], data_dir))


def read_all(
    source: DataSource, files: Iterable[SourceFile] | None = None, data_dir: Path | None = None
) -> Iterator[tuple[SourceFile, bytes]]:
    """Yield files with their verified contents, by default all that are required; see `access.read_all`."""
    chosen = list(files) if files is not None else [f for f in source.files if f.required]
    _fetch_missing(source, chosen, data_dir)
    yield from access.read_all(source, chosen, data_dir)


def open_archive(
    source: DataSource, file: SourceFile, data_dir: Path | None = None
) -> tuple[SourceFile, Iterator[tuple[str, bytes]]]:
    """Return which archive is there, verified, and an iterator over what it holds; see `access.open_archive`."""
    _fetch_missing(source, [file], data_dir)
    return access.open_archive(source, file, data_dir)


def _fetch_missing(source: DataSource, files: list[SourceFile], data_dir: Path | None) -> None:
    allowed = os.environ.get("STABLEBENCH_FETCH") == "1" and named_data_dir(data_dir) is None
    if allowed and not all(access.find(source, file) for file in files):
        fetch(source, data_root())
