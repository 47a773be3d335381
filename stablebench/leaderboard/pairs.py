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


def lower_is_better(table: LeaderboardTable, row: LeaderboardRow) -> list[float]:
    """Return a row's scores with the sign that makes lower better, diverged seeds as infinity."""
    sign = -1.0 if table.higher_is_better else 1.0
    return [sign * score for score in row.seeds.values()] + [math.inf] * row.diverged


def pairs_of(table: LeaderboardTable, equal_within: float | None = None) -> dict[str, Any]:
    """Return what `TableStatistics` has of pairs, by its fields; nothing of rows with unequal budgets.

    Args:
        table: The table.
        equal_within: How far apart, in the table's metric, two rows count as equal; None where that is not asked.
    """
    rows = [row for row in table.rows if row.ended and table.comparable]
    scores = [lower_is_better(table, row) for row in rows]
    compared = _compared([[one] for one in scores], equal_within)
    pairs = [
        PairTest(better=rows[i].name, worse=rows[j].name, probability=chance, **tested)
        for i, j, chance, tested in compared
    ]
    sizes = sorted((len(s) for s in scores if s), reverse=True)[:2]
    smallest = None if len(sizes) < 2 else min(1.0, len(pairs) * stats.smallest_p(*sizes))
    beaten = {pair.worse for pair in pairs if pair.decision is not None and pair.decision.verdict == "better"}
    judged = [row.name for row, held in zip(rows, scores, strict=True) if len(held) >= stats.MIN_SEEDS]
    leaders = [name for name in judged if name not in beaten] if len(judged) > 1 else None
    return {"pairs": pairs, "smallest_p_holm": smallest, "leaders": leaders, "equal_within": equal_within}


def improvements(names: Sequence[str], scores: Sequence[Strata]) -> tuple[list[Improvement], list[str] | None]:
    """Return every pair of models over tasks, and the models that no other is better than, None below five seeds.

    Args:
        names: The models.
        scores: Their scores on the same tasks.
    """
    pairs = [
        Improvement(name=names[i], over=names[j], probability=chance, **tested)
        for i, j, chance, tested in _compared(scores)
    ]
    beaten = {pair.over for pair in pairs if pair.decision is not None and pair.decision.verdict == "better"}
    judged = any(pair.decision is not None for pair in pairs)
    return pairs, [name for name in names if name not in beaten] if judged else None


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
    """Return the rows that no other is known to be better than, in a sentence; None where nothing was tested."""
    return None if part.leaders is None else f"Not beaten at 95 %: {', '.join(part.leaders)}."


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
