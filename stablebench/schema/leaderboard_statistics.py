"""What a leaderboard supports, as typed parts of its JSON: intervals, times to a goal, pair tests, ranks, profiles.

Every key is described at its field; docs/leaderboard.md is made of these descriptions. Of one task an interval is that
of the median, from order statistics; over tasks it is a bootstrap interval, seeds resampled within model and task. With
fewer than five seeds there is none.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

Goal = Literal["baseline", "target"]
Unit = Literal["steps", "seconds"]
GOALS: tuple[Goal, ...] = ("baseline", "target")
UNITS: tuple[Unit, ...] = ("steps", "seconds")
Interval = tuple[float, float]
"""Lower and upper end."""


COVERAGE = (
    "Probability with which the interval holds the median, whatever the distribution: 0.9375 of 5 seeds, at least 0.95 "
    "of more; null where there is none. Not in files of 0.1.0."
)
SEEDS_TO_TELL = (
    "Seeds of each model with which the test can tell some pair apart at 5 % for all pairs together; null where there "
    "are enough, or no pair. Not in files of 0.1.0."
)
PairVerdict = Literal["better", "equal", "undecided"]


class LeaderboardPart(BaseModel):
    """A frozen part of a leaderboard, which refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())

    def replaced(self, **changes: Any) -> Self:
        """Return a copy with other values of some fields.

        Raises:
            ValidationError: There is no such field, or the value is of another type.
        """
        return type(self)(**(dict(self) | changes))


class TimeToGoal(LeaderboardPart):
    """When a row's runs reached a goal, where some never do."""

    reached: int = Field(description="Ended runs that reached the goal.")
    of: int = Field(description="Ended runs.")
    horizon: float | None = Field(description="Time up to which all rows can be followed; null where there is none.")
    restricted_mean: float | None = Field(description="Mean of min(time, horizon).")
    interval: Interval | None = Field(
        description="Interval of `median`, as `RowStatistics.median_interval`; null below 5 runs, or where it reaches "
        "runs that never got there. In files of 0.1.0 a bootstrap interval of `restricted_mean`."
    )
    curve: list[tuple[float, float]] = Field(
        description="Kaplan-Meier estimate: corners (time, share of runs that have not reached the goal from then on)."
    )
    median: float | None = Field(
        default=None, description="Median time, a run that never got there later than any. Not in files of 0.1.0."
    )


class RowStatistics(LeaderboardPart):
    """One row's scores; all but the median are of the seeds that did not diverge."""

    name: str = Field(description="The row's `name`.")
    n: int = Field(description="Seeds with a score.")
    diverged: int = Field(description="Diverged seeds.")
    iqm: float | None = Field(description="Interquartile mean.")
    iqm_interval: Interval | None = Field(
        default=None, description="Null: the median has an interval. Files of 0.1.0 have a bootstrap interval."
    )
    median: float | None = Field(
        description="Median over all seeds, a diverged one worse than any; null if half diverged."
    )
    median_interval: Interval | None = Field(
        description="Interval of the median over all seeds, a diverged one worse than any, from order statistics; null "
        "with fewer than 5 seeds, or where it reaches a diverged one."
    )
    mean: float | None = Field(description="Arithmetic mean.")
    standard_deviation: float | None = Field(description="Standard deviation of the sample (n - 1).")
    standard_error: float | None = Field(description="Standard error of the mean.")
    min: float | None = Field(description="Lowest score.")
    max: float | None = Field(description="Highest score.")
    arrivals: dict[Goal, dict[Unit, TimeToGoal]] = Field(
        description="By goal and unit, when the runs reached it; empty where no run has ended."
    )
    coverage: float | None = Field(default=None, description=COVERAGE)
    mean_interval: Interval | None = Field(
        default=None,
        description="Student's 95 % interval of `mean`, exact for normal scores; null with fewer than 2 seeds or a "
        "diverged one. Not in files of 0.1.0.",
    )

    def time_to(self, goal: Goal, unit: Unit) -> TimeToGoal | None:
        """Return when the row's runs reached a goal, None where that is not known."""
        return self.arrivals.get(goal, {}).get(unit)


class Decision(LeaderboardPart):
    """What a test says of two models, at 5 % for all pairs together."""

    verdict: PairVerdict = Field(
        description="`equal` where `p_equal` is at most 0.05, else `better` where `p_holm` is, else `undecided`."
    )
    p_equal: float | None = Field(
        description="p-value, corrected by Holm, of the two lying no farther apart than `equal_within`; null where "
        "that is not asked."
    )
    smallest_p: float = Field(description="Smallest corrected p of a first pair that so many seeds can give.")
    more_seeds: int | None = Field(
        description="Of an undecided pair, about how many more seeds of each show the difference with probability 0.8; "
        "null where a thousand would not."
    )


class SeedDecision(LeaderboardPart):
    """What `--until-decided` came to for two rows of a table."""

    task: str = Field(description="The table's name.")
    better: str = Field(description="Name of the row that is better; of an equal or undecided pair, of either.")
    worse: str = Field(description="Name of the other.")
    verdict: PairVerdict = Field(description="`better`, `equal` (within `equal_within`) or `undecided`.")
    seeds: int = Field(description="Seeds of each row after which it was said.")
    p: float = Field(description="p-value of that look, uncorrected; it decides at `level`.")


class SeedDecisions(LeaderboardPart):
    """What `--until-decided` came to: at most 5 % of comparisons hold a false decision."""

    looks: list[int] = Field(description="Numbers of seeds after which was looked.")
    pairs: int = Field(description="Pairs of rows, over all tables.")
    level: float = Field(description="A pair is decided where its p-value is at most this.")
    equal_within: float | None = Field(description="How far apart rows count as equal; null where that is not asked.")
    unequal: list[str] = Field(description="Tables on which nothing is decided, because budgets are unequal.")
    decisions: list[SeedDecision] = Field(description="The decided pairs first, in the order in which they were.")


