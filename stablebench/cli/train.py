"""Train one model on one task, with live progress, into a run folder."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stablebench.cli.shared.options import RunOptions, SelfCheck, run_options
from stablebench.cli.ui.output import say
from stablebench.training.targets import CONSECUTIVE_EVALUATIONS, beats_baseline, reaches_target

if TYPE_CHECKING:
    from stablebench.specs.resolve import Resolved
    from stablebench.training.run import RunOutcome


@run_options
def train(
    options: RunOptions,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.", metavar="RUN")] = None,
    rerun: Annotated[bool, typer.Option("--rerun", help="Start anew beside a run that has ended.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved run spec and stop.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for another process that is running this run.")] = False,
    force_resume: Annotated[
        bool, typer.Option("--force-resume", help="Resume although engine, device, versions or card differ.")
    ] = False,
    track: Annotated[
        str | None,
        typer.Option(metavar="NAME[,NAME]", help="Also feed trackers with the run's curve: tensorboard, mlflow."),
    ] = None,
    probe: Annotated[
        str | None,
        typer.Option(
            metavar="every=N[,what=NAME,NAME...]",
            help="Measure the network every N updates, into the run's curve: diagnostics, orthogonality, parameters, "
            "gradients, energy (all of these unless `what` is given), jacobian; what=all. Also batch=N, samples=N.",
        ),
    ] = None,
    self_check: SelfCheck = True,
) -> None:
    """Train one model on one task.

    The run folder lies under --runs-dir. A run that has ended is not run again; one that was interrupted goes on.
    --probe changes no number of the run; a resumed run goes on with it. `plot probe` draws what it wrote.
    Exit code 3 means that the run diverged, 129, 130 or 143 that a signal ended it after its checkpoint was written.
    """
    from stablebench.cli.shared.requests import named, request_of
    from stablebench.cli.ui.output import note
    from stablebench.errors import UserError
    from stablebench.runs.progress import reporter
    from stablebench.runs.store import RunFolder
    from stablebench.specs.resolve import resolve
    from stablebench.training import run as session
    from stablebench.training import run_code
    from stablebench.training.trackers import check_trackers

    session.refuse_torchrun()
    if probe is not None:
        from stablebench.training.monitor import MonitorConfig, renamed_measures

        MonitorConfig.parse(probe)  # so that a mistake in it is reported before anything else is done
        if (renamed := renamed_measures(probe)) is not None:
            note(renamed)
    folder = None
    if resume is not None:
        given = [name for name in ("task", "T", "set", "recipe") if getattr(options, name)] + list(named(options))
        given += ["model"] if options.model and ":" not in options.model else []
        if given:
            raise UserError(
                f"--resume goes on with the run's own spec, which {', '.join(given)} would change; leave it out, or "
                "start a new run."
            )
        folder = RunFolder(resume)
        record = folder.read_record()
        runs = bool(options.model) or rerun or not session.has_ended(folder)
        if runs:  # else no code is run
            for line in run_code.name_code(folder, record.spec, options.model, same_packages=not force_resume):
                note(f"resumed with other packages than it began with: {line}")
        resolved = session.resolved_of(record, force_resume, check=runs or ":" not in record.spec.model.name)
    else:
        resolved = resolve(request_of(options))
    if dry_run:
        _print_spec(resolved, options.json)
        return
    how = session.ExecutionOptions(
        options.runs_dir, options.data_dir, rerun=rerun, wait=wait, force=force_resume, folder=folder, probe=probe
    )
    how = replace(how, track=check_trackers(track), self_check=self_check, check_model=True)
    outcome = session.train(resolved, how, reporter(options.quiet))
    _print_outcome(outcome, options)
    raise typer.Exit(outcome.exit_code)


def _print_spec(resolved: "Resolved", as_json: bool) -> None:
    from stablebench.cli.ui.output import print_json

    document = resolved.spec.model_dump(mode="json")
    if as_json:
        print_json({"spec": document, "spec_hash": resolved.spec.spec_hash(), "origin": resolved.origin})
        return
    for key, value in _leaves(document):
        origin = resolved.origin.get(key.replace(".params.", ".", 1), "default")
        say(f"{key:28} {json.dumps(value):24} {origin}".rstrip())
    say(f"{'spec hash':28} {resolved.spec.spec_hash()}")


def _leaves(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _print_outcome(outcome: "RunOutcome", options: RunOptions) -> None:
    from stablebench.cli.ui.output import print_json
    from stablebench.process.signals import SIGNAL_CODES

    record = outcome.record
    if options.json:
        print_json(record.model_dump(mode="json"))
        return
    if options.quiet:
        return
    if not outcome.ran:
        say(f"Already {record.status}: nothing was run (--rerun starts anew beside it).")
    for line in summary_lines(record):
        say(line)
    if record.environment.reproducible is False:
        why = record.environment.irreproducible or "on CUDA without --deterministic"  # older records do not say
        say(f"  {why}: the same spec may give other numbers each time")
    if outcome.exit_code in SIGNAL_CODES:
        say(f"interrupted at step {record.step}; go on with: stablebench train --resume {outcome.folder.path}")
    say(f"run folder {outcome.folder.path}")


def summary_lines(record: Any) -> Iterator[str]:
    """Yield a record's result in a few plain lines."""
    result = record.result
    yield f"{record.status} after {record.step} steps, {record.train_s:.1f} s of training"
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
        return f"{verb} by the test score, but not in {CONSECUTIVE_EVALUATIONS} evaluations running"
    return f"not {verb}"
