"""Leaderboards made by hand: every part has a value, and a test gives those that it is about."""

from typing import Any

from stablebench.schema.leaderboard import Leaderboard, LeaderboardRow, LeaderboardTable, RowGoals, RunFields

NEVER = {"steps": [], "seconds": [], "steps_followed": [], "seconds_followed": []}


def made_row(name: str, **given: Any) -> LeaderboardRow:
    """Return the row of one run of 300 updates that ended without a score."""
    values: dict[str, Any] = {
        "name": name,
        "model": name,
        "metric": "loss",
        "spec_hash": "0",
        "engine": "reference",
        "device": "cpu",
        "hidden": 32,
        "settings": {},
        "commits": [],
        "rank": None,
        "best": False,
        "score": None,
        "min": None,
        "max": None,
        "iqm": None,
        "interval": None,
        "n": 0,
        "seeds": {},
        "others": {},
        "statistics": {},
        "ended": 1,
        "diverged": 0,
        "statuses": {},
        "tested": "last",
        **{f"{unit}_to_{goal}": None for goal in ("baseline", "target") for unit in ("steps", "seconds")},
        "reached_baseline": 0,
        "reached_target": 0,
        "arrivals": {"baseline": NEVER, "target": NEVER},
        "batch_size": 8,
        "steps": 300,
        "train_s": None,
        "hardware": "cpu, hand-made, 1 thread",
        "parameters": 1000,
        "embedding_parameters": 0,
        "steps_per_s": None,
        "peak_bytes": None,
    } | given
    size = {"units": values["hidden"], "layers": 1, "steps": values["steps"], "batch_size": values["batch_size"]}
    values = {"ran": RunFields(**size)} | values
    if isinstance(values["arrivals"], dict):
        values["arrivals"] = RowGoals.model_validate(values["arrivals"])
    return LeaderboardRow(**values)


def made_table(task: str, *rows: LeaderboardRow, **given: Any) -> LeaderboardTable:
    """Return the table of rows."""
    values: dict[str, Any] = {
        "task": task,
        "name": task.partition("/")[0],
        "variant": None,
        "version": 1,
        "params": {},
        "metric": "loss",
        "higher_is_better": False,
        "baseline": None,
        "target": None,
        "target_metric": None,
        "selection": [],
        "cards": 1,
        "published": [],
    }
    return LeaderboardTable(**(values | given), rows=list(rows))


def made_board(*tables: LeaderboardTable) -> Leaderboard:
    """Return the leaderboard of tables."""
    return Leaderboard(suite="s", tables=list(tables))
