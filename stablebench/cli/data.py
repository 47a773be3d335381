"""List, fetch and verify the real data sets, or print where they lie; write a task's generated examples to files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stablebench.cli.shared.commands import OUTPUT, add_command, option, subcommands
from stablebench.cli.shared.options import Length, PrintedTables, PrintedText, Quiet, Settings, parse_settings
from stablebench.cli.ui.output import Table, note, print_json, print_tables, say

if TYPE_CHECKING:
    from stablebench.data.files.source import DataSource

_MAX_LISTED = 8
"""Files taken from elsewhere that are listed."""
_DataDir = Annotated[
    Path | None,
    option("Folder of the data sets (default: in the cache folder).", OUTPUT, metavar="DIR", envvar="STABLEBENCH_DATA"),
]


def list_(*, data_dir: _DataDir = None, printed: PrintedTables) -> None:
    """List the data sets: whether they are present and where, what a download takes, terms and source.

    Example:
        stablebench data list --format github
    """
    from stablebench.data.files.source import data_source, source_names

    sets = [_described(data_source(name), data_dir) for name in source_names()]
    if printed.as_json:
        print_json(sets)
        return
    from stablebench.cli.ui.progress import size_text

    shown = [
        {**item, "download": size_text(item["download"]), "present": _present(item), "in": item["folder"]}
        for item in sets
    ]
    columns = ["name", "title", "present", "in", "download", "terms", "source"]
    rows = [[item[column] for column in columns] for item in shown]
    wrap = frozenset({"title", "in", "terms", "source"})
    print_tables([Table(columns, rows, wrap=wrap, minor=("source", "terms", "title"))], printed.fmt)


def fetch(
    *,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Data sets.")] = None,
    everything: Annotated[bool, option("All data sets.", None, "--all")] = False,
    data_dir: _DataDir = None,
    printed: PrintedText,
    quiet: Quiet = False,
) -> None:
    """Fetch data sets from their official sources.

    Complete files are not fetched again, an interrupted download is continued, and checksums are verified before a file
    is moved to its place. Exit code 1 if a data set cannot be fetched.

    Examples:
        stablebench data fetch mnist ptb
        stablebench data fetch --all --data-dir data
    """
    from stablebench.cli.ui.progress import DownloadProgress
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
            with DownloadProgress(quiet) as progress:
                item["fetched"] = fetching.fetch(source, root, progress)
        except StablebenchError as error:
            failed = True
            item["problem"] = str(error)
            note(f"Error: {error}")
        else:
            if not quiet and not printed.as_json:
                how = "fetched to" if item["fetched"] else "already whole in"
                note(f"{source.name}: {how} {_folder(source, root)}")
        document.append(item)
    if printed.as_json:
        print_json(document)
    if failed:
        raise typer.Exit(1)


def verify(
    *,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Data sets (default: those present).")
    ] = None,
    data_dir: _DataDir = None,
    printed: PrintedText,
) -> None:
    """Check every file of data sets against its size and checksum.

    Exit code 1 if a file is damaged or missing, or if there is none to check.

    Examples:
        stablebench data verify mnist
        stablebench data verify --json
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
        more = [f"  and {len(elsewhere) - _MAX_LISTED} more"] if len(elsewhere) > _MAX_LISTED else []
        if not printed.as_json:
            say(
                "\n".join([_verdict(source, held, bare, len(wrong), data_dir), *wrong, *elsewhere[:_MAX_LISTED], *more])
            )
    if printed.as_json:
        print_json(document)
    failed = list(dict.fromkeys(item["name"] for item in document if item["problem"] is not None))
    if not document:
        note(f"There are no data sets in {data_root(data_dir)}.")
    elif failed:
        damaged, command = ", ".join(failed), f"stablebench data fetch {' '.join(failed)}"
        note(f"Damaged or incomplete: {damaged}; `{command}` fetches them again.")
    if failed or not document:
        raise typer.Exit(1)


def _verdict(source: "DataSource", held: int, bare: int, wrong: int, data_dir: Path | None) -> str:
    """Return a data set's line: how many of its files hold, and where they lie."""
    from stablebench.data.files.source import data_root

    files = f"{held + wrong} file{'' if held + wrong == 1 else 's'}"
    verdict = f"{wrong} of {files} damaged or missing" if wrong else f"{files} hold{'s' if held == 1 else ''}"
    verdict += f", {bare} without a published checksum" if bare else ""
    return f"{source.name}: {verdict} ({_folder(source, data_root(data_dir))})"


def path(
    *,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A data set.")] = None,
    data_dir: _DataDir = None,
    printed: PrintedText,
) -> None:
    """Print the folder of all data sets, or of one.

    Example:
        stablebench data path mnist
    """
    from stablebench.data.files.source import data_root, data_source

    root = data_root(data_dir)
    folder = root if name is None else _folder(data_source(name), root)
    if printed.as_json:
        print_json({"name": name, "folder": str(folder)})
    else:
        say(str(folder))


def export(
    *,
    task: Annotated[str, typer.Argument(metavar="TASK[/VARIANT]", help="A task whose examples are generated.")],
    T: Length = None,
    settings: Settings = None,
    train: Annotated[int, option("Training examples too: the first N.", metavar="N", min=0)] = 0,
    seed: Annotated[int, option("The run whose training examples these are.", metavar="N", min=0)] = 0,
    fmt: Annotated[Literal["jsonl", "parquet"], option("What the files are.", OUTPUT, "--format")] = "jsonl",
    output: Annotated[
        Path | None, option("The folder (default: the task's name).", OUTPUT, "--output", "-o", metavar="FOLDER")
    ] = None,
    force: Annotated[bool, option("Overwrite files that exist.", OUTPUT, "--force")] = False,
) -> None:
    """Write the validation and test examples of a task, which all runs are scored on, with Croissant metadata.

    Example:
        stablebench data export copy/t100 -o copy-t100
        stablebench data export copy --set task.S=5 --train 1000
    """
    import json
    from datetime import date

    from stablebench import registry
    from stablebench.cli.shared.output_file import refuse_existing
    from stablebench.data.croissant import croissant
    from stablebench.data.example_files import check_exportable, splits_of, totals, write_examples
    from stablebench.data.task import Task, resolve_params
    from stablebench.errors import UserError
    from stablebench.runs.atomic import write_atomically
    from stablebench.specs.own_task import card_named

    given = parse_settings(settings)
    if other := [key for key in given if not key.startswith("task.")]:
        raise UserError(f"--set {other[0]}: only the task's own parameters matter here, for example --set task.S=5.")
    card, variant = card_named(task)
    values = {key.removeprefix("task."): value for key, value in given.items()}
    source = Task(card, resolve_params(card, variant=variant, T=T, settings=values))
    check_exportable(source, fmt)
    folder = Path(registry.task_label(task)) if output is None else output
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder}: must be a folder, this is a file.")
    splits = splits_of(source, train, seed)
    metadata = folder / "croissant.json"
    for path in (*(folder / f"{split}.{fmt}" for split in splits), metadata):
        refuse_existing(path, force)
    folder.mkdir(parents=True, exist_ok=True)
    files = [write_examples(folder, split, batch(), fmt) for split, batch in splits.items()]
    document = json.dumps(croissant(source, task, files, date.today()), indent=2, ensure_ascii=False)
    write_atomically(metadata, (document + "\n").encode())
    say(f"{metadata}: {totals(files)} examples of {task}")


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


data = subcommands(
    "List, fetch and verify the real data sets, or print where they lie; write a task's generated examples to files."
)
add_command(data, list_, "list")
for _function in (fetch, verify, path, export):
    add_command(data, _function)
