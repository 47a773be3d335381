"""Check task cards, recipes, suites and sweeps: all files at once."""

from pathlib import Path
from typing import Annotated

import typer

from stablebench.cli.shared.options import PrintedText
from stablebench.cli.shared.text import counted
from stablebench.cli.ui.output import note, say


def validate(
    *,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, or folders with them.")],
    printed: PrintedText,
) -> None:
    """Check task cards, recipes, suites and sweeps.

    Each problem is one line: file, line, key, what must hold, what arrived. Exit code 2 if there is one. Where a
    value is missing or of a wrong type, names are looked up all the same, and the rest is checked once that is fixed.

    Examples:
        stablebench validate my_suite.yaml
        stablebench validate configs/suites tasks --json
    """
    from stablebench.cli.ui.output import print_json
    from stablebench.execution.validate import check_file, files_in

    by_file = {path: check_file(path, named=path in paths) for path in files_in(paths)}
    wrong = {path: problems for path, problems in by_file.items() if problems}
    for problems in wrong.values():
        for problem in problems:
            note(problem)
    if printed.as_json:
        print_json([{"path": str(path), "problems": problems} for path, problems in by_file.items()])
    if wrong:
        count = sum(len(problems) for problems in wrong.values())
        note(f"{counted(count, 'problem')} in {len(wrong)} of {counted(len(by_file), 'file')}.")
        raise typer.Exit(2)
    if not printed.as_json:
        say(f"{counted(len(by_file), 'file')}, no problems.")
