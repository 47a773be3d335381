"""Numbers of a leaderboard as text, in tables and on the page alike."""

from stablebench.schema.leaderboard_statistics import Interval


def format_number(value: float | None) -> str | None:
    """Return a number to four digits."""
    return None if value is None else f"{value:.4g}"


def format_interval(interval: Interval | None) -> str | None:
    """Return both ends of an interval to four digits."""
    return None if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}"


def format_range(low: float | None, high: float | None) -> str | None:
    """Return the lowest and the highest of several scores, None where there are none."""
    return None if low is None or high is None else format_interval((low, high))


def format_seeds(n: int, diverged: int) -> str:
    """Return how many seeds have a score, and how many diverged."""
    return f"{n}, {diverged} diverged" if diverged else str(n)
