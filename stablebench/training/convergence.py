"""When a run arrived: the first of three evaluations running that beat the trivial baseline, or reach the target."""

from collections.abc import Callable, Sequence

from stablebench.data.metrics import higher_is_better

CONSECUTIVE_EVALUATIONS = 3
"""Evaluations that must pass in a row; one alone may be luck."""


def first_sustained(
    values: Sequence[tuple[int, float, float]], passes: Callable[[float], bool], running: int = CONSECUTIVE_EVALUATIONS
) -> tuple[int, float] | None:
    """Return step and seconds of the first of `running` evaluations in a row that pass, or None.

    Args:
        values: Step, seconds of training and value of each evaluation, in their order.
        passes: Whether a value passes.
        running: How many must pass in a row.
    """
    streak = 0
    for i, (_, _, value) in enumerate(values):
        streak = streak + 1 if passes(value) else 0
        if streak == running:
            step, seconds, _ = values[i - running + 1]
            return step, seconds
    return None


def beats_baseline(metric: str, baseline: float) -> Callable[[float], bool]:
    """Return whether a value is under 0.9 of the baseline, or 0.05 over it where higher is better."""
    if higher_is_better(metric):
        return lambda value: value >= baseline + 0.05
    return lambda value: value < 0.9 * baseline


def reaches_target(metric: str, target: float) -> Callable[[float], bool]:
    """Return whether a value is at the target or better."""
    if higher_is_better(metric):
        return lambda value: value >= target
    return lambda value: value <= target
