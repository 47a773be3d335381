"""The study itself: how each scalar, over all runs of a task, goes with how the runs ended."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from stablebench.data.metrics import higher_is_better
from stablebench.execution.probe_study.measures import SCALARS
from stablebench.execution.probe_study.one_run import RunProbes, StudyOptions, early_step
from stablebench.schema.leaderboard_statistics import Interval
from stablebench.schema.run_record import RunRecord
from stablebench.stats.prediction import MIN_MODELS, correlation_interval, left_out_skill, rank_correlation

SINGULAR_VALUES = "singular values"
"""What is left out of networks with wide states."""
When = Literal["initial", "early"]
KNOWN = {
    "parameters": "log10 of the number of parameters",
    "learning_rate": "log10 of the learning rate",
    "validation": "the task's metric, so that higher is better",
}
"""What is known of a run without a probe, to hold the probes against: `validation` after the first part of updates."""


@dataclass(frozen=True)
class Correlation:
    """How one scalar goes with how the runs of one task ended.

    Args:
        scalar: Its name.
        when: `initial`, or `early`: after the first part of the updates.
        runs: Runs that have it, all of which finished or diverged.
        models: Models that they are of.
        score: Spearman's rank correlation with the test score, higher is better, a diverged run the worst.
        score_interval: Its 95 % interval, models resampled; None below five models.
        updates: That with the updates to the target (the baseline where there is none), never later than any: below 0
            means sooner.
        updates_interval: Its interval.
        skill: How much better the rank of a model that is left out is predicted from it than without it, at most 1.
    """

    scalar: str
    when: When
    runs: int
    models: int
    score: float | None
    score_interval: Interval | None
    updates: float | None
    updates_interval: Interval | None
    skill: float | None


@dataclass(frozen=True)
class TaskStudy:
    """The correlations of one task, the largest with the score first; those of few models, without interval, last.

    Args:
        task: Task and variant.
        runs: Runs that ended.
        models: Their models.
        goal: What updates are counted to.
        correlations: One a scalar and time.
    """

    task: str
    runs: int
    models: int
    goal: str
    correlations: list[Correlation]

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return asdict(self)


@dataclass(frozen=True)
class Gap:
    """What was not measured of runs of one model.

    Args:
        model: What it is called.
        measure: The name of what is missing; `singular values` where they were left out.
        why: The reason.
        runs: Of how many runs.
    """

    model: str
    measure: str
    why: str
    runs: int

    def __str__(self) -> str:
        return f"without {self.measure}: {self.model}, {self.why}"


@dataclass(frozen=True)
class WholeStudy:
    """The study of all tasks.

    Args:
        options: How runs were measured.
        seeds: Their seeds.
        tasks: The study of each task.
        gaps: What was not measured of which models.
        left_out: Why runs were left out, by folder.
    """

    options: StudyOptions
    seeds: list[int]
    tasks: list[TaskStudy]
    gaps: list[Gap]
    left_out: dict[str, str]

    @classmethod
    def of(
        cls, runs: Sequence[tuple[RunRecord, RunProbes]], options: StudyOptions, left_out: Mapping[str, str]
    ) -> "WholeStudy":
        """Return the study of runs that ended.

        Args:
            runs: Their records, with what was measured.
            options: How.
            left_out: Why other runs were left out, by folder.
        """
        seeds = sorted({record.spec.seed for record, _ in runs})
        return cls(options, seeds, study(runs, options.early), gaps_of(runs), dict(left_out))

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        own = {"early": self.options.early, "examples": self.options.examples, "T": self.options.T}
        wide = [gap for gap in self.gaps if gap.measure == SINGULAR_VALUES]
        return {
            **own,
            "max_state": self.options.max_state,
            "seeds": self.seeds,
            "tasks": [one.document() for one in self.tasks],
            "without_singular_values": [f"{gap.model}, {gap.why}" for gap in wide],
            "failed": [asdict(gap) for gap in self.gaps if gap not in wide],
            "left_out": self.left_out,
        }


def gaps_of(runs: Iterable[tuple[RunRecord, RunProbes]]) -> list[Gap]:
    """Return what was not measured, once a model and reason."""
    counts: dict[tuple[str, str, str], int] = defaultdict(int)
    for record, probes in runs:
        if probes.wide is not None:
            counts[SINGULAR_VALUES, record.called, f"{probes.wide} states"] += 1
        for measure, why in probes.failed.items():
            counts[measure, record.called, why] += 1
    return [Gap(model, measure, why, n) for (measure, model, why), n in sorted(counts.items())]


def study(runs: Iterable[tuple[RunRecord, RunProbes]], early: float) -> list[TaskStudy]:
    """Return the study of each task, in the order of their names.

    Args:
        runs: Records of runs that ended, with what was measured.
        early: After which part of the updates they were measured the second time.
    """
    by_task: dict[str, list[tuple[RunRecord, RunProbes]]] = defaultdict(list)
    for record, probes in runs:
        by_task[_task_of(record)].append((record, probes))
    return [_of_task(name, of_task, early) for name, of_task in sorted(by_task.items())]


def _task_of(record: RunRecord) -> str:
    task = record.spec.task
    params = ", ".join(f"{key} {value}" for key, value in sorted(task.params.items()) if value is not None)
    return f"{task.name}/{task.variant}" if task.variant else f"{task.name} ({params})"


def _of_task(name: str, runs: list[tuple[RunRecord, RunProbes]], early: float) -> TaskStudy:
    goal = "baseline" if all(record.target is None for record, _ in runs) else "target"
    rows: list[Correlation] = []
    for when in ("initial", "early"):
        values = [_values(record, probes, when, early) for record, probes in runs]
        for scalar in [one.name for one in SCALARS] + list(KNOWN):
            rows += _correlation(scalar, when, runs, values, goal)
    rows.sort(key=lambda row: (row.models < MIN_MODELS, -abs(row.score or 0.0)))
    models = {record.called for record, _ in runs}
    return TaskStudy(name, len(runs), len(models), goal, rows)


def _values(record: RunRecord, probes: RunProbes, when: When, early: float) -> Mapping[str, float | None]:
    values = dict((probes.initial if when == "initial" else probes.early) or {})
    if when == "initial":
        known = {"parameters": record.parameters, "learning_rate": record.spec.optim.lr}
        return values | {name: math.log10(value) if value else -math.inf for name, value in known.items()}
    stop = early_step(record, early)
    seen = [e.metrics.get(record.metric) for e in record.evaluations if e.step <= stop]
    sign = 1.0 if higher_is_better(record.metric) else -1.0
    return values | {"validation": sign * seen[-1] if seen and seen[-1] is not None else None}


def _correlation(
    scalar: str,
    when: When,
    runs: list[tuple[RunRecord, RunProbes]],
    values: list[Mapping[str, float | None]],
    goal: str,
) -> list[Correlation]:
    known = [(of_run.get(scalar), record) for (record, _), of_run in zip(runs, values, strict=True)]
    kept = [(value, record) for value, record in known if value is not None]
    if not kept:
        return []
    x, records = [value for value, _ in kept], [record for _, record in kept]
    scores, updates = [_score(record) for record in records], [_updates(record, goal) for record in records]
    models = [record.called for record in records]
    return [
        Correlation(
            scalar,
            when,
            len(x),
            len(set(models)),
            rank_correlation(x, scores),
            correlation_interval(x, scores, models),
            rank_correlation(x, updates),
            correlation_interval(x, updates, models),
            left_out_skill(x, scores, models),
        )
    ]


def _score(record: RunRecord) -> float:
    """Return a run's test score, higher is better; that of a diverged run is below any."""
    value = (record.result.test or {}).get(record.metric)
    if record.status != "finished" or value is None or math.isnan(value):
        return -math.inf
    return value if higher_is_better(record.metric) else -value


def _updates(record: RunRecord, goal: str) -> float:
    steps = getattr(record.result, f"steps_to_{goal}")
    return math.inf if steps is None or record.status != "finished" else float(steps)
