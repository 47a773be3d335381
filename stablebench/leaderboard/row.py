"""One row: the runs of one spec on one engine and device, their seeds summed up."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from stablebench.data.metrics import beats_baseline, higher_is_better, reaches_target
from stablebench.leaderboard.code import computed_by
from stablebench.leaderboard.length_curves import length_curve, row_gradients
from stablebench.leaderboard.marks import built_start
from stablebench.leaderboard.names import settings_of
from stablebench.leaderboard.origin import Recipes, recipe_origin
from stablebench.leaderboard.seeds import ran, seed_statistics, test_metrics
from stablebench.schema.leaderboard import GoalTimes, LeaderboardRow, QuotedScore, RowGoals
from stablebench.schema.leaderboard_statistics import Goal, Interval
from stablebench.schema.run_record import RunRecord
from stablebench.stats import iqm, median_coverage, median_interval

ENDED = ("finished", "diverged")
"""Statuses of runs that count."""


def row_of(records: list[RunRecord], recipes: Recipes) -> LeaderboardRow:
    """Return the row of runs that differ only in their seed; it has no rank yet.

    Args:
        records: The runs.
        recipes: Where recipes say how they were tuned.
    """
    records = sorted(records, key=lambda record: record.spec.seed)
    first, metric = records[0], records[0].metric
    ended = [r for r in records if r.status in ENDED]
    tests = {r.spec.seed: test_metrics(r) for r in records if r.status == "finished"}
    tests = {seed: test for seed, test in tests.items() if metric in test}
    values = [test[metric] for test in tests.values()]
    diverged = sum(r.status == "diverged" for r in records)
    summed = _summed({seed: test[metric] for seed, test in tests.items()}, diverged, metric)
    others = sorted({name for test in tests.values() for name in test} - {metric})
    return LeaderboardRow(
        name=first.called if len({r.called for r in records}) == 1 else first.spec.model.label,
        model=first.spec.model.label,
        metric=metric,
        spec_hash=first.spec_hash,
        engine=first.environment.engine,
        device=first.environment.device,
        hidden=first.spec.model.hidden,
        settings=settings_of(first),
        commits=sorted({r.environment.commit for r in records if r.environment.commit}),
        rank=None,
        best=False,
        **summed,
        iqm=iqm(values) if values else None,
        coverage=None if summed["interval"] is None else median_coverage(len(values) + diverged),
        n=len(values),
        others={name: _median([test[name] for test in tests.values() if name in test]) for name in others},
        statistics=seed_statistics(records),
        ran=ran(first),
        ended=len(ended),
        diverged=diverged,
        statuses=dict(sorted(Counter(r.status for r in records).items())),
        tested=first.result.tested,
        **_median_times(ended, "baseline"),
        **_median_times(ended, "target"),
        arrivals=RowGoals(baseline=_times(ended, "baseline"), target=_times(ended, "target")),
        batch_size=first.spec.train.batch_size,
        steps=first.spec.train.steps,
        train_s=_median([r.train_s for r in ended]),
        computed_by=computed_by(records),
        hardware=" and ".join(sorted({hardware_of(r) for r in records})),
        parameters=first.parameters,
        embedding_parameters=first.embedding_parameters,
        steps_per_s=_speed(ended),
        quoted=_quoted(first, tests, diverged),
        solved=_solved(first, tests),
        recipe=recipe_origin(first, recipes),
        lengths=length_curve(records),
        gradients=row_gradients(records),
        built_start=built_start(first.spec.model.name, first.spec.model.params),
        peak_bytes=max((r.result.peak_bytes for r in ended if r.result.peak_bytes is not None), default=None),
    )


def _summed(seeds: dict[int, float], diverged: int, metric: str) -> dict[str, Any]:
    """Return the score of several seeds, their lowest and highest, and the interval of it."""
    values, higher = list(seeds.values()), higher_is_better(metric)
    return {
        "score": median_with_worst(values, diverged, higher),
        "min": min(values, default=None),
        "max": max(values, default=None),
        "interval": interval_with_worst(values, diverged, higher),
        "seeds": {str(seed): value for seed, value in seeds.items()},
    }


def _quoted(first: RunRecord, tests: dict[int, dict[str, float]], diverged: int) -> QuotedScore | None:
    """Return the scores in the target's metric, None where it is the task's or a run was not tested in it."""
    metric = first.target_metric
    if metric is None or metric == first.metric or not all(metric in test for test in tests.values()):
        return None
    seeds = {seed: test[metric] for seed, test in tests.items()}
    return QuotedScore(metric=metric, **_summed(seeds, diverged, metric))


def _solved(first: RunRecord, tests: dict[int, dict[str, float]]) -> int | None:
    """Return how many of the tests are at the target, or beat the baseline where there is no target."""
    if first.target is not None:
        metric, passes = first.target_metric or first.metric, reaches_target
    else:
        metric, passes = first.metric, beats_baseline
    goal = first.baseline if first.target is None else first.target
    if goal is None or not all(metric in test for test in tests.values()):
        return None
    return sum(map(passes(metric, goal), (test[metric] for test in tests.values())))


def _speed(ended: Sequence[RunRecord]) -> float | None:
    """Return the median of updates a second; None of runs of several kinds of hardware, of which none is that."""
    if len({hardware_of(record) for record in ended}) > 1:
        return None
    return _median([record.result.steps_per_s for record in ended if record.result.steps_per_s is not None])


def hardware_of(record: RunRecord) -> str:
    """Return the class of hardware within which seconds can be compared."""
    ran = record.environment
    processor = f" ({ran.processor})" if ran.processor else ""
    return f"{ran.device}, {ran.hardware}{processor}, {ran.threads} thread{'' if ran.threads == 1 else 's'}"


def _times(ended: list[RunRecord], goal: Goal) -> GoalTimes:
    """Return when each ended run got to a goal, and how long the others were followed; None for never.

    A diverged run never gets there, so no time says how long it was followed.
    """
    results = [(record, *_time_to(record, goal)) for record in ended]
    missed = [(record, record.status == "finished") for record, steps, _ in results if steps is None]
    return GoalTimes(
        steps=[steps for _, steps, _ in results if steps is not None],
        seconds=[seconds for _, steps, seconds in results if steps is not None],
        steps_followed=[record.step if alive else None for record, alive in missed],
        seconds_followed=[record.train_s if alive else None for record, alive in missed],
    )


def _time_to(record: RunRecord, goal: Goal) -> tuple[int | None, float | None]:
    """Return a run's updates and seconds to a goal; None of one that diverged, also if it was there before."""
    if record.status == "diverged":
        return None, None
    return getattr(record.result, f"steps_to_{goal}"), getattr(record.result, f"seconds_to_{goal}")


