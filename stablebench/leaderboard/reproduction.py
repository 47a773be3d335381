"""Whether a suite repeats what its paper reports: a pure function of the suite, its leaderboard and the task cards.

Our score is the paper's statistic of our seeds (their mean, the best, the best on validation) where the paper says
which it is, else the median; in the metric that was published.

A printed number is

    reproduced        ours equals it within the printed spread, or within half a unit of its last digit (`verdicts`);
                      or keeps to the bound that is printed; or neither beats the baseline, which is then said
    within interval   ours does not, but the interval over five seeds or more reaches it
    better            ours lies beyond both, on the good side
    not reproduced    ours lies beyond both, on the bad side; or the paper shows a model that fails, and here it learns
    undecided         there is one seed; or the range of two to four reaches it; or the paper's best is of more trials;
                      or some seeds learn where the paper's model fails; or its only run lies among ours
    not comparable    our runs are of another variant or length of the task; what differs stands next to the verdict
    not run           there is no run of that model, or those there are stand for another number of the suite

It is compared with the runs of its own variant and size where there are any. Else those of another size take their
place, unless they are the suite's runs for another of its numbers; what then differs stands next to the verdict.

What a figure shows without numbers is stated in the suite as an expectation: that one model is better than others, by
scores in the metric shown and by a one-sided rank test against each at 5 %, or that a value of the task's metric is
reached or missed. It

    holds             so it is, also at the end of the interval or range
    overlaps          so many seeds tell neither that it is so nor the contrary
    fails             the contrary is so, also at the other end; or one seed is not as stated of every seed
    undecided         there is one seed of one of them
    not comparable    our runs are of another variant or length of the task
    not run           there is no run of one of them
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from stablebench.leaderboard.board import Cards, registered_card
from stablebench.leaderboard.format import format_interval
from stablebench.leaderboard.published import (
    compare_published,
    format_published,
    has_number,
    has_settings,
    is_measured,
    spread_of,
)
from stablebench.leaderboard.statements import best_row, measured_by, score_of, stated
from stablebench.leaderboard.verdicts import Judgement, judged
from stablebench.registry import table_of
from stablebench.schema.card import TaskCard
from stablebench.schema.leaderboard import Leaderboard, LeaderboardRow, LeaderboardTable
from stablebench.schema.published import Published, format_value
from stablebench.schema.reproduction import Reproduction, ReproductionLine
from stablebench.schema.suite import Expectation, Suite
from stablebench.tables import Table

_BUDGET = {"train.steps", "train.epochs", "steps", "epochs"}


@dataclass(frozen=True)
class Overrides:
    """What the runs have in place of the suite's own settings.

    Args:
        changed: Values by key: `T`, `model.hidden`, `train.steps`.
        short: Whether they have the suite's short budget.
    """

    changed: Mapping[str, Any] = field(default_factory=dict)
    short: bool = False


_NONE = Overrides()


def reproduction(
    suite: Suite, board: Leaderboard, overrides: Overrides = _NONE, cards: Cards = registered_card
) -> Reproduction | None:
    """Return one line per published number and expectation of a suite, None where it repeats no paper's experiment.

    Args:
        suite: The suite.
        board: Its leaderboard.
        overrides: What the runs have in place of the suite's own settings.
        cards: Where published numbers stand.
    """
    tables = board.tables
    lines = []
    for name, keys in suite.published.items():
        card = cards(name)
        by_key = {} if card is None else {entry.key: entry for entry in card.published if has_number(entry)}
        entries = [by_key[key] for key in keys if key in by_key]
        of_task = [table for table in tables if table.name == name]
        for key in keys:
            if card is None or key not in by_key:
                lines.append(ReproductionLine(what=key))
            else:
                lines.append(number_line(card, by_key[key], entries, of_task, overrides))
    for expected in suite.expected:
        lines.append(_expectation(expected, suite, tables, overrides, cards))
    if not lines:
        return None
    budget = "short" if overrides.short else "full"
    return Reproduction(source=suite.source, budget=budget, changed=dict(overrides.changed), lines=lines)


def reproduction_table(part: Reproduction) -> Table:
    """Return what is reproduced as a table."""
    rows = [
        [
            line.what,
            format_number_of(line),
            line.ours,
            format_line_interval(line),
            format_verdict(line),
            format_protocol(line),
        ]
        for line in part.lines
    ]
    columns = ["what", "published", "ours", "our 95 % interval", "verdict", "protocol"]
    wrap = frozenset({"what", "verdict", "protocol"})
    return Table(columns, rows, title=reproduction_title(part), wrap=wrap, minor=["our 95 % interval"])


def format_number_of(line: ReproductionLine) -> str | None:
    """Return the paper's number with what it prints of its spread; None for an expectation."""
    if line.published is None:
        return None
    return format_published(line.published, line.bound, line.spread, line.runs)


