"""Which of two models is better, on a task and over tasks: rank tests, corrected for the number of pairs.

Pairs are only tested where both have five seeds. Two rows are `equal` within a margin where runs of either, made worse
by the margin, are worse than the other's by a one-sided rank test each (two one-sided tests; Schuirmann. Journal of
Pharmacokinetics and Biopharmaceutics 15, 1987).
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal

from stablebench import stats
from stablebench.data.metrics import higher_is_better
from stablebench.schema.leaderboard import LeaderboardRow, LeaderboardTable
from stablebench.schema.leaderboard_statistics import (
    Decision,
    Improvement,
    OverallStatistics,
    PairTest,
    PairVerdict,
    TableStatistics,
)

Strata = Sequence[Sequence[float]]
"""A model's scores by task and seed, lower is better; infinite for a diverged seed."""


Verdict = Literal["better", "worse", "equal", "undecided"]
_Test = tuple[str, str, Decision | None]
"""The model that is better more often, the other, and what is decided of them."""


def lower_is_better(row: LeaderboardRow) -> list[float]:
    """Return a row's scores in the metric shown, with the sign that makes lower better, diverged seeds as infinity."""
    sign = -1.0 if higher_is_better(row.shown.metric) else 1.0
    return [sign * score for score in row.shown.seeds.values()] + [math.inf] * row.diverged


def pairs_of(table: LeaderboardTable, equal_within: float | None = None) -> dict[str, Any]:
    """Return what `TableStatistics` has of pairs, by its fields; nothing of rows with unequal budgets.

    Args:
        table: The table.
        equal_within: How far apart, in the metric shown, two rows count as equal; None where that is not asked.
    """
    rows = [row for row in table.rows if row.ended and table.comparable]
    scores = [lower_is_better(row) for row in rows]
    compared = _compared([[one] for one in scores], equal_within)
    pairs = [
        PairTest(better=rows[i].name, worse=rows[j].name, probability=chance, **tested)
        for i, j, chance, tested in compared
    ]
    sizes = sorted((len(s) for s in scores if s), reverse=True)[:2]
    count = sum(pair.decision is not None for pair in pairs) or len(pairs)
    smallest = None if len(sizes) < 2 else min(1.0, count * stats.smallest_p(*sizes))
    tests = [(pair.better, pair.worse, pair.decision) for pair in pairs]
    return {
        "pairs": pairs,
        "smallest_p_holm": smallest,
        "leaders": _leaders([row.name for row in rows], tests),
        "equal_within": equal_within,
        "seeds_to_tell": _seeds_to_tell(tests, 1),
    }


def improvements(names: Sequence[str], scores: Sequence[Strata]) -> dict[str, Any]:
    """Return what `OverallStatistics` has of pairs, by its fields.

    Args:
        names: The models.
        scores: Their scores on the same tasks.
    """
    pairs = [
        Improvement(name=names[i], over=names[j], probability=chance, **tested)
        for i, j, chance, tested in _compared(scores)
    ]
    tests = [(pair.name, pair.over, pair.decision) for pair in pairs]
    return {
        "improvement": pairs,
        "leaders": _leaders(names, tests),
        "seeds_to_tell": _seeds_to_tell(tests, len(scores[0]) if scores else 1),
    }


def _leaders(names: Sequence[str], tests: Sequence[_Test]) -> list[str] | None:
    """Return the models that no other is better than; None where so few seeds can tell no two apart.

    A model is left out where none of its pairs has the seeds to be told apart: that nobody beats it says nothing.
    """
    decided = [(better, worse, decision) for better, worse, decision in tests if decision is not None]
    judged = {name for *pair, decision in decided if decision.smallest_p <= stats.LEVEL for name in pair}
    beaten = {worse for _, worse, decision in decided if decision.verdict == "better"}
    return [name for name in names if name in judged - beaten] if judged else None


def _seeds_to_tell(tests: Sequence[_Test], tasks: int) -> int | None:
    """Return how many seeds of each could tell so many models apart; None where there are enough, or no pair."""
    decisions = [decision for *_, decision in tests if decision is not None]
    if not tests or any(decision.smallest_p <= stats.LEVEL for decision in decisions):
        return None
    return max(stats.MIN_SEEDS, stats.fewest_seeds(len(tests), tasks))


