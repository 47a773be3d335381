"""Write one HTML page of runs: leaderboards, curves, statistics, and how to repeat them."""

from pathlib import Path
from typing import Annotated

import typer

from stablebench.cli.shared.suite_options import SuiteOptions, suite_options
from stablebench.cli.ui.output import note, say


@suite_options
def report(
    options: SuiteOptions,
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SUITE|RUNS",
            help="A suite or a file of one, or folders of runs; all of --runs-dir unless said.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where.")] = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="The page's heading.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of --output.")] = False,
) -> None:
    """Write one HTML page of runs that opens offline, from the run store alone; nothing is run.

    A suite's runs are named by the words that `compare` ran them with: --models, --tasks, --seeds, --budget, --set.
    Records that cannot be read are listed on the page, and make the exit code 1.
    """
    from stablebench.cli.shared.output_file import refuse_existing
    from stablebench.cli.shared.selection import selected_runs
    from stablebench.leaderboard import Overrides
    from stablebench.report.page import Run, page
    from stablebench.runs.atomic import write_atomically

    refuse_existing(output, force)
    found = selected_runs(what or [], options)
    command = found.command("stablebench report", output)
    text = page(
        title or found.name,
        [Run(record, folder) for folder, record in found.records],
        how=command,
        unreadable=found.unreadable,
        suite=found.suite,
        asked=Overrides() if found.suite is None else found.options.changes(),
    )
    write_atomically(output, text.encode())
    say(f"{output}: {len(found.records)} runs, {len(text.encode()):,} bytes")
    for problem in list(found.unreadable.values())[:20]:
        note(f"not in the report: {problem}")
    raise typer.Exit(1 if found.unreadable else 0)
