"""The statistics of a leaderboard as tables."""

from collections.abc import Sequence
from typing import Any

from stablebench.leaderboard.format import (
    FIVE_SEEDS,
    MEAN_INTERVAL,
    MEDIAN_INTERVAL,
    format_interval,
    format_median_interval,
    format_seeds,
)
from stablebench.leaderboard.pairs import leaders_note, more_seeds_text
from stablebench.schema.leaderboard_statistics import (
    GOALS,
    UNITS,
    Improvement,
    OverallStatistics,
    PairTest,
    Statistics,
    TableStatistics,
    TimeToGoal,
)
from stablebench.stats import MIN_SEEDS
from stablebench.tables import Format, Table
from stablebench.tables import render as render_tables

_UNDECIDED = 10
"""Undecided pairs that are shown."""


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
    columns = ["model", "median", MEDIAN_INTERVAL, "IQM", "mean", MEAN_INTERVAL, "sd", "se", "min", "max", "seeds"]
    rows = [
        [
            row.name,
            row.median,
            format_median_interval(row.median_interval, row.coverage, row.n + row.diverged, row.min, row.max),
            row.iqm,
            row.mean,
            format_interval(row.mean_interval),
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
        notes.append("IQM, mean and sd are of the seeds that did not diverge.")
    minor = ["se", MEAN_INTERVAL, "sd", "IQM", "mean", "min", "max"]
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
            times = [[unit, f"95 % of median {unit}", f"mean {unit}"] for unit in UNITS]
            columns = ["model", "arrived", *(name for names in times for name in names)]
            note = f"Medians; means restricted to {', '.join(f'{h:g}' for h in horizons if h)} steps, seconds likewise."
            tables.append(Table(columns, rows, title=f"{table.task}: time to the {goal}", notes=[note]))
    return tables


def _time(time: TimeToGoal) -> list[str | float | None]:
    """Return the median time, its interval and the mean; of runs that never got there, how long they were followed."""
    if not time.reached:
        return ["never" if time.horizon is None else f"never (> {time.horizon:.4g})", None, None]
    interval = format_interval(time.interval)
    if interval is not None and time.of == MIN_SEEDS:
        interval += FIVE_SEEDS
    return ["never" if time.median is None else time.median, interval, time.restricted_mean]


def _pairs(table: TableStatistics) -> list[Table]:
    """Return the pairs that are decided, and of the others those that the fewest seeds would decide."""
    if not table.pairs:
        return []
    pairs = [(pair.better, pair.worse, pair) for pair in table.pairs]
    return [pair_table(f"{table.task}: pairs", pairs, leaders_note(table), table.equal_within)]


def pair_table(
    title: str,
    pairs: Sequence[tuple[str, str, PairTest | Improvement]],
    leaders: str | None,
    equal_within: float | None = None,
) -> Table:
    """Return what the tests of pairs say: those that are decided, then the undecided ones nearest to it.

    Args:
        title: The table's title.
        pairs: Each with the model that is better more often, and the other.
        leaders: What is said of the models that are not beaten.
        equal_within: How far apart two count as equal; None where that is not asked.
    """
    tested = [(a, b, pair, pair.decision) for a, b, pair in pairs if pair.decision is not None]
    by_verdict: dict[str, list[list[Any]]] = {"better": [], "equal": [], "undecided": []}
    for a, b, pair, decision in sorted(tested, key=lambda one: (one[3].more_seeds is None, one[3].more_seeds or 0)):
        words = more_seeds_text(decision) if decision.verdict == "undecided" else decision.verdict
        if decision.verdict == "equal":
            words += f" within {equal_within:g}"
        by_verdict[decision.verdict].append([a, b, pair.probability, pair.p, pair.p_holm, words])
    counts = {name: len(rows) for name, rows in by_verdict.items()}
    notes = [f"{counts['better']} of {len(tested)} pairs differ at 5 % (two-sided rank test, corrected by Holm)."]
    if equal_within is not None:
        notes.append(
            f"{counts['equal']} are equal within {equal_within:g} at 5 % (two one-sided rank tests, likewise)."
        )
    if len(tested) < len(pairs):
        notes.append(f"Pairs are compared from {MIN_SEEDS} seeds of each on: {len(pairs) - len(tested)} have fewer.")
    if leaders is not None:
        notes.append(leaders)
    if counts["undecided"] > _UNDECIDED:
        notes.append(f"Of {counts['undecided']} undecided pairs the {_UNDECIDED} are shown that take fewest seeds.")
    rows = [*by_verdict["better"], *by_verdict["equal"], *by_verdict["undecided"][:_UNDECIDED]]
    columns = ["model", "other", "P(better)", "p", "p (Holm)", "verdict"]
    return Table(columns, rows, title=title, notes=notes, minor=["p"])


def _overall(overall: OverallStatistics, r_max: float) -> list[Table]:
    if not overall.rows:
        return []
    scores = {(p.unit, p.hardware): {row.name: f"{row.score:.3g}" for row in p.rows} for p in overall.profiles}
    columns = ["model", "mean rank", "95 % of the rank", "IQM", "95 % of the IQM", "median", "runs", "diverged"]
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
        *(
            ["With fewer than 5 seeds there are no intervals."]
            if any(r.rank_interval is None for r in overall.rows)
            else []
        ),
        *left_out_notes(overall),
    ]
    minor = ["runs", "diverged", "median", "95 % of the IQM"]
    tables = [Table(columns, rows, title="Over tasks", notes=notes, minor=minor)]
    pairs = [(pair.name, pair.over, pair) for pair in overall.improvement]
    tables.append(pair_table("Probability of improvement over tasks", pairs, leaders_note(overall)))
    return tables


def left_out_notes(overall: OverallStatistics) -> list[str]:
    """Return what is not part of the comparison over tasks, in words."""
    notes = []
    if overall.left_out.models:
        notes.append(f"Not run on all of these tasks: {', '.join(overall.left_out.models)}.")
    if overall.left_out.tasks:
        notes.append(f"Not run by all of these models: {', '.join(overall.left_out.tasks)}.")
    return notes