def _compared(
    scores: Sequence[Strata], equal_within: float | None = None
) -> list[tuple[int, int, float, dict[str, Any]]]:
    """Return each pair as better, worse, P(better), and its test by field; pairs without scores are left out."""
    pairs = [
        (i, j, stats.probability_of_improvement(scores[i], scores[j]))
        for i, j in combinations(range(len(scores)), 2)
        if all(map(len, (*scores[i], *scores[j])))
    ]
    pairs = [(i, j, chance) if chance >= 0.5 else (j, i, 1 - chance) for i, j, chance in pairs]
    tested = [pair for pair in pairs if _fewest(scores, pair) >= stats.MIN_SEEDS]
    p_values = [stats.rank_sum_p(scores[i], scores[j]) for i, j, _ in tested]
    apart = [1.0] * len(tested)
    if equal_within is not None:
        apart = [equivalence_p(scores[i], scores[j], equal_within) for i, j, _ in tested]
    tests: dict[tuple[int, int, float], dict[str, Any]] = {}
    for pair, p, p_holm, p_equal in zip(tested, p_values, stats.holm(p_values), stats.holm(apart), strict=True):
        decision = _decision(scores, pair, len(tested), p_holm, None if equal_within is None else p_equal)
        tests[pair] = {"p": p, "p_holm": p_holm, "decision": decision}
    return [(*pair, tests.get(pair, {"p": None, "p_holm": None})) for pair in pairs]


def _fewest(scores: Sequence[Strata], pair: tuple[int, int, float]) -> int:
    return min(len(seeds) for model in pair[:2] for seeds in scores[int(model)])


def _decision(
    scores: Sequence[Strata], pair: tuple[int, int, float], count: int, p_holm: float, p_equal: float | None
) -> Decision:
    i, j, chance = pair
    sides = [(len(a), len(b)) for a, b in zip(scores[i], scores[j], strict=True)]
    smallest = min(1.0, count * 2 * math.prod(stats.smallest_p(n, m) / 2 for n, m in sides))
    verdict: PairVerdict = "better" if p_holm <= stats.LEVEL else "undecided"
    if p_equal is not None and p_equal <= stats.LEVEL:  # also of a difference that is there and too small to matter
        verdict = "equal"
    more = None
    if verdict == "undecided" and (needed := stats.seeds_needed(chance, count, len(scores[i]))) is not None:
        more = max(1, needed - _fewest(scores, pair))
    return Decision(p_equal=p_equal, smallest_p=smallest, more_seeds=more, verdict=verdict)


def equivalence_p(x: Strata, y: Strata, margin: float) -> float:
    """Return the larger p of two one-sided tests: that either, made worse by the margin, is worse than the other.

    Args:
        x: A model's scores.
        y: The other model's on the same tasks.
        margin: >= 0.
    """
    moved = [[[score + margin for score in seeds] for seeds in strata] for strata in (x, y)]
    return max(stats.rank_sum_p(x, moved[1], "lower"), stats.rank_sum_p(y, moved[0], "lower"))


def more_seeds_text(decision: Decision) -> str:
    """Return what an undecided pair would take, in words."""
    if decision.more_seeds is None:
        more = "no number of seeds within reach at this effect"
    else:
        more = f"about {decision.more_seeds} more seed{'' if decision.more_seeds == 1 else 's'} (power 0.8)"
    return f"undecided: {more}; smallest attainable p is {decision.smallest_p:.2g}"


def leaders_note(part: TableStatistics | OverallStatistics) -> str | None:
    """Return the rows that no other is known to be better than, or that more seeds are needed; None without pairs."""
    if part.leaders is not None:
        return f"Not beaten at 95 %: {', '.join(part.leaders)}."
    if part.seeds_to_tell is None:
        return None
    pairs = len(part.pairs if isinstance(part, TableStatistics) else part.improvement)
    of = "the pair" if pairs == 1 else f"any of {pairs:,} pairs"
    return f"Too few seeds to tell {of} apart at 5 % for all together: {part.seeds_to_tell} of each could."


def matrix_of(
    names: Sequence[str], pairs: Sequence[PairTest | Improvement]
) -> list[list[tuple[float, Verdict] | None]]:
    """Return how often runs of the model of a row beat those of a column's, and what is decided.

    Args:
        names: The models, in the order of rows and columns.
        pairs: Their tests.

    Returns:
        (models, models); None on the diagonal and where no pair was tested.
    """
    cells: dict[tuple[str, str], tuple[float, Verdict]] = {}
    for pair in pairs:
        a, b = (pair.better, pair.worse) if isinstance(pair, PairTest) else (pair.name, pair.over)
        if pair.decision is not None:
            verdict = pair.decision.verdict
            cells[a, b] = pair.probability, verdict
            cells[b, a] = 1 - pair.probability, "worse" if verdict == "better" else verdict
    return [[cells.get((a, b)) for b in names] for a in names]
