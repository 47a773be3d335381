"""Re-run a run's first updates and report where they differ."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stablebench.cli.shared.commands import option
from stablebench.cli.shared.options import DataDir, OwnModel, OwnTask, PrintedText, Quiet, RunName, RunsDir
from stablebench.cli.shared.text import counted
from stablebench.cli.ui.output import say
from stablebench.visible import visible

if TYPE_CHECKING:
    from stablebench.training.verify import Verdict

_MAX_LISTED = 5
"""Differences that are listed."""


def verify(
    *,
    run: RunName,
    steps: Annotated[int, option("Updates to run again; at most as many as the run made.", metavar="N", min=1)] = 100,
    force: Annotated[
        bool, option("Verify although the task's card changed.", None, "--force-verify", earlier=["--force"])
    ] = False,
    model: OwnModel = None,
    task: OwnTask = None,
    data_dir: DataDir = None,
    runs_dir: RunsDir = Path("runs"),
    printed: PrintedText,
    quiet: Quiet = False,
) -> None:
    """Re-run a run's first updates and report where they differ.

    Compared bit for bit are the losses and evaluations of its curve, the tensors of its checkpoints up to there, and,
    if the run had ended by then, its result. The run is not changed. Exit code 0 if all are equal, 1 if not.

    Examples:
        stablebench verify runs/copy/roarnn/RUN --steps 50
        stablebench verify copy/roarnn/last --json
    """
    from stablebench.cli.shared.requests import name_code
    from stablebench.cli.ui.output import print_json
    from stablebench.cli.ui.progress import reporter
    from stablebench.runs.run_paths import run_folder

    folder = run_folder(run, runs_dir)
    record = folder.read_record()
    from stablebench.process.settings import prepare_process
    from stablebench.training import run as session

    name_code(folder, record, model, task)
    resolved = session.resolved_of(record, force, "--force-verify")
    prepare_process(record.spec.threads, record.spec.precision, record.spec.deterministic)
    from stablebench.training import verify as verification

    verdict = verification.verify(resolved, record, folder, steps, data_dir=data_dir, reporter=reporter(quiet))
    if printed.as_json:
        print_json(verdict.document())
    else:
        _print(verdict)
    raise typer.Exit(0 if verdict.is_equal else 1)


def _print(verdict: "Verdict") -> None:
    checked = [f"{counted(verdict.lines, 'line')} of the curve"]
    if verdict.checkpoints:
        checked.append(f"the checkpoints of step {', '.join(map(str, verdict.checkpoints))}")
    if verdict.result:
        checked.append("the result")
    say(f"{'equal' if verdict.is_equal else 'not equal'}: {verdict.steps} updates run again; compared bit for bit:")
    say(f"  {', '.join(checked)}")
    for line in verdict.differences[:_MAX_LISTED]:
        say(f"  differs at {visible(line)}")
    if len(verdict.differences) > _MAX_LISTED:
        say(f"  and in {len(verdict.differences) - _MAX_LISTED} more places; --json has them all")
    for line in verdict.environment:
        say(f"  the environment is not as it was: {visible(line)}")
    if not verdict.is_equal and not verdict.promised:
        say(f"  equal numbers were not promised: {verdict.cause}")
    if not verdict.checkpoints and not verdict.result:
        say("  no checkpoint lies within these updates: more --steps would reach one")
