"""The rule for files that a command writes where the user says: what is there is not overwritten unasked."""

from pathlib import Path

from stablebench.errors import UserError


def refuse_existing(path: Path, force: bool, option: str = "--output") -> None:
    """Raise before anything is run if a file could not be written, or would replace one.

    Args:
        path: Where the file is to be.
        force: Whether it may be overwritten.
        option: By which option the path came.

    Raises:
        UserError: `path` is a folder, or a file is there and `force` is false.
    """
    if path.is_dir():
        raise UserError(f"{option} {path}: must be a file, this is a folder.")
    if path.exists() and not force:
        raise UserError(f"{option} {path}: this file exists; --force overwrites it.")
