"""Whether our runs repeat a printed number, and whether one model is better than another: the words and their rules.

A printed number is known to within half a unit of its last digit, or to within the spread printed next to it: the
standard deviation over trials, else two standard errors. Accuracies count to a tenth of a per cent at least, other
numbers to two digits. Of ours there is, from five seeds on, the interval of the same statistic: of the median or the
mean, or of a share of diverged runs; the best of some trials has none. A verdict from one seed says so; that our best
of fewer seeds than the paper's trials is worse is none. Expectations are stated and tested in the task's metric.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from stablebench.data.metrics import METRICS, higher_is_better, within_range
from stablebench.leaderboard.format import FIVE_SEEDS
from stablebench.leaderboard.normalise import normalised
from stablebench.leaderboard.published import spread_of
from stablebench.leaderboard.row import interval_with_worst
from stablebench.schema.leaderboard import LeaderboardRow, LeaderboardTable
from stablebench.schema.leaderboard_statistics import Interval
from stablebench.schema.published import Published
from stablebench.schema.reproduction import ReproductionVerdict
from stablebench.stats import LEVEL, MIN_SEEDS, rank_sum_p, student_interval

LEARNT = 0.1
"""Share of the way from the trivial baseline to perfect from which on a model counts as one that learns."""


@dataclass(frozen=True)
class Judgement:
    """What is said of a number or an expectation.

    Args:
        word: The verdict.
        reason: What it follows from, where that is not plain.
        interval: Of our statistic; None where there is none.
        interval_of: What the interval is of, in words.
    """

    word: ReproductionVerdict
    reason: str | None = None
    interval: Interval | None = None
    interval_of: str | None = None


def half_digit(value: float, metric: str | None) -> float:
    """Return half a unit of the last digit of a printed number.

    Args:
        value: The number.
        metric: What was measured, None for an event.
    """
    exponent = Decimal(repr(value)).as_tuple().exponent
    decimals = -exponent if isinstance(exponent, int) else 0
    if metric is None:
        decimals = 0 if value == int(value) else decimals
    else:
        two_digits = 1 - math.floor(math.log10(abs(value))) if value else 1
        decimals = max(decimals, two_digits, 3 if metric == "accuracy" else 0)
    return 0.5 * 10.0**-decimals * (1 + 1e-9)


def judged(
    entry: Published, ours: float | None, statistic: str | None, row: LeaderboardRow, table: LeaderboardTable
) -> Judgement:
    """Return whether our runs repeat a printed number.

    Args:
        entry: The number.
        ours: Ours; None where there is none.
        statistic: How ours comes from its seeds.
        row: Our runs.
        table: Where they stand.
    """
    if not row.ended:
        return Judgement("not run")
    if ours is None:
        return Judgement("not reproduced", "no run got there" if entry.event else None)
    if entry.event == "diverged":
        return _of_diverged(entry, row)
    larger = entry.metric in METRICS and higher_is_better(str(entry.metric))
    sign, printed = (1.0 if larger else -1.0), float(entry.value or 0)
    half = max(half_digit(printed, entry.metric), spread_of(entry) or 0.0)
    low, high = printed - half, printed + half
    if entry.bound == "at_least":
        high = math.inf
    elif entry.bound == "at_most":
        low = -math.inf
    interval, of = _interval(entry, statistic, row)
    said: dict[str, Any] = {"interval": interval, "interval_of": of}
    one = "one seed" if row.ended == 1 else None
    if low <= ours <= high:
        return Judgement("reproduced", one, **said)
    baseline = table.baseline if entry.metric == table.metric else table.quoted_baseline
    baseline = None if row.scored_in(entry.metric) is None else baseline
    theirs, here = (normalised(str(entry.metric), value, baseline) for value in (printed, ours))
    fails = theirs is not None and theirs <= LEARNT
    if fails and here is not None:
        if here > LEARNT:
            return Judgement("not reproduced", "fails in the paper, learns here", **said)
        return Judgement("reproduced", "fails in the paper and here: not a tenth of the way from the baseline", **said)
    if interval is not None and interval[0] <= high and low <= interval[1]:
        return Judgement("within interval", **said)
    if sign * ours > sign * printed:
        return Judgement("better", one, **said)
    if statistic in ("best", "best_on_validation") and entry.runs is not None and row.n < entry.runs:
        return Judgement("not comparable", f"the paper's best of {entry.runs}, ours of {row.n}", **said)
    return Judgement("not reproduced", one, **said)


def _of_diverged(entry: Published, row: LeaderboardRow) -> Judgement:
    """Return the verdict on a number of trials that diverged, as a share of them."""
    from scipy import special

    count, n = row.diverged, row.ended
    share = float(entry.value or 0) / (entry.runs or max(int(entry.value or 0), 1))
    low = float(special.betaincinv(count, n - count + 1, 0.025)) if count else 0.0
    high = float(special.betaincinv(count + 1, n - count, 0.975)) if count < n else 1.0
    reason = f"{count} of {n}, published {float(entry.value or 0):g} of {entry.runs or 'as many'}"
    if count / n == share:
        return Judgement("reproduced", reason)
    if n < MIN_SEEDS:
        return Judgement("not reproduced", reason)
    return Judgement("within interval" if low <= share <= high else "not reproduced", reason)


def _interval(entry: Published, statistic: str | None, row: LeaderboardRow) -> tuple[Interval | None, str | None]:
    """Return the interval of our statistic, and what it is of; of fewer than five seeds there is none."""
    if entry.event in ("steps_to_baseline", "steps_to_convergence"):
        times = row.arrivals.baseline if entry.event == "steps_to_baseline" else row.arrivals.target
        steps = [float(t) for t in times.steps]
        return _named(interval_with_worst(steps, len(times.steps_followed), higher=False), len(steps), row.ended)
    scored = row.scored_in(entry.metric)
    if scored is None:
        return None, None
    if statistic == "mean":
        few = row.diverged or row.n < MIN_SEEDS
        ends = None if few else student_interval(list(scored.seeds.values()))
        return (None, None) if ends is None else (within_range(scored.metric, ends), "of the mean (t)")
    return _named(scored.interval, row.n, row.ended) if statistic == "median" else (None, None)


def _named(interval: Interval | None, n: int, ended: int) -> tuple[Interval | None, str | None]:
    if interval is None:
        return None, None
    return interval, "of the median" + (FIVE_SEEDS if max(n, ended) == MIN_SEEDS else "")


def stated(
    row: LeaderboardRow, others: Sequence[LeaderboardRow], table: LeaderboardTable, met: bool, values: bool
) -> Judgement:
    """Return the verdict on a statement of a figure.

    Args:
        row: The model that it is about.
        others: The models that it is to be better than; by a one-sided rank test each.
        table: Where they stand.
        met: Whether the scores are as stated.
        values: Whether some of them are to reach or miss a value.
    """
    of = "of the median" + (FIVE_SEEDS if row.ended == MIN_SEEDS else "")
    said = {"interval": row.interval, "interval_of": None if row.interval is None else of}
    if not met:
        return Judgement("fails", **said)
    own = _lower_is_better(row)
    p_values = {other.name: rank_sum_p([own], [_lower_is_better(other)], "lower") for other in others}
    single = [one.name for one in (row, *others) if one.ended < 2]
    if single and (values or others):
        return Judgement("overlaps", f"one seed of {', '.join(single)}", **said)
    unsure = [f"{name} p {p:.2g}" for name, p in p_values.items() if p > LEVEL]
    if unsure:
        return Judgement("overlaps", f"not told apart at 5 %: {', '.join(unsure)}", **said)
    return Judgement("holds", **said)


def _lower_is_better(row: LeaderboardRow) -> list[float]:
    """Return a row's scores in the task's metric with the sign that makes lower better, diverged seeds as infinity."""
    sign = -1.0 if higher_is_better(row.metric) else 1.0
    return [sign * score for score in row.seeds.values()] + [math.inf] * row.diverged
