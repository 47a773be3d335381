"""The columns of a leaderboard's table, by the name that `--columns` takes."""

from collections.abc import Callable, Sequence
from typing import Any

from stablebench.data.metrics import METRICS, clipped, higher_is_better
from stablebench.errors import UserError, did_you_mean
from stablebench.leaderboard.code import on_several, speed_note
from stablebench.leaderboard.format import MEDIAN_INTERVAL, format_median_interval, format_range, format_seeds
from stablebench.leaderboard.length_curves import format_held, format_held_interval
from stablebench.leaderboard.origin import format_origin
from stablebench.schema.leaderboard import LeaderboardRow, LeaderboardTable
from stablebench.schema.leaderboard_statistics import Goal, Interval, Unit
from stablebench.stats import mean, student_interval
from stablebench.visible import visible

DEFAULT = ("rank", "model", "score", "solved", "to_target", "parameters", "updates/s", "marks")
"""What a terminal of 100 characters shows."""
SHORTENED = ("updates/s", "parameters", "to_target")
"""Those of them that a narrower one leaves out, the first one first."""
_STATISTICS = ("mean", "best", "best_on_validation")
NO_MEDIANS = frozenset(
    {"rank", "model", "solved", "parameters", "marks", "mean_sd", *_STATISTICS, "range", "interval", "seeds"}
    | {"updates", "batch", "units", "layers", "recipe", "peak_MB", "engine", "processor"}
)
"""Columns that hold no median over seeds, or whose heading says of what."""
_TIMED = ("updates/s", "train_s", "s_to_target", "s_to_baseline")
"""What another processor would change."""

_Cells = Callable[[LeaderboardTable, LeaderboardRow], Any]


def names(table: LeaderboardTable) -> list[str]:
    """Return the names of all columns that a table has."""
    others = sorted({name for row in table.rows for name in row.others} - {metric_of(table), *_COLUMNS})
    if metric_of(table) != table.metric:
        others.append(table.metric)
    known = [*_COLUMNS, *others, *(_OF_LENGTHS if any(row.lengths is not None for row in table.rows) else ())]
    known += _OF_GRADIENTS if any(row.gradients for row in table.rows) else ()
    return known if table.target is not None else [n for n in known if n not in ("to_target", "s_to_target")]


def chosen(asked: Sequence[str] | None, table: LeaderboardTable) -> list[str]:
    """Return the columns to print.

    Args:
        asked: `all`, or names; None for the eight that fit a terminal.
        table: The table.

    Raises:
        UserError: There is no such column.
    """
    if asked is None:
        without_target = {"to_target": "to_baseline"} if table.target is None else {}
        return [without_target.get(name, name) for name in DEFAULT]
    known = names(table)
    if list(asked) == ["all"]:
        return known
    check_names(asked)
    return [name for name in dict.fromkeys(asked) if name in known]


def check_names(asked: Sequence[str]) -> None:
    """Refuse names that no leaderboard has a column of; needs no table, and so comes before anything is run.

    Raises:
        UserError: There is no such column, or `all` is among others.
    """
    if "all" in asked and len(asked) > 1:
        raise UserError("--columns: `all` stands alone.")
    known = [*_COLUMNS, *_MEASURED, *METRICS]
    for name in asked:
        if name not in (*known, "all"):
            hint = did_you_mean(name, known) or f" There are {', '.join(known)}."
            raise UserError(f"--columns: there is no column '{visible(name)}'.{hint}")


def heading(name: str, table: LeaderboardTable) -> str:
    """Return what stands above a column."""
    words = {
        "rank": "#",
        "score": metric_of(table),
        "to_target": "updates to target",
        "to_baseline": "updates to baseline",
    }
    words |= {"solved": "solved" if table.target is not None else "beat baseline", "marks": ""}
    words |= {"mean_sd": "mean ± sd", "mean_score": f"mean {metric_of(table)}", "interval": MEDIAN_INTERVAL}
    return words.get(name, name.replace("_", " "))


