"""The leaderboard as `compare --json` and `--output` write it: tables of ranked rows, and what they reproduce.

Every key is described at its field; docs/leaderboard.md is made of these descriptions.
"""

from typing import Any, Literal

from pydantic import Field

from stablebench.schema.leaderboard_statistics import (
    COVERAGE,
    Goal,
    Interval,
    LeaderboardPart,
    SeedDecisions,
    Statistics,
    Unit,
)
from stablebench.schema.learning_rates import RateTable
from stablebench.schema.length_curve import LengthCurve, RowGradients
from stablebench.schema.published import Flag
from stablebench.schema.recipe import Outcome
from stablebench.schema.reproduction import SPREAD, Reproduction

SCHEMA_VERSION = 1
_OPTIONAL = ("unreadable", "reproduction", "statistics", "seed_decisions", "learning_rates", "runs")
"""Parts that the JSON leaves out where there are none."""


class GoalTimes(LeaderboardPart):
    """When each ended run of a row reached a goal."""

    steps: list[int] = Field(description="Updates until the goal, of each run that reached it.")
    seconds: list[float | None] = Field(description="Seconds of training until then.")
    steps_followed: list[int | None] = Field(description="Updates made by each other run; null for a diverged one.")
    seconds_followed: list[float | None] = Field(description="Seconds of training likewise.")


class RowGoals(LeaderboardPart):
    """When each ended run reached either goal."""

    baseline: GoalTimes = Field(description="The trivial baseline.")
    target: GoalTimes = Field(description="The target.")


class SeedStatistics(LeaderboardPart):
    """A row's test scores in one metric, as papers report theirs."""

    mean: float | None = Field(description="Mean over seeds; null where one diverged.")
    best: float | None = Field(description="Best seed.")
    worst: float | None = Field(description="Worst seed; null where one diverged.")
    best_on_validation: float | None = Field(description="Test score of the seed that is best on validation.")
    standard_deviation: float | None = Field(
        default=None,
        description="Of the seeds, divided by n - 1; null with one seed or a diverged one. Not in files of 0.1.0.",
    )


class RunFields(LeaderboardPart):
    """What a run decides and papers state."""

    units: int = Field(description="Hidden size.")
    layers: int = Field(description="Layers.")
    steps: int = Field(description="Updates asked for.")
    batch_size: int = Field(description="Examples of an update.")


class RecipeOrigin(LeaderboardPart):
    """Where a row's optimiser and its model's arguments come from."""

    source: Literal["paper", "tuned", "card", "own", "recipe"] = Field(
        description="`paper`; `tuned` by a search of ours; `card`: the task card's defaults; `own`: a recipe of the "
        "user's; `recipe`: one that is not there any more."
    )
    trials: int | None = Field(default=None, description="Settings that were tried; null where it is not known.")
    outcome: Outcome | None = Field(
        default=None,
        description="What the recipe's recorded result reached: `target`, `baseline`, `failed`, `diverged`.",
    )
    changed: list[str] = Field(default=[], description="Keys that an option or a suite set in its place.")
    departures: list[str] = Field(
        default=[],
        description="Of a recipe of `tune`, keys with other values than its search had. Not in files of 0.1.0.",
    )


class QuotedScore(LeaderboardPart):
    """A row's scores in the metric that people quote, the target's, where the task's own metric is another one."""

    metric: str = Field(description="The metric.")
    score: float | None = Field(description="Median over seeds, a diverged seed worse than any; null if half diverged.")
    min: float | None = Field(description="Lowest score of a seed.")
    max: float | None = Field(description="Highest score of a seed.")
    interval: Interval | None = Field(description="Interval, as the row's own.")
    seeds: dict[str, float] = Field(description="Score by seed.")


