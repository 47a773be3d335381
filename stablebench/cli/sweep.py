"""Search for hyper-parameters of a model on a task; the best become a recipe."""

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stablebench.cli.shared.options import RunOptions, SelfCheck, run_options
from stablebench.cli.ui.output import Format

if TYPE_CHECKING:
    from stablebench.execution.tuning.study import Plan, Pruner, Study, Trial
    from stablebench.schema.sweep import Sampler, SweepSpace
    from stablebench.specs.resolve import RunRequest
    from stablebench.tables import Table


@run_options
def sweep(
    options: RunOptions,
    trials: Annotated[
        int | None, typer.Option(help="Trials in all, those of earlier sittings counted; a grid's points.", min=1)
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|PRESET",
            help="What is searched; by default what the recipe states, else the preset model/task. "
            "`list sweeps` shows the presets.",
        ),
    ] = None,
    sampler: Annotated[
        Literal["random", "tpe", "grid"] | None, typer.Option(help="How values are drawn; the space's own, else tpe.")
    ] = None,
    pruner: Annotated[
        Literal["median", "none"], typer.Option(help="End trials worse than the median of those before them.")
    ] = "median",
    startup: Annotated[
        int | None,
        typer.Option(help="Trials that are drawn at random (tpe: 10) and never pruned (median: 5).", min=0),
    ] = None,
    storage: Annotated[
        Path | None, typer.Option(help="The sweep's journal; by default under --runs-dir/sweeps.", metavar="FILE")
    ] = None,
    workers: Annotated[int, typer.Option(help="Trials at once.", min=1)] = 1,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The best recipe's file; by default beside the journal.", metavar="FILE"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of --output.")] = False,
    track: Annotated[
        str | None,
        typer.Option(metavar="NAME[,NAME]", help="Also feed trackers with the curves: tensorboard, mlflow."),
    ] = None,
    fmt: Annotated[Format, typer.Option("--format", help="How the table is printed.")] = "table",
    self_check: SelfCheck = True,
) -> None:
    """Search for hyper-parameters: each trial is a run of the run store, chosen by validation alone.

    The same command goes on where it was interrupted. With one worker the trials depend on --seed alone. Exit code 1
    when a trial failed or none finished, 129, 130 or 143 after a signal.
    """
    from stablebench.cli.shared.output_file import refuse_existing
    from stablebench.cli.shared.requests import request_of
    from stablebench.cli.ui.output import note, print_json, print_tables, refuse_two_formats
    from stablebench.errors import StablebenchError, UserError
    from stablebench.execution.tuning.study import Study
    from stablebench.specs.search_space import check_space, find_space
    from stablebench.training.trackers import check_trackers

    refuse_two_formats(fmt, options.json)
    request = request_of(options)
    label, searched = find_space(space, request.model, request.task.partition("/")[0], options.recipe)
    check_space(searched, request)
    trackers = check_trackers(track)
    if output is not None:
        refuse_existing(output, force)
    plan = _plan(request, searched, sampler or searched.sampler or "tpe", pruner, startup)
    if trials is None and plan.sampler != "grid":
        raise UserError("--trials is missing: say how many; only a grid has an end.")
    journal = storage or _default_journal(options.runs_dir, plan, request)
    with Study(journal, plan, workers) as study:
        wanted = min(count for count in (trials, study.most) if count is not None)
        code = _run(study, request, options, wanted, workers, trackers, self_check)
        found, best = study.trials(), study.best()
    waiting = [trial.number for trial in found if trial.status == "running"]
    recipe = None
    if best is not None and not code and not waiting:
        recipe = output or journal.with_name(f"{journal.stem}-best-of-{len(found)}.yaml")
        _write_best(recipe, plan, found, best, request, options.runs_dir, force=force)
    if options.json:
        document = {"space": label, "storage": str(journal), "recipe": None if recipe is None else str(recipe)}
        document |= {"plan": plan.document(), "best": None if best is None else best.number}
        print_json(document | {"trials": [_as_json(trial) for trial in found]})
    else:
        print_tables([_table(plan, found, best)], fmt)
    if recipe is not None:
        note(f"best recipe: {recipe}")
    if code or waiting:
        note(f"{len(found) - len(waiting)} of {wanted} trials have ended; the same command goes on.")
        raise typer.Exit(code or 1)
    if best is None:
        raise StablebenchError(f"{journal}: no trial finished, so there is no best one.")
    raise typer.Exit(1 if any(trial.status == "failed" for trial in found) else 0)


