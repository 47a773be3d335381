"""The run folder that a `plot` command was given."""

from pathlib import Path

from stablebench.cli.shared.selection import runs_within
from stablebench.errors import UserError
from stablebench.runs.store import RunFolder


def run_folder(path: Path) -> RunFolder:
    """Return the folder of one run.

    Raises:
        UserError: It is a folder without a record; the message names a run in it, if there is one.
    """
    folder = RunFolder(path)
    if path.is_dir() and not folder.record_path.exists():
        below = runs_within(path)
        way_out = f"; one in it is {below[0].path}" if below else ""
        raise UserError(f"{path}: must be the folder of one run, with a record.json{way_out}.")
    return folder
