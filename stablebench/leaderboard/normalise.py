"""Scores of different metrics on one scale: 0 for what needs no learning, 1 for perfect.

With the gap of a score to the perfect one, the normalised score is 1 - gap / gap of the trivial baseline. It ends at 0:
a run below the baseline, and a diverged one, has learned nothing.
"""

from stablebench.data.metrics import METRICS


def normalised(metric: str, value: float | None, baseline: float | None) -> float | None:
    """Return a score between 0 and 1.

    Args:
        metric: Its metric.
        value: The score; None for a diverged run.
        baseline: The trivial baseline's; None where the task has none.

    Returns:
        None where the baseline is missing or perfect itself.
    """
    perfect = METRICS[metric].most if METRICS[metric].higher_is_better else METRICS[metric].least
    if baseline is None or baseline == perfect:
        return None
    if value is None:
        return 0.0
    return max(0.0, 1.0 - abs(value - perfect) / abs(baseline - perfect))
