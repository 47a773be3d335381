"""The folder of one run that a command is given, or of one checkpoint in it."""

import os
from pathlib import Path

from stablebench.errors import UserError
from stablebench.runs.store import RunFolder

_LISTED = 5
"""Runs that are listed where a folder of several is given."""


def run_folder(path: Path) -> RunFolder:
    """Return the folder of one run; that it has no record is left to be said where it is read.

    Raises:
        UserError: It has no record, and runs are in it: the message names them.
    """
    folder = RunFolder(path)
    if path.is_dir() and not folder.record_path.exists() and (below := runs_within(path)):
        more = f" and {len(below) - _LISTED} more" if len(below) > _LISTED else ""
        inside = "one in it is" if len(below) == 1 else f"the {len(below)} runs in it are"
        names = ", ".join(str(run.path) for run in below[:_LISTED])
        raise UserError(f"{path}: must be the folder of one run, with a record.json; {inside} {names}{more}.")
    return folder


def run_and_checkpoint(path: Path) -> tuple[RunFolder, Path | None]:
    """Return the run that a path is, or that it is a checkpoint of, and the checkpoint.

    Raises:
        UserError: It is a folder of several runs.
    """
    if path.suffix == ".safetensors":
        return RunFolder(path.parent.parent), path
    return run_folder(path), None


def runs_within(folder: Path, depth: int = 3) -> list[RunFolder]:
    """Return the runs at any of the depths at which a run store has folders."""
    try:
        with os.scandir(folder) as entries:
            paths = sorted(entry.path for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return []
    folders: list[RunFolder] = []
    for path in paths:
        if os.path.isfile(os.path.join(path, "record.json")):
            folders.append(RunFolder(Path(path)))
        elif depth > 1:
            folders += runs_within(Path(path), depth - 1)
    return folders
