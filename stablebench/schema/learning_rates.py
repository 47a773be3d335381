"""How wide the window of learning rates is in which a model learns, as a part of the leaderboard's JSON."""

from pydantic import Field

from stablebench.schema.leaderboard_statistics import Goal, Interval, LeaderboardPart

RATES = (1e-4, 3.16e-4, 1e-3, 3.16e-3, 1e-2, 3.16e-2, 1e-1)
"""The grid of learning rates: 7 over 3 decades, half a decade apart."""


class RateCell(LeaderboardPart):
    """The runs of one model at one learning rate."""

    rate: float = Field(description="Learning rate.")
    score: float | None = Field(
        description="Median over seeds of the final test metric, a diverged seed worse than any; null if half diverged."
    )
    validation: float | None = Field(
        description="Median over seeds of the best value on validation examples, likewise; it chooses among rates."
    )
    reached: int = Field(description="Seeds that reached the goal.")
    diverged: int = Field(description="Seeds that diverged.")
    ended: int = Field(description="Seeds that finished or diverged.")


class RateRow(LeaderboardPart):
    """One model over the grid of learning rates."""

    name: str = Field(description="The model.")
    rank: int | None = Field(description="Rank by `reached`; equal ones share it. Null where runs are missing.")
    seeds: list[int] = Field(description="Seeds that ended at every rate: those that are counted.")
    reached: float | None = Field(description="Rates of the grid that reach the goal, median over seeds.")
    lowest: int | None = Field(description="Those of the seed with fewest.")
    highest: int | None = Field(description="Those of the seed with most.")
    interval: Interval | None = Field(description="Interval of `reached`, from order statistics; null below 5 seeds.")
    window: Interval | None = Field(
        description="Longest run of neighbouring rates at which more than half of the seeds reach the goal: its lowest "
        "and highest rate; null for none."
    )
    best_rate: float | None = Field(
        description="Rate that is best on validation examples; of equal ones that in the middle."
    )
    best_score: float | None = Field(description="The test score there.")
    tries: list[float] = Field(
        description="For k = 1, 2, ...: with which probability at least one of k rates, drawn at random from the grid, "
        "reaches the goal; mean over seeds."
    )
    tries_range: list[Interval] = Field(description="For each k, that of the worst and of the best seed.")
    cells: list[RateCell] = Field(description="The rates, from the lowest.")


class RateTable(LeaderboardPart):
    """The models of one task over the grid of learning rates."""

    task: str = Field(description="Task and variant, as its table.")
    metric: str = Field(description="The task's metric, in which scores are.")
    goal: Goal = Field(description="What is to be reached: the target, or the baseline where the task has no target.")
    rates: list[float] = Field(description="The grid.")
    rows: list[RateRow] = Field(description="Most rates first, those with missing runs last.")
