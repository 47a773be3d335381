"""A row's scores as papers report theirs: mean over seeds, best seed, worst seed, the seed that is best on validation.

The mean exists only where no seed diverged; of a diverged seed there is no score to average.
"""

import statistics

from stablebench.data.metrics import METRICS, higher_is_better, scaled_accuracy
from stablebench.schema.leaderboard import RunFields, SeedStatistics
from stablebench.schema.run_record import RunRecord


def test_metrics(record: RunRecord) -> dict[str, float]:
    """Return a run's test metrics; with the scaled accuracy also where an earlier version recorded the run."""
    test = record.result.test or {}
    if record.metric != "accuracy" or "accuracy" not in test or "scaled_accuracy" in test or record.baseline is None:
        return test
    scaled = scaled_accuracy(test["accuracy"], record.baseline)
    return test if scaled is None else test | {"scaled_accuracy": scaled}


def seed_statistics(records: list[RunRecord]) -> dict[str, SeedStatistics]:
    """Return the scores in each test metric that this version knows.

    Args:
        records: The runs of a row.
    """
    tested = [r for r in records if r.status == "finished" and r.result.test]
    lost = any(r.status == "diverged" for r in records)
    names = sorted({name for r in tested for name in test_metrics(r) if name in METRICS})
    return {name: _of_metric(name, tested, lost) for name in names}


def _of_metric(name: str, tested: list[RunRecord], lost: bool) -> SeedStatistics:
    scores = [(r, tests[name]) for r in tested if name in (tests := test_metrics(r))]
    values = [score for _, score in scores]
    low, high = min(values), max(values)
    better, worse = (high, low) if higher_is_better(name) else (low, high)
    return SeedStatistics(
        mean=None if lost else statistics.fmean(values),
        best=better,
        worst=None if lost else worse,
        best_on_validation=_best_on_validation(scores),
        standard_deviation=None if lost or len(values) < 2 else statistics.stdev(values),
    )


def _best_on_validation(scores: list[tuple[RunRecord, float]]) -> float | None:
    """Return the test score of the run whose tested weights are best on validation; the first of equals."""
    validated = [(value, score) for r, score in scores if (value := _validation(r)) is not None]
    if len(validated) < len(scores):
        return None
    sign = -1.0 if higher_is_better(scores[0][0].metric) else 1.0
    return min(validated, key=lambda pair: sign * pair[0])[1]


def _validation(record: RunRecord) -> float | None:
    """Return the task's metric of a run's tested weights on validation."""
    at = next((e for e in reversed(record.evaluations) if e.step == record.result.tested_step), None)
    return record.result.best if at is None else at.metrics.get(record.metric)


def ran(record: RunRecord) -> RunFields:
    """Return what a run decides and papers state, by the names of `schema.published.RUN_FIELDS`."""
    model, train = record.spec.model, record.spec.train
    return RunFields(units=model.hidden, layers=model.layers, steps=train.steps, batch_size=train.batch_size)
