"""What a leaderboard supports: intervals, times to a goal, profiles, ranks, and which model is better than which.

A pure function of the leaderboard. Per task every row is described and every pair of rows tested; over tasks, models
are compared on as many tasks as they have in common (`_shared`), of those whose rows had equal budgets. Of one task
an interval is that of the median, from order statistics; over tasks it is a bootstrap interval, seeds resampled
within model and task. Below five seeds there is none.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stablebench import stats
from stablebench.data.metrics import clipped, higher_is_better
from stablebench.leaderboard.normalise import normalised
from stablebench.leaderboard.pairs import improvements, lower_is_better, pairs_of
from stablebench.leaderboard.row import interval_with_worst, median_with_worst
from stablebench.schema.leaderboard import GoalTimes, Leaderboard, LeaderboardRow, LeaderboardTable
from stablebench.schema.leaderboard_statistics import (
    GOALS,
    UNITS,
    Goal,
    LeftOut,
    OverallRow,
    OverallStatistics,
    Profile,
    ProfileRow,
    RowStatistics,
    Statistics,
    TableStatistics,
    TimeToGoal,
    Unit,
)

_Rows = Sequence[Mapping[str, LeaderboardRow]]
"""The rows of each table by name."""


def statistics(board: Leaderboard, equal_within: float | None = None) -> Statistics:
    """Return the statistics of a leaderboard; nothing in them is not finite.

    Args:
        board: The leaderboard.
        equal_within: How far apart, in the metric shown, two rows count as equal; None where that is not asked.
    """
    return Statistics(
        confidence=0.95,
        resamples=stats.RESAMPLES,
        r_max=stats.R_MAX,
        tables=[_table(table, equal_within) for table in board.tables],
        overall=_overall(board.tables),
    )


# -- one task --------------------------------------------------------------------------------------------------------


def _table(table: LeaderboardTable, equal_within: float | None) -> TableStatistics:
    times: list[dict[Goal, dict[Unit, TimeToGoal]]] = [{} for _ in table.rows]
    for goal in GOALS if table.target is not None else GOALS[:1]:
        for unit in UNITS:
            for i, time in _times_to(goal, unit, table.rows).items():
                times[i].setdefault(goal, {})[unit] = time
    rows = [_row(row, of_row) for row, of_row in zip(table.rows, times, strict=True)]
    return TableStatistics(task=table.task, metric=table.shown_metric, rows=rows, **pairs_of(table, equal_within))


def _row(row: LeaderboardRow, times: dict[Goal, dict[Unit, TimeToGoal]]) -> RowStatistics:
    scores, higher = list(row.shown.seeds.values()), higher_is_better(row.shown.metric)
    of_median = interval_with_worst(scores, row.diverged, higher)
    of_mean = None if row.diverged else stats.student_interval(scores)
    return RowStatistics(
        name=row.name,
        n=row.n,
        diverged=row.diverged,
        iqm=stats.iqm(scores) if scores else None,
        median=median_with_worst(scores, row.diverged, higher),
        median_interval=of_median,
        coverage=None if of_median is None else stats.median_coverage(len(scores) + row.diverged),
        mean_interval=None if of_mean is None else clipped(row.shown.metric, of_mean),
        mean=stats.mean(scores) if scores else None,
        standard_deviation=stats.standard_deviation(scores) if scores else None,
        standard_error=stats.standard_error(scores) if scores else None,
        min=row.shown.min,
        max=row.shown.max,
        arrivals=times,
    )


def _times_to(goal: Goal, unit: Unit, rows: Sequence[LeaderboardRow]) -> dict[int, TimeToGoal]:
    """Return by position when each row's runs got to a goal, up to a horizon that all rows share.

    Seconds are compared within one class of hardware, so each class has a horizon of its own.
    """
    by_class: dict[str, dict[int, stats.TimesToTarget]] = {}
    for i, row in enumerate(rows):
        if row.ended:
            key = row.hardware if unit == "seconds" else ""
            by_class.setdefault(key, {})[i] = _run_times(getattr(row.arrivals, goal), unit)
    described: dict[int, TimeToGoal] = {}
    for members in by_class.values():
        horizon = stats.common_horizon(list(members.values()))
        for i, times in members.items():
            described[i] = TimeToGoal(
                reached=len(times.reached),
                of=len(times.reached) + len(times.followed),
                horizon=horizon or None,
                restricted_mean=stats.restricted_mean(times, horizon) if horizon else None,
                curve=stats.kaplan_meier(times),
                **_median_time(times),
            )
    return described


def _run_times(times: GoalTimes, unit: Unit) -> stats.TimesToTarget:
    reached, followed = getattr(times, unit), getattr(times, f"{unit}_followed")
    return stats.TimesToTarget(
        tuple(float(t) for t in reached if t is not None),
        tuple(math.inf if t is None else float(t) for t in followed),
    )


def _median_time(times: stats.TimesToTarget) -> dict[str, Any]:
    """Return the median time and its interval, a run that never got there later than any; None for never."""
    return {
        "median": median_with_worst(list(times.reached), len(times.followed), higher=False),
        "interval": interval_with_worst(list(times.reached), len(times.followed), higher=False),
    }


# -- over tasks ------------------------------------------------------------------------------------------------------


def _overall(tables: Sequence[LeaderboardTable]) -> OverallStatistics:
    names, shared = _shared([table for table in tables if table.comparable])
    by_name = [{row.name: row for row in table.rows} for table in shared]
    left_out = LeftOut(
        models=sorted({row.name for table in tables for row in table.rows} - set(names)),
        tasks=[table.task for table in tables if not any(table is other for other in shared)],
    )
    tasks = [table.task for table in shared]
    if len(names) < 2:
        return OverallStatistics(models=names, tasks=tasks, left_out=left_out, rows=[], improvement=[], profiles=[])
    scores = [[lower_is_better(rows[name]) for rows in by_name] for name in names]
    ranks, rank_intervals = stats.mean_ranks(scores), stats.rank_intervals(scores)
    rows = [
        _overall_row(name, rank, interval, shared, by_name)
        for name, rank, interval in zip(names, ranks, rank_intervals, strict=True)
    ]
    return OverallStatistics(
        models=names,
        tasks=tasks,
        left_out=left_out,
        rows=sorted(rows, key=lambda row: (row.rank, row.name)),
        profiles=_profiles(names, shared, by_name),
        **improvements(names, scores),
    )


def _shared(tables: Sequence[LeaderboardTable]) -> tuple[list[str], list[LeaderboardTable]]:
    """Return the models and tasks to compare over.

    Of all sets of models that a task ran, it is the one with the most pairs of a model and a task that ran all of the
    set; of equals, the one with more models.
    """
    ran = [frozenset(row.name for row in table.rows if row.n + row.diverged) for table in tables]
    everywhere = frozenset.intersection(*ran) if ran else frozenset()
    best: tuple[int, int, list[str], list[LeaderboardTable]] = (0, 0, [], [])
    for names in dict.fromkeys([*ran, everywhere]):
        shared = [table for table, those in zip(tables, ran, strict=True) if names <= those]
        candidate = (len(names) * len(shared), len(names), sorted(names), shared)
        if len(names) > 1 and candidate[:2] > best[:2]:
            best = candidate
    return best[2], best[3]


def _overall_row(
    name: str,
    rank: float,
    rank_interval: tuple[float, float] | None,
    tables: Sequence[LeaderboardTable],
    by_name: _Rows,
) -> OverallRow:
    """Return a model's rank with IQM and median of its normalised scores, runs x tasks, with stratified intervals."""
    rows = [rows_of_table[name] for rows_of_table in by_name]
    strata = []
    for table, row in zip(tables, rows, strict=True):
        scored = row if table.quoted_baseline is None else row.shown
        baseline = table.baseline if table.quoted_baseline is None else table.quoted_baseline
        runs = [*scored.seeds.values(), *([None] * row.diverged)]
        scores = [normalised(scored.metric, value, baseline) for value in runs]
        if None not in scores:
            strata.append([score for score in scores if score is not None])
    pooled = [score for scores in strata for score in scores]
    of_iqm, of_median = stats.stratified_intervals(strata, ["iqm", "median"])
    return OverallRow(
        name=name,
        rank=rank,
        rank_interval=rank_interval,
        iqm=stats.iqm(pooled) if pooled else None,
        iqm_interval=of_iqm,
        median=stats.median(pooled) if pooled else None,
        median_interval=of_median,
        diverged=sum(row.diverged for row in rows),
        runs=sum(row.n + row.diverged for row in rows),
    )


