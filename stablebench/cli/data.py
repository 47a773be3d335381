"""List, fetch and verify the real data sets, or print where they lie."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stablebench.cli.ui.output import Format, Table, note, print_json, print_tables, refuse_two_formats, say

if TYPE_CHECKING:
    from stablebench.data.files.fetch import Progress
    from stablebench.data.files.source import DataSource

data = typer.Typer(
    help="List, fetch and verify the real data sets, or print where they lie.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_LINE_EVERY_S = 5.0
_SHOWN = 8
"""Files taken from elsewhere that are listed."""
_DataDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", envvar="STABLEBENCH_DATA", help="Folder of the data sets; else the cache folder's."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


@data.command("list")
def list_(
    data_dir: _DataDir = None,
    fmt: Annotated[Format, typer.Option("--format", help="How the table is printed.")] = "table",
    as_json: _Json = False,
) -> None:
    """List the data sets: whether they are there and where, what a download takes, terms and source."""
    from stablebench.data.files.source import data_source, source_names

    refuse_two_formats(fmt, as_json)
    found = [_described(data_source(name), data_dir) for name in source_names()]
    if as_json or fmt == "json":
        print_json(found)
        return
    shown = [
        {**item, "download": _size(item["download"]), "present": _present(item), "in": item["folder"]} for item in found
    ]
    columns = ["name", "title", "present", "in", "download", "terms", "source"]
    rows = [[item[column] for column in columns] for item in shown]
    wrap = frozenset({"title", "in", "terms", "source"})
    print_tables([Table(columns, rows, wrap=wrap, minor=("source", "terms", "title"))], fmt)


@data.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Data sets.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All data sets.")] = False,
    data_dir: _DataDir = None,
    as_json: _Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing while fetching.")] = False,
) -> None:
    """Fetch data sets from their official sources.

    What is there and whole is not fetched again, a download that was cut off is gone on with, and checksums are
    verified before a file comes to its place. Exit code 1 if a data set cannot be fetched.
    """
    from stablebench.data.files import fetch as fetching
    from stablebench.data.files.source import data_root, data_source, source_names
    from stablebench.errors import StablebenchError, UserError

    if everything == bool(names):
        raise UserError(f"Give names, or --all for all of them: {', '.join(source_names())}.")
    chosen = [data_source(name) for name in names or source_names()]
    root = data_root(data_dir)
    document, failed = [], False
    for source in chosen:
        item: dict[str, Any] = {"name": source.name, "fetched": False, "folder": str(root / source.name)}
        try:
            with _progress(quiet) as progress:
                item["fetched"] = fetching.fetch(source, root, progress)
        except StablebenchError as error:
            failed = True
            item["problem"] = str(error)
            note(f"Error: {error}")
        else:
            if not quiet and not as_json:
                how = "fetched to" if item["fetched"] else "already whole in"
                note(f"{source.name}: {how} {_folder(source, root)}")
        document.append(item)
    if as_json:
        print_json(document)
    if failed:
        raise typer.Exit(1)


@data.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Data sets; else those there.")] = None,
    data_dir: _DataDir = None,
    as_json: _Json = False,
) -> None:
    """Check every file of data sets against its size and checksum.

    Exit code 1 if a file is damaged or missing, or if there is none to check.
    """
    from stablebench.data.files import access
    from stablebench.data.files.source import data_root, data_source, source_names

    chosen = [data_source(name) for name in names or source_names()]
    if not names:
        chosen = [source for source in chosen if any(access.find(source, f, data_dir) for f in source.files)]
    document = []
    for source in chosen:
        held, bare, wrong = 0, 0, []
        elsewhere = []
        for file, path, problem in access.verified(source, data_dir):
            if path is not None and not _is_named(source, file.path, path, data_dir):
                elsewhere.append(f"  {file.path}: taken from {path}")
            where = None if path is None else str(path)
            document.append({"name": source.name, "file": file.path, "path": where, "problem": problem})
            held += problem is None
            bare += problem is None and not file.checksum
            wrong += [f"  {file.path}: {problem}"] if problem else []
        more = [f"  and {len(elsewhere) - _SHOWN} more"] if len(elsewhere) > _SHOWN else []
        if not as_json:
            say("\n".join([_verdict(source, held, bare, len(wrong), data_dir), *wrong, *elsewhere[:_SHOWN], *more]))
    if as_json:
        print_json(document)
    failed = list(dict.fromkeys(item["name"] for item in document if item["problem"] is not None))
    if not document:
        note(f"There are no data sets in {data_root(data_dir)}.")
    elif failed:
        note(f"Damaged or incomplete: {', '.join(failed)}; `stablebench data fetch {' '.join(failed)}` gets them anew.")
    if failed or not document:
        raise typer.Exit(1)


def _verdict(source: "DataSource", held: int, bare: int, wrong: int, data_dir: Path | None) -> str:
    """Return a data set's line: how many of its files hold, and where they lie."""
    from stablebench.data.files.source import data_root

    files = f"{held + wrong} file{'' if held + wrong == 1 else 's'}"
    said = f"{wrong} of {files} damaged or missing" if wrong else f"{files} hold{'s' if held == 1 else ''}"
    said += f", {bare} without a published checksum" if bare else ""
    return f"{source.name}: {said} ({_folder(source, data_root(data_dir))})"


