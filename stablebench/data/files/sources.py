"""What a data set consists of, where it comes from, and reading its files with their checksums verified.

A data set is a module of this package with a constant `SOURCE`. Its files lie, in the publisher's layout, in a folder
of its name inside the folder that `--data-dir` or STABLEBENCH_DATA names; without either, inside `data` of the cache
folder, where they are fetched to when they are first needed. A file may lie there plain, packed by itself (.gz, .xz) or
inside one of the data set's archives; what is checked is always its plain content. Where it does not lie under its own
name, a file of a name like it is taken, or one in any archive that lists it. The folder is only read.
"""

import ast
import hashlib
import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Literal

from stablebench.data.files import archives, other_names
from stablebench.data.files.archives import ArchiveError
from stablebench.data.files.other_names import likeness
from stablebench.errors import StablebenchError, UserError, unknown_name
from stablebench.process.folders import cache_dir, named_data_dir

_LISTED = 8
"""Files that a message lists; of more it says how many."""


@dataclass(frozen=True)
class SourceFile:
    """A file of a data set, in plain form.

    Args:
        path: Where it lies in the data set's folder, with slashes, as its publisher names it.
        n_bytes: Its size; None where it is not known.
        checksum: `md5:` or `sha256:` and the digest; None where none is published: the loader then checks what it
            reads.
        required: Whether the data set is complete only with it.
        instead: Files of which one serves as well, for example a part of it that suffices.
    """

    path: str
    n_bytes: int | None = None
    checksum: str | None = None
    required: bool = True
    instead: tuple["SourceFile", ...] = ()

    def described(self) -> str:
        """Return path, size and checksum in one line."""
        facts = [] if self.n_bytes is None else [f"{self.n_bytes:,} bytes"]
        if self.checksum is not None:
            facts.append(self.checksum.replace(":", " "))
        return f"{self.path}  {', '.join(facts)}".rstrip()


@dataclass(frozen=True)
class Download:
    """A file that the publisher, or a mirror, offers.

    Args:
        url: Its address.
        path: Where it is put in the data set's folder.
        n_bytes: Its size; None where it is not known.
        checksum: As for a `SourceFile`, of the file as it is offered.
        kind: `file`: kept as it is, perhaps packed; `archive`: the data set's files are taken out of it.
        mirrors: Other addresses of the same file, tried in turn.
    """

    url: str
    path: str
    n_bytes: int | None = None
    checksum: str | None = None
    kind: Literal["file", "archive"] = "file"
    mirrors: tuple[str, ...] = ()

    def described(self) -> str:
        """Return address, size and checksum in one line."""
        return SourceFile(self.url, self.n_bytes, self.checksum).described()


@dataclass(frozen=True)
class DataSource:
    """A data set.

    Args:
        name: What it is called on the command line, and its folder.
        title: Its name and authors.
        homepage: Its official page.
        terms: Its licence or terms of use, and who states them.
        files: What it consists of.
        downloads: What a machine with a network gets it from.
        archives: Archives that may lie in the folder in place of the files, besides those of `downloads`.
        folders: Other folders that the files may lie in, relative to the folder of all data sets.
    """

    name: str
    title: str
    homepage: str
    terms: str
    files: tuple[SourceFile, ...]
    downloads: tuple[Download, ...]
    archives: tuple[SourceFile, ...] = ()
    folders: tuple[str, ...] = ()

    def folders_in(self, root: Path) -> list[Path]:
        """Return the folders that the files may lie in, the data set's own first."""
        return [root / self.name, *(root / folder for folder in self.folders)]

    def all_archives(self) -> list[SourceFile]:
        """Return all archives that may hold the files."""
        offered = [SourceFile(d.path, d.n_bytes, d.checksum) for d in self.downloads if d.kind == "archive"]
        return [*self.archives, *offered]

    def file(self, path: str) -> SourceFile:
        """Return the file at `path`."""
        return next(f for f in self.files if f.path == path)


