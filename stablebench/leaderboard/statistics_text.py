"""The statistics of a leaderboard as tables."""

from stablebench.leaderboard.format import format_interval, format_seeds
from stablebench.schema.leaderboard_statistics import GOALS, OverallStatistics, Statistics, TableStatistics, TimeToGoal
from stablebench.tables import Format, Table
from stablebench.tables import render as render_tables

_LEVEL = 0.05


def render_statistics(statistics: Statistics, fmt: Format = "table") -> str:
    """Return the statistics of a leaderboard as text.

    Args:
        statistics: The statistics.
        fmt: The format.
    """
    return render_tables(statistics_tables(statistics), fmt)


def statistics_tables(statistics: Statistics) -> list[Table]:
    """Return one table of scores, one of times to a goal and one of pairs per task, then those over tasks."""
    tables = []
    for table in statistics.tables:
        tables += [_scores(table), *_times(table), *_pairs(table)]
    return tables + _overall(statistics.overall, statistics.r_max)


def _scores(table: TableStatistics) -> Table:
    columns = ["model", "IQM", "95 %", "median", "95 % of the median", "mean", "sd", "se", "min", "max", "seeds"]
    rows = [
        [
            row.name,
            row.iqm,
            format_interval(row.iqm_interval),
            row.median,
            format_interval(row.median_interval),
            row.mean,
            row.standard_deviation,
            row.standard_error,
            row.min,
            row.max,
            format_seeds(row.n, row.diverged),
        ]
        for row in table.rows
    ]
    notes = []
    if any(row.diverged for row in table.rows):
        notes.append("IQM, median, mean and sd are of the seeds that did not diverge.")
    minor = ["se", "95 % of the median", "sd", "mean", "min", "max"]
    return Table(columns, rows, title=f"{table.task}: {table.metric}", notes=notes, minor=minor)


def _times(table: TableStatistics) -> list[Table]:
    """Return the goals that any run got to."""
    tables = []
    for goal in GOALS:
        rows, horizons, reached = [], set(), 0
        for row in table.rows:
            steps, seconds = row.time_to(goal, "steps"), row.time_to(goal, "seconds")
            if steps is not None and seconds is not None:
                rows.append([row.name, f"{steps.reached}/{steps.of}", *_time(steps), *_time(seconds)])
                horizons.add(steps.horizon)
                reached += steps.reached
        if reached:
            columns = ["model", "arrived", "steps", "95 % of steps", "seconds", "95 % of seconds"]
            note = f"Means restricted to {', '.join(f'{h:g}' for h in horizons if h)} steps; seconds likewise."
            tables.append(Table(columns, rows, title=f"{table.task}: time to the {goal}", notes=[note]))
    return tables


def _time(time: TimeToGoal) -> list[str | float | None]:
    """Return the mean time and its interval; of runs that never got there, how long they were followed."""
    if not time.reached:
        return ["never" if time.horizon is None else f"never (> {time.horizon:.4g})", None]
    return [time.restricted_mean, format_interval(time.interval)]


def _pairs(table: TableStatistics) -> list[Table]:
    """Return the pairs that differ at 5 % after correction; a note counts them."""
    pairs = table.pairs
    if not pairs:
        return []
    significant = [pair for pair in pairs if pair.p_holm <= _LEVEL]
    notes = [f"{len(significant)} of {len(pairs)} pairs differ at 5 % (two-sided rank test, corrected by Holm)."]
    if table.smallest_p_holm is not None and table.smallest_p_holm > _LEVEL:
        notes.append(f"With so few seeds the first pair's corrected p cannot fall below {table.smallest_p_holm:.2g}.")
    rows = [[pair.better, pair.worse, pair.probability, pair.p, pair.p_holm] for pair in significant]
    columns = ["better", "worse", "P(better)", "p", "p (Holm)"]
    return [Table(columns, rows, title=f"{table.task}: pairs", notes=notes)]


def _overall(overall: OverallStatistics, r_max: float) -> list[Table]:
    if not overall.rows:
        return []
    scores = {(p.unit, p.hardware): {row.name: f"{row.score:.3g}" for row in p.rows} for p in overall.profiles}
    columns = ["model", "mean rank", "95 % of the rank", "IQM", "95 %", "median", "runs", "diverged"]
    many = sum(unit == "seconds" for unit, _ in scores) > 1
    columns += [f"profile, {unit}" + (f" ({where})" if many and where else "") for unit, where in scores]
    rows = [
        [
            row.name,
            row.rank,
            format_interval(row.rank_interval),
            row.iqm,
            format_interval(row.iqm_interval),
            row.median,
            row.runs,
            row.diverged,
            *(by_name.get(row.name) for by_name in scores.values()),
        ]
        for row in overall.rows
    ]
    notes = [
        f"Over {', '.join(overall.tasks)}.",
        "IQM and median are of normalised scores: 0 needs no learning, 1 is perfect, a diverged run counts 0.",
        f"Profile: mean over 1 <= tau <= {r_max:g} of the share of tasks whose target a model reaches within tau times "
        "the fastest model's time.",
        *left_out_notes(overall),
    ]
    minor = ["runs", "diverged", "median", "95 %"]
    tables = [Table(columns, rows, title="Over tasks", notes=notes, minor=minor)]
    better = [pair for pair in overall.improvement if pair.interval is not None and pair.interval[0] > 0.5]
    lines = [[pair.name, pair.over, pair.probability, format_interval(pair.interval)] for pair in better]
    note = f"The interval of {len(better)} of {len(overall.improvement)} pairs lies above 1/2."
    tables.append(
        Table(["model", "better than", "P(better)", "95 %"], lines, title="Probability of improvement", notes=[note])
    )
    return tables


def left_out_notes(overall: OverallStatistics) -> list[str]:
    """Return what is not part of the comparison over tasks, in words."""
    notes = []
    if overall.left_out.models:
        notes.append(f"Not run on all of these tasks: {', '.join(overall.left_out.models)}.")
    if overall.left_out.tasks:
        notes.append(f"Not run by all of these models: {', '.join(overall.left_out.tasks)}.")
    return notes
