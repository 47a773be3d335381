"""`plot expressivity`: what a cell can do against what its gradient does."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from stablebench.cli.plot.arguments import FigureFile
from stablebench.cli.shared.commands import option
from stablebench.cli.shared.options import DataDir, Force, RunsDir
from stablebench.cli.shared.output_file import refuse_existing_figure
from stablebench.cli.shared.requests import SuiteRunOptions
from stablebench.cli.shared.selection import Selection, SuiteOrRuns, selected_runs
from stablebench.cli.ui.output import note, say_paths

if TYPE_CHECKING:
    from stablebench.schema.measured import Moment


def expressivity(
    *,
    what: SuiteOrRuns = None,
    score: Annotated[
        Literal["scaled", "length"],
        option("Upwards: the scaled accuracy of the test, or the longest length held (`compare --lengths`)."),
    ] = "scaled",
    weights: Annotated[
        Literal["trained", "initial"], option("Whose gradients: of the tested weights, or of those at initialisation.")
    ] = "trained",
    each_task: Annotated[bool, option("Two panels a task in place of means over tasks.", None, "--each-task")] = False,
    asked: SuiteRunOptions,
    data_dir: DataDir = None,
    runs_dir: RunsDir = Path("runs"),
    output: FigureFile = Path("expressivity.png"),
    force: Force = False,
) -> None:
    """Draw the score of each model against its gradient's growth per step, and against its distance from an isometry.

    Gradients are measured at the run's own length, once for each finished run, and kept next to it; `compare --columns
    model,scaled_accuracy,growth_trained,isometry_trained` prints them.

    Examples:
        stablebench plot expressivity state_tracking/core -o expressivity.pdf
        stablebench plot expressivity state_tracking/core --score length --weights initial --each-task
    """
    refuse_existing_figure(output, force)
    selection = selected_runs(what, runs_dir, asked)
    for problem in [*_measured(selection, weights, data_dir), *selection.unreadable.values()]:
        note(f"not in the figure: {problem}")
    from stablebench.report.figures.expressivity import expressivity_plots
    from stablebench.report.figures.panels import save_plots

    records = [record for _, record in selection.records]
    say_paths(save_plots(output, expressivity_plots(records, score, weights, each_task)))


def _measured(selection: Selection, moment: "Moment", data_dir: Path | None) -> list[str]:
    """Measure what has not been measured yet of finished runs; return why some could not be."""
    from stablebench.cli.shared.requests import name_code
    from stablebench.errors import StablebenchError
    from stablebench.process.settings import prepare_process
    from stablebench.runs.store import RunFolder

    problems = []
    for path, record in selection.records:
        known = record.measured is not None and moment in record.measured.gradients
        if record.status != "finished" or known:
            continue
        prepare_process(record.spec.threads, "float64")
        from stablebench.training.measured_gradients import measure_gradients

        folder = RunFolder(path)
        try:
            name_code(folder, record, None)
            record.take_measured(measure_gradients(folder, record, moment, data_dir))
        except StablebenchError as error:
            problems.append(str(error))
    return problems
