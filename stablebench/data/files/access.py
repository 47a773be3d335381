"""Finds the files of a data set, reads them, and verifies their checksums.

A file may lie in a data set's folder plain, packed by itself (.gz, .xz) or inside one of the data set's archives; what
is checked is always its plain content. Where it does not lie under its own name, a file of a similar name is taken, or
one in any archive that lists it. The folder is only read; nothing is fetched here.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from stablebench.data.files import archives, other_names
from stablebench.data.files.archives import ArchiveError
from stablebench.data.files.other_names import likeness
from stablebench.data.files.source import LISTED_FILES, DataSource, SourceFile, data_root, how_to_get
from stablebench.errors import UserError


@dataclass(frozen=True)
class FileLocation:
    """Where a file is on the disk.

    Args:
        file: The file: the one asked for, or one that serves instead of it.
        path: The file on the disk.
        archive: The archive that `path` is, which must hold the file; None where `path` is the file, perhaps packed.
        renamed: Whether the file or the archive has another name, or lies elsewhere, than its publisher says.
    """

    file: SourceFile
    path: Path
    archive: SourceFile | None = None
    renamed: bool = False


def find(source: DataSource, file: SourceFile, data_dir: Path | None = None) -> FileLocation | None:
    """Return where a file is, or None; nothing is read yet but the names in archives of names that are not known.

    The publisher's names come first, then names like them (`other_names`). A publisher's archive is taken to hold every
    file of the data set.
    """
    folders = source.folders_in(data_root(data_dir))
    alternatives = (file, *file.instead)
    for candidate in alternatives:
        for folder in folders:
            for ending in ("", *archives.packed_endings()):
                path = folder / f"{candidate.path}{ending}"
                if path.is_file():
                    return FileLocation(candidate, path)
    for archive in source.all_archives():
        for folder in folders:
            if (folder / archive.path).is_file():
                return FileLocation(file, folder / archive.path, archive)
    present = other_names.present(folders)
    for candidate in alternatives:
        path = other_names.like(candidate.path, present, candidate.n_bytes)
        if path is not None:
            return FileLocation(candidate, path, renamed=True)
    for candidate in alternatives:
        path = other_names.archive_with(candidate.path, present)
        if path is not None:
            return FileLocation(candidate, path, SourceFile(path.name), renamed=True)
    return None


def read_all(
    source: DataSource, files: Iterable[SourceFile] | None = None, data_dir: Path | None = None
) -> Iterator[tuple[SourceFile, bytes]]:
    """Yield files with their verified contents; each archive is read once, so the order may differ.

    Args:
        source: The data set.
        files: Which of its files; by default all that are required.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Yields:
        The file asked for and its content; of a file that another served instead of, that one and its content.

    Raises:
        UserError: A file is missing, damaged or unreadable; the message says how to get it.
    """
    chosen = list(files) if files is not None else [f for f in source.files if f.required]
    located = _locate(source, chosen, data_dir)
    for location in located:
        if location.archive is None:
            yield location.file, _checked_content(source, location)
    for path in dict.fromkeys(location.path for location in located if location.archive is not None):
        yield from _read_archive(source, [location for location in located if location.path == path])


def open_archive(
    source: DataSource, file: SourceFile, data_dir: Path | None = None
) -> tuple[SourceFile, Iterator[tuple[str, bytes]]]:
    """Return which archive is there, verified, and an iterator over what it holds: names and contents.

    For data sets whose files are too many to be listed: `file` is then the archive itself.

    Raises:
        UserError: It is missing, damaged or unreadable; the message says how to get it.
    """
    location = _locate(source, [file], data_dir)[0]
    verify(source, location)

    def entries() -> Iterator[tuple[str, bytes]]:
        try:
            yield from archives.members(location.path)
        except ArchiveError as error:
            raise how_to_get(source, f"{location.path}: {error}", location.path.parent) from None
        except OSError as error:
            raise _unreadable(source, location.path, error) from None

    return location.file, entries()


def verify(source: DataSource, location: FileLocation) -> None:
    """Check a file against its size and checksum, with only a piece of it in memory.

    Raises:
        UserError: It is damaged, cut off or unreadable.
    """
    if location.archive is not None:
        for _ in _read_archive(source, [location]):
            pass
        return
    try:
        with archives.open_file(location.path) as opened:
            size, digest = measured(opened, location.file.checksum)
    except (*archives.BROKEN, OSError) as error:
        raise _unreadable(source, location.path, error) from None
    _require(source, location.path, location.file, size, digest)


def verified(source: DataSource, data_dir: Path | None = None) -> Iterator[tuple[SourceFile, Path | None, str | None]]:
    """Check every file of a data set, each archive in one pass.

    Yields:
        A file (of a damaged archive: the archive), where it is, and what is wrong, in one line; None where it holds. A
        file that is missing has no location; one that is not required is then left out.
    """
    locations = [(file, find(source, file, data_dir)) for file in source.files]
    for file, location in locations:
        if location is None:
            if file.required:
                yield file, None, "is missing"
        elif location.archive is None:
            try:
                verify(source, location)
                yield location.file, location.path, None
            except UserError as error:
                yield location.file, location.path, _first_line(source, error)
    required = [location for file, location in locations if location is not None and file.required]
    packed = [location for location in required if location.archive is not None]
    for path in dict.fromkeys(location.path for location in packed):
        inside = [location for location in packed if location.path == path]
        try:
            for file, _ in _read_archive(source, inside):
                yield file, path, None
        except UserError as error:
            assert inside[0].archive is not None
            yield inside[0].archive, path, _first_line(source, error)


def _first_line(source: DataSource, error: UserError) -> str:
    line = str(error).partition("\n")[0].removeprefix(f"{source.name}: ")
    return line.partition(" `stablebench data fetch")[0]


def check(source: DataSource, path: Path, file: SourceFile, content: bytes) -> None:
    """Check a content against the size and checksum that a file must have.

    Raises:
        UserError: It has another size or checksum.
    """
    _require(source, path, file, *measured(io.BytesIO(content), file.checksum))


def _locate(source: DataSource, files: list[SourceFile], data_dir: Path | None) -> list[FileLocation]:
    locations = [find(source, file, data_dir) for file in files]
    missing = [file.path for file, location in zip(files, locations, strict=True) if location is None]
    if missing:
        more = f" and {len(missing) - LISTED_FILES} more files" if len(missing) > LISTED_FILES else ""
        folder = _likeliest_folder(source, data_dir)
        raise how_to_get(source, f"{folder} lacks {', '.join(missing[:LISTED_FILES])}{more}", folder)
    return [location for location in locations if location is not None]


def _likeliest_folder(source: DataSource, data_dir: Path | None) -> Path:
    folders = source.folders_in(data_root(data_dir))
    return next((folder for folder in folders if any((folder / f.path).exists() for f in source.files)), folders[0])


def _checked_content(source: DataSource, location: FileLocation) -> bytes:
    try:
        with archives.open_file(location.path) as opened:
            limit = (location.file.n_bytes or archives.MEMBER_LIMIT) + 1  # no more, whatever it unpacks to
            content = opened.read(limit)
    except (*archives.BROKEN, OSError) as error:
        raise _unreadable(source, location.path, error) from None
    check(source, location.path, location.file, content)
    return content


def _read_archive(source: DataSource, locations: list[FileLocation]) -> Iterator[tuple[SourceFile, bytes]]:
    """Yield the files that are in one archive; the archive's own checksum comes first where it has one."""
    path, archive = locations[0].path, locations[0].archive
    assert archive is not None
    try:
        if archive.checksum is not None:
            with path.open("rb") as opened:
                _require(source, path, archive, *measured(opened, archive.checksum))
        by_path = {file.path: (file, at) for at in locations for file in (at.file, *at.file.instead)}
        remaining = {id(location): location for location in locations}
        renamed = {end: chosen for end, chosen in by_path.items() if chosen[1].renamed}
        by_likeness = {likeness(end): chosen for end, chosen in renamed.items()}

        def of_entry(name: str) -> tuple[SourceFile, FileLocation] | None:
            parts = name.split("/")
            ends = ("/".join(parts[i:]) for i in range(len(parts)))
            chosen = next((by_path[end] for end in ends if end in by_path), by_likeness.get(likeness(name)))
            return chosen if chosen is not None and id(chosen[1]) in remaining else None

        limit = archives.limit_of(file.n_bytes for file, _ in by_path.values())
        for name, content in archives.members(path, lambda name: of_entry(name) is not None, limit):
            chosen = of_entry(name)
            assert chosen is not None
            file, location = chosen
            if location.renamed:
                content = archives.unpacked(name, content, limit)
            check(source, path / name, file, content)
            del remaining[id(location)]
            yield file, content
            if not remaining:
                return
    except ArchiveError as error:
        raise how_to_get(source, f"{path}: {error}", path.parent) from None
    except OSError as error:
        raise _unreadable(source, path, error) from None
    missing = [location.file.path for location in remaining.values()]
    raise how_to_get(source, f"{path} does not hold {', '.join(missing[:LISTED_FILES])}", path.parent)


