"""Published numbers with ours: the same statistic of our seeds, and how far the protocol is the same.

Every number is compared in the metric in which it was published.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stablebench.data.metrics import higher_is_better
from stablebench.leaderboard.format import format_number
from stablebench.schema.card import TaskCard, measured_metrics
from stablebench.schema.leaderboard import LeaderboardRow, PublishedComparison, QuotedScore, SeedStatistics
from stablebench.schema.published import Published

EVENTS = {"diverged": "count", "steps_to_baseline": "median", "steps_to_convergence": "median to the target"}
"""Events that a leaderboard has, by our statistic; no paper gives a threshold of convergence, ours is the target."""
PICKS = {"best": "best", "worst": "worst", "best_on_validation": "best on validation"}
"""Statistics that are one of a paper's trials, in words; see `pick_of`."""


def published(card: TaskCard, params: Mapping[str, Any], rows: Sequence[LeaderboardRow]) -> list[PublishedComparison]:
    """Return what has been published at these parameters, each number with that of our row of the same model.

    Of several rows of a model the one of the paper's width is taken, else the best. Where papers do not say how a
    number comes from their trials, ours is the median. The best of k trials is held against the best of our first k.
    """
    numbers = [e for e in card.published if has_number(e) and card.has_params(e.variant, params)]
    return [compare_published(card, entry, params, _row_for(entry, rows)) for entry in numbers]


def has_number(entry: Published) -> bool:
    """Whether a published entry is a number, not a curve or a word."""
    return entry.value is not None and not isinstance(entry.value, bool)


def has_settings(row: LeaderboardRow, entry: Published) -> bool:
    """Whether a row is of the variant of its model that a number belongs to."""
    return all(row.settings.get(key) == value for key, value in entry.settings.items())


def is_measured(card: TaskCard, entry: Published) -> bool:
    """Whether a leaderboard of the task has what a published entry counts or measures."""
    if entry.metric is None:
        return entry.event in EVENTS
    return entry.metric in measured_metrics(card) and _on_such_examples(card, entry)


def compare_published(
    card: TaskCard, entry: Published, params: Mapping[str, Any], row: LeaderboardRow | None
) -> PublishedComparison:
    """Return a published number with a row's, and how far the two protocols are the same.

    Args:
        card: The task's card.
        entry: Of its published numbers.
        params: Parameters of the task that the row's runs had.
        row: A row of the model; None where there is none.
    """
    compared = card.compare(entry, params, None if row is None else _fields_of(card, params, row))
    value, statistic = (None, None) if row is None else _ours(card, entry, row)
    differs, flag = list(compared.differs), compared.flag
    pick = pick_of(entry)
    if row is not None and pick is not None and entry.runs and not picks_alike(entry, row):
        differs.append(f"{pick} of {entry.runs}, ours of {row.ended}")
        flag = "differs"
    return PublishedComparison(
        key=entry.key,
        model=entry.model,
        metric=entry.what,
        statistic=entry.statistic,
        published=float(entry.value or 0),
        bound=entry.bound,
        part=entry.part,
        ours=value,
        our_statistic=statistic,
        units=entry.units,
        protocol=flag,
        differs=differs,
        unstated=compared.unstated,
        source=entry.source,
        quoted=entry.quoted,
        where=entry.where,
        spread=spread_of(entry),
        runs=entry.runs,
    )


def _row_for(entry: Published, rows: Sequence[LeaderboardRow]) -> LeaderboardRow | None:
    of_model = [row for row in rows if row.model == entry.model and has_settings(row, entry)]
    of_width = [row for row in of_model if row.hidden == entry.units]
    return next(iter(of_width or of_model), None)


