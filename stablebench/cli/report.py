"""Write one HTML page of runs: leaderboards, curves, statistics, and how to repeat them."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from stablebench.cli.shared.commands import OUTPUT, option
from stablebench.cli.shared.options import Force, RunsDir
from stablebench.cli.shared.requests import SuiteRunOptions
from stablebench.cli.shared.selection import SuiteOrRuns, selected_runs
from stablebench.cli.ui.output import note, say

_MAX_NOTES = 20
"""Unreadable records that are listed."""


def report(
    *,
    what: SuiteOrRuns = None,
    asked: SuiteRunOptions,
    runs_dir: RunsDir = Path("runs"),
    title: Annotated[str | None, option("The page's heading.", OUTPUT, metavar="TEXT")] = None,
    summary: Annotated[
        bool,
        option(
            "Markdown pages of leaderboards that `compare SUITE --output FILE.json` wrote (files, or folders of them): "
            "an index at --output, in a folder of its name a page a suite, and what is repeated of the papers.",
            OUTPUT,
            "--summary",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        option("The page (default: report.html, with --summary suites.md).", OUTPUT, "--output", "-o", metavar="FILE"),
    ] = None,
    force: Force = False,
) -> None:
    """Write one HTML page of stored runs that opens offline; nothing is run.

    A suite's runs are named by the options that `compare` ran them with: --model, --task, --seeds, --budget, --set.
    Records that cannot be read are listed on the page, and make the exit code 1.

    Examples:
        stablebench report quick --model rnn,roarnn -o quick.html
        stablebench report copy/roarnn copy/lstm -o copy.html --force
        stablebench report --summary leaderboards/ -o suites.md
    """
    from stablebench.cli.shared.output_file import refuse_existing

    if summary:
        from stablebench.cli.shared.suite_pages import write_suite_pages

        write_suite_pages(what or [], output or Path("suites.md"), force)
        return
    output = output or Path("report.html")
    refuse_existing(output, force)
    selection = selected_runs(what, runs_dir, asked)
    from stablebench.leaderboard import Overrides
    from stablebench.report.page import page
    from stablebench.runs.atomic import write_atomically

    words = [*map(shlex.quote, selection.words), "-o", shlex.quote(output.name)]
    text = page(
        title or (None if _are_runs(what, runs_dir) else selection.name),
        selection.records,
        how=" ".join(["stablebench report", *words]),
        unreadable=selection.unreadable,
        suite=selection.suite,
        overrides=Overrides(selection.overrides.changed, selection.overrides.short),
    )
    write_atomically(output, text.encode())
    say(f"{output}: {len(selection.records)} runs, {len(text.encode()):,} bytes")
    for problem in list(selection.unreadable.values())[:_MAX_NOTES]:
        note(f"not in the report: {problem}")
    raise typer.Exit(1 if selection.unreadable else 0)


def _are_runs(what: list[str] | None, runs_dir: Path) -> bool:
    """Return whether single runs are named, whose folders' names are hashes."""
    return bool(what) and all(any((at / w / "record.json").is_file() for at in (Path(), runs_dir)) for w in what or ())
