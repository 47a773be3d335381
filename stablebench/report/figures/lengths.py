"""Accuracy over the length of test examples: a panel a task, a line a model."""

from collections.abc import Sequence

from stablebench import leaderboard
from stablebench.errors import UserError
from stablebench.leaderboard.board import Cards, registered_card
from stablebench.report.figures.curves import Line, band_of
from stablebench.report.figures.panels import Plot
from stablebench.schema.leaderboard import LeaderboardRow, LeaderboardTable
from stablebench.schema.run_record import RunRecord

_POINTS = 500
CHANCE = "guessing"


def length_plots(records: Sequence[RunRecord], cards: Cards = registered_card) -> list[Plot]:
    """Return one panel a task: median over seeds and a band from the lowest to the highest, over the test's length.

    Args:
        records: The runs, each with what was measured of it.
        cards: Where the accuracy of guessing at a length comes from.

    Raises:
        UserError: No run was scored at other lengths.
    """
    plots = []
    for table in leaderboard.build("", records, lambda name: None).tables:
        lines = [line for row in table.rows if (line := length_line(row)) is not None]
        if lines:
            ends = trained_lengths(table)
            shaded = None if ends is None else (*ends, "lengths trained on")
            guessing = chance_line(table, lines, cards)
            plots.append(Plot(table.task, "length", "test accuracy", lines, guide=guessing, log_x=True, shaded=shaded))
    if not plots:
        raise UserError(
            "No run of these was scored at several lengths: `stablebench compare SUITE --lengths 40,64,128,256` does."
        )
    return plots


def length_line(row: LeaderboardRow) -> Line | None:
    """Return a row's accuracies over length, with the band of its seeds; None where it was not scored at any."""
    if row.lengths is None:
        return None
    seeds = [{float(length): value for length, value in of.items()} for of in row.lengths.seeds.values()]
    return band_of(row.name, seeds, _POINTS)


def trained_lengths(table: LeaderboardTable) -> tuple[int, int] | None:
    """Return the ends of the lengths that the rows of a table were trained on; None where that is one length."""
    ends = [row.lengths.trained for row in table.rows if row.lengths is not None and row.lengths.trained is not None]
    return (ends[0][0], ends[0][1]) if ends and ends[0][0] < ends[0][1] else None


def chance_line(table: LeaderboardTable, lines: Sequence[Line], cards: Cards = registered_card) -> Line | None:
    """Return the accuracy of guessing over the lengths of lines; None where the card has none."""
    card = cards(table.name)
    if card is None or card.length is None:
        return None
    values = {}
    for x in sorted({x for line in lines for x in line.x}):
        value = card.baseline("accuracy", {**table.params, card.length: int(x)})
        if value is not None:
            values[x] = value
    return Line(CHANCE, list(values), list(values.values())) if values else None