def _plan(
    request: "RunRequest", space: "SweepSpace", sampler: "Sampler", pruner: "Pruner", startup: int | None
) -> "Plan":
    from stablebench.execution.tuning.study import Plan
    from stablebench.specs.resolve import resolve
    from stablebench.specs.search_space import with_values

    base = resolve(with_values(request, space, {}))
    return Plan(
        space=space,
        metric=base.card.metric,
        base=base.spec.spec_hash(),
        card=base.card.sha256(),
        sampler=sampler,
        pruner=pruner,
        seed=base.spec.seed,
        startup=startup,
    )


def _default_journal(runs_dir: Path, plan: "Plan", request: "RunRequest") -> Path:
    """Return where the journal lies: the same plan finds it again."""
    digest = hashlib.sha256(json.dumps(plan.document(), sort_keys=True).encode()).hexdigest()[:8]
    model, task = request.model.rpartition(":")[2], request.task.replace("/", "-")
    return runs_dir / "sweeps" / f"{task}-{model}-{digest}.journal"


def _run(
    study: "Study",
    request: "RunRequest",
    options: RunOptions,
    wanted: int,
    workers: int,
    track: tuple[str, ...],
    self_check: bool,
) -> int:
    from stablebench.cli.ui.sweep import SweepProgress
    from stablebench.execution.tuning.trials import TrialCallbacks, run_trials
    from stablebench.training.run import ExecutionOptions

    before = study.trials()
    done = sum(trial.status != "running" for trial in before)
    if done == len(before) and done >= wanted:
        return 0
    if ":" in request.model:
        from stablebench.cli.ui.output import note
        from stablebench.specs.resolve import resolve
        from stablebench.specs.search_space import with_values
        from stablebench.training.model_check import check_before_run

        check_before_run(resolve(with_values(request, study.plan.space, {})).spec, note)
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads or 1))  # read when torch starts, in the trials
    with SweepProgress(wanted, done, study.plan.metric, study.best(), options.quiet) as progress:
        return run_trials(
            study,
            request,
            ExecutionOptions(options.runs_dir, options.data_dir, wait=True, track=track, self_check=self_check),
            wanted,
            workers,
            TrialCallbacks(progress.start, progress.update, lambda trial: progress.end(trial, study.best())),
        )


def _write_best(
    path: Path, plan: "Plan", found: "list[Trial]", best: "Trial", request: "RunRequest", runs_dir: Path, *, force: bool
) -> None:
    """Write the best trial's recipe, unless the file has it already."""
    from stablebench.cli.shared.output_file import refuse_existing
    from stablebench.execution.tuning.best import recipe_document, recipe_text
    from stablebench.runs.atomic import write_atomically
    from stablebench.runs.store import RunFolder
    from stablebench.specs.resolve import resolve
    from stablebench.specs.search_space import with_values

    resolved = resolve(with_values(request, plan.space, dict(best.values)))
    record = RunFolder(runs_dir / best.facts["run"]).read_record()
    text = recipe_text(recipe_document(best, resolved, record, plan, found))
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    refuse_existing(path, force)
    write_atomically(path, text.encode())


def _table(plan: "Plan", found: "list[Trial]", best: "Trial | None") -> "Table":
    from stablebench.tables import Table

    keys = list(plan.space.space)
    rows = [
        [
            trial.number,
            *(trial.values.get(key) for key in keys),
            trial.standing,
            max(trial.evaluations, default=None),
            trial.value,
        ]
        for trial in found
    ]
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