@data.command()
def path(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A data set.")] = None,
    data_dir: _DataDir = None,
    as_json: _Json = False,
) -> None:
    """Print the folder of all data sets, or the one that a data set is in or belongs into."""
    from stablebench.data.files.source import data_root, data_source

    root = data_root(data_dir)
    folder = root if name is None else _folder(data_source(name), root)
    if as_json:
        print_json({"name": name, "folder": str(folder)})
    else:
        say(str(folder))


def _folder(source: "DataSource", root: Path) -> Path:
    from stablebench.data.files import access

    places = [place for f in source.files if (place := access.find(source, f, root)) is not None]
    if not places:
        return root / source.name
    parents = places[0].path.parents
    return next((folder for folder in source.folders_in(root) if folder in parents), parents[0])


def _is_named(source: "DataSource", file: str, path: Path, data_dir: Path | None) -> bool:
    """Return whether a file lies where its publisher has it: by itself, perhaps packed, or in a publisher's archive."""
    from stablebench.data.files import archives
    from stablebench.data.files.source import data_root

    names = [f"{file}{ending}" for ending in ("", *archives.packed_endings())]
    names += [archive.path for archive in source.all_archives()]
    return any(path == folder / name for folder in source.folders_in(data_root(data_dir)) for name in names)


def _described(source: "DataSource", data_dir: Path | None) -> dict[str, Any]:
    from stablebench.data.files import access
    from stablebench.data.files.source import data_root

    root = data_root(data_dir)
    required = [file for file in source.files if file.required]
    places = [place for file in required if (place := access.find(source, file, root)) is not None]
    sizes = [download.n_bytes for download in source.downloads]
    return {
        "name": source.name,
        "title": source.title,
        "present": len(places),
        "renamed": sum(place.renamed for place in places),
        "files": len(required),
        "folder": str(_folder(source, root)),
        "download": None if None in sizes else sum(size for size in sizes if size is not None),
        "terms": source.terms,
        "source": source.homepage,
    }


def _present(item: dict[str, Any]) -> str:
    if item["present"] == item["files"]:
        return "yes, under other names" if item["renamed"] else "yes"
    return f"{item['present']} of {item['files']} files" if item["present"] else "no"


def _size(n_bytes: int | None) -> str:
    if n_bytes is None:
        return "?"
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:.0f} kB"


@contextmanager
def _progress(quiet: bool) -> "Iterator[Progress]":
    """Show downloads on stderr: a live bar on a terminal, lines elsewhere or with `CI` set."""
    from stablebench.runs.progress import takes_live_view

    if quiet:
        yield lambda *_: None
    elif takes_live_view():
        with _bar() as progress:
            yield progress
    else:
        yield _Lines()


class _Lines:
    """A line when a file begins, every few seconds, and when it is whole."""

    def __init__(self) -> None:
        self._path, self._last = "", 0.0

    def __call__(self, path: str, done: int, total: int | None) -> None:
        """Write a line if there is something new to say."""
        now = time.monotonic()
        if path != self._path or now - self._last >= _LINE_EVERY_S or done == total:
            self._path, self._last = path, now
            note(f"{path}: {_size(done)} of {_size(total)}")


@contextmanager
def _bar() -> "Iterator[Progress]":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as RichProgress

    columns = (BarColumn(bar_width=20), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with RichProgress(TextColumn("{task.description}", markup=False), *columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}

        def progress(path: str, done: int, total: int | None) -> None:
            if path not in tasks:
                tasks[path] = bar.add_task(path, total=total)
            bar.update(tasks[path], completed=done, total=total)

        yield progress
