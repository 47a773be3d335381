"""A stored leaderboard, and what got worse against it."""

import json
from pathlib import Path

from pydantic import ValidationError

from stablebench.data.metrics import higher_is_better
from stablebench.errors import UserError
from stablebench.schema.leaderboard import SCHEMA_VERSION, Leaderboard
from stablebench.schema.stored_leaderboard import BaselineLeaderboard


def read_baseline(path: Path) -> BaselineLeaderboard:
    """Read a leaderboard that this or an earlier version stored as JSON.

    Raises:
        UserError: The file cannot be read, or is no leaderboard.
    """
    try:
        baseline = BaselineLeaderboard.model_validate(json.loads(path.read_text(encoding="utf-8")))
        problem = None if any(table.rows for table in baseline.tables) else "it has no rows"
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValidationError as error:
        problem = _problem_of(error)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: must be JSON ({error}).") from None
    if problem:
        raise UserError(f"{path}: must be a leaderboard, as `stablebench compare --output FILE` writes it; {problem}.")
    return baseline


def _problem_of(error: ValidationError) -> str:
    """Return the first problem of a document in words."""
    first = error.errors(include_url=False, include_input=False)[0]
    keys = [str(key) for key in first["loc"]]
    if keys[:1] == ["schema_version"]:
        return f"its `schema_version` must be {SCHEMA_VERSION}"
    if len(keys) < 2:
        return "it has no list `tables`"
    if keys[-1].isdigit():  # no object
        keys.append({"tables": "task", "rows": "name"}[keys[-2]])
    *place, key = keys
    missing = {"task": "`task`", "metric": "known `metric`", "rows": "list `rows`", "name": "`name`"}
    return f"{'.'.join(place)} has no {missing[key]}" if key in missing else f"{'.'.join(keys)} is no number"


def check(board: Leaderboard, baseline: BaselineLeaderboard, margin: float) -> list[str]:
    """Return one line per regression of a leaderboard against an older one.

    A row got worse if it is missing, has no score any more, has more diverged seeds, or its score or its steps to the
    baseline are worse by more than a share `margin` of the older value.

    Args:
        board: The leaderboard now.
        baseline: The older one.
        margin: The share, >= 0.

    Raises:
        UserError: The leaderboard has no rows, or none of the older one's tasks.
    """
    _refuse_unrelated(board, baseline)
    now = {(table.task, row.name): row for table in board.tables for row in table.rows}
    regressions = []
    for table in baseline.tables:
        sign = -1.0 if higher_is_better(table.metric) else 1.0
        for before in table.rows:
            name = f"{table.task}: {before.name}"
            row = now.get((table.task, before.name))
            if row is None:
                regressions.append(f"{name} is missing.")
                continue
            if row.diverged > (before.diverged or 0):
                regressions.append(f"{name}: {row.diverged} seeds diverged, {before.diverged or 0:g} before.")
            regressions += _worse(name, table.metric, sign, row.score, before.score, margin)
            steps = row.steps_to_baseline, before.steps_to_baseline
            regressions += _worse(name, "steps to baseline", 1.0, *steps, margin)
    return regressions


def _refuse_unrelated(board: Leaderboard, baseline: BaselineLeaderboard) -> None:
    ours, theirs = (f" of {one.suite}" if isinstance(one.suite, str) else "" for one in (board, baseline))
    if not any(table.rows for table in board.tables):
        raise UserError(f"There is nothing to compare with the leaderboard{theirs}: there are no runs{ours}.")
    now, before = ({table.task for table in one.tables} for one in (board, baseline))
    if not now & before:
        raise UserError(
            f"The leaderboard{theirs} must share a task with that{ours}: it has {', '.join(sorted(before))}, "
            f"this one {', '.join(sorted(now))}."
        )


def _worse(name: str, what: str, sign: float, now: float | None, before: float | None, margin: float) -> list[str]:
    if before is None:
        return []
    if now is None:
        return [f"{name}: no {what} now, {before:.6g} before."]
    if sign * (now - before) > margin * abs(before):
        return [f"{name}: {what} {now:.6g}, {before:.6g} before; the margin is {margin:.0%}."]
    return []
