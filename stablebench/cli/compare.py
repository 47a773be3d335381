"""Run what a suite is missing, then print its leaderboard."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stablebench.cli.shared.options import RunOptions, SelfCheck, run_options
from stablebench.cli.shared.suite_options import Budget, Models, Seeds, SuiteOptions, Tasks
from stablebench.cli.ui.output import Format, echo, note

if TYPE_CHECKING:
    from stablebench.cli.shared.executors import Executor
    from stablebench.specs.resolve import Resolved


_SHOWN = 20
"""Unreadable records that are listed."""


@run_options
def compare(
    options: RunOptions,
    suite: Annotated[
        str | None, typer.Argument(help="The suite, or a file of one; `quick` unless said.", metavar="SUITE")
    ] = None,
    models: Models = None,
    tasks: Tasks = None,
    seeds: Seeds = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Runs at once; by default cores / threads, where a CPU quota counts as cores.", min=1),
    ] = None,
    ray: Annotated[str | None, typer.Option(metavar="ADDRESS|auto", help="Run the cells on this Ray cluster.")] = None,
    slurm: Annotated[bool, typer.Option("--slurm", help="Run the cells as an array job of Slurm.")] = False,
    partition: Annotated[str | None, typer.Option(metavar="NAME", help="The Slurm partition.")] = None,
    time: Annotated[str | None, typer.Option(metavar="TIME", help="The Slurm time limit of a cell.")] = None,
    track: Annotated[
        str | None,
        typer.Option(metavar="NAME[,NAME]", help="Also feed trackers with the curves: tensorboard, mlflow."),
    ] = None,
    no_run: Annotated[bool, typer.Option("--no-run", help="Only redraw: run nothing.")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only time a few updates of each kind of run: what would it take here?")
    ] = False,
    budget: Budget = "full",
    check: Annotated[
        Path | None, typer.Option(help="Hold the leaderboard against this one; exit code 5 if it got worse.")
    ] = None,
    margin: Annotated[float, typer.Option(help="What --check allows, relative: 0.1 is a tenth.", min=0)] = 0.1,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Also write the leaderboard as JSON here, with its statistics."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of --output.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Show all cells in one table while they run.")] = False,
    statistics: Annotated[
        bool,
        typer.Option("--statistics", help="Also intervals, times to a goal, pairwise tests, ranks and profiles."),
    ] = False,
    fmt: Annotated[Format, typer.Option("--format", help="How the tables are printed.")] = "table",
    self_check: SelfCheck = True,
) -> None:
    """Run what is missing of a suite, then print its leaderboard.

    Cells that the run store has are not run again. Exit code 0 when every cell finished or diverged, 1 when one failed.
    """
    from stablebench.process.garbage_collection import collector_paused

    with collector_paused():
        from stablebench import leaderboard
        from stablebench.cli.shared.estimates import print_estimates
        from stablebench.cli.shared.executors import Executor
        from stablebench.cli.shared.output_file import refuse_existing
        from stablebench.cli.ui.output import json_text, print_json, refuse_two_formats
        from stablebench.errors import UserError
        from stablebench.execution.suites import runs_of, suite_of
        from stablebench.runs.atomic import write_atomically
        from stablebench.runs.store import readable_records, run_folders

    if options.model or options.task or options.seed is not None or options.recipe:
        raise UserError("compare takes --models, --tasks and --seeds; recipes are those of the suite's models.")
    refuse_two_formats(fmt, options.json)
    if output is not None:
        refuse_existing(output, force)
    place = Executor(ray, slurm, partition, time, track)
    said = SuiteOptions(models, tasks, seeds, budget, options)
    asked = said.asked()
    name, resolved_suite = suite_of(suite, asked)
    with collector_paused():
        refused: dict[str, str] = {}
        cells = runs_of(resolved_suite, asked, refused)
    baseline = leaderboard.read_baseline(check) if check is not None else None

    if estimate:
        missing = _missing(cells, options.runs_dir)
        possible = print_estimates(cells, missing, place.workers(workers, missing or cells), options, fmt)
        for line in _reasons(list(refused.items())):
            note(line)
        raise typer.Exit(0 if possible and not refused else 1)
    code, failures = (0, []) if no_run else _run_missing(name, cells, options, workers, place, live, self_check)
    failures = [*refused.items(), *failures]
    if code:
        left = len(_missing(cells, options.runs_dir))
        for line in _reasons(failures):
            note(line)
        note(f"interrupted: {left} of {len(cells)} cells have not ended; the same command goes on.")
        raise typer.Exit(code)
    with collector_paused():
        folders = run_folders(options.runs_dir, [cell.spec for cell in cells])
        records, unreadable = readable_records(folders)
        lost = (
            [] if no_run else _lost(cells, [f.path in records or str(f.path) in unreadable for f in folders], failures)
        )
        document = leaderboard.document(name, records.values()) | {"unreadable": unreadable}
        document |= leaderboard.reproduction(resolved_suite, document, said.changes())
    if statistics or options.json or output is not None:
        document["statistics"] = leaderboard.statistics(document)
    if output is not None:
        write_atomically(output, json_text(document).encode())
    if options.json:
        print_json(document)
    else:
        echo(leaderboard.render(document, fmt))
        if statistics and fmt != "json":
            echo("\n" + leaderboard.render_statistics(document["statistics"], fmt))
    for line in [*_reasons(failures + lost), *_listed(unreadable)]:
        note(line)
    if baseline is not None:
        regressions = leaderboard.check(document, baseline, margin)
        for line in regressions:
            note(f"regression: {line}")
        if regressions:
            raise typer.Exit(5)
        note(f"no regression against {check} (margin {margin:.0%})")
    raise typer.Exit(1 if failures or lost or unreadable else 0)


def _lost(cells: "list[Resolved]", recorded: list[bool], failures: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the cells that did not fail and yet have no record: their folders went while the others ran."""
    failed = {name for name, _ in failures}
    names = [cell.label for cell, there in zip(cells, recorded, strict=True) if not there]
    why = "its run folder was removed or renamed while the suite ran; the same command runs it again"
    return [(name, why) for name in names if name not in failed]


