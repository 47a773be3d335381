"""When runs arrive at a goal, where some never do: Kaplan-Meier curve and mean time restricted to a horizon.

A run that was followed up to its budget and did not arrive is censored there: it might have arrived later. A run that
diverged can never arrive; it stays among those still under way for ever.

References: Kaplan, Meier. Nonparametric Estimation from Incomplete Observations. JASA 53, 1958 (the curve);
    Royston, Parmar. Restricted mean survival time. BMC Medical Research Methodology 13:152, 2013 (its area).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from stablebench.stats.bootstrap import shares


@dataclass(frozen=True)
class Arrivals:
    """The runs of one model on one task, and one goal.

    Args:
        times: When each run that arrived did, > 0, in steps, samples or seconds.
        followed: How long each other run was followed; `math.inf` for one that can never arrive.
    """

    times: tuple[float, ...]
    followed: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no time.

        Raises:
            ValueError: There is no run, an arrival is not finite, or a time is below 0 or no number.
        """
        if not self.times and not self.followed:
            raise ValueError("arrivals need at least one run.")
        if not all(math.isfinite(t) for t in self.times) or not all(t >= 0 for t in (*self.times, *self.followed)):
            raise ValueError(f"times must be >= 0 and those of arrivals finite, got {self.times} and {self.followed}.")

    @property
    def known_until(self) -> float:
        """The longest horizon up to which the curve is known; infinite where every run arrived or one never will."""
        last = max(self.times, default=0.0)
        if not self.followed or math.inf in self.followed:
            return math.inf
        return max(last, *self.followed) if max(self.followed) >= last else math.inf


def arrival_curve(arrivals: Arrivals) -> list[tuple[float, float]]:
    """Return the Kaplan-Meier estimate of the share of runs that have not arrived, as the corners of a step function.

    Args:
        arrivals: The runs.

    Returns:
        Time and share from that time on, the first (0, 1).
    """
    import numpy as np

    times, arrived = np.unique(arrivals.times, return_counts=True)
    ends = np.sort([*arrivals.times, *arrivals.followed])
    # whoever stops at the time of an arrival is still under way then
    under_way = len(ends) - np.searchsorted(ends, times, side="left")
    shares_left = np.cumprod(1 - arrived / under_way)
    return [(0.0, 1.0), *zip(times.tolist(), shares_left.tolist(), strict=True)]


def restricted_mean(arrivals: Arrivals, horizon: float) -> float:
    """Return the mean of min(time, horizon): the area under the curve up to the horizon.

    Args:
        arrivals: The runs; the curve behind the longest follow-up is taken as flat.
        horizon: Finite, > 0.
    """
    corners = [(t, share) for t, share in arrival_curve(arrivals) if t < horizon] + [(horizon, 0.0)]
    return math.fsum(share * (after - t) for (t, share), (after, _) in pairwise(corners))


def restricted_mean_interval(
    arrivals: Arrivals, horizon: float, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of the restricted mean, None of fewer than two runs.

    Args:
        arrivals: The runs, resampled with their follow-up.
        horizon: Finite, > 0.
        confidence: The share of resamples inside, in (0, 1).
        seed: Of the draws.
    """
    import numpy as np

    n = len(arrivals.times) + len(arrivals.followed)
    if n < 2:
        return None
    # arrivals before those censored at the same time, as Kaplan and Meier have it
    runs = sorted([(t, 0) for t in arrivals.times] + [(t, 1) for t in arrivals.followed])
    arrived = np.array([censored == 0 for _, censored in runs])
    edges = np.minimum([0.0, *(t for t, _ in runs), math.inf], horizon)
    means = []
    for (weights,) in shares((n,), seed):
        at_risk = 1 - np.cumsum(weights, axis=1) + weights
        stay = 1 - weights * arrived / np.where(at_risk > 1e-9, at_risk, 1)
        under_way = np.concatenate([np.ones((len(weights), 1)), np.cumprod(stay, axis=1)], axis=1)
        means.append(under_way @ np.diff(edges))
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def common_horizon(rows: Sequence[Arrivals]) -> float:
    """Return the horizon on which all rows can be compared: the shortest follow-up, or the last arrival of any.

    Args:
        rows: The runs of each model.

    Returns:
        A finite time; 0 where no run arrived and none was followed.
    """
    known = min((row.known_until for row in rows), default=math.inf)
    if math.isfinite(known):
        return known
    return max((t for row in rows for t in row.times), default=0.0)
