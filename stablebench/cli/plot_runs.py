"""The run folder that a `plot` command was given."""

from pathlib import Path

from stablebench.errors import UserError
from stablebench.training.run_store import RunFolder

_DEPTH = 3
"""Folders between a run store and its runs."""


def run_folder(path: Path) -> RunFolder:
    """Return the folder of one run.

    Raises:
        UserError: It is a folder without a record; the message names a run in it, if there is one.
    """
    folder = RunFolder(path)
    if path.is_dir() and not folder.record_path.exists():
        below = (sorted(path.glob("*/" * depth + "record.json")) for depth in range(1, _DEPTH + 1))
        first = next((found[0].parent for found in below if found), None)
        way_out = f"; one in it is {first}" if first is not None else ""
        raise UserError(f"{path}: must be the folder of one run, with a record.json{way_out}.")
    return folder
