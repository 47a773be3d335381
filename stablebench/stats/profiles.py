"""Performance profiles over tasks, and the area under them as one score.

With t(s, k) the time of model s to the target of task k and r(s, k) = t(s, k) / min over s of t(s, k), the profile
rho_s(tau) is the share of tasks with r(s, k) <= tau. The score is its mean over 1 <= tau <= r_max: 1 for a model that
is fastest on every task, 0 for one that is never within r_max of the fastest. A model's time is the median over its
seeds, one that never arrives counting as later than any; a task whose target nobody reaches counts for nobody.

References: Dolan, More. Benchmarking optimization software with performance profiles. Mathematical Programming 91,
    2002; Dahl et al. Benchmarking Neural Network Training Algorithms. 2023. https://arxiv.org/abs/2306.07179 (AlgoPerf:
    the integrated score, r_max = 4)
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stablebench.stats.bootstrap import RESAMPLES, each_draw, expanded_ends
from stablebench.stats.intervals import MIN_SEEDS
from stablebench.stats.summary import medians_with_infinity

if TYPE_CHECKING:
    import numpy as np

R_MAX = 4.0


def time_ratios(times: "np.ndarray") -> "np.ndarray":
    """Return how many times slower than the fastest each model is on each task.

    Args:
        times: (..., models, tasks), > 0, infinite where a model never arrives.

    Returns:
        Of the same shape, >= 1; infinite where a model never arrives.
    """
    import numpy as np

    fastest = times.min(axis=-2, keepdims=True)
    return np.divide(times, fastest, out=np.full_like(times, np.inf), where=np.isfinite(times))


def integrated_scores(times: "np.ndarray", r_max: float = R_MAX) -> "np.ndarray":
    """Return each model's mean of its profile over 1 <= tau <= r_max.

    Args:
        times: (..., models, tasks), as for `time_ratios`.
        r_max: > 1.

    Returns:
        (..., models), in [0, 1].
    """
    import numpy as np

    # a task solved at ratio r counts from tau = r on: a share (r_max - r) / (r_max - 1) of the area
    return ((r_max - np.minimum(time_ratios(times), r_max)) / (r_max - 1)).mean(axis=-1)


def profile(ratios: Sequence[float], r_max: float = R_MAX) -> list[tuple[float, float]]:
    """Return one model's profile as the corners of a step function.

    Args:
        ratios: Its ratio on each task.
        r_max: Where the profile ends.

    Returns:
        tau and the share of tasks from there on, the first at 1, the last at `r_max`.
    """
    solved = [sum(r <= tau for r in ratios) / len(ratios) for tau in (1.0, r_max)]
    inside = sorted({r for r in ratios if 1 < r < r_max})
    corners = [(float(tau), sum(r <= tau for r in ratios) / len(ratios)) for tau in inside]
    return [(1.0, solved[0]), *corners, (r_max, solved[1])]


def median_times(times: Sequence[Sequence[Sequence[float]]]) -> "np.ndarray":
    """Return the median over seeds, (models, tasks).

    Args:
        times: By model, task and seed; infinite for one that never arrives.
    """
    import numpy as np

    return np.array([[medians_with_infinity(np.asarray([seeds], dtype=float))[0] for seeds in row] for row in times])


def score_intervals(
    times: Sequence[Sequence[Sequence[float]]], r_max: float = R_MAX, confidence: float = 0.95, seed: int = 0
) -> list[tuple[float, float] | None]:
    """Return the bootstrap interval of each model's integrated score, seeds resampled within model and task.

    Args:
        times: By model, task and seed; infinite for one that never arrives.
        r_max: > 1.
        confidence: What the interval is to cover, in (0, 1).
        seed: Seed of the draws.

    Returns:
        By model; None for all where a model has fewer than five seeds on a task: every score depends on all models.
    """
    import numpy as np

    if any(len(seeds) < MIN_SEEDS for row in times for seeds in row):
        return [None] * len(times)
    if all(len(set(seeds)) == 1 for row in times for seeds in row):  # as where nobody arrives
        return [(score, score) for score in integrated_scores(median_times(times), r_max).tolist()]
    resampled = np.empty((RESAMPLES, len(times), len(times[0])))
    for k in range(len(times[0])):
        drawn = each_draw(tuple(len(row[k]) for row in times), seed + k)
        for s, (row, index) in enumerate(zip(times, drawn, strict=True)):
            resampled[:, s, k] = medians_with_infinity(np.asarray(row[k], dtype=float)[index])
    ends_of = expanded_ends([min(len(row[k]) for row in times) for k in range(len(times[0]))], confidence)
    ends = np.quantile(integrated_scores(resampled, r_max), ends_of, axis=0)
    return [(float(low), float(high)) for low, high in ends.T]