def _fields_of(card: TaskCard, params: Mapping[str, Any], row: LeaderboardRow) -> dict[str, Any]:
    """Return the fields that a row's runs decide, and their epochs where the task has a data set."""
    fields: dict[str, Any] = row.ran.model_dump()
    examples = card.protocol_at(params).train
    if card.data.dataset is not None and examples is not None:
        epochs = row.ran.steps / -(-examples // row.ran.batch_size)
        fields["epochs"] = int(epochs) if epochs.is_integer() else round(epochs, 3)
    return fields


def scores_in(row: LeaderboardRow, metric: str | None) -> LeaderboardRow | QuotedScore | None:
    """Return where a row's scores by seed in a metric stand; None where it has no more than their `statistics`."""
    return next((one for one in (row, row.quoted) if one is not None and one.metric == metric), None)


def times_to(row: LeaderboardRow, event: str | None) -> tuple[list[float], int]:
    """Return the updates to an event of the runs that got there, and how many did not."""
    times = row.arrivals.baseline if event == "steps_to_baseline" else row.arrivals.target
    return [float(steps) for steps in times.steps], len(times.steps_followed)


def pick_of(entry: Published) -> str | None:
    """Return which of a paper's trials a number is, in words; None where it is of all, or of the only one."""
    return None if entry.runs == 1 else PICKS.get(entry.statistic)


def picks_alike(entry: Published, row: LeaderboardRow) -> bool:
    """Whether our best (or worst) is of as many trials as the paper's: of all our seeds, or of the first of them."""
    return entry.runs is not None and (row.ended == entry.runs or _first(entry, row) is not None)


def _first(entry: Published, row: LeaderboardRow) -> list[float] | None:
    """Return of our seeds the first ones, as many as the paper's trials, of which it prints the best or the worst.

    None where there are fewer, or where it is not known which of more seeds diverged or never got there.
    """
    if entry.runs in (None, 1) or entry.statistic not in ("best", "worst"):
        return None
    if entry.event is not None:
        values, lost = times_to(row, entry.event)
    else:
        kept = scores_in(row, entry.metric)
        if kept is None:
            return None
        values, lost = [kept.seeds[seed] for seed in sorted(kept.seeds, key=int)], row.diverged
    trials = len(values) + lost
    if trials < entry.runs or (lost and trials > entry.runs):
        return None
    return (values + [-math.inf if larger_is_better(entry) else math.inf] * lost)[: entry.runs]


def larger_is_better(entry: Published) -> bool:
    """Whether a larger number is better; an event is better earlier."""
    return entry.metric is not None and higher_is_better(entry.metric)


def _ours(card: TaskCard, entry: Published, row: LeaderboardRow) -> tuple[float | None, str | None]:
    """Return our number and its statistic."""
    if entry.event not in EVENTS and (entry.metric is None or not _on_such_examples(card, entry)):
        return None, None
    first = _first(entry, row)
    if first is not None:
        pick = max(first) if larger_is_better(entry) == (entry.statistic == "best") else min(first)
        return (pick if math.isfinite(pick) else None), entry.statistic
    if entry.event in EVENTS:
        events = {"diverged": row.diverged, "steps_to_baseline": row.steps_to_baseline}
        return events.get(entry.event, row.steps_to_target), EVENTS[entry.event]
    scores = row.statistics.get(str(entry.metric))
    of_one = entry.statistic in PICKS and entry.runs == 1  # the best of one trial is any trial
    if scores is not None and entry.statistic in SeedStatistics.model_fields and not of_one:
        return getattr(scores, entry.statistic), entry.statistic
    kept = scores_in(row, entry.metric)
    if kept is None:  # the median of seeds with a score, which is not that of all
        return (None if row.diverged else row.others.get(str(entry.metric))), "median"
    return kept.score, "median"


def _on_such_examples(card: TaskCard, entry: Published) -> bool:
    """Whether our test examples stand for the paper's: where all are newly drawn, others are no different."""
    return entry.part == "test" or card.data.generator is not None


def format_published(value: float, bound: str | None, spread: float | None = None, runs: int | None = None) -> str:
    """Return a published number with its bound, its spread and the number of trials, where they are known."""
    sign = {"at_least": ">= ", "at_most": "<= "}.get(bound or "", "")
    width = "" if spread is None else f" ± {format_number(spread)}"
    trials = "" if runs is None else f" ({runs} run{'' if runs == 1 else 's'})"
    return f"{sign}{format_number(value)}{width}{trials}"


def spread_of(entry: Published) -> float | None:
    """Return what is printed next to a number: its standard deviation, else two standard errors; None for neither."""
    if entry.std is not None:
        return entry.std
    return None if entry.stderr is None else 2 * entry.stderr


def format_entry(entry: PublishedComparison) -> dict[str, Any]:
    """Return a published number with ours as a table's texts, by column."""
    ours = format_number(entry.ours)
    if ours is not None and entry.our_statistic != entry.statistic:
        ours += f" ({entry.our_statistic})"
    differs = [*entry.differs, *([f"not stated: {', '.join(entry.unstated)}"] if entry.unstated else [])]
    return {
        "model": entry.model,
        "metric": entry.metric + ("" if entry.part == "test" else f" ({entry.part})"),
        "statistic": entry.statistic,
        "published": format_published(entry.published, entry.bound, entry.spread, entry.runs),
        "ours": ours,
        "units": entry.units,
        "protocol": entry.protocol,
        "differs": "; ".join(differs),
        "source": f"{entry.source}, quoting {entry.quoted}" if entry.quoted else entry.source,
        "where": entry.where,
    }
