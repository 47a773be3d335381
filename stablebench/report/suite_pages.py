"""Pages of suites that were run, in Markdown, from leaderboards as `compare SUITE --output FILE.json` writes them.

One page a suite, an index of one line a suite, and what of the papers' numbers has been repeated.
"""

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from stablebench import leaderboard, registry
from stablebench.leaderboard import Overrides
from stablebench.leaderboard.coverage import STATES, PublishedState
from stablebench.leaderboard.reproduction import reproduction_table
from stablebench.schema.leaderboard import Leaderboard, LeaderboardRow, LeaderboardTable
from stablebench.schema.reproduction import Reproduction
from stablebench.tables import Table, render

_HOUR_S = 3600


def suite_page(board: Leaderboard, remark: str = "") -> str:
    """Return the page of one suite: what ran, each task's table, and its paper's numbers with ours.

    Verdicts are taken of the stored scores by the rules of this version.

    Args:
        board: Its leaderboard.
        remark: Markdown between the heading and the tables: what a reader must know of the runs.
    """
    parts = [f"# {board.suite}", f"```\nstablebench compare {board.suite}\n```", _what_ran(board)]
    parts += [remark.strip()] if remark.strip() else []
    parts += [render([_ranked(table)], "github") for table in board.tables]
    judged = judged_now(board)
    if judged is not None and judged.lines:
        parts.append(render([replace(reproduction_table(judged), title="")], "github"))
    return "\n\n".join(parts) + "\n"


def suites_index(boards: Mapping[str, Leaderboard], states: Sequence[PublishedState], folder: str, command: str) -> str:
    """Return one line a suite, those that have not been run too, and how many published numbers are repeated.

    Args:
        boards: Leaderboards by suite.
        states: What has become of the published numbers.
        folder: Where the pages of suites lie, from the index.
        command: What writes it.
    """
    count = Counter(one.state for one in states)
    own = sum(one.decided and one.of_its_paper for one in states)
    decided = sum(one.decided for one in states)
    named = [[state, count[state], meaning] for state, meaning in STATES.items()]
    parts = [
        "# Suites of the papers",
        f"```\n{command}\n```",
        _paragraph(
            "Each was run by `stablebench compare SUITE` and stored with `--output`. Its page has every row, and the "
            "numbers and statements of its paper with ours, judged by the rules of [papers.md](../papers.md) and "
            "[statistics.md](../statistics.md). Hours are those of the training of all runs, which other programs "
            "may have slowed. Behind the hours stands what became of the paper's numbers and statements."
        ),
        _index(boards, folder),
        _paragraph(
            f"Of {len(states)} published entries {decided} have a verdict from runs at a suite's whole budget, {own} "
            f"of them at the budget of the paper that printed the number; each is in [coverage]({folder}/coverage.md)."
        ),
        render([Table(["state", "entries", "meaning"], named)], "github"),
        "Suites that have not been run, with the hours of one core that they would take:",
        render([_not_run(boards)], "github"),
    ]
    return "\n\n".join(parts) + "\n"


def coverage_page(states: Sequence[PublishedState]) -> str:
    """Return the table of all published numbers with what has become of each."""
    rows = [
        [
            one.entry.source,
            one.entry.where,
            one.entry.model + ("" if one.entry.units is None else f", {one.entry.units} units"),
            one.task + (f"/{one.entry.variant}" if one.entry.variant else ""),
            one.entry.what,
            "" if one.entry.value is None else leaderboard.format_published(float(one.entry.value), one.entry.bound),
            None if one.line is None else one.line.ours,
            _state_text(one),
            "" if one.line is None else leaderboard.format_protocol(one.line),
        ]
        for one in states
    ]
    columns = ["source", "where", "model", "task", "what", "published", "ours", "state", "protocol"]
    heading = "# Every published number, and whether it was repeated"
    meanings = "\n".join(f"- *{state}*: {meaning}." for state, meaning in STATES.items())
    return "\n\n".join([heading, meanings, render([Table(columns, rows)], "github")]) + "\n"


