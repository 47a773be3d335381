"""Check task cards, recipes, suites and sweeps: all files at once."""

from pathlib import Path
from typing import Annotated

import typer

from stablebench.cli.ui.output import note, say


def validate(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, or folders with them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the problems by file as JSON.")] = False,
) -> None:
    """Check task cards, recipes, suites and sweeps.

    Each problem is one line: file, line, key, what must hold, what arrived. Exit code 2 if there is one. Where a
    value is missing or of a wrong type, names are looked up all the same, and the rest is checked once that is mended.
    """
    from stablebench.cli.ui.output import print_json
    from stablebench.execution.validate import check_file, files_in

    found = {path: check_file(path) for path in files_in(paths)}
    wrong = {path: problems for path, problems in found.items() if problems}
    for problems in wrong.values():
        for problem in problems:
            note(problem)
    if as_json:
        print_json([{"path": str(path), "problems": problems} for path, problems in found.items()])
    if wrong:
        count = sum(len(problems) for problems in wrong.values())
        note(f"{_counted(count, 'problem')} in {len(wrong)} of {_counted(len(found), 'file')}.")
        raise typer.Exit(2)
    if not as_json:
        say(f"{_counted(len(found), 'file')}, no problems.")


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
