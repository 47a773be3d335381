"""What a stored leaderboard is compared by, of this or an earlier version (`compare --check`)."""

from typing import Any, Literal

from pydantic import ConfigDict

from stablebench.schema.leaderboard import SCHEMA_VERSION
from stablebench.schema.leaderboard_statistics import LeaderboardPart
from stablebench.schema.published import MetricName


class _Stored(LeaderboardPart):
    """A part of a stored leaderboard of this or an earlier version: only the keys that it is compared by are read."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class BaselineRow(_Stored):
    """What a stored row is compared by."""

    name: str
    score: float | None = None
    steps_to_baseline: float | None = None
    diverged: float | None = None


class BaselineTable(_Stored):
    """What a stored table is compared by."""

    task: str
    metric: MetricName
    rows: list[BaselineRow]


class BaselineLeaderboard(_Stored):
    """What a stored leaderboard is compared by."""

    schema_version: Literal[1] = SCHEMA_VERSION
    suite: Any = None
    tables: list[BaselineTable]