def judged_now(board: Leaderboard) -> Reproduction | None:
    """Return what a board repeats of its paper, by this version's rules; as stored where the suite is not ours."""
    stored = board.reproduction
    if board.suite not in registry.suite_names():
        return stored
    overrides = Overrides() if stored is None else Overrides(stored.changed, stored.budget == "short")
    return leaderboard.reproduction(registry.suite(board.suite), board, overrides)


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _what_ran(board: Leaderboard) -> str:
    rows = [row for table in board.tables for row in table.rows]
    commits = sorted({commit for row in rows for commit in row.commits})
    hardware = sorted({row.hardware for row in rows})
    seeds = sorted({int(seed) for row in rows for seed in row.seeds})
    stored = board.reproduction
    source = f"{stored.source}. " if stored is not None and stored.source else ""
    budget = "" if stored is None or not _in_part(stored) else f" {leaderboard.reproduction_title(stored)}."
    seed = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
    return _paragraph(
        f"{source}{sum(row.ended for row in rows)} runs, {seed}; {hours_of(board):.2f} hours of training in all; "
        f"{'; '.join(hardware)}; commit {', '.join(commits) or 'not known'}.{budget}"
    )


def hours_of(board: Leaderboard) -> float:
    """Return the hours of training of all runs: of each where it is stored, else the median of a row for each seed."""
    if board.runs:
        seconds = [run.get("train_s") for run in board.runs]
        return sum(value for value in seconds if isinstance(value, (int, float))) / _HOUR_S
    rows = [row for table in board.tables for row in table.rows]
    return sum((row.train_s or 0.0) * row.ended for row in rows) / _HOUR_S


def _in_part(part: Reproduction) -> bool:
    return part.budget == "short" or bool(part.changed)


def _ranked(table: LeaderboardTable) -> Table:
    columns = ["#", "model", "units", "parameters", table.shown_metric, "lowest to highest", "95 % of the median"]
    columns += ["seeds", "updates", "to the baseline", "to the target"]
    goals = [] if table.baseline is None else [f"baseline {table.baseline:.4g}"]
    goals += [] if table.target is None else [f"target {table.target_metric} {table.target:.4g}"]
    return Table(columns, [_cells(row) for row in table.rows], title=": ".join([table.task, ", ".join(goals)]))


def _cells(row: LeaderboardRow) -> list[object]:
    return [
        row.rank,
        row.name,
        row.hidden,
        f"{row.parameters:,}",
        row.shown.score,
        _range(row),
        None if row.shown.interval is None else leaderboard.format_interval(row.shown.interval),
        row.ended,
        f"{row.steps:,}",
        _reached(row.steps_to_baseline, row.reached_baseline, row.ended),
        _reached(row.steps_to_target, row.reached_target, row.ended),
    ]


def _range(row: LeaderboardRow) -> str:
    diverged = f"{row.diverged} diverged" if row.diverged else ""
    return ", ".join(filter(None, [leaderboard.format_range(row.shown.min, row.shown.max), diverged]))


def _reached(steps: float | None, reached: int, ended: int) -> str:
    if reached == 0:
        return "never"
    some = "" if reached == ended else f" ({reached} of {ended})"
    return f"{'' if steps is None else f'{steps:,.0f}'}{some}".strip()


def _index(boards: Mapping[str, Leaderboard], folder: str) -> str:
    lines = []
    for name, board in sorted(boards.items()):
        judged = judged_now(board)
        verdicts = Counter(line.verdict for line in (judged.lines if judged is not None else []))
        ended = sum(row.ended for table in board.tables for row in table.rows)
        budget = ", in part" if board.reproduction is not None and _in_part(board.reproduction) else ""
        said = "; ".join([f"{ended} runs, {hours_of(board):.2f} h{budget}", _listed(verdicts)])
        lines.append(f"- [{name}]({folder}/{page_name(name)}.md): {said.removesuffix('; ')}")
    return "\n".join(lines)


def _listed(verdicts: Counter[str]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())


def _not_run(boards: Mapping[str, Leaderboard]) -> Table:
    rows = []
    for name in registry.suite_names():
        suite = registry.suite(name)
        if suite.source is not None and name not in boards:
            rows.append([name, suite.summary, suite.core_hours.get("full"), suite.core_hours.get("short")])
    return Table(["suite", "what it runs", "hours", "hours of the short budget"], rows)


def page_name(suite: str) -> str:
    """Return what a suite's files are called: `poster-recall` for `poster/recall`."""
    return suite.replace("/", "-")


def _state_text(one: PublishedState) -> str:
    if one.state == "not run":
        hours = [f"{name} ({_hours(name)})" for name in one.suites]
        return f"not run: {', '.join(hours)}"
    return one.state if one.board is None else f"{one.state} ({one.board})"


def _hours(suite: str) -> str:
    full = registry.suite(suite).core_hours.get("full")
    return "hours not known" if full is None else f"{full:g} h"
