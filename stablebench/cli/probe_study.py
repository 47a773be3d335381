"""Do probes predict? Every probe at the start of each stored run, held against how the run ended."""

from pathlib import Path
from typing import Annotated

import typer

from stablebench.cli.shared import options
from stablebench.cli.shared.commands import RUNTIME, option
from stablebench.cli.shared.requests import SuiteRunOptions, name_code
from stablebench.cli.shared.selection import SuiteOrRuns, selected_runs
from stablebench.cli.ui.output import note

_MAX_NOTES = 20
"""Reasons why runs are left out that are listed."""


def probe_study(
    *,
    what: SuiteOrRuns = None,
    asked: SuiteRunOptions,
    runs_dir: options.RunsDir = Path("runs"),
    data_dir: options.DataDir = None,
    early: Annotated[
        float, option("Also measure after this part of the updates, which are made again.", metavar="X")
    ] = 0.05,
    examples: Annotated[int, option("Validation examples of the gradient.", metavar="N", min=1)] = 8,
    length: Annotated[
        int | None,
        option("Probe at another length of the task than in training.", None, "--probe-T", metavar="N", min=1),
    ] = None,
    max_state: Annotated[
        int,
        option(
            "Leave singular values and Lyapunov exponents out of networks whose states are wider.", metavar="N", min=1
        ),
    ] = 1024,
    workers: Annotated[
        int | None, option("Runs measured at once (default: the cores).", RUNTIME, metavar="N", min=1)
    ] = None,
    printed: options.PrintedTables,
    quiet: options.Quiet = False,
) -> None:
    """Say which probes tell, before or early in training, how runs end: over all finished runs of a suite or folder.

    Each run's network is built again and probed at initialisation, and once more after 5 % of its updates: gradient
    flow, Jacobian, Lyapunov exponents, sensitivity, learnability, curvature, dimension and Schur ablation. By task and
    probe: the rank correlation with the final score and with the updates to the target, and how well the rank of a
    model that is left out is predicted. What is measured is stored in the runs' folders and not measured twice.

    Examples:
        stablebench probe-study core --recipes core
        stablebench probe-study runs/copy --early 0.1 --json
    """
    from stablebench.errors import UserError

    if not 0 < early < 1:
        raise UserError(f"`--early` must lie between 0 and 1, the part of the updates, got {early}.")
    selection = selected_runs(what, runs_dir, asked)
    from stablebench.cli.ui.output import print_json, print_tables
    from stablebench.execution.probe_study.many_runs import measure_all
    from stablebench.execution.probe_study.one_run import StudyOptions
    from stablebench.execution.probe_study.study import WholeStudy
    from stablebench.execution.probe_study.tables import study_tables
    from stablebench.leaderboard.row import ENDED

    ended = [(path, record) for path, record in selection.records if record.status in ENDED]
    if not ended:
        raise UserError(f"{selection.name}: no run has ended; there is nothing to predict.")
    options_ = StudyOptions(early, examples, length, data_dir, max_state)
    probes, left_out = measure_all(ended, options_, workers, None if quiet else note, name_code)
    whole = WholeStudy.of(probes, options_, left_out)
    if printed.as_json:
        print_json(whole.document())
    else:
        print_tables(study_tables(whole.tasks, early), printed.fmt)
    for gap in whole.gaps:
        note(str(gap))
    reasons: dict[str, list[str]] = {}
    for where, why in left_out.items():
        reasons.setdefault(why, []).append(where)
    for why, runs in list(reasons.items())[:_MAX_NOTES]:
        others = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        note(f"left out: {runs[0]}{others}: {why}")
    raise typer.Exit(1 if left_out and not probes else 0)
