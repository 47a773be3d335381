"""`plot curves`, `plot time-to-target` and `plot profiles`: figures for papers from stored runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stablebench.cli.shared.suite_options import SuiteOptions, suite_options
from stablebench.cli.ui.output import note, say_paths

if TYPE_CHECKING:
    from stablebench.report.figures.panels import Plot

_What = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SUITE|RUNS", help="A suite or a file of one, or folders of runs; all of --runs-dir unless said."
    ),
]
_Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="Where: .png, .svg or .pdf; the numbers as .csv too.")
]


@suite_options
def curves(
    options: SuiteOptions,
    what: _What = None,
    output: _Output = Path("curves.png"),
    metric: Annotated[str | None, typer.Option(help="Which metric; each task's own unless said.")] = None,
    log: Annotated[bool, typer.Option("--log", help="A logarithmic vertical axis.")] = False,
) -> None:
    """Draw learning curves on validation examples: median over seeds, and a band from the lowest to the highest."""
    from stablebench.cli.shared.selection import selected_runs
    from stablebench.data.metrics import METRICS
    from stablebench.errors import unknown_name
    from stablebench.report.figures.leaderboard import curve_plots

    _check(output)
    if metric is not None and metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    found = selected_runs(what or [], options)
    _write(output, curve_plots([record for _, record in found.records], metric, log), found.unreadable)


@suite_options
def time_to_target(
    options: SuiteOptions,
    what: _What = None,
    output: _Output = Path("time-to-target.png"),
    goal: Annotated[Literal["target", "baseline"], typer.Option(help="Where to.")] = "target",
    unit: Annotated[Literal["steps", "seconds"], typer.Option(help="In what.")] = "steps",
) -> None:
    """Draw the share of runs that has arrived, by Kaplan and Meier; runs that never arrive are censored."""
    from stablebench.cli.shared.selection import selected_runs
    from stablebench.report.figures.leaderboard import arrival_plots

    _check(output)
    found = selected_runs(what or [], options)
    _write(output, arrival_plots([record for _, record in found.records], goal, unit), found.unreadable)


@suite_options
def profiles(options: SuiteOptions, what: _What = None, output: _Output = Path("profiles.png")) -> None:
    """Draw performance profiles over tasks, in steps, samples and, within one class of hardware, seconds."""
    from stablebench.cli.shared.selection import selected_runs
    from stablebench.report.figures.leaderboard import profile_plots

    _check(output)
    found = selected_runs(what or [], options)
    _write(output, profile_plots([record for _, record in found.records]), found.unreadable)


def _check(output: Path) -> None:
    from stablebench.report.figures.style import check_figure_path

    check_figure_path(output, "--output")


def _write(output: Path, plots: "list[Plot]", unreadable: dict[str, str]) -> None:
    from stablebench.report.figures.panels import save_plots

    say_paths(save_plots(output, plots))
    for problem in unreadable.values():
        note(f"not in the figure: {problem}")
