"""Run a run's first updates again and say whether they are equal bit for bit, or where they part."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stablebench.cli.shared.options import DataDir
from stablebench.cli.ui.output import say
from stablebench.visible import visible

if TYPE_CHECKING:
    from stablebench.training.verify import Verdict

_SHOWN = 5
"""Differences that are listed."""


def verify(
    run: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    steps: Annotated[
        int, typer.Option(metavar="N", help="Updates to run again; at most as many as the run made.", min=1)
    ] = 100,
    model: Annotated[
        str | None, typer.Option(metavar="FILE.py:CLASS", help="A run's own model; its code runs only if named here.")
    ] = None,
    data_dir: DataDir = None,
    force: Annotated[bool, typer.Option("--force", help="Verify although the task's card changed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing while running.")] = False,
) -> None:
    """Run a run's first updates again and compare them with what it left.

    Compared bit for bit are the losses and evaluations of its curve, the tensors of its checkpoints up to there, and,
    if the run had ended by then, its result. The run is not changed. Exit code 0 if all is equal, 1 if not.
    """
    from stablebench.cli.shared.requests import name_code
    from stablebench.cli.ui.output import print_json
    from stablebench.process.settings import prepare_process
    from stablebench.runs.progress import reporter
    from stablebench.runs.store import RunFolder
    from stablebench.training import run as session

    folder = RunFolder(run)
    record = folder.read_record()
    name_code(folder, record, model)
    resolved = session.resolved_of(record, force, "--force")
    prepare_process(record.spec.threads, record.spec.precision, record.spec.deterministic)
    from stablebench.training import verify as verification

    told = reporter(quiet)
    verdict = verification.verify(resolved, record, folder, steps, data_dir=data_dir, reporter=told)
    if as_json:
        print_json(verdict.document())
    else:
        _print(verdict)
    raise typer.Exit(0 if verdict.is_equal else 1)


def _print(verdict: "Verdict") -> None:
    checked = [f"{verdict.lines} line{'' if verdict.lines == 1 else 's'} of the curve"]
    if verdict.checkpoints:
        checked.append(f"the checkpoints of step {', '.join(map(str, verdict.checkpoints))}")
    if verdict.result:
        checked.append("the result")
    say(f"{'equal' if verdict.is_equal else 'not equal'}: {verdict.steps} updates run again; compared bit for bit:")
    say(f"  {', '.join(checked)}")
    for line in verdict.differences[:_SHOWN]:
        say(f"  parts at {visible(line)}")
    if len(verdict.differences) > _SHOWN:
        say(f"  and in {len(verdict.differences) - _SHOWN} more places; --json has them all")
    for line in verdict.environment:
        say(f"  the environment is not as it was: {visible(line)}")
    if not verdict.is_equal and not verdict.promised:
        say(f"  equal numbers were not promised: {verdict.cause}")
    if not verdict.checkpoints and not verdict.result:
        say("  no checkpoint lies within these updates: more --steps would reach one")