def format_line_interval(line: ReproductionLine) -> str | None:
    """Return our interval, with what it is of."""
    return None if line.interval is None else f"{format_interval(line.interval)} {line.interval_of or ''}".strip()


def format_verdict(line: ReproductionLine) -> str:
    """Return the verdict, with its reason where it is not plain."""
    return line.verdict if line.reason is None else f"{line.verdict} ({line.reason})"


def reproduction_title(part: Reproduction) -> str:
    """Return what is reproduced, and what the runs have in place of the suite's own settings."""
    parts = ["Reproduction" + (f" of {part.source}" if part.source else "")]
    if part.budget == "short":
        parts.append("short budget: numbers not reproduced are expected")
    if part.changed:
        parts.append("with " + ", ".join(f"{key} {format_value(value)}" for key, value in part.changed.items()))
    return "; ".join(parts)


def format_protocol(line: ReproductionLine) -> str | None:
    """Return how far the two protocols are the same, and where they differ."""
    if line.protocol is None:
        return None
    unstated = [f"not stated: {', '.join(line.unstated)}"] if line.unstated else []
    why = "; ".join([*line.differs, *unstated])
    return f"{line.protocol}: {why}" if why else line.protocol


# -- printed numbers -------------------------------------------------------------------------------------------------


def number_line(
    card: TaskCard,
    entry: Published,
    entries: Sequence[Published],
    tables: Sequence[LeaderboardTable],
    overrides: Overrides = _NONE,
) -> ReproductionLine:
    """Return whether runs repeat a printed number.

    Args:
        card: The task's card.
        entry: The number.
        entries: The numbers that runs may stand for instead, this one among them.
        tables: The task's tables of a leaderboard.
        overrides: What the runs have in place of the suite's own settings.
    """
    units = "" if entry.units is None else f", {entry.units} units"
    units += "".join(f", {key} {format_value(value)}" for key, value in entry.settings.items())
    on = f"{card.task}/{entry.variant}" if entry.variant else card.task
    what = f"{entry.model}{units} on {on}: {entry.what} ({entry.where})"
    line = ReproductionLine(
        what=what, published=float(entry.value or 0), bound=entry.bound, spread=spread_of(entry), runs=entry.runs
    )
    nearest = _runs_for(card, entry, entries, tables)
    if nearest is None or not is_measured(card, entry):
        return line
    table, row = nearest
    compared = compare_published(card, entry, table.params, row)
    elsewhere = _elsewhere(card, entry.variant, table)
    differs = [*elsewhere, *compared.differs]
    if entry.part != "test":
        differs.append(f"{entry.part} examples, ours test")
    if entry.event == "steps_to_convergence":
        differs.append("convergence without a threshold, ours the target")
    differs += [*_fewer_updates(overrides, row, differs), *_built_start(row)]
    verdict = judged(entry, compared.ours, compared.our_statistic, row, table)
    if elsewhere and verdict.word != "not run":
        verdict = Judgement("not comparable")
    return line.replaced(
        ours=compared.ours,
        interval=verdict.interval,
        interval_of=verdict.interval_of,
        verdict=verdict.word,
        reason=verdict.reason,
        protocol="differs" if differs else compared.protocol,
        differs=list(dict.fromkeys(differs)),
        unstated=compared.unstated,
    )


