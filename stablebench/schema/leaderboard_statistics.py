"""What a leaderboard supports, as typed parts of its JSON: intervals, times to a goal, pair tests, ranks, profiles.

Every key is described at its field; docs/leaderboard.md is made of these descriptions. Intervals are percentile
bootstrap intervals, seeds resampled within model and task.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

Goal = Literal["baseline", "target"]
Unit = Literal["steps", "seconds"]
GOALS: tuple[Goal, ...] = ("baseline", "target")
UNITS: tuple[Unit, ...] = ("steps", "seconds")
Interval = tuple[float, float]
"""Lower and upper end."""


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
    interval: Interval | None = Field(description="95 % interval of `restricted_mean`.")
    curve: list[tuple[float, float]] = Field(
        description="Kaplan-Meier estimate: corners (time, share of runs that have not reached the goal from then on)."
    )


class RowStatistics(LeaderboardPart):
    """One row's scores, described over the seeds that did not diverge."""

    name: str = Field(description="The row's `name`.")
    n: int = Field(description="Seeds with a score.")
    diverged: int = Field(description="Diverged seeds; with one there is no interval.")
    iqm: float | None = Field(description="Interquartile mean.")
    iqm_interval: Interval | None = Field(description="Its 95 % interval.")
    median: float | None = Field(description="Median.")
    median_interval: Interval | None = Field(description="Its 95 % interval.")
    mean: float | None = Field(description="Arithmetic mean.")
    standard_deviation: float | None = Field(description="Standard deviation of the sample (n - 1).")
    standard_error: float | None = Field(description="Standard error of the mean.")
    min: float | None = Field(description="Lowest score.")
    max: float | None = Field(description="Highest score.")
    arrivals: dict[Goal, dict[Unit, TimeToGoal]] = Field(
        description="By goal and unit, when the runs reached it; empty where no run has ended."
    )

    def time_to(self, goal: Goal, unit: Unit) -> TimeToGoal | None:
        """Return when the row's runs reached a goal, None where that is not known."""
        return self.arrivals.get(goal, {}).get(unit)


class PairTest(LeaderboardPart):
    """A two-sided rank test of two rows of a table."""

    better: str = Field(description="Name of the row whose runs are better more often.")
    worse: str = Field(description="Name of the other.")
    probability: float = Field(description="Probability that a run of `better` beats one of `worse`, ties half.")
    p: float = Field(description="p-value, uncorrected.")
    p_holm: float = Field(description="p-value corrected by Holm for the number of pairs in the table.")


class TableStatistics(LeaderboardPart):
    """The statistics of one table."""

    task: str = Field(description="The table's `task`.")
    metric: str = Field(description="The table's `metric`.")
    rows: list[RowStatistics] = Field(description="One a row, in the table's order.")
    pairs: list[PairTest] = Field(description="Every pair of rows with ended runs.")
    smallest_p_holm: float | None = Field(description="Smallest corrected p of a first pair with so many seeds.")


class LeftOut(LeaderboardPart):
    """What is not compared over tasks."""

    models: list[str] = Field(description="Rows that did not run on all compared tasks.")
    tasks: list[str] = Field(description="Tasks that not all compared rows ran on.")


class OverallRow(LeaderboardPart):
    """One model over all compared tasks; scores are normalised: 0 needs no learning, 1 is perfect, diverged is 0."""

    name: str = Field(description="Name of the row in every compared table.")
    rank: float = Field(description="Rank of the median over seeds, averaged over tasks.")
    rank_interval: Interval | None = Field(description="Its 95 % interval.")
    iqm: float | None = Field(description="Interquartile mean of normalised scores.")
    iqm_interval: Interval | None = Field(description="Its 95 % interval.")
    median: float | None = Field(description="Median of normalised scores.")
    median_interval: Interval | None = Field(description="Its 95 % interval.")
    diverged: int = Field(description="Diverged runs.")
    runs: int = Field(description="Ended runs.")


class Improvement(LeaderboardPart):
    """How often a run of one model beats a run of another, averaged over tasks."""

    name: str = Field(description="The model that is better more often.")
    over: str = Field(description="The other.")
    probability: float = Field(description="Probability of improvement, in [0.5, 1].")
    interval: Interval | None = Field(description="Its 95 % interval.")


class ProfileRow(LeaderboardPart):
    """One model's performance profile."""

    name: str = Field(description="The model.")
    score: float = Field(description="Mean of the profile over 1 <= tau <= `r_max`, in [0, 1].")
    interval: Interval | None = Field(description="Its 95 % interval.")
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


class Statistics(LeaderboardPart):
    """The statistics of a leaderboard."""

    confidence: float = Field(description="Confidence level of all intervals.")
    resamples: int = Field(description="Bootstrap resamples.")
    r_max: float = Field(description="Where performance profiles end.")
    tables: list[TableStatistics] = Field(description="One a table.")
    overall: OverallStatistics = Field(description="Over tasks.")
