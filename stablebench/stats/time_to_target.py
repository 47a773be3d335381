"""Time to a target that some runs never reach: Kaplan-Meier curve and mean time restricted to a horizon.

A run that was followed up to its budget and did not reach the target is censored there: it might have reached it later.
A run that diverged never can; it stays at risk for ever. (`scipy.stats.ecdf` refuses such an infinite follow-up.)

References: Kaplan, Meier. Nonparametric Estimation from Incomplete Observations. JASA 53, 1958 (the curve);
    Royston, Parmar. Restricted mean survival time. BMC Medical Research Methodology 13:152, 2013 (its area).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class TimesToTarget:
    """The runs of one model on one task, and one target.

    Args:
        reached: When each run that reached the target did, >= 0, in steps, samples or seconds.
        followed: How long each other run was followed; `math.inf` for one that can never reach it.
    """

    reached: tuple[float, ...]
    followed: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check the times.

        Raises:
            ValueError: There is no run, a time to the target is not finite, or a time is below 0 or no number.
        """
        if not self.reached and not self.followed:
            raise ValueError("times to a target need at least one run.")
        if not all(math.isfinite(t) for t in self.reached) or not all(t >= 0 for t in (*self.reached, *self.followed)):
            raise ValueError(
                f"times must be >= 0 and those to the target finite, got {self.reached} and {self.followed}."
            )

    @property
    def known_until(self) -> float:
        """The longest horizon up to which the curve is known; infinite where every run arrived or one never will."""
        last = max(self.reached, default=0.0)
        if not self.followed or math.inf in self.followed:
            return math.inf
        return max(last, *self.followed) if max(self.followed) >= last else math.inf


def kaplan_meier(runs: TimesToTarget) -> list[tuple[float, float]]:
    """Return the Kaplan-Meier estimate of the share of runs still short of the target, as a step function's corners.

    Args:
        runs: The runs.

    Returns:
        Time and share from that time on, the first (0, 1).
    """
    import numpy as np

    times, counts = np.unique(runs.reached, return_counts=True)
    ends = np.sort([*runs.reached, *runs.followed])
    # a run that stops when another reaches the target is still at risk then
    at_risk = len(ends) - np.searchsorted(ends, times, side="left")
    survival = np.cumprod(1 - counts / at_risk)
    return [(0.0, 1.0), *zip(times.tolist(), survival.tolist(), strict=True)]


def restricted_mean(runs: TimesToTarget, horizon: float) -> float:
    """Return the mean of min(time, horizon): the area under the curve up to the horizon.

    Args:
        runs: The runs; the curve after the longest follow-up is taken as flat.
        horizon: Finite, > 0.
    """
    corners = [(t, share) for t, share in kaplan_meier(runs) if t < horizon] + [(horizon, 0.0)]
    return math.fsum(share * (after - t) for (t, share), (after, _) in pairwise(corners))


def common_horizon(rows: Sequence[TimesToTarget]) -> float:
    """Return the horizon on which all rows can be compared: the shortest follow-up, or the last time to the target.

    Args:
        rows: The runs of each model.

    Returns:
        A finite time; 0 where no run reached the target and none was followed.
    """
    known = min((row.known_until for row in rows), default=math.inf)
    if math.isfinite(known):
        return known
    return max((t for row in rows for t in row.reached), default=0.0)
