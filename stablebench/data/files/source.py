"""What a data set consists of and where it comes from.

A data set is a module of this package with a constant `SOURCE`. Its files lie, in the publisher's layout, in a folder
of its name inside the folder that `--data-dir` or STABLEBENCH_DATA names; without either, inside `data` of the cache
folder.
"""

import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from stablebench.errors import StablebenchError, UserError, unknown_name
from stablebench.process.folders import cache_dir, named_data_dir

LISTED_FILES = 8
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


def data_root(data_dir: Path | None = None) -> Path:
    """Return the folder of all data sets: the named one, or the cache folder's; it need not exist."""
    return named_data_dir(data_dir) or cache_dir() / "data"


@cache
def source_names() -> tuple[str, ...]:
    """Return the names of all data sets, without importing their modules."""
    files = Path(__file__).parent.glob("*.py")
    return tuple(sorted(path.stem for path in files if "\nSOURCE = DataSource(" in path.read_text(encoding="utf-8")))


def data_source(name: str) -> DataSource:
    """Return a data set by its name.

    Raises:
        UserError: There is none of that name.
    """
    if name not in source_names():
        raise unknown_name("data set", name, source_names())
    return importlib.import_module(f"stablebench.data.files.{name}").SOURCE


def how_to_get(source: DataSource, problem: str, folder: Path | None = None) -> UserError:
    """Return the one error about data that are missing or damaged: what is wrong and how to get them.

    Args:
        source: The data set.
        problem: What is wrong, without a full stop.
        folder: The folder that they should lie in; by default the data set's own where STABLEBENCH_DATA says.
    """
    fetch = f"`stablebench data fetch {source.name}` gets them where there is a network."
    return UserError(f"{source.name}: {problem}. {fetch}\n{needs(source)}\nOr put them {_places(source, folder)}")


def cannot_fetch(source: DataSource, problem: str, folder: Path) -> StablebenchError:
    """Return the one error about data that cannot be fetched: what is wrong and what to put where instead."""
    return StablebenchError(f"{source.name}: {problem}.\n{needs(source)}\nPut them {_places(source, folder)}")


def needs(source: DataSource) -> str:
    """Return which files a data set consists of and where they come from."""
    needed = [f.described() for f in source.files if f.required]
    more = f"\n  and {len(needed) - LISTED_FILES} more" if len(needed) > LISTED_FILES else ""
    listed = "".join(f"\n  {line}" for line in needed[:LISTED_FILES]) + more
    offered = "".join(f"\n  {d.described()}" for d in source.downloads)
    return (
        f"Needed, plain or packed as .gz or .xz or in the publisher's archive:{listed}\n"
        f"Official source: {source.homepage}{offered}"
    )


def _places(source: DataSource, folder: Path | None) -> str:
    where = folder if folder is not None else source.folders_in(data_root())[0]
    return f"into {where}, or into `{source.name}/` of another folder that --data-dir or STABLEBENCH_DATA names."
