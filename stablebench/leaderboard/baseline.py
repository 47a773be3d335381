"""A stored leaderboard, and what got worse against it."""

import json
import math
from pathlib import Path
from typing import Any

from stablebench.data.metrics import METRICS, higher_is_better
from stablebench.errors import UserError


def read_baseline(path: Path) -> dict[str, Any]:
    """Read a leaderboard that was stored as JSON.

    Raises:
        UserError: The file cannot be read, or is no leaderboard.
    """
    try:
        board = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: must be JSON ({error}).") from None
    problem = _problem_of(board)
    if problem:
        raise UserError(f"{path}: must be a leaderboard, as `stablebench compare --output FILE` writes it; {problem}.")
    return board


def _problem_of(board: Any) -> str | None:
    if not isinstance(board, dict) or not isinstance(board.get("tables"), list):
        return "it has no list `tables`"
    for i, table in enumerate(board["tables"]):
        if not isinstance(table, dict) or not isinstance(table.get("task"), str):
            return f"tables.{i} has no `task`"
        if table.get("metric") not in METRICS:
            return f"tables.{i} has no known `metric`"
        if not isinstance(table.get("rows"), list):
            return f"tables.{i} has no list `rows`"
        for j, row in enumerate(table["rows"]):
            if not isinstance(row, dict) or not isinstance(row.get("name"), str):
                return f"tables.{i}.rows.{j} has no `name`"
            for key in ("score", "steps_to_baseline", "diverged"):
                value = row.get(key)
                number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
                if value is not None and not number:
                    return f"tables.{i}.rows.{j}.{key} is no number"
    return None if any(table["rows"] for table in board["tables"]) else "it has no rows"


def check(board: dict[str, Any], baseline: dict[str, Any], margin: float) -> list[str]:
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
    _refuse_apart(board, baseline)
    now = {(table["task"], row["name"]): row for table in board["tables"] for row in table["rows"]}
    found = []
    for table in baseline["tables"]:
        sign = -1.0 if higher_is_better(table["metric"]) else 1.0
        for before in table["rows"]:
            name = f"{table['task']}: {before['name']}"
            row = now.get((table["task"], before["name"]))
            if row is None:
                found.append(f"{name} is missing.")
                continue
            if (row["diverged"] or 0) > (before.get("diverged") or 0):
                found.append(f"{name}: {row['diverged']} seeds diverged, {before.get('diverged') or 0} before.")
            found += _worse(name, table["metric"], sign, row["score"], before.get("score"), margin)
            steps = row["steps_to_baseline"], before.get("steps_to_baseline")
            found += _worse(name, "steps to baseline", 1.0, *steps, margin)
    return found


def _refuse_apart(board: dict[str, Any], baseline: dict[str, Any]) -> None:
    names = [document.get("suite") for document in (board, baseline)]
    ours, theirs = (f" of {name}" if isinstance(name, str) else "" for name in names)
    if not any(table["rows"] for table in board["tables"]):
        raise UserError(f"There is nothing to hold against the leaderboard{theirs}: there are no runs{ours}.")
    now, before = ({table["task"] for table in document["tables"]} for document in (board, baseline))
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