def _require(source: DataSource, path: Path, file: SourceFile, size: int, digest: str | None) -> None:
    if file.n_bytes is not None and size != file.n_bytes:
        larger = "more" if size > file.n_bytes else f"{size:,}"
        raise how_to_get(source, f"{path} must have {file.n_bytes:,} bytes, it has {larger}", path.parent)
    if file.checksum is not None and digest != file.checksum:
        kind, _, expected = file.checksum.partition(":")
        got = (digest or "").partition(":")[2]
        raise how_to_get(source, f"{path} is damaged: its {kind} must be {expected}, it is {got}", path.parent)


def measured(file: IO[bytes], checksum: str | None) -> tuple[int, str | None]:
    """Return an open file's size, and its digest written as `checksum` is; None where there is none."""
    kind = "md5" if checksum is None else checksum.partition(":")[0]
    digest = hashlib.file_digest(file, partial(hashlib.new, kind, usedforsecurity=False))  # pyright: ignore[reportArgumentType]
    return file.seek(0, io.SEEK_END), None if checksum is None else f"{kind}:{digest.hexdigest()}"


def _unreadable(source: DataSource, path: Path, error: BaseException) -> UserError:
    if isinstance(error, OSError) and error.strerror is not None:
        return UserError(f"{source.name}: {error.filename or path} cannot be read ({error.strerror}).")
    return how_to_get(source, f"{path} is damaged or cut off ({error or type(error).__name__})", path.parent)
