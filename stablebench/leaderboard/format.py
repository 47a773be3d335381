"""Numbers of a leaderboard as text, in tables and on the page alike."""

from stablebench.schema.leaderboard import LeaderboardTable
from stablebench.schema.leaderboard_statistics import Interval
from stablebench.stats import MIN_SEEDS

MEDIAN_INTERVAL = "95 % of the median"
"""Heading of intervals of a median; of fewer seeds, and of five, the cell says what it is."""
MEAN_INTERVAL = "95 % of the mean (t)"
"""Heading of Student's intervals."""
FIVE_SEEDS = " (94 %)"


def format_number(value: float | None) -> str | None:
    """Return a number to four digits."""
    return None if value is None else f"{value:.4g}"


def format_interval(interval: Interval | None) -> str | None:
    """Return both ends of an interval to four digits."""
    return None if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}"


def format_range(low: float | None, high: float | None) -> str | None:
    """Return the lowest and the highest of several scores, None where there are none."""
    return None if low is None or high is None else format_interval((low, high))


def format_unequal(table: LeaderboardTable) -> str | None:
    """Return what differs between the rows of a table and must not for a ranking, as a sentence; None for nothing."""
    if not table.unequal:
        return None
    apart = {"parameters": " (over 5 % apart)"}  # closer ones make rows of other widths equal
    differs = ", ".join(f"{n} {low:,} to {high:,}{apart.get(n, '')}" for n, (low, high) in table.unequal.items())
    return f"{differs}: {'ranked across unequal budgets, as asked' if table.comparable else 'not a ranking'}."


def format_seeds(n: int, diverged: int) -> str:
    """Return how many seeds have a score, and how many diverged."""
    return f"{n}, {diverged} diverged" if diverged else str(n)


def format_median_interval(
    interval: Interval | None, coverage: float | None, seeds: int, low: float | None, high: float | None
) -> str | None:
    """Return the interval of a median under `MEDIAN_INTERVAL`; of fewer than five seeds the range, called so.

    Args:
        interval: The interval; None where there is none.
        coverage: With which probability it holds the median.
        seeds: Seeds that ended.
        low: The lowest score.
        high: The highest.
    """
    if interval is not None:
        return f"{format_interval(interval)}{FIVE_SEEDS if coverage is not None and coverage < 0.95 else ''}"
    if 1 < seeds < MIN_SEEDS and low is not None:
        return f"range {format_range(low, high)}"
    return None