@dataclass(frozen=True)
class Found:
    """Where a file is.

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


def data_root(data_dir: Path | None = None) -> Path:
    """Return the folder of all data sets: the named one, or the cache folder's; it need not exist."""
    return named_data_dir(data_dir) or cache_dir() / "data"


@cache
def source_names() -> tuple[str, ...]:
    """Return the names of all data sets, without importing their modules."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if _has_source(path)))


def _has_source(path: Path) -> bool:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "SOURCE" for target in targets):
            return True
    return False


def source(name: str) -> DataSource:
    """Return a data set by its name.

    Raises:
        UserError: There is none of that name.
    """
    if name not in source_names():
        raise unknown_name("data set", name, source_names())
    return importlib.import_module(f"stablebench.data.files.{name}").SOURCE


def find(source: DataSource, file: SourceFile, data_dir: Path | None = None) -> Found | None:
    """Return where a file is, or None; nothing is read yet but the names in archives of names that are not known.

    The publisher's names come first, then names like them (`other_names`). A publisher's archive is taken to hold every
    file of the data set.
    """
    folders = source.folders_in(data_root(data_dir))
    wanted = (file, *file.instead)
    for candidate in wanted:
        for folder in folders:
            for ending in ("", *archives.packed_endings()):
                path = folder / f"{candidate.path}{ending}"
                if path.is_file():
                    return Found(candidate, path)
    for archive in source.all_archives():
        for folder in folders:
            if (folder / archive.path).is_file():
                return Found(file, folder / archive.path, archive)
    there = other_names.present(folders)
    for candidate in wanted:
        path = other_names.like(candidate.path, there, candidate.n_bytes)
        if path is not None:
            return Found(candidate, path, renamed=True)
    for candidate in wanted:
        path = other_names.archive_with(candidate.path, there)
        if path is not None:
            return Found(candidate, path, SourceFile(path.name), renamed=True)
    return None


def read(source: DataSource, file: SourceFile, data_dir: Path | None = None) -> bytes:
    """Return the content of a file, or of the one that serves instead of it, verified.

    Raises:
        UserError: It is missing, damaged or unreadable; the message says how to get it.
    """
    return next(content for _, content in read_all(source, [file], data_dir))


def read_all(
    source: DataSource, files: Iterable[SourceFile] | None = None, data_dir: Path | None = None
) -> Iterator[tuple[SourceFile, bytes]]:
    """Yield files with their verified contents; each archive is read once, so the order may be another than asked for.

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
    found = _located(source, chosen, data_dir)
    for place in found:
        if place.archive is None:
            yield place.file, _checked_content(source, place)
    for path in dict.fromkeys(place.path for place in found if place.archive is not None):
        yield from _read_archive(source, [place for place in found if place.path == path])


def open_archive(
    source: DataSource, file: SourceFile, data_dir: Path | None = None
) -> tuple[SourceFile, Iterator[tuple[str, bytes]]]:
    """Return which archive was found, verified, and an iterator over what it holds: names and contents.

    For data sets whose files are too many to be listed: `file` is then the archive itself.

    Raises:
        UserError: It is missing, damaged or unreadable; the message says how to get it.
    """
    place = _located(source, [file], data_dir)[0]
    verify(source, place)

    def entries() -> Iterator[tuple[str, bytes]]:
        try:
            yield from archives.members(place.path)
        except ArchiveError as error:
            raise how_to_get(source, f"{place.path}: {error}", place.path.parent) from None
        except OSError as error:
            raise _unreadable(source, place.path, error) from None

    return place.file, entries()


def verify(source: DataSource, place: Found) -> None:
    """Check a file that was found against its size and checksum, holding no more than a piece of it.

    Raises:
        UserError: It is damaged, cut off or unreadable.
    """
    if place.archive is not None:
        for _ in _read_archive(source, [place]):
            pass
        return
    try:
        with archives.open_file(place.path) as opened:
            size, digest = _measure(opened, place.file.checksum)
    except (*archives.BROKEN, OSError) as error:
        raise _unreadable(source, place.path, error) from None
    _hold(source, place.path, place.file, size, digest)


