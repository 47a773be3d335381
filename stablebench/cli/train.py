"""Train one model on one task, with live progress, into a run folder."""

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stablebench.cli.shared import completion, options
from stablebench.cli.shared.commands import option
from stablebench.cli.shared.requests import RunOptions, origin_text, request_of, spec_values
from stablebench.cli.ui.output import note, say
from stablebench.data.metrics import beats_baseline, reaches_target
from stablebench.registry import task_parts
from stablebench.schema.dotted import dotted
from stablebench.training.targets import CONSECUTIVE_EVALUATIONS

if TYPE_CHECKING:
    from stablebench.specs.request import Resolved
    from stablebench.training.run import RunOutcome


def train(
    *,
    asked: RunOptions,
    data_dir: options.DataDir = None,
    output: options.OutputOptions,
    resume: Annotated[
        str | None,
        option(
            "Resume this run, or last; with --steps a finished one goes on for longer.",
            metavar="RUN",
            autocompletion=completion.runs,
        ),
    ] = None,
    rerun: Annotated[bool, option("Run again even if a finished run exists.", None, "--rerun")] = False,
    dry_run: Annotated[bool, option("Print the resolved run spec and stop.", None, "--dry-run")] = False,
    wait: Annotated[bool, option("Wait for another process that is running this run.", None, "--wait")] = False,
    force_resume: Annotated[
        bool, option("Resume although engine, device, versions or card differ.", None, "--force-resume")
    ] = False,
    probe: Annotated[
        str | None,
        option(
            "Measure the network every N updates, into the run's curve: diagnostics, orthogonality, parameters, "
            "gradients, energy (all of these unless `what` is given), jacobian; what=all. Also batch=N, samples=N.",
            metavar="every=N[,what=NAME,NAME...]",
        ),
    ] = None,
    track: options.Track = None,
    self_check: options.SelfCheck = True,
) -> None:
    """Train one model on one task.

    The run folder lies under --runs-dir. A finished run is not run again, an interrupted one is resumed. --probe
    changes no number of the run and is kept when it is resumed; `plot probe` draws its measurements. Exit code 3 means
    that the run diverged (its loss, gradient or weights are no longer finite), 129, 130 or 143 that a signal ended it
    after its checkpoint was written.

    Examples:
        stablebench train --model roarnn --task copy/t100 --steps 2000 --set model.rho=0.5
        stablebench train --model my_cell.py:MyCell --task digits --seed 3 --dry-run
        stablebench train --resume last --steps 5000
    """
    from stablebench.cli.ui.progress import reporter
    from stablebench.errors import UserError
    from stablebench.runs.run_paths import run_folder
    from stablebench.specs.resolve import resolve
    from stablebench.training import run as session
    from stablebench.training.resumed_run import resumed
    from stablebench.training.trackers import check_trackers

    session.refuse_torchrun()
    if probe is not None:
        from stablebench.training.monitor import MonitorConfig, renamed_measures

        MonitorConfig.parse(probe)  # so that a mistake in it is reported before anything else is done
        if (renamed := renamed_measures(probe)) is not None:
            note(renamed)
    folder = None
    if resume is not None:
        model = asked.model
        own_task = asked.task if asked.task and task_parts(asked.task)[2] else None
        others = {"task": None if own_task else asked.task, "T": asked.T, "set": asked.settings, "recipe": asked.recipe}
        given = [name for name, value in others.items() if value is not None]
        given += [key for key in spec_values(asked) if key != "train.steps"]
        given += ["model"] if model and ":" not in model else []
        if given:
            raise UserError(
                f"--resume continues with the run's own spec, which {', '.join(given)} would change; leave it out, or "
                "start a new run."
            )
        resolved, folder = resumed(
            run_folder(resume, output.runs_dir),
            model=model,
            task=own_task,
            steps=asked.steps,
            rerun=rerun,
            force=force_resume,
            begins=not dry_run,
            note=note,
        )
    else:
        resolved = resolve(request_of(asked))
    if dry_run:
        _print_spec(resolved, output.as_json)
        return
    execution = session.ExecutionOptions(
        output.runs_dir,
        data_dir,
        rerun=rerun,
        wait=wait,
        force=force_resume,
        folder=folder,
        probe=probe,
        track=check_trackers(",".join(track or ())),
        self_check=self_check,
        check_model=True,
    )
    outcome = session.train(resolved, execution, reporter(output.quiet))
    _print_outcome(outcome, output)
    raise typer.Exit(outcome.exit_code)


def _print_spec(resolved: "Resolved", as_json: bool) -> None:
    from stablebench.cli.ui.output import print_json

    document = resolved.spec.model_dump(mode="json")
    if as_json:
        print_json({"spec": document, "spec_hash": resolved.spec.spec_hash(), "origin": resolved.origin})
        return
    for key, value in dotted(document).items():
        origin = resolved.origin.get(key.replace(".params.", ".", 1), "default")
        say(f"{key:28} {json.dumps(value):24} {origin_text(key, origin, value)}")
    say(f"{'spec hash':28} {resolved.spec.spec_hash()}")


def _print_outcome(outcome: "RunOutcome", output: options.OutputOptions) -> None:
    from stablebench.cli.ui.output import print_json
    from stablebench.process.signals import SIGNAL_CODES

    record = outcome.record
    if output.as_json:
        print_json(record.model_dump(mode="json"))
        return
    if output.quiet:
        return
    if not outcome.ran:
        say(f"Already {record.status}: nothing was run (--rerun runs it again).")
        if not outcome.folder.checkpoints():
            say(f"  {outcome.folder.why_no_weights()}")
    for line in summary_lines(record):
        say(line)
    if record.environment.reproducible is False:
        why = record.environment.irreproducible or "on CUDA without --deterministic"  # older records do not say
        say(f"  {why}: the same spec may give other numbers each time")
    if outcome.exit_code in SIGNAL_CODES and record.status != "interrupted":
        say(f"a signal came as it ended: it is {record.status}, the exit code is the signal's")
    elif outcome.exit_code in SIGNAL_CODES:
        say(f"interrupted at step {record.step}; resume it with: stablebench train --resume {outcome.folder.path}")
    say(f"run folder {outcome.folder.path}")


def summary_lines(record: Any) -> Iterator[str]:
    """Yield a record's result in a few plain lines."""
    result = record.result
    yield f"{record.status} after {record.step} steps, {record.train_s:.1f} s of training"
    yield from (f"  extended: {note}" for note in record.extended)
    if record.error:
        yield f"  {record.error}"
    if result.test is not None:
        tested = "" if result.tested == "last" else f" (weights of step {result.tested_step}, best on validation)"
        yield "  test " + ", ".join(f"{name} {value:.4g}" for name, value in result.test.items()) + tested
    tests = result.test or {}
    if record.baseline is not None:
        passes = beats_baseline(record.metric, record.baseline)
        reached = _arrival("beaten", result.steps_to_baseline, tests.get(record.metric), passes)
        yield f"  baseline {record.metric} {record.baseline:.4g}: {reached}"
    if record.target is not None:
        passes = reaches_target(record.target_metric, record.target)
        reached = _arrival("reached", result.steps_to_target, tests.get(record.target_metric), passes)
        yield f"  target {record.target_metric} {record.target:.4g}: {reached}"


def _arrival(verb: str, step: int | None, tested: float | None, passes: Callable[[float], bool]) -> str:
    if step is not None:
        return f"{verb} at step {step}"
    if tested is not None and passes(tested):
        return f"{verb} by the test score, but not in {CONSECUTIVE_EVALUATIONS} consecutive evaluations"
    return f"not {verb}"