def _reasons(failures: list[tuple[str, str]]) -> list[str]:
    """Return why cells failed, each reason once with the cells that it stopped."""
    stopped: dict[str, list[str]] = {}
    for name, why in failures:
        stopped.setdefault(why, []).append(name)
    return [f"failed: {', '.join(names)}: {why}" for why, names in stopped.items()]


def _listed(unreadable: dict[str, str]) -> list[str]:
    """Return a line per record that cannot be read, and a count of those beyond a screenful."""
    lines = [f"not in the leaderboard: {problem}" for problem in unreadable.values()]
    more = (
        [f"and {len(lines) - _SHOWN:,} more that cannot be read; --json has them all."] if len(lines) > _SHOWN else []
    )
    return lines[:_SHOWN] + more


def _run_missing(
    suite: str,
    cells: "list[Resolved]",
    options: RunOptions,
    workers: int | None,
    place: "Executor",
    live: bool,
    self_check: bool,
) -> tuple[int, list[tuple[str, str]]]:
    """Run the cells without a record; return the exit code of a signal, else 0, and which cells failed and why."""
    from stablebench.cli.ui.cells import progress_of
    from stablebench.execution.events import RunCallbacks
    from stablebench.training.run import ExecutionOptions

    missing = _missing(cells, options.runs_dir)
    missing, broken = _without_broken(missing)
    if not missing:
        return 0, broken
    threads = max(cell.spec.threads for cell in missing)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # read when torch starts, in the cells' processes
    with progress_of(suite, missing, len(cells), options.quiet, live) as progress:
        code = place.runner()(
            missing,
            ExecutionOptions(
                options.runs_dir, options.data_dir, wait=True, track=place.trackers, self_check=self_check
            ),
            place.workers(workers, missing),
            RunCallbacks(progress.start, progress.update, progress.end),
        )
    return code, [*broken, *progress.failures]


def _without_broken(cells: "list[Resolved]") -> "tuple[list[Resolved], list[tuple[str, str]]]":
    """Return the cells whose models keep to the contract, and the names of the others with why they do not."""
    if all(cell.spec.model.source is None for cell in cells):
        return cells, []
    from stablebench.training.model_check import check_cells

    reasons = check_cells(cells, note)
    judged = list(zip(cells, reasons, strict=True))
    kept = [cell for cell, why in judged if why is None]
    return kept, [(cell.label, why) for cell, why in judged if why is not None]


def _missing(cells: "list[Resolved]", runs_dir: Path) -> "list[Resolved]":
    """Return the cells that have not ended."""
    from stablebench.runs.store import run_folders
    from stablebench.training.run import has_ended

    folders = run_folders(runs_dir, (cell.spec for cell in cells))
    return [cell for cell, folder in zip(cells, folders, strict=True) if not has_ended(folder)]