def cells(name: str, table: LeaderboardTable) -> list[Any]:
    """Return a column: a text or a number a row, None where there is none."""
    cell = (_COLUMNS | _MEASURED).get(name, lambda _, row: row.score if name == table.metric else row.others.get(name))
    return [cell(table, row) for row in table.rows]


def timed_note(shown: Sequence[str], table: LeaderboardTable) -> str | None:
    """Return on what hardware the speeds and seconds were measured that a table shows; None where that is one.

    Args:
        shown: Names of its columns.
        table: The table.
    """
    timed = [cells(name, table) for name in shown if name in _TIMED]
    return speed_note([row for i, row in enumerate(table.rows) if any(column[i] is not None for column in timed)])


def train_seconds(row: LeaderboardRow) -> float | None:
    """Return the median seconds of training; None of runs of several kinds of hardware, of which none is that."""
    return None if on_several(row) else row.train_s


def spread(row: LeaderboardRow) -> Interval | None:
    """Return the interval of a score, or where there is none the lowest and the highest seed; None for one seed."""
    shown = row.shown
    if shown.interval is not None:
        return shown.interval
    return (shown.min, shown.max) if row.n > 1 and shown.min is not None and shown.max is not None else None


def kind_of_spread(row: LeaderboardRow) -> str | None:
    """Return what `spread` is."""
    if row.shown.interval is None:
        return None if spread(row) is None else "the lowest and the highest seed"
    share = 95 if row.coverage is None or row.coverage >= 0.95 else round(100 * row.coverage)  # 5 seeds: 94
    return f"the {share} % interval"


def metric_of(table: LeaderboardTable) -> str:
    """Return the metric of the scores that a table shows."""
    return table.shown_metric


def _score(_: LeaderboardTable, row: LeaderboardRow) -> str:
    if row.shown.score is None:
        return "diverged" if row.diverged else "none"
    ends = spread(row)
    return f"{row.shown.score:.4g}" + (f" [{ends[0]:.4g}, {ends[1]:.4g}]" if ends else "")


def _mean_score(_: LeaderboardTable, row: LeaderboardRow) -> str | None:
    """Return the mean of the seeds with Student's interval; None where one diverged."""
    scores = list(row.shown.seeds.values())
    if row.diverged or not scores:
        return None
    ends = _mean_interval(row)
    return f"{mean(scores):.4g}" + (f" [{ends[0]:.4g}, {ends[1]:.4g}]" if ends else "")


def _mean_interval(row: LeaderboardRow) -> Interval | None:
    ends = None if row.diverged else student_interval(list(row.shown.seeds.values()))
    return None if ends is None else clipped(row.shown.metric, ends)


def best_mean(table: LeaderboardTable) -> int | None:
    """Return the position of the row whose interval of the mean lies clear of every other's; None where none does."""
    sign = -1.0 if higher_is_better(metric_of(table)) else 1.0
    held = {i: ends for i, row in enumerate(table.rows) if (ends := _mean_interval(row)) is not None}
    if not table.comparable or len(held) + sum(row.diverged > 0 for row in table.rows) < max(len(table.rows), 2):
        return None
    ordered = sorted((*sorted(sign * end for end in ends), i) for i, ends in held.items())
    clear = ordered and all(ordered[0][1] < low for low, _, _ in ordered[1:])
    return int(ordered[0][2]) if clear else None


def _solved(_: LeaderboardTable, row: LeaderboardRow) -> str | None:
    return None if row.solved is None or not row.ended else f"{row.solved}/{row.ended}"


def _parameters(_: LeaderboardTable, row: LeaderboardRow) -> int | str:
    """Return the trained parameters; those of tokens' vectors separately, which papers leave out."""
    embedding = row.embedding_parameters
    return f"{row.parameters - embedding} + {embedding} embedded" if embedding else row.parameters


