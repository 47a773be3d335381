"""`plot curves`, `plot time-to-target`, `plot profiles` and `plot pairs`: figures for papers from stored runs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from stablebench.cli.plot.arguments import FigureFile
from stablebench.cli.shared.commands import option
from stablebench.cli.shared.options import Force, RunsDir
from stablebench.cli.shared.output_file import refuse_existing_figure
from stablebench.cli.shared.requests import SuiteRunOptions
from stablebench.cli.shared.selection import Selection, SuiteOrRuns, selected_runs
from stablebench.cli.ui.output import note, say_paths

if TYPE_CHECKING:
    from stablebench.report.figures.panels import Plot


def curves(
    *,
    what: SuiteOrRuns = None,
    metric: Annotated[str | None, option("The metric (default: each task's own).", metavar="NAME")] = None,
    log: Annotated[
        bool | None,
        option("A logarithmic or linear vertical axis (default: logarithmic for losses).", None, "--log/--linear"),
    ] = None,
    asked: SuiteRunOptions,
    runs_dir: RunsDir = Path("runs"),
    output: FigureFile = Path("curves.png"),
    force: Force = False,
) -> None:
    """Draw learning curves on validation examples: median over seeds, and a band from the lowest to the highest.

    A suite's runs are named by the options that `compare` ran them with.

    Examples:
        stablebench plot curves quick --linear -o curves.pdf
        stablebench plot curves copy/roarnn copy/lstm --metric accuracy -o copy.svg
    """
    from stablebench.data.metrics import METRICS
    from stablebench.errors import unknown_name
    from stablebench.report.figures.leaderboard import curve_plots

    if metric is not None and metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    refuse_existing_figure(output, force)
    _draw(output, selected_runs(what, runs_dir, asked), curve_plots, metric, log)


def length(
    *,
    what: SuiteOrRuns = None,
    asked: SuiteRunOptions,
    runs_dir: RunsDir = Path("runs"),
    output: FigureFile = Path("length.png"),
    force: Force = False,
) -> None:
    """Draw accuracy over the length of test examples: median over seeds, and a band from the lowest to the highest.

    The lengths are those that `compare --lengths`, or the suite's `lengths`, scored the runs at. Lengths trained on are
    shaded; the dashed line is guessing.

    Examples:
        stablebench plot length state_tracking/core -o length.pdf
        stablebench plot length parity/lstm parity/lru
    """
    from stablebench.report.figures.lengths import length_plots

    refuse_existing_figure(output, force)
    _draw(output, selected_runs(what, runs_dir, asked), length_plots)


def time_to_target(
    *,
    what: SuiteOrRuns = None,
    goal: Annotated[Literal["target", "baseline"], option("What is to be reached.")] = "target",
    unit: Annotated[Literal["steps", "seconds"], option("Unit of time.")] = "steps",
    asked: SuiteRunOptions,
    runs_dir: RunsDir = Path("runs"),
    output: FigureFile = Path("time-to-target.png"),
    force: Force = False,
) -> None:
    """Draw the share of runs that reached the goal, by Kaplan and Meier; runs that never do are censored.

    A suite's runs are named by the options that `compare` ran them with.

    Example:
        stablebench plot time-to-target --model rnn,roarnn --task copy --seeds 5 --goal baseline
    """
    from stablebench.report.figures.leaderboard import arrival_plots

    refuse_existing_figure(output, force)
    _draw(output, selected_runs(what, runs_dir, asked), arrival_plots, goal, unit)


def profiles(
    *,
    what: SuiteOrRuns = None,
    asked: SuiteRunOptions,
    runs_dir: RunsDir = Path("runs"),
    output: FigureFile = Path("profiles.png"),
    force: Force = False,
) -> None:
    """Draw performance profiles over tasks, in steps, samples and, within one class of hardware, seconds.

    A suite's runs are named by the options that `compare` ran them with.

    Example:
        stablebench plot profiles quick -o profiles.svg
    """
    from stablebench.report.figures.leaderboard import profile_plots

    refuse_existing_figure(output, force)
    _draw(output, selected_runs(what, runs_dir, asked), profile_plots)


def pairs(
    *,
    what: SuiteOrRuns = None,
    asked: SuiteRunOptions,
    runs_dir: RunsDir = Path("runs"),
    output: FigureFile = Path("pairs.png"),
    force: Force = False,
) -> None:
    """Draw how often a run of one model beats a run of another, for every pair; from five seeds of each on.

    What a rank test decides at 5 % for all pairs together is bold. A suite's runs are named by the options that
    `compare` ran them with.

    Example:
        stablebench plot pairs --model rnn,roarnn,lstm --task copy --seeds 5 -o pairs.pdf
    """
    from stablebench.report.figures.leaderboard import matrices
    from stablebench.report.figures.matrix import save_matrices

    refuse_existing_figure(output, force)
    selection = selected_runs(what, runs_dir, asked)
    say_paths(save_matrices(output, matrices([record for _, record in selection.records])))
    for problem in selection.unreadable.values():
        note(f"not in the figure: {problem}")


def _draw(output: Path, selection: Selection, plots_of: "Callable[..., list[Plot]]", *how: str | bool | None) -> None:
    """Write the figure of the selected runs; `how` are further arguments of `plots_of`."""
    from stablebench.report.figures.panels import save_plots

    say_paths(save_plots(output, plots_of([record for _, record in selection.records], *how)))
    for problem in selection.unreadable.values():
        note(f"not in the figure: {problem}")
