"""What a suite repeats of its paper, as a part of the leaderboard's JSON."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from stablebench.schema.leaderboard_statistics import Interval, LeaderboardPart
from stablebench.schema.published import Flag

SPREAD = "What the paper prints next to its number: one standard deviation, or two standard errors."
ReproductionVerdict = Annotated[
    Literal[
        "reproduced",
        "within interval",
        "better",
        "not reproduced",
        "undecided",
        "not comparable",
        "not run",
        "holds",
        "overlaps",
        "fails",
    ],
    BeforeValidator(lambda word: "not reproduced" if word == "below" else word),
]
"""Version 0.1.0 wrote `below` for `not reproduced`."""


class ReproductionLine(LeaderboardPart):
    """One published number or expectation of a suite, and whether our runs repeat it."""

    what: str = Field(description="The number or the expectation in words.")
    published: float | None = Field(default=None, description="The paper's number; null for an expectation.")
    bound: str | None = Field(default=None, description="`at_least` or `at_most` where the paper gives a bound only.")
    ours: int | float | None = Field(default=None, description="Our number; null where there is none.")
    interval: Interval | None = Field(
        default=None,
        description="95 % interval of `ours`, below 5 seeds their range, see `interval_of`. In files of 0.1.0 of the "
        "interquartile mean.",
    )
    verdict: ReproductionVerdict = Field(
        default="not run",
        description="Of a number: `reproduced`, `within interval`, `better`, `not reproduced` (`below` in files of "
        "0.1.0), `undecided`, `not comparable`, `not run`. Of an expectation: `holds`, `overlaps`, `fails`, "
        "`undecided`, `not comparable`, `not run`.",
    )
    protocol: Flag | None = Field(
        default=None, description="How far the protocols agree; null where that is not asked."
    )
    differs: list[str] = Field(default=[], description="What differs.")
    unstated: list[str] = Field(default=[], description="What the paper does not state.")
    spread: float | None = Field(default=None, description=SPREAD)
    runs: int | None = Field(default=None, description="The paper's trials, where it says how many.")
    interval_of: str | None = Field(default=None, description="What `interval` is of, in words.")
    reason: str | None = Field(default=None, description="What the verdict follows from, where that is not plain.")


class Reproduction(LeaderboardPart):
    """Whether a suite repeats what its paper reports."""

    source: str | None = Field(description="The paper.")
    budget: Literal["full", "short"] = Field(description="The suite's budget that was run.")
    changed: dict[str, Any] = Field(description="What the runs have in place of the suite's own settings.")
    lines: list[ReproductionLine] = Field(description="One a number or expectation.")