def _median(values: Sequence[float]) -> float | None:
    return float(statistics.median(values)) if values else None


def interval_with_worst(values: Sequence[float], worst: int, higher: bool) -> Interval | None:
    """Return the interval of the median of `values` and `worst` more that are worse than any; None if it reaches one.

    Args:
        values: Scores.
        worst: Runs without one.
        higher: Whether higher is better.
    """
    sign = -1.0 if higher else 1.0
    ends = median_interval([sign * value for value in values] + [math.inf] * worst)
    if ends is None or not all(map(math.isfinite, ends)):
        return None
    return (-ends[1], -ends[0]) if higher else ends


def median_with_worst(values: Sequence[float], worst: int, higher: bool) -> float | None:
    """Return the median of `values` and `worst` more that are worse than any; None if that is no number.

    Args:
        values: Scores.
        worst: Runs without one.
        higher: Whether higher is better.
    """
    sign = -1.0 if higher else 1.0
    middle = _median([sign * value for value in values] + [math.inf] * worst)
    return None if middle is None or not math.isfinite(middle) else sign * middle


def _median_times(ended: list[RunRecord], goal: Goal) -> dict[str, Any]:
    """Return the median steps and seconds to a goal, and how many runs got there and finished."""
    times = [_time_to(record, goal) for record in ended]
    middle = [_median([math.inf if t is None else t for t in column]) for column in zip(*times, strict=True)]
    steps, seconds = (m if m is not None and math.isfinite(m) else None for m in middle or (None, None))
    reached = sum(steps is not None for steps, _ in times)
    return {f"steps_to_{goal}": steps, f"seconds_to_{goal}": seconds, f"reached_{goal}": reached}