def verified(source: DataSource, data_dir: Path | None = None) -> Iterator[tuple[SourceFile, Path | None, str | None]]:
    """Check every file of a data set, each archive in one pass.

    Yields:
        A file (of a damaged archive: the archive), where it is, and what is wrong, in one line; None where it holds. A
        file that is missing has no place; one that is not required is then left out.
    """
    places = [(file, find(source, file, data_dir)) for file in source.files]
    for file, place in places:
        if place is None:
            if file.required:
                yield file, None, "is missing"
        elif place.archive is None:
            try:
                verify(source, place)
                yield place.file, place.path, None
            except UserError as error:
                yield place.file, place.path, _first_line(source, error)
    packed = [place for file, place in places if place is not None and place.archive is not None and file.required]
    for path in dict.fromkeys(place.path for place in packed):
        inside = [place for place in packed if place.path == path]
        try:
            for file, _ in _read_archive(source, inside):
                yield file, path, None
        except UserError as error:
            assert inside[0].archive is not None
            yield inside[0].archive, path, _first_line(source, error)


def _first_line(source: DataSource, error: UserError) -> str:
    return str(error).partition("\n")[0].removeprefix(f"{source.name}: ")


def how_to_get(source: DataSource, problem: str, folder: Path | None = None) -> UserError:
    """Return the one error about data that are missing or damaged: what is wrong and how to get them.

    Args:
        source: The data set.
        problem: What is wrong, without a full stop.
        folder: The folder that they should lie in; by default the data set's own where STABLEBENCH_DATA says.
    """
    fetch = f"`stablebench data fetch {source.name}` gets them where there is a network. Or put them"
    return UserError(f"{source.name}: {problem}.\n{needs(source)}\n{fetch} {_places(source, folder)}")


def cannot_fetch(source: DataSource, problem: str, folder: Path) -> StablebenchError:
    """Return the one error about data that cannot be fetched: what is wrong and what to put where instead."""
    return StablebenchError(f"{source.name}: {problem}.\n{needs(source)}\nPut them {_places(source, folder)}")


def needs(source: DataSource) -> str:
    """Return which files a data set consists of and where they come from."""
    needed = [f.described() for f in source.files if f.required]
    more = f"\n  and {len(needed) - _LISTED} more" if len(needed) > _LISTED else ""
    listed = "".join(f"\n  {line}" for line in needed[:_LISTED]) + more
    offered = "".join(f"\n  {d.described()}" for d in source.downloads)
    return (
        f"Needed, plain or packed as .gz or .xz or in the publisher's archive:{listed}\n"
        f"Official source: {source.homepage}{offered}"
    )


def _places(source: DataSource, folder: Path | None) -> str:
    where = folder if folder is not None else source.folders_in(data_root())[0]
    return f"into {where}, or into `{source.name}/` of another folder that --data-dir or STABLEBENCH_DATA names."


def check(source: DataSource, path: Path, file: SourceFile, content: bytes) -> None:
    """Check a content against the size and checksum that a file must have.

    Raises:
        UserError: It is another.
    """
    _hold(source, path, file, len(content), _digest(content, file.checksum))


def _located(source: DataSource, files: list[SourceFile], data_dir: Path | None) -> list[Found]:
    found = [find(source, file, data_dir) for file in files]
    if not all(found) and named_data_dir(data_dir) is None:
        from stablebench.data.files import fetch  # which needs this module

        fetch.fetch(source, data_root())
        found = [find(source, file, data_dir) for file in files]
    missing = [file.path for file, place in zip(files, found, strict=True) if place is None]
    if missing:
        more = f" and {len(missing) - _LISTED} more files" if len(missing) > _LISTED else ""
        folder = _likeliest_folder(source, data_dir)
        raise how_to_get(source, f"{folder} lacks {', '.join(missing[:_LISTED])}{more}", folder)
    return [place for place in found if place is not None]


def _likeliest_folder(source: DataSource, data_dir: Path | None) -> Path:
    folders = source.folders_in(data_root(data_dir))
    return next((folder for folder in folders if any((folder / f.path).exists() for f in source.files)), folders[0])


