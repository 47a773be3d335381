"""Which pairs of a leaderboard's rows are decided as seeds are added (`stats.sequential`)."""

from dataclasses import dataclass, field
from itertools import combinations

from stablebench import stats
from stablebench.leaderboard.pairs import equivalence_p, lower_is_better
from stablebench.schema.leaderboard import Leaderboard, LeaderboardRow
from stablebench.schema.leaderboard_statistics import SeedDecision, SeedDecisions

_Pair = tuple[str, tuple[str, str, str], tuple[str, str, str]]
"""A task and the keys of two rows."""


@dataclass
class Decisions:
    """What has been decided so far.

    Args:
        plan: When to look, and the level of a pair.
        pairs: Pairs that are to be decided.
        equal_within: How far apart, in the metric shown, two rows count as equal; None where that is not asked.
        decided: What was decided when, by pair.
        open: What the last look left undecided.
        unequal: Tasks on which nothing is decided, because budgets are unequal.
    """

    plan: stats.SeedPlan
    pairs: int
    equal_within: float | None = None
    decided: dict[_Pair, SeedDecision] = field(default_factory=dict)
    open: dict[_Pair, SeedDecision] = field(default_factory=dict)
    unequal: list[str] = field(default_factory=list)

    def look(self, board: Leaderboard, seeds: int) -> set[str]:
        """Decide what can be decided, and return the spec hashes of the rows that need more seeds.

        Args:
            board: The runs so far.
            seeds: Of each row that is under way.
        """
        needed, self.open = set(), {}
        self.unequal = [table.task for table in board.tables if not table.comparable]
        for table in [table for table in board.tables if table.comparable]:
            for a, b in combinations([row for row in table.rows if row.ended], 2):
                key = (table.task, min(a.key, b.key), max(a.key, b.key))
                if key not in self.decided:
                    decision = self._decide(table.task, a, b, seeds)
                    if decision.verdict == "undecided":
                        needed |= {a.spec_hash, b.spec_hash}
                        self.open[key] = decision
                    else:
                        self.decided[key] = decision
        return needed

    def document(self) -> SeedDecisions:
        """Return what the leaderboard's JSON says of them."""
        return SeedDecisions(
            looks=list(self.plan.looks),
            pairs=self.pairs,
            level=self.plan.level,
            equal_within=self.equal_within,
            unequal=self.unequal,
            decisions=[*self.decided.values(), *self.open.values()],
        )

    def summary(self) -> list[str]:
        """Return a line for each pair, the decided ones first, and how sure they are."""
        looks, pairs = ", ".join(map(str, self.plan.looks)), f"{self.pairs} pair{'' if self.pairs == 1 else 's'}"
        rule = f"5 % false decisions at most in all: {pairs}, looked at after {looks} seeds, each at p <= "
        lines = [self._line(decision) for decision in (*self.decided.values(), *self.open.values())]
        unequal = [f"{task}: budgets are unequal, so that nothing is decided" for task in self.unequal]
        return [*lines, *unequal, f"{rule}{self.plan.level:.2g}."]

    def _line(self, decision: SeedDecision) -> str:
        a, b, p = decision.better, decision.worse, f"(p {decision.p:.2g}) "
        if decision.verdict == "equal":
            said = f"{a} and {b} are equal within {self.equal_within:g} {p}"
        else:
            said = f"{a} is better than {b} {p}" if decision.verdict == "better" else f"{a} and {b} are undecided "
        return f"{decision.task}: {said}after {decision.seeds} seeds"

    def _decide(self, task: str, a: LeaderboardRow, b: LeaderboardRow, seeds: int) -> SeedDecision:
        x, y = lower_is_better(a), lower_is_better(b)
        p, verdict = stats.rank_sum_p([x], [y]), "undecided"
        p_equal = 1.0 if self.equal_within is None else equivalence_p([x], [y], self.equal_within)
        first, second = (a, b) if stats.probability_of_improvement([x], [y]) > 0.5 else (b, a)
        if p_equal <= self.plan.level:
            p, verdict = p_equal, "equal"
        elif p <= self.plan.level:
            verdict = "better"
        return SeedDecision(task=task, better=first.name, worse=second.name, verdict=verdict, seeds=seeds, p=p)
