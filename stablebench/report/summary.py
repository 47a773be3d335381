"""The result in a few sentences, on top of the page: who leads where, what is decided, what is not ranked."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from stablebench import leaderboard
from stablebench.data.metrics import beats_baseline
from stablebench.schema.leaderboard import Leaderboard, LeaderboardRow, LeaderboardTable
from stablebench.schema.leaderboard_statistics import Statistics
from stablebench.schema.reproduction import Reproduction
from stablebench.stats import MIN_SEEDS

_NAMED = 3
"""Names of a list that are written out."""
_NOBODY = "no model beats the baseline"


def summary(board: Leaderboard, statistics: Statistics, reproduced: Reproduction | None) -> list[str]:
    """Return the result in sentences; none where there is no run.

    Args:
        board: The leaderboard.
        statistics: What it supports.
        reproduced: What is reproduced of a paper; None where the runs are of none.
    """
    if not board.tables:
        return []
    sentences = [_leaders(board.tables), _decided(statistics), *map(_unranked, board.tables)]
    if reproduced is not None:
        sentences.append(f"{leaderboard.reproduction_title(reproduced)}.")
    return [sentence for sentence in sentences if sentence]


def title_of(board: Leaderboard) -> str:
    """Return the models, those of one name with what differs between them, and the tasks."""
    rows = list(dict.fromkeys(row.name for table in board.tables for row in table.rows))
    if not rows:
        return "No runs that can be read"
    return f"{_listed(rows)} on {_listed([table.task for table in board.tables])}"


def period(started: Sequence[str]) -> str | None:
    """Return when runs were started, to the minute: a day once where it is one day.

    Args:
        started: Times as records have them: ISO 8601, in UTC.
    """
    if not started:
        return None
    first, last = (datetime.fromisoformat(text) for text in (min(started), max(started)))
    if first.date() != last.date():
        return f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
    minutes = f"{first:%H:%M}" if f"{first:%H:%M}" == f"{last:%H:%M}" else f"{first:%H:%M} to {last:%H:%M}"
    return f"{first:%Y-%m-%d}, {minutes} UTC"


def _leaders(tables: Sequence[LeaderboardTable]) -> str | None:
    tasks: dict[str, list[str]] = defaultdict(list)
    for table in tables:
        first = [row for row in table.rows if row.rank == 1]
        if len(table.rows) > 1 and first:
            leads = " leads" if len(first) == 1 else " share the lead"
            who = _listed([row.name for row in first]) + leads if _learnt(first[0], table) else _NOBODY
            tasks[who].append(table.task)
    parts = [f"{who} on {_listed(where)}" for who, where in tasks.items()]
    text = "; ".join(parts)
    return f"{text[0].upper() if text.startswith(_NOBODY) else text[0]}{text[1:]}." if parts else None


def _learnt(row: LeaderboardRow, table: LeaderboardTable) -> bool:
    """Whether a row's score beats the task's baseline, where there is one."""
    if table.baseline is None or row.score is None:
        return row.score is not None
    return beats_baseline(table.metric, table.baseline)(row.score)


def _decided(statistics: Statistics) -> str | None:
    pairs = [pair for part in statistics.tables for pair in part.pairs]
    tested = [pair.decision for pair in pairs if pair.decision is not None]
    if not pairs:
        return None
    if not tested:
        return f"No two models are tested against each other: that takes {MIN_SEEDS} seeds of both."
    decided = sum(decision.verdict != "undecided" for decision in tested)
    over = [pair.decision for pair in statistics.overall.improvement if pair.decision is not None]
    over_tasks = f", over tasks {sum(d.verdict != 'undecided' for d in over)} of {len(over)}" if over else ""
    more = f" ({len(pairs) - len(tested)} have too few seeds)" if len(tested) < len(pairs) else ""
    return f"{decided} of {len(pairs)} pairs are decided at 5 %{more}{over_tasks}."


def _unranked(table: LeaderboardTable) -> str | None:
    if table.comparable or not table.unequal:
        return None
    return f"On {table.task} nothing is ranked: its rows differ in {', '.join(table.unequal)}."


def _listed(names: Sequence[str]) -> str:
    """Return names in a row, of many the first ones and how many more there are."""
    named = list(names) if len(names) <= _NAMED else [*names[: _NAMED - 1], f"{len(names) - _NAMED + 1} more"]
    return " and ".join(filter(None, [", ".join(named[:-1]), named[-1]]))
