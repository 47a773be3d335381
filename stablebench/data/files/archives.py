"""Reading what an archive holds, without unpacking it: nothing is ever written under a name that an archive chose.

Tar files (plain, .gz, .xz, .bz2), zip files, and zip files inside of either, as UCI ships some data sets. An archive is
read once, from its beginning to its end.
"""

import gzip
import io
import lzma
import posixpath
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")
"""What the name of an archive ends in."""
MEMBER_LIMIT = 2**31
"""Bytes of one member that are read at most: more than any data set here has in one file."""
NESTED_LIMIT = 3
"""Archives inside of one another that are opened at most: some hold themselves."""
_PACKED = {".gz": gzip.open, ".xz": lzma.open}
BROKEN = (EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile)
"""What the standard library raises where packed bytes are damaged or cut off."""


class ArchiveError(Exception):
    """An archive that is damaged, cut off, or holds what it must not."""


def limit_of(sizes: Iterable[int | None]) -> int:
    """Return how large one file of an archive may be that holds files of these sizes, perhaps packed once more."""
    known = list(sizes)
    return MEMBER_LIMIT if None in known else sum(size or 0 for size in known) + 2**20


def is_archive(name: str) -> bool:
    """Return whether a file's name is that of an archive."""
    return name.lower().endswith(ENDINGS)


def packed_endings() -> tuple[str, ...]:
    """Return what may follow a file's name where it lies packed by itself."""
    return tuple(_PACKED)


def open_file(path: Path) -> IO[bytes]:
    """Open a file for reading; one that ends in .gz or .xz, and is no archive, is unpacked on the way."""
    unpack = None if is_archive(path.name) else _PACKED.get(path.suffix.lower())
    return path.open("rb") if unpack is None else unpack(path, "rb")  # pyright: ignore[reportReturnType]


def members(
    path: Path, wanted: Callable[[str], bool] = lambda name: True, limit: int = MEMBER_LIMIT
) -> Iterator[tuple[str, bytes]]:
    """Yield the regular files in an archive or a folder, each with its name (with slashes) and its content.

    Args:
        path: A tar file, a zip file or a folder.
        wanted: Which names to read.
        limit: Bytes that one file may have.

    Raises:
        ArchiveError: The archive is damaged or cut off, an entry's name leads out of the archive, or a file is larger
            than `limit`.
        OSError: It cannot be read.
    """
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            name = file.relative_to(path).as_posix()
            if wanted(name):
                with file.open("rb") as opened:
                    yield name, _content(opened, name, file.stat().st_size, limit)
        return
    try:
        if path.name.lower().endswith(".zip"):
            with path.open("rb") as file:
                yield from _zip_members(file, wanted, limit, depth=1)
        else:
            with tarfile.open(path, "r|*") as archive:
                yield from _tar_members(archive, wanted, limit)
    except BROKEN as error:
        raise ArchiveError(f"it is damaged or cut off ({error or type(error).__name__})") from None


def _tar_members(archive: tarfile.TarFile, wanted: Callable[[str], bool], limit: int) -> Iterator[tuple[str, bytes]]:
    for entry in archive:
        name = safe_name(entry.name)
        if not entry.isreg():  # folders; links and devices are never followed
            continue
        inner = name.lower().endswith(".zip")
        if wanted(name) or inner:
            opened = archive.extractfile(entry)
            assert opened is not None  # a regular file
            yield from _or_inner(name, _content(opened, name, entry.size, limit), wanted, limit, depth=1)


def _zip_members(file: IO[bytes], wanted: Callable[[str], bool], limit: int, depth: int) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(file) as archive:
        entries = [(safe_name(entry.filename), entry) for entry in archive.infolist() if not entry.is_dir()]
        for name, entry in entries:
            if wanted(name) or name.lower().endswith(".zip"):
                with archive.open(entry) as opened:
                    content = _content(opened, name, entry.file_size, limit)
                yield from _or_inner(name, content, wanted, limit, depth)


def _or_inner(
    name: str, content: bytes, wanted: Callable[[str], bool], limit: int, depth: int
) -> Iterator[tuple[str, bytes]]:
    if wanted(name):
        yield name, content
    elif name.lower().endswith(".zip"):
        if depth == NESTED_LIMIT:
            raise ArchiveError(f"{name} is an archive inside of {NESTED_LIMIT} others, which is as deep as is read")
        yield from _zip_members(io.BytesIO(content), wanted, limit, depth + 1)


def unpacked(name: str, content: bytes, limit: int = MEMBER_LIMIT) -> bytes:
    """Return the plain content of an archive's file that is packed by itself, as its name says.

    Raises:
        ArchiveError: It is damaged, or unpacks to more than `limit` bytes.
    """
    unpack = _PACKED.get(posixpath.splitext(name.lower())[1])
    if unpack is None:
        return content
    try:
        with unpack(io.BytesIO(content), "rb") as opened:
            plain = opened.read(limit + 1)
    except (*BROKEN, OSError) as error:
        raise ArchiveError(f"{name} is damaged or cut off ({error or type(error).__name__})") from None
    if len(plain) > limit:
        raise ArchiveError(f"{name} unpacks to more than the {limit:,} bytes that were expected")
    return plain


def _content(file: IO[bytes], name: str, size: int, limit: int) -> bytes:
    if size > limit:
        raise ArchiveError(f"{name} has {size:,} bytes, at most {limit:,} were expected")
    content = file.read(limit + 1)
    if len(content) > limit or len(content) != size:
        raise ArchiveError(f"{name} must have {size:,} bytes, it has {len(content):,}{'+' * (len(content) > limit)}")
    return content


def safe_name(name: str) -> str:
    """Return an entry's name without `./` before it.

    Raises:
        ArchiveError: It is absolute or leads out of the archive.
    """
    normal = posixpath.normpath(name.replace("\\", "/"))
    if normal.startswith("/") or normal == ".." or normal.startswith("../") or normal[1:2] == ":":
        raise ArchiveError(f"its entry {name!r} leads out of the archive")
    return normal