class LeaderboardRow(LeaderboardPart):
    """The runs of one spec on one engine and device: one a seed."""

    name: str = Field(description="The model, with what tells it apart from other rows of that model.")
    model: str = Field(description="The model's label.")
    metric: str = Field(description="The task's metric, in which `score` is.")
    spec_hash: str = Field(description="Hash of the resolved spec, seed left out.")
    engine: str = Field(description="The engine that ran.")
    device: str = Field(description="The device.")
    hidden: int = Field(description="Hidden size.")
    settings: dict[str, Any] = Field(description="What may tell rows apart, by dotted key.")
    commits: list[str] = Field(description="Git commits of stablebench that the runs were made with.")
    rank: int | None = Field(
        description="Rank by the `quoted` score where there is one, else by `score`; equal ones share it. Null without "
        "a score, or where budgets differ (`unequal`)."
    )
    best: bool = Field(description="Whether its interval lies clear of every other row's.")
    score: float | None = Field(
        description="Median over seeds of the final test metric, a diverged seed worse than any; null if half diverged."
    )
    min: float | None = Field(description="Lowest score of a seed.")
    max: float | None = Field(description="Highest score of a seed.")
    iqm: float | None = Field(description="Interquartile mean of the scores.")
    interval: Interval | None = Field(
        description="Interval of `score`, the median over seeds; null with fewer than 5 ended seeds, or where it "
        "reaches a diverged one. In files of 0.1.0 a bootstrap interval of `iqm`."
    )
    n: int = Field(description="Seeds with a score.")
    seeds: dict[str, float] = Field(description="Score by seed.")
    others: dict[str, float | None] = Field(description="Median over seeds of every other test metric.")
    statistics: dict[str, SeedStatistics] = Field(description="By test metric, scores as papers report theirs.")
    ran: RunFields = Field(description="Size and updates of the runs, as papers state them.")
    ended: int = Field(description="Runs that finished or diverged.")
    diverged: int = Field(description="Runs that diverged.")
    statuses: dict[str, int] = Field(description="Number of runs by status.")
    tested: str = Field(description="Which weights were tested: `last`, or `best` on validation.")
    steps_to_baseline: float | None = Field(
        description="Median updates to the baseline, a run that never got there later than any; null for never."
    )
    seconds_to_baseline: float | None = Field(description="Likewise in seconds of training.")
    reached_baseline: int = Field(description="Finished runs that reached the baseline in training.")
    steps_to_target: float | None = Field(description="Median updates to the target, likewise.")
    seconds_to_target: float | None = Field(description="Likewise in seconds of training.")
    reached_target: int = Field(description="Finished runs that reached the target in training.")
    solved: int | None = Field(
        default=None,
        description="Finished runs whose test score is at the target; of a task without one, better than the baseline. "
        "Null where a run was not tested in that metric. Not in files of 0.1.0.",
    )
    arrivals: RowGoals = Field(description="Times of the single runs.")
    batch_size: int = Field(description="Examples of an update.")
    steps: int = Field(description="Updates asked for.")
    train_s: float | None = Field(description="Median seconds of training.")
    computed_by: dict[str, list[int]] = Field(
        default={}, description="Seeds by the compiler and instruction set that computed them. Not in files of 0.1.0."
    )
    hardware: str = Field(description="Device, processor or GPU, and threads.")
    parameters: int = Field(description="Trainable scalars.")
    embedding_parameters: int = Field(description="Those of them that are vectors of tokens.")
    steps_per_s: float | None = Field(description="Median updates a second; null where runs differ in `hardware`.")
    peak_bytes: int | None = Field(description="Largest peak memory of a run.")
    coverage: float | None = Field(default=None, description=COVERAGE)
    quoted: QuotedScore | None = Field(
        default=None,
        description="Scores in the target's metric; null where that is `metric`, or where a row of the table has none. "
        "Not in files of 0.1.0.",
    )
    recipe: RecipeOrigin | None = Field(
        default=None, description="Where its hyper-parameters come from. Not in files of 0.1.0."
    )
    built_start: str | None = Field(
        default=None, description="The argument that gives it a start built for the task; null for none."
    )
    lengths: LengthCurve | None = Field(
        default=None, description="Accuracies by length; null where no run was scored at other lengths."
    )
    gradients: dict[str, RowGradients] = Field(
        default={}, description="By `trained` or `initial`, the weights they were measured with."
    )
    marks: str = Field(default="", description="What a reader must know of it, one character each (`legend`).")

    @property
    def key(self) -> tuple[str, str, str]:
        """Hash of its spec, engine and device: of a task, no two rows share it."""
        return self.spec_hash, self.engine, self.device

    @property
    def shown(self) -> "QuotedScore | LeaderboardRow":
        """Where the score that a table shows stands: `quoted`, or the row itself."""
        return self if self.quoted is None else self.quoted

    def median_time_to(self, goal: Goal, unit: Unit) -> float | None:
        """Return the median updates or seconds to a goal, None for never."""
        return getattr(self, f"{unit}_to_{goal}")

    def reached(self, goal: Goal) -> int:
        """Return how many runs reached a goal."""
        return getattr(self, f"reached_{goal}")