def _profiles(names: Sequence[str], tables: Sequence[LeaderboardTable], by_name: _Rows) -> list[Profile]:
    """Return performance profiles in steps, samples and, within each class of hardware, seconds to the target."""
    solvable = [rows for table, rows in zip(tables, by_name, strict=True) if table.target is not None]
    if not solvable:
        return []
    profiles = [_profile("steps", None, names, solvable), _profile("samples", None, names, solvable)]
    by_class: dict[str, list[str]] = {}
    for name in names:
        classes = {rows[name].hardware for rows in solvable}
        if len(classes) == 1:
            by_class.setdefault(classes.pop(), []).append(name)
    several = {hardware: those for hardware, those in by_class.items() if len(those) > 1}
    return profiles + [_profile("seconds", hardware, those, solvable) for hardware, those in several.items()]


def _profile(unit: str, hardware: str | None, names: Sequence[str], by_name: _Rows) -> Profile:
    times = [[_target_times(rows[name], unit) for rows in by_name] for name in names]
    medians = stats.median_times(times)
    scores, ratios = stats.integrated_scores(medians).tolist(), stats.time_ratios(medians).tolist()
    rows = [
        ProfileRow(
            name=name,
            score=score,
            interval=interval,
            solved=sum(map(math.isfinite, of_tasks)),
            curve=stats.profile(of_tasks),
        )
        for name, score, interval, of_tasks in zip(names, scores, stats.score_intervals(times), ratios, strict=True)
    ]
    rows.sort(key=lambda row: (-row.score, row.name))
    return Profile(unit=unit, hardware=hardware, tasks=len(by_name), rows=rows)


def _target_times(row: LeaderboardRow, unit: str) -> list[float]:
    """Return each ended run's time to the target, infinite for one that never got there."""
    times = row.arrivals.target
    factor = row.batch_size if unit == "samples" else 1
    reached = times.seconds if unit == "seconds" else times.steps
    return [factor * float(t) for t in reached if t is not None] + [math.inf] * len(times.steps_followed)