def _checked_content(source: DataSource, place: Found) -> bytes:
    try:
        with archives.open_file(place.path) as opened:
            content = opened.read((place.file.n_bytes or archives.MEMBER_LIMIT) + 1)  # no more, whatever it unpacks to
    except (*archives.BROKEN, OSError) as error:
        raise _unreadable(source, place.path, error) from None
    check(source, place.path, place.file, content)
    return content


def _read_archive(source: DataSource, places: list[Found]) -> Iterator[tuple[SourceFile, bytes]]:
    """Yield the files that are in one archive; the archive's own checksum comes first where it has one."""
    path, archive = places[0].path, places[0].archive
    assert archive is not None
    try:
        if archive.checksum is not None:
            with path.open("rb") as opened:
                size, digest = _measure(opened, archive.checksum)
            _hold(source, path, archive, size, digest)
        by_path = {file.path: (file, place) for place in places for file in (place.file, *place.file.instead)}
        left = {id(place): place for place in places}
        renamed = {end: chosen for end, chosen in by_path.items() if chosen[1].renamed}
        by_likeness = {likeness(end): chosen for end, chosen in renamed.items()}

        def of_entry(name: str) -> tuple[SourceFile, Found] | None:
            parts = name.split("/")
            ends = ("/".join(parts[i:]) for i in range(len(parts)))
            chosen = next((by_path[end] for end in ends if end in by_path), by_likeness.get(likeness(name)))
            return chosen if chosen is not None and id(chosen[1]) in left else None

        limit = archives.limit_of(file.n_bytes for file, _ in by_path.values())
        for name, content in archives.members(path, lambda name: of_entry(name) is not None, limit):
            chosen = of_entry(name)
            assert chosen is not None
            file, place = chosen
            if place.renamed:
                content = archives.unpacked(name, content, limit)
            check(source, path / name, file, content)
            del left[id(place)]
            yield file, content
            if not left:
                return
    except ArchiveError as error:
        raise how_to_get(source, f"{path}: {error}", path.parent) from None
    except OSError as error:
        raise _unreadable(source, path, error) from None
    missing = [place.file.path for place in left.values()]
    raise how_to_get(source, f"{path} does not hold {', '.join(missing[:_LISTED])}", path.parent)


def _hold(source: DataSource, path: Path, file: SourceFile, size: int, digest: str | None) -> None:
    if file.n_bytes is not None and size != file.n_bytes:
        larger = "more" if size > file.n_bytes else f"{size:,}"
        raise how_to_get(source, f"{path} must have {file.n_bytes:,} bytes, it has {larger}", path.parent)
    if file.checksum is not None and digest != file.checksum:
        kind, _, expected = file.checksum.partition(":")
        got = (digest or "").partition(":")[2]
        raise how_to_get(source, f"{path} is damaged: its {kind} must be {expected}, it is {got}", path.parent)


def _measure(file: IO[bytes], checksum: str | None) -> tuple[int, str | None]:
    """Return an open file's size, and its digest of the kind that `checksum` is of."""
    digest = None if checksum is None else hasher(checksum)
    size = 0
    while piece := file.read(2**20):
        size += len(piece)
        if digest is not None:
            digest.update(piece)
    return size, None if digest is None or checksum is None else f"{checksum.partition(':')[0]}:{digest.hexdigest()}"


def _digest(content: bytes, checksum: str | None) -> str | None:
    if checksum is None:
        return None
    digest = hasher(checksum)
    digest.update(content)
    return f"{checksum.partition(':')[0]}:{digest.hexdigest()}"


def hasher(checksum: str) -> "hashlib._Hash":
    """Return a new digest of the kind that `checksum` begins with."""
    return hashlib.new(checksum.partition(":")[0], usedforsecurity=False)


def _unreadable(source: DataSource, path: Path, error: BaseException) -> UserError:
    if isinstance(error, OSError) and error.strerror is not None:
        return UserError(f"{source.name}: {error.filename or path} cannot be read ({error.strerror}).")
    return how_to_get(source, f"{path} is damaged or cut off ({error or type(error).__name__})", path.parent)
