"""How wide the window of learning rates is in which a model learns: a pure function of the records of runs.

A ranking at one learning rate each says how well rates were chosen as much as how good models are: recurrent models
learn in a narrow window of rates (arXiv:2508.19029). Here every model has the same grid of rates and seeds, and what
counts is how many of the rates reach the goal, and how likely few tries are to find one.
"""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from stablebench.data.metrics import higher_is_better
from stablebench.leaderboard.board import latest
from stablebench.leaderboard.format import format_number
from stablebench.leaderboard.row import ENDED, median_with_worst
from stablebench.schema.leaderboard import LeaderboardTable
from stablebench.schema.leaderboard_statistics import Goal, Interval
from stablebench.schema.learning_rates import RATES, RateCell, RateRow, RateTable
from stablebench.schema.run_record import RunRecord
from stablebench.stats import MIN_SEEDS, median_interval
from stablebench.tables import Table

_TRIES = (1, 2, 4)
"""k of the columns of tries."""


def learning_rates(records: Iterable[RunRecord], tables: Sequence[LeaderboardTable]) -> list[RateTable]:
    """Return a table a task of the runs over the grid of rates.

    Args:
        records: The runs, in any order.
        tables: The tables of their leaderboard, which name the tasks.
    """
    by_task: dict[str, dict[str, list[RunRecord]]] = defaultdict(lambda: defaultdict(list))
    task_of = {row.spec_hash: table.task for table in tables for row in table.rows}
    for record in latest(records):
        if (task := task_of.get(record.spec_hash)) is not None:
            by_task[task][_but_for_the_rate(record)].append(record)
    return [_table(table, list(by_task[table.task].values())) for table in tables if by_task[table.task]]


def rates_table(part: RateTable) -> Table:
    """Return one task's models over the grid of rates as a table."""
    rows = [
        [
            row.rank,
            row.name,
            _reached(row, len(part.rates)),
            _window(row.window),
            format_number(row.best_score),
            None if row.best_rate is None else f"{row.best_rate:g}",
            *(f"{row.tries[k - 1]:.0%}" if row.tries else None for k in _TRIES),
        ]
        for row in part.rows
    ]
    columns = ["#", "model", "rates", "window", f"best {part.metric}", "at rate", *(f"{k} tries" for k in _TRIES)]
    grid = f"{len(part.rates)} learning rates from {part.rates[0]:g} to {part.rates[-1]:g}"
    whole = all(row.interval for row in part.rows if row.seeds)
    around = "its 95 % interval" if whole else "the seeds with fewest and most"
    notes = [
        f"rates: how many reach the {part.goal}, median over seeds, in brackets {around}.",
        "window: neighbouring rates at which more than half of the seeds do. at rate: the one that validation chooses.",
        "k tries: with which probability at least one of k rates, drawn at random, reaches it; mean over seeds.",
    ]
    notes += [f"{row.name}: runs are missing at some rates." for row in part.rows if not row.seeds]
    return Table(columns, rows, title=f"{part.task}: {grid}", notes=notes)


def _but_for_the_rate(record: RunRecord) -> str:
    """Return the spec of a run without its seed and its learning rates, and what the model is called."""
    spec = record.spec.model_dump(mode="json", exclude={"seed"})
    spec["optim"].pop("lr")
    for group in spec["optim"]["groups"].values():
        group.pop("lr")
    return json.dumps([record.called, spec], sort_keys=True)


def _table(table: LeaderboardTable, models: list[list[RunRecord]]) -> RateTable:
    goal: Goal = "baseline" if table.target is None else "target"
    higher = higher_is_better(table.metric)
    rows = [_row(records, goal, higher) for records in models]

    def place(row: RateRow) -> tuple[float, float, float]:
        score = -math.inf if row.best_score is None else row.best_score * (1 if higher else -1)
        return (math.inf if row.reached is None else -row.reached), -(row.tries[0] if row.tries else 0.0), -score

    rows.sort(key=place)
    ranked = []
    for i, row in enumerate(rows):
        equal = i > 0 and rows[i - 1].reached == row.reached
        rank = None if row.reached is None else ranked[-1].rank if equal else i + 1
        ranked.append(row.replaced(rank=rank))
    return RateTable(task=table.task, metric=table.metric, goal=goal, rates=list(RATES), rows=ranked)


