"""Whether our runs repeat a printed number: the words and their rules.

A printed number is known to within half a unit of its last digit, or to within the spread printed next to it: the
standard deviation over trials, else two standard errors. Accuracies count to a tenth of a per cent at least, other
numbers to two digits. Of ours there is the interval of the same statistic, of the median or the mean, from five seeds
on; of two to four there is the range of the seeds, which decides nothing that it reaches; one seed decides nothing. The
best of some trials is compared with the best of as many; a paper's only trial decides nothing where it lies among ours.

A number fails where it does not beat the task's baseline, by the margin of `beats_baseline`. A model fails here where
neither our number nor the better end of its interval does, and learns where both our number and the worse end do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from stablebench.data.metrics import beats_baseline, clipped, higher_is_better
from stablebench.leaderboard.format import FIVE_SEEDS, format_number
from stablebench.leaderboard.published import (
    PICKS,
    larger_is_better,
    pick_of,
    picks_alike,
    scores_in,
    spread_of,
    times_to,
)
from stablebench.schema.leaderboard import LeaderboardRow, LeaderboardTable
from stablebench.schema.leaderboard_statistics import Interval
from stablebench.schema.published import Published
from stablebench.schema.reproduction import ReproductionVerdict
from stablebench.stats import MIN_SEEDS, median_interval, student_interval


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


@dataclass(frozen=True)
class SeedSpread:
    """Between which values our seeds lie.

    Args:
        bad: The worse end; infinite where a run diverged or never got there.
        good: The better end.
        of: What it is the spread of, in words.
        tested: Whether it is an interval, not a range of fewer than five seeds.
    """

    bad: float
    good: float
    of: str
    tested: bool

    def said(self) -> dict[str, Any]:
        """Return what a line prints of it: nothing where an end is infinite."""
        if not (math.isfinite(self.bad) and math.isfinite(self.good)):
            return {}
        return {"interval": (min(self.bad, self.good), max(self.bad, self.good)), "interval_of": self.of}

    def reaches(self, low: float, high: float) -> bool:
        """Whether it has a value in common with low to high."""
        return min(self.bad, self.good) <= high and low <= max(self.bad, self.good)


def _spread(values: Sequence[float], lost: int, larger: bool) -> SeedSpread | None:
    """Return the interval of the median of scores, below five seeds their range; None of one seed.

    Args:
        values: Scores.
        lost: Runs without one, worse than any.
        larger: Whether larger is better.
    """
    sign = -1.0 if larger else 1.0
    ordered = sorted([sign * value for value in values] + [math.inf] * lost)
    if len(ordered) < 2:
        return None
    ends, of = median_interval(ordered), "of the median" + (FIVE_SEEDS if len(ordered) == MIN_SEEDS else "")
    if ends is None:
        ends, of = (ordered[0], ordered[-1]), f"(range of {len(ordered)} seeds)"
    return SeedSpread(sign * ends[1], sign * ends[0], of, len(ordered) >= MIN_SEEDS)


def spread_in(row: LeaderboardRow, metric: str) -> SeedSpread | None:
    """Return between which values of a metric the seeds of a row lie; None of one seed, or where it was not measured.

    Args:
        row: The row.
        metric: The metric. Of one that has no scores by seed it is the range of all seeds.
    """
    kept, larger = scores_in(row, metric), higher_is_better(metric)
    if kept is not None:
        return _spread(list(kept.seeds.values()), row.diverged, larger)
    scores = row.statistics.get(metric)
    if scores is None or scores.best is None or row.ended < 2:
        return None
    lost = -math.inf if larger else math.inf
    bad = lost if scores.worst is None else scores.worst
    return SeedSpread(bad, scores.best, f"(range of {row.ended} seeds)", row.ended >= MIN_SEEDS)


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
    if row.ended < 2:
        return Judgement("undecided", "one seed")
    if entry.event == "diverged":
        return _of_diverged(entry, row)
    seeds = _of_seeds(entry, row)
    said_to_fail = _failure(entry, ours, seeds, row, table)
    if said_to_fail is not None:
        return said_to_fail
    unlike = _unlike(entry, statistic, row)
    if unlike is not None:
        return Judgement("undecided", unlike)
    if ours is None:
        return _without_number(entry, statistic, row)
    spread = _of_statistic(entry, statistic, row, seeds)
    said = {} if spread is None else spread.said()
    low, high = _printed(entry)
    pick = pick_of(entry)
    reasons = [] if pick is None else [f"{pick} of {entry.runs} each"]
    if spread is not None and not spread.tested:
        reasons.append(f"range of {row.ended} seeds")
    if low <= ours <= high:
        return Judgement("reproduced", "; ".join(reasons) or None, **said)
    if spread is None and pick is None:
        return Judgement("undecided", "scores of the single seeds are not known")
    if spread is not None and spread.reaches(low, high):
        if said and not spread.tested:
            return Judgement("undecided", f"in the range of {row.ended} seeds", **said)
        if said:
            return Judgement("within interval", **said)
        return Judgement("undecided", _lost(entry, row))
    if entry.runs == 1 and _among(row, entry.metric, low, high):
        return Judgement("undecided", "their only run lies among ours", **said)
    if larger_is_better(entry) == (ours > float(entry.value or 0)):
        return Judgement("better", "; ".join(reasons) or None, **said)
    if entry.statistic == "unknown":
        reasons.append("their statistic is not stated")
    return Judgement("not reproduced", "; ".join(reasons) or None, **said)


def _printed(entry: Published) -> Interval:
    """Return between which values a printed number lies."""
    value = float(entry.value or 0)
    half = max(half_digit(value, entry.metric), spread_of(entry) or 0.0)
    low = -math.inf if entry.bound == "at_most" else value - half
    high = math.inf if entry.bound == "at_least" else value + half
    return low, high


def _among(row: LeaderboardRow, metric: str | None, low: float, high: float) -> bool:
    """Whether the scores of single seeds reach from low to high, or lie on both sides; False where none are known."""
    kept = scores_in(row, metric)
    scores = [] if kept is None else list(kept.seeds.values())
    return bool(scores) and min(scores) <= high and low <= max(scores)


def _of_seeds(entry: Published, row: LeaderboardRow) -> SeedSpread | None:
    """Return between which values our seeds lie in what was published."""
    if entry.metric is not None:
        return spread_in(row, entry.metric)
    return _spread(*times_to(row, entry.event), larger=False)


def _of_statistic(
    entry: Published, statistic: str | None, row: LeaderboardRow, seeds: SeedSpread | None
) -> SeedSpread | None:
    """Return the interval of our statistic, below five seeds their range; None of the best or the worst of some."""
    kept = scores_in(row, entry.metric)
    if statistic == "mean" and kept is not None and row.ended >= MIN_SEEDS:
        ends = None if row.diverged else student_interval(list(kept.seeds.values()))
        if ends is None:
            return None
        low, high = clipped(kept.metric, ends)
        return SeedSpread(*((low, high) if larger_is_better(entry) else (high, low)), "of the mean (t)", tested=True)
    return None if statistic in PICKS else seeds


def _failure(
    entry: Published, ours: float | None, seeds: SeedSpread | None, row: LeaderboardRow, table: LeaderboardTable
) -> Judgement | None:
    """Return the verdict on a number that does not beat the baseline; None where it does, or that is not known."""
    baseline = _baseline(table, entry.metric)
    if entry.metric is None or baseline is None or seeds is None or entry.statistic in ("worst", "range_low"):
        return None
    if ours is None and not row.diverged:
        return None
    beats, (low, high) = beats_baseline(entry.metric, baseline), _printed(entry)
    if beats(high if larger_is_better(entry) else low):
        return None
    numbers = [] if ours is None else [ours]
    if all(map(beats, [seeds.bad, *numbers])):
        return Judgement("not reproduced", "fails in the paper, learns here", **seeds.said())
    if not any(map(beats, [seeds.good, *numbers])):
        there, here = format_number(float(entry.value or 0)), format_number(ours) or _lost(entry, row)
        reason = f"that it fails: {there} there, {here} here, baseline {format_number(baseline)}"
        return Judgement("reproduced", reason, **seeds.said())
    if ours is not None and low <= ours <= high:
        return None
    return Judgement("undecided", "fails in the paper, some seeds learn here", **seeds.said())


def _baseline(table: LeaderboardTable, metric: str | None) -> float | None:
    """Return the trivial baseline in a metric, None where it is not known."""
    if metric == "scaled_accuracy":
        return 0.0
    if metric == table.metric:
        return table.baseline
    return table.quoted_baseline if metric == table.shown_metric else None


def _unlike(entry: Published, statistic: str | None, row: LeaderboardRow) -> str | None:
    """Return why a number that is one of a paper's trials is not compared with ours; None where it is."""
    if entry.statistic in ("range_low", "range_high"):
        return "an end of a range"
    pick = pick_of(entry)
    if pick is None:
        return None
    if picks_alike(entry, row):
        return None if statistic == entry.statistic else f"{pick} of {entry.runs}, ours the {statistic}"
    theirs = "an unstated number of trials" if entry.runs is None else f"{entry.runs}, ours of {row.ended}"
    return f"{pick} of {theirs}"


