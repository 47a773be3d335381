"""What the figures for papers show: learning curves, times to the target, performance profiles, pairs of models."""

from collections.abc import Sequence

from stablebench import leaderboard
from stablebench.data.metrics import higher_is_better
from stablebench.errors import UserError
from stablebench.report.figures.curves import arrivals_line, band_of, learning_curve, profile_lines
from stablebench.report.figures.matrix import Matrix
from stablebench.report.figures.panels import Plot
from stablebench.schema.leaderboard_statistics import Goal, Improvement, PairTest, Unit
from stablebench.schema.run_record import RunRecord

_POINTS = 500


def curve_plots(records: Sequence[RunRecord], metric: str | None = None, log_y: bool | None = None) -> list[Plot]:
    """Return one panel a task: median over seeds and the band from the lowest to the highest, on validation examples.

    Args:
        records: The runs.
        metric: What to draw; None for each task's own.
        log_y: Whether the vertical axis is logarithmic; None where lower is better, as on the report's page.

    Raises:
        UserError: No run has the metric.
    """
    counting = leaderboard.latest(records)
    by_row = leaderboard.by_row(counting)
    plots = []
    for table in leaderboard.build("", counting, lambda name: None).tables:
        drawn = metric or table.metric
        lines = []
        for row in table.rows:
            runs = by_row[row.key]
            ended = [run.status == "finished" for run in runs]
            lines.append(band_of(row.name, [learning_curve(run, drawn) for run in runs], _POINTS, ended))
        lines = [line for line in lines if line is not None]
        if lines:
            level = table.baseline if drawn == table.metric else None
            log = not higher_is_better(drawn) if log_y is None else log_y
            plots.append(Plot(table.task, "updates", f"validation {drawn}", lines, log_y=log, level=level))
    if not plots:
        raise UserError(f"No run has values of {metric or 'its metric'} on validation examples.")
    return plots


def arrival_plots(records: Sequence[RunRecord], goal: Goal, unit: Unit) -> list[Plot]:
    """Return one panel a task: the share of runs that has arrived, by Kaplan and Meier.

    Args:
        records: The runs.
        goal: `baseline` or `target`.
        unit: `steps` or `seconds`.

    Raises:
        UserError: No run arrived.
    """
    board = leaderboard.build("", records, lambda name: None)
    plots = []
    for table in leaderboard.statistics(board).tables:
        lines = [arrivals_line(row.name, row.time_to(goal, unit)) for row in table.rows]
        lines = [line for line in lines if line is not None]
        if any(max(line.y) > 0 for line in lines):
            label = "updates" if unit == "steps" else "seconds of training"
            plots.append(Plot(f"{table.task}: {goal}", label, "share of runs that arrived", lines))
    if not plots:
        raise UserError(f"No run got to its {goal}, so there is no time to draw.")
    return plots


def profile_plots(records: Sequence[RunRecord]) -> list[Plot]:
    """Return one panel a unit: the share of tasks solved within tau times the fastest model's time.

    Args:
        records: The runs.

    Raises:
        UserError: No target was reached by models that can be compared.
    """
    overall = leaderboard.statistics(leaderboard.build("", records, lambda name: None)).overall
    plots = []
    for profile in overall.profiles:
        if lines := profile_lines(profile):
            where = f" ({profile.hardware})" if profile.hardware else ""
            title = f"{profile.unit} to the target{where}, {profile.tasks} tasks"
            plots.append(Plot(title, "tau", "share of tasks", lines))
    if not plots:
        raise UserError("No task's target was reached by two models that ran the same tasks: there is no profile.")
    return plots


def matrices(records: Sequence[RunRecord]) -> list[Matrix]:
    """Return one matrix a task, and one over tasks: how often a run of a row's model beats one of a column's.

    Args:
        records: The runs.

    Raises:
        UserError: No two models have five seeds on a task.
    """
    statistics = leaderboard.statistics(leaderboard.build("", records, lambda name: None))
    overall = statistics.overall
    named: list[tuple[str, list[str], Sequence[PairTest | Improvement]]] = [
        *((part.task, [row.name for row in part.rows], part.pairs) for part in statistics.tables),
        ("over tasks", [row.name for row in overall.rows], overall.improvement),
    ]
    tested = [(title, names, pairs) for title, names, pairs in named if any(p.decision is not None for p in pairs)]
    if not tested:
        raise UserError("No two models have five seeds each on a task: there is no pair to compare.")
    return [Matrix(title, names, leaderboard.matrix_of(names, pairs)) for title, names, pairs in tested]
