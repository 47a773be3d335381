"""What was measured of a row's runs after their end: scores over the length of test examples, gradients."""

from pydantic import Field

from stablebench.schema.leaderboard_statistics import COVERAGE, Interval, LeaderboardPart


class LengthCurve(LeaderboardPart):
    """Accuracies of a row's finished runs over the length of the test examples, as `compare --lengths` scored them."""

    seeds: dict[str, dict[str, float]] = Field(description="Accuracy by seed and length.")
    median: dict[str, float] = Field(description="Median over seeds by length.")
    held: dict[str, int] = Field(
        description="By seed, the longest length up to which every length asked for has 90 %; 0 where the shortest has "
        "not, and for a diverged seed."
    )
    longest_held: float | None = Field(description="Median of `held`; null without an ended run.")
    interval: Interval | None = Field(description="Interval of that median; null below 5 seeds.")
    coverage: float | None = Field(description=COVERAGE)
    longest: int = Field(description="The longest length asked for: a run that holds it may hold more.")
    mean_40_256: float | None = Field(
        description="Median over seeds of the accuracy on lengths drawn uniformly from 40 to 256, the mean that papers "
        "print; null where the lengths asked for do not span these."
    )
    solved: int = Field(description="Ended runs that hold every length asked for.")
    ended: int = Field(description="Ended runs.")
    trained: list[int] | None = Field(description="Shortest and longest length trained on; null for the task's own.")


class RowGradients(LeaderboardPart):
    """How the gradient changes along the chain, as `plot expressivity` measured it: medians over seeds."""

    growth: float | None = Field(
        description="d ln of the gradient's norm per step back in time: below 0 it vanishes, above 0 it explodes."
    )
    isometry: float | None = Field(
        description="ln of the largest over the smallest singular value of dh_T/dh_1, per step; 0 is an isometry."
    )
    length: int = Field(description="The task's length at which it was measured.")
    seeds: int = Field(description="Runs that were measured.")
