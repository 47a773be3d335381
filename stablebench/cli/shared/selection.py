"""The runs that a command draws: those of a suite, of folders, or of the whole run store."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stablebench.cli.shared.suite_options import SuiteOptions
from stablebench.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from stablebench.runs.store import RunFolder
    from stablebench.schema.run_record import RunRecord
    from stablebench.schema.suite import Suite


@dataclass(frozen=True)
class Selection:
    """Runs, and how they were asked for.

    Args:
        name: What they are called together.
        what: As the user typed it.
        options: Likewise.
        suite: Whose runs they are; None for those of folders.
        records: Folder and record of each.
        unreadable: By folder, what is wrong with a record.
    """

    name: str
    what: list[str]
    options: SuiteOptions
    suite: "Suite | None"
    records: "list[tuple[Path, RunRecord]]"
    unreadable: dict[str, str]

    def command(self, name: str, output: Path) -> str:
        """Return the command line that asks for the same."""
        runs_dir = self.options.run.runs_dir
        words = [*self.what, *self.options.words()]
        words += [] if runs_dir == Path("runs") else ["--runs-dir", str(runs_dir)]
        return " ".join([name, *map(shlex.quote, words), "-o", shlex.quote(output.name)])


def selected_runs(what: list[str], options: SuiteOptions) -> Selection:
    """Return the runs of a suite, of run folders and folders that hold runs, or of the whole run store.

    Args:
        what: One suite, or folders; empty for a suite made on the spot by the options, else for all of the run store.
        options: What was said about the suite's cells, and the run store.

    Raises:
        UserError: There is no such suite or folder, or nothing was found.
    """
    from stablebench import registry
    from stablebench.runs.store import readable_records

    runs_dir, said, suite = options.run.runs_dir, options.words(), None
    if (len(what) == 1 and registry.is_suite(what[0]) and not Path(what[0]).is_dir()) or (not what and said):
        name, suite, folders = _of_suite(what[0] if what else None, options)
    elif what and said:
        raise UserError(f"{said[0]}: it says which cells of a suite are meant; name a suite.")
    elif what:
        name, folders = ", ".join(Path(w).name or w for w in what), [f for w in what for f in _of_folder(w, runs_dir)]
    else:
        name, folders = "all runs", runs_within(runs_dir)
    records, unreadable = readable_records(folders)
    if not records and not unreadable:
        raise UserError(_none_found(what, options, suite is not None, name))
    return Selection(name, what, options, suite, list(records.items()), unreadable)


def _none_found(what: list[str], options: SuiteOptions, of_suite: bool, name: str) -> str:
    where = options.run.runs_dir
    if not of_suite:
        return f"There are no runs of {', '.join(what)} in {where}." if what else f"There are no runs in {where}."
    words = [*what, *options.words(), *([] if where == Path("runs") else ["--runs-dir", str(where)])]
    asked = " ".join(["stablebench compare", *map(shlex.quote, words)])
    whose = f"the suite {name}" if what else name
    with_ = f" with {' '.join(options.words())}" if what and options.words() else ""
    return f"There are no runs of {whose}{with_} in {where}. `{asked}` runs them."


def _of_suite(name: str | None, options: SuiteOptions) -> "tuple[str, Suite, list[RunFolder]]":
    from stablebench.execution.suites import runs_of, suite_of
    from stablebench.runs.store import run_folders

    asked = options.asked()
    called, suite = suite_of(name, asked)
    if name is None and asked.models and asked.tasks:
        called = f"{', '.join(asked.models)} on {', '.join(asked.tasks)}"
    return called, suite, run_folders(options.run.runs_dir, (cell.spec for cell in runs_of(suite, asked)))


def _of_folder(name: str, runs_dir: Path) -> "list[RunFolder]":
    """Return a run's folder, or every run below a folder; a name may also be relative to the run store."""
    from stablebench.runs.store import RunFolder

    for path in (Path(name), runs_dir / name):
        if (path / "record.json").is_file():
            return [RunFolder(path)]
        if path.is_dir() and (found := runs_within(path)):
            return found
    from stablebench import registry

    raise UserError(
        f"'{name}' is neither a suite nor a folder with runs.{did_you_mean(name, registry.suite_names())} "
        "`stablebench list suites` and `stablebench list runs` show what there is."
    )


def runs_within(folder: Path, depth: int = 3) -> "list[RunFolder]":
    """Return the runs at any of the depths at which a run store has folders."""
    from stablebench.runs.store import RunFolder

    try:
        with os.scandir(folder) as entries:
            paths = sorted(entry.path for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return []
    found: list[RunFolder] = []
    for path in paths:
        if os.path.isfile(os.path.join(path, "record.json")):
            found.append(RunFolder(Path(path)))
        elif depth > 1:
            found += runs_within(Path(path), depth - 1)
    return found
