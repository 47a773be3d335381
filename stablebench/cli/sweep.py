"""Search for hyper-parameters of a model on a task; the best become a recipe."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stablebench.cli.shared import completion, options
from stablebench.cli.shared.commands import OUTPUT, RUNTIME, option
from stablebench.cli.shared.requests import RunOptions, request_of
from stablebench.registry import task_label

if TYPE_CHECKING:
    from stablebench.execution.tuning.study import Plan, Study, Trial
    from stablebench.specs.resolve import Resolved, RunRequest
    from stablebench.tables import Table
    from stablebench.training.run import ExecutionOptions


def sweep(
    *,
    asked: RunOptions,
    data_dir: options.DataDir = None,
    trials: Annotated[
        int | None,
        option("Trials in all, those of earlier sessions counted (default: a grid's points).", metavar="N", min=1),
    ] = None,
    space: Annotated[
        str | None,
        option(
            "The search space (default: the recipe's, else a preset of the model). `list sweeps` shows presets.",
            metavar="FILE|PRESET",
            autocompletion=completion.sweeps,
        ),
    ] = None,
    sampler: Annotated[
        Literal["random", "tpe", "grid"] | None, option("How values are drawn (default: the space's own, else tpe).")
    ] = None,
    pruner: Annotated[
        Literal["median", "none"], option("End trials worse than the median of those before them.")
    ] = "median",
    startup: Annotated[
        int | None,
        option("Trials drawn at random (default for tpe: 10) and never pruned (median: 5).", metavar="N", min=0),
    ] = None,
    fewest_sequences: Annotated[
        list[str] | None,
        option(
            "Search for the fewest training sequences, from LEAST to MOST, that reach the target; not for "
            "hyper-parameters.",
            None,
            "--fewest-sequences",
            metavar="LEAST,MOST",
        ),
    ] = None,
    within: Annotated[
        float | None,
        option("With --fewest-sequences: end at this ratio of enough to too few (default: 1.25).", metavar="X"),
    ] = None,
    repeats: Annotated[
        int | None,
        option("With --fewest-sequences: seeds of each size, more than half must reach it (default: 1).", min=1),
    ] = None,
    dry_run: Annotated[
        bool, option("Print what would be searched and what it would take, and stop.", None, "--dry-run")
    ] = False,
    workers: Annotated[int, option("Trials at once.", RUNTIME, metavar="N", min=1)] = 1,
    self_check: options.SelfCheck = True,
    shown: options.TableOutputOptions,
    track: options.Track = None,
    storage: Annotated[
        Path | None, option("The sweep's journal (default: under --runs-dir/sweeps).", OUTPUT, metavar="FILE")
    ] = None,
    output: Annotated[
        Path | None,
        option("The best recipe's file (default: next to the journal).", OUTPUT, "--output", "-o", metavar="FILE"),
    ] = None,
    force: options.Force = False,
) -> None:
    """Search for hyper-parameters: each trial is a run of the run store, selected on validation only.

    The same command resumes an interrupted sweep. With one worker the trials depend on --seed only. Exit code 1 when a
    trial failed or none finished, 129, 130 or 143 after a signal.

    Examples:
        stablebench sweep --model roarnn --task copy/t100 --trials 20 --space roarnn/lr
        stablebench sweep --model lstm --task parity --fewest-sequences 64,65536 --repeats 3
        stablebench sweep --model my_cell.py:MyCell --task copy --space space.yaml --trials 8 --workers 2
    """
    from stablebench.cli.shared.output_file import refuse_existing
    from stablebench.cli.ui.output import note, print_json, print_tables
    from stablebench.errors import StablebenchError, UserError
    from stablebench.execution.tuning.study import Plan, Study, journal_path
    from stablebench.specs.search_space import check_space, find_space, grid, resolved_with
    from stablebench.training.run import ExecutionOptions
    from stablebench.training.trackers import check_trackers

    request = request_of(asked)
    if fewest_sequences is not None:
        others = {"trials": trials, "space": space, "sampler": sampler, "startup": startup}
        _refuse({**others, "storage": storage, "output": output}, "it searches no hyper-parameters")
        from stablebench.cli.shared.fewest_sequences import plan_of, search_fewest

        ends = options.numbers_of("--fewest-sequences", fewest_sequences)
        trackers = check_trackers(",".join(track or ()))
        execution = ExecutionOptions(shown.runs_dir, data_dir, wait=True, track=trackers, self_check=self_check)
        plan_ = plan_of(ends, within, repeats)
        raise typer.Exit(search_fewest(request, plan_, execution, workers, shown, dry_run=dry_run))
    _refuse({"within": within, "repeats": repeats}, None)
    label, searched = find_space(space, request.model, request.task, asked.recipe)
    check_space(searched, request)
    trackers = check_trackers(",".join(track or ()))
    if output is not None:
        refuse_existing(output, force)
    base = resolved_with(request, searched, {})
    plan = Plan(
        space=searched,
        metric=base.card.metric,
        base=base.spec.spec_hash(),
        card=base.card.sha256(),
        sampler=sampler or searched.sampler or "tpe",
        pruner=pruner,
        seed=base.spec.seed,
        startup=startup,
    )
    if trials is None and plan.sampler != "grid":
        raise UserError("--trials is missing: give their number; only a grid has an end.")
    journal = storage or journal_path(shown.runs_dir / "sweeps", plan, request.model, task_label(request.task))
    if dry_run:
        from stablebench.cli.shared.previews import print_sweep

        points = len(grid(searched, plan.seed)) if plan.sampler == "grid" else None
        wanted = min(count for count in (trials, points) if count is not None)
        where = {"label": label, "workers": workers, "data_dir": data_dir}
        raise typer.Exit(0 if print_sweep(plan, base, wanted, journal, **where, shown=shown) else 1)
    execution = ExecutionOptions(shown.runs_dir, data_dir, wait=True, track=trackers, self_check=self_check)
    with Study(journal, plan, workers) as study:
        wanted = min(count for count in (trials, study.most) if count is not None)
        os.environ.setdefault("OMP_NUM_THREADS", str(asked.threads or 1))  # read when torch starts, in the trials
        code = _run(study, request, base, execution, wanted, workers, quiet=shown.quiet)
        ended, best = study.trials(), study.best()
    waiting = [trial.number for trial in ended if trial.status == "running"]
    best_recipe = None
    if best is not None and not code and not waiting:
        best_recipe = output or journal.with_name(f"{journal.stem}-best-of-{len(ended)}.yaml")
        _write_best(best_recipe, plan, ended, best, request, shown.runs_dir, force=force)
    if shown.as_json:
        path = None if best_recipe is None else str(best_recipe)
        document = {"space": label, "storage": str(journal), "recipe": path}
        document |= {"plan": plan.document(), "best": None if best is None else best.number}
        print_json(document | {"trials": [_as_json(trial) for trial in ended]})
    else:
        print_tables([_table(plan, ended, best)], shown.fmt)
    if best_recipe is not None:
        note(f"best recipe: {best_recipe}")
    if code or waiting:
        note(f"{len(ended) - len(waiting)} of {wanted} trials have ended; the same command continues.")
        raise typer.Exit(code or 1)
    if best is None:
        raise StablebenchError(f"{journal}: no trial finished, so there is no best one.")
    raise typer.Exit(1 if any(trial.status == "failed" for trial in ended) else 0)


def _refuse(given: dict[str, Any], why: str | None) -> None:
    """Refuse options of the search that was not asked for.

    Args:
        given: Their values by name.
        why: Why --fewest-sequences takes none of them; None where they are its own.

    Raises:
        UserError: One was given.
    """
    from stablebench.errors import UserError

    for name, value in given.items():
        if value is not None and why is None:
            raise UserError(f"--{name} is --fewest-sequences': give that as well.")
        if value is not None:
            raise UserError(f"--fewest-sequences and --{name}: {why}; leave one out.")


def _run(
    study: "Study",
    request: "RunRequest",
    base: "Resolved",
    execution: "ExecutionOptions",
    wanted: int,
    workers: int,
    *,
    quiet: bool,
) -> int:
    """Run the trials that are missing; return the exit code of a signal, else 0."""
    from stablebench.cli.ui.output import note
    from stablebench.cli.ui.progress import TrialProgress
    from stablebench.execution.tuning.trials import TrialCallbacks, run_trials
    from stablebench.training.model_check import check_before_run

    before = study.trials()
    done = sum(trial.status != "running" for trial in before)
    if done == len(before) and done >= wanted:
        return 0
    check_before_run(base.spec, note)
    with TrialProgress(wanted, done, study.plan.metric, study.best(), quiet) as progress:
        callbacks = TrialCallbacks(progress.start, progress.report, lambda trial: progress.end(trial, study.best()))
        return run_trials(study, request, execution, wanted, workers, callbacks)


def _write_best(
    path: Path,
    plan: "Plan",
    trials: "list[Trial]",
    best: "Trial",
    request: "RunRequest",
    runs_dir: Path,
    *,
    force: bool,
) -> None:
    """Write the best trial's recipe, unless the file has it already."""
    from stablebench.cli.shared.output_file import refuse_existing
    from stablebench.execution.tuning.best import recipe_document, recipe_text
    from stablebench.runs.atomic import write_atomically
    from stablebench.runs.store import RunFolder
    from stablebench.specs.search_space import resolved_with

    resolved = resolved_with(request, plan.space, best.values)
    record = RunFolder(runs_dir / best.facts["run"]).read_record()
    text = recipe_text(recipe_document(best, resolved, record, plan, trials))
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    refuse_existing(path, force)
    write_atomically(path, text.encode())


def _table(plan: "Plan", trials: "list[Trial]", best: "Trial | None") -> "Table":
    from stablebench.tables import Table

    keys = list(plan.space.space)
    rows = [[t.number, *map(t.values.get, keys), t.standing, max(t.evaluations, default=None), t.value] for t in trials]
    column = len(keys) + 3
    bold = frozenset() if best is None else frozenset({(best.number, column)})
    notes = [] if best is None else [f"The best is trial {best.number}, by validation {plan.metric}."]
    columns = ["trial", *keys, "status", "updates", f"validation {plan.metric}"]
    return Table(columns, rows, title=plan.space.summary, notes=notes, bold=bold)


def _as_json(trial: "Trial") -> dict[str, Any]:
    return {
        "number": trial.number,
        "status": trial.status,
        "values": trial.values,
        "value": trial.value,
        "evaluations": [{"step": step, "value": value} for step, value in trial.evaluations.items()],
        **trial.facts,
    }