def _lost(entry: Published, row: LeaderboardRow) -> str:
    """Return how many runs have no number."""
    if entry.event is None:
        return f"{row.diverged} of {row.ended} runs diverged"
    steps, lost = times_to(row, entry.event)
    return f"{len(steps)} of {len(steps) + lost} runs got there"


def _without_number(entry: Published, statistic: str | None, row: LeaderboardRow) -> Judgement:
    """Return the verdict where our statistic is no number."""
    if entry.event is not None:
        return Judgement("not reproduced", _lost(entry, row))
    if not row.diverged:
        return Judgement("undecided", "not measured in our runs")
    lost = row.diverged == row.ended or (statistic == "median" and 2 * row.diverged >= row.ended)
    return Judgement("not reproduced" if lost else "undecided", _lost(entry, row))


def _of_diverged(entry: Published, row: LeaderboardRow) -> Judgement:
    """Return the verdict on a number of trials that diverged, as a share of them."""
    from scipy import special

    count, n, published = row.diverged, row.ended, float(entry.value or 0)
    if entry.runs is None:
        return Judgement("undecided", f"{count} of {n}, published {published:g} of an unstated number")
    reason = f"{count} of {n}, published {published:g} of {entry.runs}"
    share = published / entry.runs
    if count / n == share:
        return Judgement("reproduced", reason)
    if n < MIN_SEEDS:
        return Judgement("undecided", reason)
    low = float(special.betaincinv(count, n - count + 1, 0.025)) if count else 0.0
    high = float(special.betaincinv(count + 1, n - count, 0.975)) if count < n else 1.0
    return Judgement("within interval" if low <= share <= high else "not reproduced", reason)