class PairTest(LeaderboardPart):
    """A two-sided rank test of two rows of a table."""

    better: str = Field(description="Name of the row whose runs are better more often.")
    worse: str = Field(description="Name of the other.")
    probability: float = Field(description="Probability that a run of `better` beats one of `worse`, ties half.")
    p: float | None = Field(description="p-value, uncorrected; null below 5 seeds of each.")
    p_holm: float | None = Field(description="p-value corrected by Holm for the number of tested pairs in the table.")
    decision: Decision | None = Field(
        default=None, description="What follows; null below 5 seeds of each. Not in files of 0.1.0."
    )


class TableStatistics(LeaderboardPart):
    """The statistics of one table."""

    task: str = Field(description="The table's `task`.")
    metric: str = Field(
        description="What scores and pairs are measured in: the `quoted` metric where rows have one, else the table's "
        "`metric`. In files of 0.1.0 always the latter."
    )
    rows: list[RowStatistics] = Field(description="One a row, in the table's order.")
    pairs: list[PairTest] = Field(description="Every pair of rows with ended runs.")
    smallest_p_holm: float | None = Field(description="Smallest corrected p of a first pair with so many seeds.")
    leaders: list[str] | None = Field(
        default=None,
        description="Rows that no other is `better` than, of those with the seeds to be told apart; null where no "
        "pair has them. Not in files of 0.1.0.",
    )
    seeds_to_tell: int | None = Field(default=None, description=SEEDS_TO_TELL)
    equal_within: float | None = Field(
        default=None, description="How far apart, in `metric`, two rows count as equal; null where that is not asked."
    )


class LeftOut(LeaderboardPart):
    """What is not compared over tasks."""

    models: list[str] = Field(description="Rows that did not run on all compared tasks.")
    tasks: list[str] = Field(description="Tasks that not all compared rows ran on.")


class OverallRow(LeaderboardPart):
    """One model over all compared tasks; scores are normalised: 0 needs no learning, 1 is perfect, diverged is 0."""

    name: str = Field(description="Name of the row in every compared table.")
    rank: float = Field(description="Rank of the median over seeds, averaged over tasks.")
    rank_interval: Interval | None = Field(description="Its 95 % interval; null with fewer than 5 seeds.")
    iqm: float | None = Field(description="Interquartile mean of normalised scores.")
    iqm_interval: Interval | None = Field(description="Its 95 % interval; null with fewer than 5 seeds.")
    median: float | None = Field(description="Median of normalised scores.")
    median_interval: Interval | None = Field(description="Its 95 % interval; null with fewer than 5 seeds.")
    diverged: int = Field(description="Diverged runs.")
    runs: int = Field(description="Ended runs.")


class Improvement(LeaderboardPart):
    """How often a run of one model beats a run of another, averaged over tasks, and a rank test over the tasks."""

    name: str = Field(description="The model that is better more often.")
    over: str = Field(description="The other.")
    probability: float = Field(description="Probability of improvement, in [0.5, 1].")
    interval: Interval | None = Field(
        default=None, description="Null: `p_holm` decides. Files of 0.1.0 have a bootstrap interval."
    )
    p: float | None = Field(default=None, description="p-value, uncorrected; null below 5 seeds of each on a task.")
    p_holm: float | None = Field(default=None, description="p-value corrected by Holm for the number of pairs.")
    decision: Decision | None = Field(
        default=None, description="What follows; null below 5 seeds of each. Not in files of 0.1.0."
    )


class ProfileRow(LeaderboardPart):
    """One model's performance profile."""

    name: str = Field(description="The model.")
    score: float = Field(description="Mean of the profile over 1 <= tau <= `r_max`, in [0, 1].")
    interval: Interval | None = Field(description="Its 95 % interval; null with fewer than 5 seeds.")
    solved: int = Field(description="Tasks whose target it reaches.")
    curve: list[tuple[float, float]] = Field(
        description="Corners (tau, share of tasks solved within tau times the fastest model's time)."
    )


class Profile(LeaderboardPart):
    """Performance profiles in one unit of time."""

    unit: str = Field(description="`steps`, `samples` or `seconds`.")
    hardware: str | None = Field(description="Class of hardware within which seconds are compared; null for the rest.")
    tasks: int = Field(description="Tasks with a target.")
    rows: list[ProfileRow] = Field(description="One a model, best first.")


class OverallStatistics(LeaderboardPart):
    """Models compared over the tasks that they have in common."""

    models: list[str] = Field(description="The models compared.")
    tasks: list[str] = Field(description="The tasks compared over.")
    left_out: LeftOut = Field(description="What is not compared.")
    rows: list[OverallRow] = Field(description="One a model, best first; empty with fewer than two models.")
    improvement: list[Improvement] = Field(description="Every pair of models.")
    profiles: list[Profile] = Field(description="One a unit, and for seconds one a class of hardware.")
    leaders: list[str] | None = Field(
        default=None,
        description="Models that no other is `better` than over the tasks; null where no pair has the seeds to be told "
        "apart. Not in files of 0.1.0.",
    )
    seeds_to_tell: int | None = Field(default=None, description=SEEDS_TO_TELL)


class Statistics(LeaderboardPart):
    """The statistics of a leaderboard."""

    confidence: float = Field(description="Confidence level of all intervals.")
    resamples: int = Field(description="Bootstrap resamples of the intervals over tasks.")
    r_max: float = Field(description="Where performance profiles end.")
    tables: list[TableStatistics] = Field(description="One a table.")
    overall: OverallStatistics = Field(description="Over tasks.")
