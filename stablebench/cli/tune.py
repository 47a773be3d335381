"""The same search for every model on every task of a suite; the best of each become recipes."""

import os
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stablebench import registry
from stablebench.cli.shared import completion, options
from stablebench.cli.shared.commands import OUTPUT, RUNTIME, option
from stablebench.cli.shared.known_names import check_names
from stablebench.cli.shared.selection import say_suite

if TYPE_CHECKING:
    from stablebench.cli.ui.progress import CellProgress
    from stablebench.execution.tuning.cells import Cell
    from stablebench.execution.tuning.study import Trial
    from stablebench.training.run import ExecutionOptions


def tune(
    *,
    suite: Annotated[
        str, typer.Argument(help="The suite, or a suite's file.", metavar="SUITE", autocompletion=completion.suites)
    ],
    models: options.Models = None,
    tasks: options.Tasks = None,
    spaces: Annotated[
        Path | None,
        option("Folder of spaces of your own, MODEL.yaml, before those of the package.", metavar="DIR"),
    ] = None,
    trials: Annotated[int, option("Trials of each model on each task.", metavar="N", min=1)] = 8,
    dry_run: Annotated[
        bool,
        option("Print the searches and what they would take, timed on a few updates, and stop.", None, "--dry-run"),
    ] = False,
    no_run: Annotated[bool, option("Print what the recipes' folder has; run nothing.", None, "--no-run")] = False,
    workers: Annotated[int, option("Trials of one search at once.", RUNTIME, metavar="N", min=1)] = 1,
    data_dir: options.DataDir = None,
    shown: options.TableOutputOptions,
    output: Annotated[
        Path | None,
        option("Folder of the recipes (default: tuned/SUITE).", OUTPUT, "--output", "-o", metavar="DIR"),
    ] = None,
    force: Annotated[bool, option("Overwrite recipes that say something else.", OUTPUT, "--force")] = False,
) -> None:
    """Search alike for every model on every task of a suite: as many trials, one budget, judged on validation only.

    Values are drawn at random from the model's space `MODEL/any_task` over the task's card; no registered recipe takes
    part. `compare SUITE --recipes DIR` runs what came out. The same command continues; several at once share the work.

    Examples:
        stablebench tune core --trials 8 --model lstm,roarnn --task copy/t100
        stablebench tune core --dry-run
    """
    from stablebench.cli.ui.output import note
    from stablebench.cli.ui.progress import CellProgress
    from stablebench.errors import UserError
    from stablebench.execution.suites import SuiteOverrides, suite_of
    from stablebench.execution.tuning.cells import tuned_cells
    from stablebench.execution.tuning.study import StudyHeld
    from stablebench.training.model_check import check_before_run
    from stablebench.training.run import ExecutionOptions

    if spaces is not None and not spaces.is_dir():
        raise UserError(f"--spaces {spaces}: there is no such folder.")
    registry.suite(suite)  # a name is checked before torch is imported
    asked = SuiteOverrides(models=options.names_of("--model", models), tasks=options.names_of("--task", tasks))
    check_names(asked.models, asked.tasks)
    say_suite(suite, asked)
    _, runs = suite_of(suite, asked)
    folder = output or Path("tuned") / Path(suite).stem
    store = shown.runs_dir / "tuning"
    cells = tuned_cells(runs, asked, folder, store, spaces)
    if dry_run:
        from stablebench.cli.shared.previews import print_searches

        possible = print_searches(cells, trials, len(runs.seeds), data_dir, shown)
        raise typer.Exit(0 if possible else 1)
    if no_run:
        for cell in cells:
            cell.refuse_others()
        _print_summary(cells, shown)
        return
    places = chain.from_iterable((path, *path.parents) for path in {cell.recipe.parent for cell in cells})
    if taken := next((place for place in places if place.exists() and not place.is_dir()), None):
        raise UserError(f"--output {folder}: recipes go into folders, and {taken} is a file.")
    for cell in () if force else cells:
        cell.refuse_others(trials)
    for base in {cell.base.spec.model.name: cell.base for cell in cells}.values():
        check_before_run(base.spec, note)
    execution = ExecutionOptions(store, data_dir, wait=True, test=False)
    os.environ.setdefault("OMP_NUM_THREADS", str(runs.threads))  # read when torch starts, in the trials
    held, kept, failed = [], [], 0
    with CellProgress(len(cells), shown.quiet) as progress:
        first, last = ((cell, False) for cell in cells), ((cell, True) for cell in held)  # `held` grows in the first
        for cell, wait in chain(first, last):
            if not force and cell.ended_elsewhere(trials):
                progress.ended(f"{cell.label}: {cell.recipe} has it", False)
                continue
            try:
                code, ended, ran = _search(cell, execution, trials, workers, progress, wait=wait)
            except StudyHeld:
                progress.note(f"{cell.label}: another process is searching; it is waited for at the end")
                held.append(cell)
                continue
            if code:
                note(f"interrupted in {cell.label}; the same command continues.")
                raise typer.Exit(code)
            failed += sum(trial.status == "failed" for trial in ended)
            try:
                kept += [] if _write(cell, ended, store, force=force) else [cell.recipe]
                progress.ended(_line(cell, ended), ran)
            except UserError as error:  # the searches after it go on
                failed += 1
                progress.ended(str(error), ran)
    _print_summary(cells, shown)
    for path in kept:
        note(f"{path}: says something else and was left as it is; --force overwrites it.")
    note(f"recipes: {folder}; `stablebench compare {suite} --recipes {folder}` runs them.")
    raise typer.Exit(1 if failed or kept else 0)


