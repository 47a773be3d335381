"""Adding seeds until two models are told apart, with 5 % false decisions at most however often one looks.

Who looks after every seed and stops at p <= 0.05 is wrong far more often than one time in twenty. Here the numbers of
seeds at which one looks are fixed beforehand, and the 5 % are divided evenly among looks, pairs and questions: by
Boole's inequality no more than 5 % of comparisons hold any false decision, whatever depends on what. A look at which so
few seeds cannot decide anything is left out.

Reference: Lan, DeMets. Discrete Sequential Boundaries for Clinical Trials. Biometrika 70, 1983 (spending an error rate
    over looks; an even share each is the simplest spending, and needs nothing known of the looks' correlation)
"""

import math
from dataclasses import dataclass

from stablebench.stats.intervals import MIN_SEEDS
from stablebench.stats.rank_tests import LEVEL, smallest_p

_GROWTH = 1.4
"""From one look to the next."""


@dataclass(frozen=True)
class SeedPlan:
    """When to look, and when a pair is decided.

    Args:
        looks: Seeds of each model, ascending.
        level: A pair is decided where its uncorrected p is at most this.
    """

    looks: tuple[int, ...]
    level: float


def seed_plan(pairs: int, most: int, questions: int = 1) -> SeedPlan | None:
    """Return the plan of a comparison; None where not even the last look can decide a pair.

    Args:
        pairs: Pairs of models, over all tasks, >= 1.
        most: Seeds of a model, at most.
        questions: Tests of a pair at a look: whether one is better, and perhaps whether the two are equal.
    """
    looks = []
    seeds = float(MIN_SEEDS)
    while round(seeds) < most:
        looks.append(round(seeds))
        seeds = math.ceil(seeds * _GROWTH)
    looks.append(most)
    while looks:
        level = LEVEL / (len(looks) * pairs * questions)
        if looks[0] >= MIN_SEEDS and smallest_p(looks[0], looks[0]) <= level:
            return SeedPlan(tuple(looks), level)
        looks.pop(0)
    return None