def _row(records: list[RunRecord], goal: Goal, higher: bool) -> RateRow:
    by_rate: dict[float, dict[int, RunRecord]] = {rate: {} for rate in RATES}
    for record in records:
        if record.status in ENDED and record.spec.optim.lr in by_rate:
            by_rate[record.spec.optim.lr][record.spec.seed] = record
    seeds = sorted(set.intersection(*(set(runs) for runs in by_rate.values())))
    cells = [_cell(rate, list(runs.values()), goal, higher) for rate, runs in by_rate.items()]
    counts = [sum(_reaches(by_rate[rate][seed], goal) for rate in RATES) for seed in seeds]
    best = _best(cells, higher) if seeds else None
    chances = [[_of_tries(len(RATES), count, k) for count in counts] for k in range(1, len(RATES) + 1)]
    return RateRow(
        name=records[0].called,
        rank=None,
        seeds=seeds,
        reached=float(statistics.median(counts)) if counts else None,
        lowest=min(counts, default=None),
        highest=max(counts, default=None),
        interval=median_interval([float(count) for count in counts]),
        window=_window_of(cells) if seeds else None,
        best_rate=None if best is None else best.rate,
        best_score=None if best is None else best.score,
        tries=[statistics.fmean(of_k) for of_k in chances] if counts else [],
        tries_range=[(min(of_k), max(of_k)) for of_k in chances] if counts else [],
        cells=cells,
    )


def _cell(rate: float, records: list[RunRecord], goal: Goal, higher: bool) -> RateCell:
    scores = [r.result.test[r.metric] for r in records if r.result.test and r.metric in r.result.test]
    finished = [record for record in records if record.status == "finished"]
    validation = [record.result.best for record in finished if record.result.best is not None]
    diverged = len(records) - len(finished)
    return RateCell(
        rate=rate,
        validation=median_with_worst(validation, diverged, higher),
        score=median_with_worst(scores, diverged, higher),
        reached=sum(_reaches(record, goal) for record in records),
        diverged=diverged,
        ended=len(records),
    )


def _reaches(record: RunRecord, goal: Goal) -> bool:
    """Whether a run reached the goal and did not diverge afterwards."""
    return record.status == "finished" and getattr(record.result, f"steps_to_{goal}") is not None


def _of_tries(n: int, good: int, k: int) -> float:
    """Return with which probability at least one of k of n rates, drawn without repetition, is one of the good ones."""
    return 1 - math.comb(n - good, k) / math.comb(n, k)


def _best(cells: list[RateCell], higher: bool) -> RateCell | None:
    """Return the rate that validation chooses: its median over seeds of the best value, a diverged seed the worst."""
    scored = [(cell.validation, cell) for cell in cells if cell.validation is not None]
    if not scored:
        return None
    best = (max if higher else min)(value for value, _ in scored)
    equal = [cell for value, cell in scored if value == best]
    return equal[len(equal) // 2]


def _window_of(cells: list[RateCell]) -> Interval | None:
    longest: list[RateCell] = []
    now: list[RateCell] = []
    for cell in cells:
        now = [*now, cell] if cell.ended and 2 * cell.reached > cell.ended else []
        longest = now if len(now) > len(longest) else longest
    return (longest[0].rate, longest[-1].rate) if longest else None


def _reached(row: RateRow, of: int) -> str | None:
    if row.reached is None or row.lowest is None or row.highest is None:
        return None
    around = row.interval if len(row.seeds) >= MIN_SEEDS and row.interval else (float(row.lowest), float(row.highest))
    brackets = f" [{around[0]:g}, {around[1]:g}]" if len(row.seeds) > 1 else ""
    return f"{row.reached:g}/{of}{brackets}"


def _window(window: Interval | None) -> str | None:
    if window is None:
        return None
    low, high = window
    if low == high:
        return f"{low:g} alone"
    return f"{low:g} to {high:g}"