def _print_summary(cells: "list[Cell]", shown: options.TableOutputOptions) -> None:
    """Print what the files of each search say."""
    from stablebench.cli.ui.output import print_json, print_tables
    from stablebench.execution.tuning.summary import searches, summary_table

    ended = searches(cells)
    if shown.as_json:
        print_json({"searches": len(cells), "ended": ended})
    else:
        print_tables([summary_table(ended, len(cells))], shown.fmt)


def _search(
    cell: "Cell", execution: "ExecutionOptions", trials: int, workers: int, progress: "CellProgress", *, wait: bool
) -> "tuple[int, list[Trial], bool]":
    """Run the trials that a search is missing; return the code of a signal, else 0, its trials, and if any ran."""
    from stablebench.execution.tuning.study import Study
    from stablebench.execution.tuning.trials import TrialCallbacks, run_trials

    with Study(cell.journal, cell.plan, workers, wait=wait) as study:
        code, ran = 0, False
        before = study.trials()[:trials]
        if len(before) < trials or any(trial.status == "running" for trial in before):
            callbacks = TrialCallbacks(progress.start, progress.report, progress.end)
            code, ran = run_trials(study, cell.request, execution, trials, workers, callbacks), True
        ended = study.trials()[:trials]
    return code or (1 if any(trial.status == "running" for trial in ended) else 0), ended, ran


def _write(cell: "Cell", trials: "list[Trial]", store: Path, *, force: bool) -> bool:
    """Write the recipe and the trials of a search; return whether the files say it now."""
    import json

    from stablebench.execution.tuning.best import recipe_text
    from stablebench.execution.tuning.cells import tuned_documents
    from stablebench.runs.atomic import write_atomically

    recipe, facts = tuned_documents(cell, trials, store)
    lines = ",\n".join(f"  {json.dumps(trial)}" for trial in facts.pop("trials"))
    table = f'{json.dumps(facts)[:-1]}, "trials": [\n{lines}\n]}}\n'
    texts = {cell.trials_path: table.encode(), cell.recipe: recipe_text(recipe).encode()}
    new = {path: text for path, text in texts.items() if not path.exists() or path.read_bytes() != text}
    if any(path.exists() for path in new) and not force and not _is_beginning(cell, trials, store):
        return False
    for path, text in new.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    return True


def _is_beginning(cell: "Cell", trials: "list[Trial]", store: Path) -> bool:
    """Whether the recipe that is there is, unchanged, the best of the first trials of the same search."""
    from stablebench.execution.tuning.best import recipe_text
    from stablebench.execution.tuning.cells import tuned_documents
    from stablebench.schema.tuned_search import read_search

    if not (cell.recipe.exists() and cell.trials_path.exists()):
        return False
    search = read_search(cell.trials_path)
    before = [trial.get("values") for trial in search.trials]
    earlier = search.task_params is None  # a file of an earlier version, which gets what it lacks
    if len(before) >= len(trials) + earlier or before != [trial.values for trial in trials[: len(before)]]:
        return False
    recipe, _ = tuned_documents(cell, trials[: len(before)], store)
    return cell.recipe.read_bytes() == recipe_text(recipe).encode()


def _line(cell: "Cell", trials: "list[Trial]") -> str:
    """Return in one line how a search ended: `lstm on copy/t100: 8 trials (7 finished, 1 pruned), best loss 0.01`."""
    from collections import Counter

    from stablebench.execution.tuning.study import best_trial

    counts = Counter(trial.status for trial in trials)
    ends = ", ".join(f"{number} {status}" for status, number in counts.items())
    best = best_trial(trials, cell.plan.metric)
    what = "none finished" if best is None else f"best validation {cell.plan.metric} {best.value:.4g}"
    return f"{cell.label}: {len(trials)} trials ({ends}), {what}"
