"""The runs that a command draws: those of a suite, of folders, or of the whole run store."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stablebench.cli.shared import completion
from stablebench.cli.shared.options import words_of
from stablebench.cli.shared.requests import SuiteRunOptions, suite_overrides
from stablebench.cli.ui.output import note
from stablebench.errors import UserError, did_you_mean
from stablebench.runs.run_paths import named_runs, runs_within

if TYPE_CHECKING:
    from stablebench.execution.suites import SuiteOverrides
    from stablebench.runs.store import RunFolder
    from stablebench.schema.run_record import RunRecord
    from stablebench.schema.suite import Suite
    from stablebench.specs.request import Resolved

SuiteOrRuns = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SUITE|RUNS",
        autocompletion=completion.suites_or_runs,
        help="A suite or a suite's file, or folders of runs (default: all of --runs-dir).",
    ),
]


@dataclass(frozen=True)
class Selection:
    """Runs, and how they were requested.

    Args:
        name: What they are called together.
        words: The command line that selects them, without the command's name.
        suite: Whose runs they are; None for those of folders.
        overrides: What the options request in place of the suite's own.
        records: Folder and record of each.
        unreadable: By folder, what is wrong with a record.
    """

    name: str
    words: list[str]
    suite: "Suite | None"
    overrides: "SuiteOverrides"
    records: "list[tuple[Path, RunRecord]]"
    unreadable: dict[str, str]


def selected_runs(what: list[str] | None, runs_dir: Path, asked: SuiteRunOptions) -> Selection:
    """Return the runs of a suite, of run folders and folders that hold runs, or of the whole run store.

    Args:
        what: One suite, or folders; empty for an ad-hoc suite that the options name, else for all of the run store.
        runs_dir: The run store.
        asked: Which runs of the suite, and what they have that is not the suite's own.

    Raises:
        UserError: There is no such suite or folder, or no run in it.
    """
    from stablebench import registry
    from stablebench.cli.shared.near_runs import near_runs
    from stablebench.runs.store import readable_records, run_folders

    what, suite, runs = what or [], None, []
    options = words_of(asked)
    overrides = suite_overrides(asked)
    if (len(what) == 1 and registry.is_suite(what[0]) and not Path(what[0]).is_dir()) or (not what and options):
        name, suite, runs = _of_suite(what[0] if what else None, overrides)
        folders = run_folders(runs_dir, (run.spec for run in runs))
    elif what and options:
        raise UserError(f"{options[0]}: it selects runs of a suite; name a suite.")
    elif what:
        name, folders = ", ".join(Path(w).name or w for w in what), [f for w in what for f in _of_folder(w, runs_dir)]
    else:
        name, folders = "all runs", runs_within(runs_dir)
    records, unreadable = readable_records(folders)
    if runs:
        from stablebench.api.suite_runs import call_as_asked

        call_as_asked(records.values(), runs)
    words = [*what, *options, *([] if runs_dir == Path("runs") else ["--runs-dir", str(runs_dir)])]
    if not records and not unreadable:
        if suite is None:
            raise UserError(f"There are no runs{f' of {name}' if what else ''} in {runs_dir}.")
        given = f" with {' '.join(options)}" if what and options else ""
        command = " ".join(["stablebench compare", *map(shlex.quote, words)])
        first = (
            f"There are no runs of {'the suite ' if what else ''}{name}{given} in {runs_dir}. `{command}` runs them."
        )
        raise UserError("\n".join([first, *near_runs(runs, runs_dir)]))
    return Selection(name, words, suite, overrides, list(records.items()), unreadable)


def _of_suite(name: str | None, overrides: "SuiteOverrides") -> "tuple[str, Suite, list[Resolved]]":
    from stablebench.execution.suites import runs_of, suite_of

    say_suite(name, overrides)
    called, suite = suite_of(name, overrides)
    say_untuned(name, overrides, suite)
    if name is None and overrides.models and overrides.tasks:
        called = f"{', '.join(overrides.models)} on {', '.join(overrides.tasks)}"
    return called, suite, runs_of(suite, overrides)


def say_suite(name: str | None, overrides: "SuiteOverrides") -> None:
    """Say on stderr which suite is taken where none is named, and which tasks that are asked for it does not have."""
    from stablebench import registry

    if name is None and overrides.tasks is None:
        note("no suite is named, so the suite quick is taken; `stablebench list suites` shows the others.")
    elif name is not None and overrides.tasks is not None:
        own = list(dict.fromkeys(task.task for task in registry.suite(name).tasks))
        others = [task for task in overrides.tasks if task not in own]
        if others:
            near = [task for task in own if task.split("/")[0] in others]
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            note(
                f"the suite {name} has {', '.join(own)}; {', '.join(others)} gets none of the settings of these.{hint}"
            )


def say_untuned(name: str | None, overrides: "SuiteOverrides", suite: "Suite") -> None:
    """Say on stderr how much of a suite `--recipes` has no recipe for, and is left out."""
    from stablebench.execution.suites import suite_of
    from stablebench.execution.tuned_recipes import cells_of

    if overrides.recipes is not None:
        every = len(cells_of(suite_of(name, replace(overrides, recipes=None))[1]))
        if left := every - len(cells_of(suite)):
            note(f"{overrides.recipes} has no recipe for {left} of {every} models and tasks, which are left out.")


def _of_folder(name: str, runs_dir: Path) -> "list[RunFolder]":
    """Return a run's folder, every run below a folder, or the runs of the store that are called so or begin so."""
    from stablebench.runs.store import RunFolder

    for path in (Path(name), runs_dir / name):
        if (path / "record.json").is_file():
            return [RunFolder(path)]
        if path.is_dir() and (folders := runs_within(path)):
            return folders
    if named := named_runs(name, runs_dir):
        return named
    from stablebench import registry

    raise UserError(
        f"'{name}' is neither a suite nor a folder with runs.{did_you_mean(name, registry.suite_names())} "
        "`stablebench list suites` and `stablebench list runs` show what there is."
    )