class PublishedComparison(LeaderboardPart):
    """A published number with ours."""

    key: str = Field(description="The number's key in the task card.")
    model: str = Field(description="The model.")
    metric: str = Field(description="What was measured or counted.")
    statistic: str = Field(description="How the paper's number comes from its trials.")
    published: float = Field(description="The paper's number.")
    bound: str | None = Field(description="`at_least` or `at_most` where the paper gives a bound only.")
    part: str = Field(description="Examples it was measured on.")
    ours: int | float | None = Field(description="Our number; null where there is none.")
    our_statistic: str | None = Field(description="How ours comes from its seeds.")
    units: int | None = Field(description="The paper's hidden size.")
    protocol: Flag = Field(description="How far the protocols agree: `same`, `differs`, `unknown`.")
    differs: list[str] = Field(description="Fields that differ.")
    unstated: list[str] = Field(description="Fields that the paper does not state.")
    source: str = Field(description="The paper.")
    quoted: str | None = Field(description="The paper that the source quotes.")
    where: str = Field(description="Table, figure or section.")
    spread: float | None = Field(default=None, description=SPREAD)
    runs: int | None = Field(default=None, description="The paper's trials, where it says how many.")


class LeaderboardTable(LeaderboardPart):
    """The rows of one task, variant and set of parameters."""

    task: str = Field(description="Task and variant, with what tells it apart from other tables of that name.")
    name: str = Field(description="The task's name.")
    variant: str | None = Field(description="The card's variant; null for none.")
    version: int = Field(description="The card's version.")
    params: dict[str, Any] = Field(description="The task's parameters.")
    metric: str = Field(description="The task's metric.")
    higher_is_better: bool = Field(description="Its direction.")
    baseline: float | None = Field(description="The trivial baseline in that metric.")
    quoted_baseline: float | None = Field(
        default=None,
        description="The trivial baseline in the metric of its rows' `quoted` scores; null where they have none, or "
        "the card has no such baseline. Not in files of 0.1.0.",
    )
    target: float | None = Field(description="The target; null for none.")
    target_metric: str | None = Field(description="What the target is measured in.")
    selection: list[str] = Field(description="How validation and test were used, as the runs' cards say.")
    cards: int = Field(description="Different editions of the card that the runs saw.")
    rows: list[LeaderboardRow] = Field(description="Best first, those without a score last.")
    code_notes: list[str] = Field(
        default=[], description="A line a row whose seeds were rounded differently. Not in files of 0.1.0."
    )
    unequal: dict[str, list[int]] = Field(
        default={},
        description="What differs between rows and must not for a ranking: `updates`, `batch`, `units` and with them "
        "`parameters`, each with its smallest and largest value. Not in files of 0.1.0.",
    )
    legend: dict[str, str] = Field(default={}, description="What the marks of its rows mean.")
    published: list[PublishedComparison] = Field(description="Published numbers at these parameters, with ours.")

    @property
    def shown_metric(self) -> str:
        """The metric in which the table shows, ranks and compares its rows."""
        return self.rows[0].shown.metric if self.rows else self.metric

    @property
    def comparable(self) -> bool:
        """Whether its rows had equal budgets, or are ranked all the same because that was asked for."""
        return not self.unequal or any(row.rank is not None for row in self.rows)


class Leaderboard(LeaderboardPart):
    """The whole document."""

    schema_version: Literal[1] = Field(
        default=SCHEMA_VERSION,
        description="Version of this form, 1. Files of stablebench 0.1.0 have none and read the same.",
    )
    suite: str = Field(description="What was run.")
    tables: list[LeaderboardTable] = Field(description="One a task, variant and set of parameters.")
    unreadable: dict[str, str] | None = Field(
        default=None, description="By run folder, what is wrong with a record that cannot be read; absent in a part."
    )
    reproduction: Reproduction | None = Field(
        default=None, description="What is reproduced of the suite's paper; absent where the suite repeats no paper."
    )
    statistics: Statistics | None = Field(
        default=None, description="The statistics; with `--json`, `--output` or `--statistics`."
    )
    seed_decisions: SeedDecisions | None = Field(
        default=None, description="Which pairs `--until-decided` decided; absent without it."
    )
    learning_rates: list[RateTable] | None = Field(
        default=None,
        description="A table a task of the models over a grid of learning rates; absent without `--rates`.",
    )
    runs: list[dict[str, Any]] | None = Field(
        default=None,
        description="Tidy data: a run each, with every setting by its dotted key and every test metric; with `--json` "
        "or `--output`, and as `--format csv`.",
    )

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict, but for numbers that are not finite; parts that are missing are left out."""
        data = self.model_dump()
        return {key: value for key, value in data.items() if value is not None or key not in _OPTIONAL}
