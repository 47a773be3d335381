"""How far an accuracy holds: a row's runs over the length of their test examples."""

import statistics
from collections.abc import Sequence
from typing import Any

from stablebench.leaderboard.format import FIVE_SEEDS
from stablebench.schema.leaderboard import LeaderboardTable
from stablebench.schema.length_curve import LengthCurve, RowGradients
from stablebench.schema.measured import Gradients
from stablebench.schema.run_record import RunRecord
from stablebench.stats import MIN_SEEDS, median_coverage, median_interval
from stablebench.stats.lengths import DRAWN, HELD, longest_held
from stablebench.tables import Table

METRIC = "accuracy"


def length_curve(records: Sequence[RunRecord], length_name: str = "length") -> LengthCurve | None:
    """Return the accuracies of a row's runs by length; None where none of them was scored at other lengths.

    A length counts where every finished run was scored at it.

    Args:
        records: The runs.
        length_name: The task's parameter that is its length.
    """
    scored = {r.spec.seed: by_length(r) for r in records if r.status == "finished"}
    lengths = set.intersection(*map(set, scored.values())) if scored else set()
    ordered = sorted(length for length in lengths if length > 0)
    if not ordered:
        return None
    held = {seed: longest_held({n: accuracies[n] for n in ordered}) or 0 for seed, accuracies in scored.items()}
    held |= {r.spec.seed: 0 for r in records if r.status == "diverged"}
    values = [float(value) for value in held.values()]
    drawn = [accuracies[0] for accuracies in scored.values() if 0 in accuracies]
    params = records[0].spec.task.params
    own = params.get(length_name)
    return LengthCurve(
        seeds={str(seed): {str(n): accuracies[n] for n in ordered} for seed, accuracies in scored.items()},
        median={str(n): statistics.median(accuracies[n] for accuracies in scored.values()) for n in ordered},
        held={str(seed): value for seed, value in sorted(held.items())},
        longest_held=statistics.median(values),
        interval=median_interval(values),
        coverage=median_coverage(len(values)),
        longest=ordered[-1],
        mean_40_256=statistics.median(drawn) if len(drawn) == len(scored) else None,
        solved=sum(value == ordered[-1] for value in held.values()),
        ended=len(held),
        trained=params.get("train_lengths") or ([own, own] if isinstance(own, int) else None),
    )


def row_gradients(records: Sequence[RunRecord]) -> dict[str, RowGradients]:
    """Return the medians over seeds of what was measured of a row's gradients, by the moment of the weights."""
    moments: dict[str, list[Gradients]] = {}
    for record in records:
        for moment, gradients in ({} if record.measured is None else record.measured.gradients).items():
            moments.setdefault(moment, []).append(gradients)
    return {
        moment: RowGradients(
            growth=_median([one.growth for one in held]),
            isometry=_median([one.isometry for one in held]),
            length=held[0].length,
            seeds=len(held),
        )
        for moment, held in sorted(moments.items())
    }


def _median(values: Sequence[float | None]) -> float | None:
    """Return the median; None where a value is missing."""
    held = [value for value in values if value is not None]
    return statistics.median(held) if held and len(held) == len(values) else None


def by_length(record: RunRecord) -> dict[int, float]:
    """Return a run's accuracies by length; under 0, that on lengths drawn from the papers' range."""
    kept = {} if record.measured is None else record.measured.lengths
    return {0 if name == DRAWN else int(name): metrics[METRIC] for name, metrics in kept.items() if METRIC in metrics}


def format_held(value: float | None, curve: LengthCurve) -> str | None:
    """Return a length that was held: `>= 256` where none beyond was asked for, `none` where the shortest was not."""
    if value is None:
        return None
    return "none" if value == 0 else f"{'>= ' if value >= curve.longest else ''}{value:g}"


def format_held_interval(curve: LengthCurve) -> str | None:
    """Return the interval of the longest length held; below five seeds the range, called so; None for one seed."""
    if curve.interval is not None:
        low, high = (format_held(end, curve) for end in curve.interval)
        return f"{low} to {high}{FIVE_SEEDS if curve.coverage is not None and curve.coverage < 0.95 else ''}"
    if 1 < len(curve.held) < MIN_SEEDS:
        low, high = (format_held(end(curve.held.values()), curve) for end in (min, max))
        return f"range {low}" if low == high else f"range {low} to {high}"
    return None


def lengths_table(table: LeaderboardTable) -> Table | None:
    """Return the table of accuracies by length of a task; None where no row has any."""
    curves = [(row.name, row.lengths) for row in table.rows if row.lengths is not None]
    if not curves:
        return None
    lengths = sorted({int(length) for _, curve in curves for length in curve.median})
    rows: list[list[Any]] = []
    for name, curve in sorted(curves, key=lambda one: (-(one[1].longest_held or 0), -_last(one[1]), one[0])):
        accuracies = [curve.median.get(str(length)) for length in lengths]
        rows.append(
            [
                name,
                *(None if value is None else f"{value:.3f}" for value in accuracies),
                format_held(curve.longest_held, curve),
                format_held_interval(curve),
                None if curve.mean_40_256 is None else f"{curve.mean_40_256:.3f}",
                f"{curve.solved}/{curve.ended}",
            ]
        )
    held = f"{HELD:.0%}"
    notes = [
        f"Medians over seeds. held: the longest length up to which every length of the table has {held}, and its 95 % "
        f"interval, below five seeds the range; solved: seeds that hold all of them."
    ]
    trained = {tuple(curve.trained) for _, curve in curves if curve.trained is not None}
    if len(trained) == 1:
        (ends,) = trained
        notes.append(f"Trained on lengths {ends[0]} to {ends[1]}." if ends[0] < ends[1] else f"Trained at {ends[0]}.")
    names = ["model", *map(str, lengths), f"held at {held}", "95 % of it", "mean 40-256", "solved"]
    kept = [i for i in range(len(names)) if any(row[i] is not None for row in rows)]
    return Table(
        [names[i] for i in kept],
        [[row[i] for i in kept] for row in rows],
        title=f"{table.task}: accuracy by length",
        notes=notes,
    )


def _last(curve: LengthCurve) -> float:
    return curve.median[str(curve.longest)]
