"""The leaderboard: a pure function of run records, as one typed document and as text.

One table per task, variant and parameters; one row per model, and per spec, engine or device where they differ.

A row's score is the median over seeds of the final test metric. A diverged seed counts as worse than any score: with
fewer than half of the seeds diverged the median is still a number, with more the row has none and ranks last. The
interval is that of the median, from order statistics, and there is none below five seeds. The best row is bold only if
its interval lies clear of every other row's.

Steps and seconds to the baseline or the target are medians over all ended seeds, one that never got there counting as
later than any other; `(3/5)` says how many got there.
"""

from stablebench.leaderboard.baseline import check, read_baseline
from stablebench.leaderboard.board import Cards, build, by_row, latest, registered_card
from stablebench.leaderboard.columns import check_names as check_columns
from stablebench.leaderboard.decisions import Decisions
from stablebench.leaderboard.format import (
    MEDIAN_INTERVAL,
    format_interval,
    format_median_interval,
    format_number,
    format_range,
    format_unequal,
)
from stablebench.leaderboard.learning_rates import learning_rates, rates_table
from stablebench.leaderboard.marks import unequal_budgets
from stablebench.leaderboard.origin import format_origin
from stablebench.leaderboard.pairs import leaders_note, matrix_of
from stablebench.leaderboard.published import format_published
from stablebench.leaderboard.reproduction import (
    Overrides,
    format_line_interval,
    format_number_of,
    format_protocol,
    format_verdict,
    reproduction,
    reproduction_title,
)
from stablebench.leaderboard.statistics import statistics
from stablebench.leaderboard.statistics_text import left_out_notes, pair_table, render_statistics
from stablebench.leaderboard.text import render

__all__ = [
    "MEDIAN_INTERVAL",
    "Cards",
    "Decisions",
    "Overrides",
    "build",
    "by_row",
    "check",
    "check_columns",
    "format_interval",
    "format_line_interval",
    "format_median_interval",
    "format_number",
    "format_number_of",
    "format_origin",
    "format_protocol",
    "format_published",
    "format_range",
    "format_unequal",
    "format_verdict",
    "latest",
    "leaders_note",
    "learning_rates",
    "left_out_notes",
    "matrix_of",
    "pair_table",
    "rates_table",
    "read_baseline",
    "registered_card",
    "render",
    "render_statistics",
    "reproduction",
    "reproduction_title",
    "statistics",
    "unequal_budgets",
]
