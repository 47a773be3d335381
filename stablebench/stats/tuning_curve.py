"""What a search was worth: the best score that so many of its trials can be expected to find."""

import math
from collections.abc import Sequence

from stablebench.errors import UserError


def expected_best(values: Sequence[float], trials: int, *, higher_is_better: bool) -> float:
    r"""Return the expected best of `trials` of the trials of a search, drawn without repetition.

    With the n values from worst to best, $\sum_{i=k}^{n} v_{(i)} \binom{i-1}{k-1} / \binom{n}{k}$: unbiased where the
    trials are random ones (Tang et al. 2020, Showing Your Work Doesn't Always Work; the estimator of Dodge et al. 2019
    draws with repetition, and is too low). With k = n it is the best value.

    Args:
        values: The score of each trial; infinite or NaN counts as the worst.
        trials: k, from 1 to the number of values.
        higher_is_better: Which end is the best.

    Raises:
        UserError: k is out of range.
    """
    n, k = len(values), trials
    if not 1 <= k <= n:
        raise UserError(f"expected_best: trials must be from 1 to {n}, got {k}.")
    worst = -math.inf if higher_is_better else math.inf
    ordered = sorted((worst if math.isnan(v) else v for v in values), reverse=not higher_is_better)
    weights = [math.comb(i, k - 1) / math.comb(n, k) for i in range(n)]
    return sum(v * w for v, w in zip(ordered, weights, strict=True) if w)