def _statistic(name: str) -> _Cells:
    """Return a row's score as a paper reports it, None where no run has the metric."""

    def cell(table: LeaderboardTable, row: LeaderboardRow) -> float | None:
        scores = row.statistics.get(metric_of(table))
        return None if scores is None else getattr(scores, name)

    return cell


def _mean_and_deviation(table: LeaderboardTable, row: LeaderboardRow) -> str | None:
    scores = row.statistics.get(metric_of(table))
    if scores is None or scores.mean is None:
        return None
    deviation = scores.standard_deviation
    return f"{scores.mean:.4g}" + ("" if deviation is None else f" ± {deviation:.2g}")


def _time_to(goal: Goal, unit: Unit) -> _Cells:
    def cell(_: LeaderboardTable, row: LeaderboardRow) -> str | None:
        value, reached = row.median_time_to(goal, unit), row.reached(goal)
        if unit == "seconds" and on_several(row):
            return None
        number = "" if value is None else (f"{value:.0f}" if unit == "steps" else f"{value:.3g}")
        in_solved = reached == row.solved and goal == "target"
        whole = reached in (0, row.ended) or in_solved
        return (number if whole else f"{number} ({reached}/{row.ended})".strip()) or None

    return cell


_COLUMNS: dict[str, _Cells] = {
    "rank": lambda _, row: row.rank,
    "model": lambda _, row: row.name,
    "score": _score,
    "solved": _solved,
    "to_target": _time_to("target", "steps"),
    "to_baseline": _time_to("baseline", "steps"),
    "parameters": _parameters,
    "updates/s": lambda _, row: None if row.steps_per_s is None else f"{row.steps_per_s:.3g}",
    "marks": lambda _, row: row.marks or None,
    "mean_score": _mean_score,
    "mean_sd": _mean_and_deviation,
    **{name: _statistic(name) for name in _STATISTICS},
    "range": lambda _, row: format_range(row.shown.min, row.shown.max),
    "interval": lambda _, row: format_median_interval(
        row.shown.interval, row.coverage, row.ended, row.shown.min, row.shown.max
    ),
    "seeds": lambda _, row: format_seeds(row.n, row.diverged),
    "s_to_target": _time_to("target", "seconds"),
    "s_to_baseline": _time_to("baseline", "seconds"),
    "updates": lambda _, row: row.steps,
    "batch": lambda _, row: row.batch_size,
    "units": lambda _, row: row.hidden,
    "layers": lambda _, row: row.ran.layers,
    "recipe": lambda _, row: format_origin(row.recipe) or None,
    "train_s": lambda _, row: train_seconds(row),
    "peak_MB": lambda _, row: None if row.peak_bytes is None else round(row.peak_bytes / 1e6),
    "engine": lambda _, row: row.engine,
    "processor": lambda _, row: row.hardware,
}
_OF_LENGTHS: dict[str, _Cells] = {
    "longest_held": lambda _, row: None if row.lengths is None else format_held(row.lengths.longest_held, row.lengths),
    "held_interval": lambda _, row: None if row.lengths is None else format_held_interval(row.lengths),
    "mean_40_256": lambda _, row: None if row.lengths is None else row.lengths.mean_40_256,
    "seeds_solved": lambda _, row: None if row.lengths is None else f"{row.lengths.solved}/{row.lengths.ended}",
}
"""Columns of tables with runs that were scored at several lengths."""


def _gradient(moment: str, name: str) -> _Cells:
    """Return what was measured of a row's gradients, to three digits."""

    def cell(_: LeaderboardTable, row: LeaderboardRow) -> str | None:
        value = None if moment not in row.gradients else getattr(row.gradients[moment], name)
        return None if value is None else f"{value:.3g}"

    return cell


_OF_GRADIENTS: dict[str, _Cells] = {
    f"{name}_{moment}": _gradient(moment, name) for moment in ("trained", "initial") for name in ("growth", "isometry")
}
"""Columns of tables with runs whose gradients were measured."""
_MEASURED = _OF_LENGTHS | _OF_GRADIENTS
