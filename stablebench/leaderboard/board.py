"""From run records to the leaderboard."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from stablebench import registry
from stablebench.data.metrics import higher_is_better
from stablebench.errors import UserError
from stablebench.leaderboard.code import code_notes
from stablebench.leaderboard.marks import LEGEND, marks_of, unequal
from stablebench.leaderboard.names import disambiguate
from stablebench.leaderboard.origin import Recipes, registered_recipe
from stablebench.leaderboard.published import published
from stablebench.leaderboard.ranking import rank
from stablebench.leaderboard.row import ENDED, row_of
from stablebench.leaderboard.tidy import tidy_runs
from stablebench.schema.card import TaskCard
from stablebench.schema.leaderboard import Leaderboard, LeaderboardTable
from stablebench.schema.run_record import RunRecord

Cards = Callable[[str], TaskCard | None]


def registered_card(name: str) -> TaskCard | None:
    """Return a registered task's card, None where there is none or it cannot be read."""
    try:
        return registry.task_card(name)
    except UserError:
        return None


def build(
    suite: str,
    records: Iterable[RunRecord],
    cards: Cards = registered_card,
    unreadable: dict[str, str] | None = None,
    *,
    recipes: Recipes = registered_recipe,
    across_budgets: bool = False,
    tidy: bool = False,
) -> Leaderboard:
    """Return the leaderboard of runs.

    Of several records of one spec and seed the last to start counts, one that ended before one that did not.

    Args:
        suite: What was run.
        records: The runs, in any order.
        cards: Where published numbers come from.
        unreadable: By folder, what is wrong with records that could not be read.
        recipes: Where recipes say how they were tuned.
        across_budgets: Whether rows of unequal updates, batch or width are ranked all the same.
        tidy: Whether it also has each run as one flat dictionary (`stablebench.leaderboard.tidy`).
    """
    by_table: dict[tuple[str, int, str, str, str], list[RunRecord]] = defaultdict(list)
    counting = latest(records)
    for record in counting:
        task = record.spec.task
        own = task.source or ""  # a card of the user's own, with what it was then
        by_table[task.name, task.version, json.dumps(task.params, sort_keys=True), record.metric, own].append(record)
    groups = sorted(by_table.items(), key=lambda item: item[0])
    tables = [_table(group, cards, recipes, across_budgets) for _, group in groups]
    told_apart = [
        {"version": t.version} | t.params | {"card": key[-1][:6]} for t, (key, _) in zip(tables, groups, strict=True)
    ]
    names = disambiguate([table.task for table in tables], told_apart)
    tables = [table.replaced(task=name) for table, name in zip(tables, names, strict=True)]
    tables.sort(key=lambda table: _natural(table.task))
    runs = tidy_runs(counting, recipes) if tidy and counting else None
    return Leaderboard(suite=suite, tables=tables, unreadable=unreadable, runs=runs)


def _natural(name: str) -> list[tuple[str, int]]:
    """Return a key that sorts t100 before t1000 and t400 between them."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D+)(\d*)", name)]


def latest(records: Iterable[RunRecord]) -> list[RunRecord]:
    """Return of several records of one spec, seed, engine and device the one that counts."""
    newest: dict[tuple[str, int, str, str], RunRecord] = {}
    for record in records:
        key = (record.spec_hash, record.spec.seed, record.environment.engine, record.environment.device)
        known = newest.get(key)
        if known is None or _age(record) > _age(known):
            newest[key] = record
    return list(newest.values())


def by_row(records: Iterable[RunRecord]) -> dict[tuple[str, str, str], list[RunRecord]]:
    """Return the runs of each row, by its spec's hash, engine and device."""
    rows: dict[tuple[str, str, str], list[RunRecord]] = defaultdict(list)
    for record in records:
        rows[record.spec_hash, record.environment.engine, record.environment.device].append(record)
    return rows


def _age(record: RunRecord) -> tuple[bool, str]:
    return record.status in ENDED, record.started


def _table(records: list[RunRecord], cards: Cards, recipes: Recipes, across_budgets: bool) -> LeaderboardTable:
    first = records[0]
    task, metric = first.spec.task, first.metric
    rows = [row_of(group, recipes) for group in by_row(records).values()]
    names = disambiguate([r.name for r in rows], [r.settings for r in rows], [r.spec_hash for r in rows])
    rows = [row.replaced(name=name, marks=marks_of(row, rows)) for row, name in zip(rows, names, strict=True)]
    differs = unequal(rows)
    if len({row.shown.metric for row in rows}) > 1:  # one metric for a whole table: that which every run was tested in
        rows = [row.replaced(quoted=None) for row in rows]
    rows = rank(rows, comparable=across_budgets or not differs)
    card, shown = cards(task.name), rows[0].shown.metric
    variant = next((r.spec.task.variant for r in records if r.spec.task.variant), None)
    if variant is None and card is not None:
        variant = next((name for name in card.variants if card.has_params(name, task.params)), None)
    return LeaderboardTable(
        task=f"{task.name}/{variant}" if variant else task.name,
        name=task.name,
        variant=variant,
        version=task.version,
        params=task.params,
        metric=metric,
        higher_is_better=higher_is_better(metric),
        baseline=first.baseline,
        quoted_baseline=None if shown == metric else _baseline(card, shown, task.params),
        target=first.target,
        target_metric=first.target_metric,
        selection=sorted({r.selection for r in records}),
        cards=len({r.card_sha256 for r in records}),
        rows=rows,
        code_notes=code_notes(rows),
        unequal=differs,
        legend={mark: meaning for mark, meaning in LEGEND.items() if any(mark in row.marks for row in rows)},
        published=[] if card is None else published(card, task.params, rows),
    )


def _baseline(card: TaskCard | None, metric: str, params: dict[str, Any]) -> float | None:
    """Return a card's baseline; None where it has none, or none for parameters of an earlier version of the task."""
    try:
        return None if card is None else card.baseline(metric, params)
    except ValueError:
        return None