def _runs_for(
    card: TaskCard, entry: Published, entries: Sequence[Published], tables: Sequence[LeaderboardTable]
) -> tuple[LeaderboardTable, LeaderboardRow] | None:
    """Return the table and the row that come nearest to an entry; None where all are another entry's."""
    others = [other for other in entries if other.model == entry.model]
    candidates = []
    for table in tables:
        elsewhere = not card.has_params(entry.variant, table.params)
        if elsewhere and any(card.has_params(other.variant, table.params) for other in others):
            continue
        for row in table.rows:
            resized = entry.units not in (None, row.hidden)
            is_other = resized and row.hidden in {other.units for other in others}
            if row.model == entry.model and not is_other and has_settings(row, entry):
                candidates.append((elsewhere, resized, len(candidates), table, row))
    return min(candidates, key=lambda place: place[:3])[3:] if candidates else None


def _elsewhere(card: TaskCard, variant: str | None, table: LeaderboardTable) -> list[str]:
    """Return in which parameters of the task the paper's variant is not the one that was run."""
    if card.has_params(variant, table.params):
        return []
    theirs = card.data.params | (card.variants.get(variant, {}) if variant else {})
    differing = [
        f"{name} {format_value(value)}, ours {format_value(table.params.get(name))}"
        for name, value in theirs.items()
        if table.params.get(name) != value
    ]
    names = [f"variant {variant}, ours {table.variant}"] if variant and table.variant else []
    return names or differing


def _fewer_updates(overrides: Overrides, row: LeaderboardRow, differs: list[str]) -> list[str]:
    """Return the updates where the command line decided them and the paper's number is not compared already."""
    if any(line.split(" ")[0] in _BUDGET for line in differs):
        return []
    if overrides.short:
        return [f"short budget, {row.steps:,} updates"]
    return [f"{row.steps:,} updates asked for"] if _BUDGET & set(overrides.changed) else []


def _built_start(row: LeaderboardRow) -> list[str]:
    """Return the remark on a row whose start is built for the task, which no paper reports."""
    return [] if row.built_start is None else [f"start built for the task ({row.built_start})"]


# -- expectations ----------------------------------------------------------------------------------------------------


def _expectation(
    expected: Expectation, suite: Suite, tables: Sequence[LeaderboardTable], overrides: Overrides, cards: Cards
) -> ReproductionLine:
    name, variant = table_of(expected.task)
    card = cards(name)
    line = ReproductionLine(what=expected.statement)
    of_task = [table for table in tables if table.name == name]
    exact = [table for table in of_task if _is_of(table, expected, card)]
    expectations = [e for e in suite.expected if table_of(e.task)[0] == name]
    instead = [table for table in of_task if not any(_is_of(table, e, card) for e in expectations)]
    for table in exact or instead:
        row = best_row(table, expected.model, expected.where)
        others = [other for model in expected.better_than if (other := best_row(table, model)) is not None]
        if row is None or len(others) < len(expected.better_than):
            continue
        differs = [] if exact or card is None else _elsewhere(card, variant or None, table)
        differs = differs or ([] if exact or expected.T is None else [f"T {expected.T:,}, ours another"])
        metric, judged_by = measured_by(expected, table)
        ours = score_of(row, metric, expected.every_seed)
        verdict = Judgement("not comparable") if differs else stated(expected, row, others, table)
        differs += [*_fewer_updates(overrides, row, differs), *_built_start(row)]
        return line.replaced(
            what=f"{expected.statement}, by {judged_by}",
            ours=ours if isfinite(ours) else None,
            interval=verdict.interval,
            interval_of=verdict.interval_of,
            verdict=verdict.word,
            reason=verdict.reason,
            protocol="differs" if differs else None,
            differs=differs,
        )
    return line


def _is_of(table: LeaderboardTable, expected: Expectation, card: TaskCard | None) -> bool:
    """Whether a table is of the task, variant and length that an expectation is about."""
    name, variant = table_of(expected.task)
    if table.name != name:
        return False
    if expected.T is not None:
        return expected.T in table.params.values()
    if not variant:
        return card is None or card.has_params(None, table.params)
    return table.variant == variant or (card is not None and card.has_params(variant, table.params))
