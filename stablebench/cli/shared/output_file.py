"""The rules for files that a command writes where the user says: what is there is not overwritten unasked."""

import os
from pathlib import Path

import typer

from stablebench.errors import UserError

_FIGURES = (".png", ".svg", ".pdf")


def checked_figure(option: typer.CallbackParam, path: Path | None) -> Path | None:
    """Return the file of a figure that an option names, None for no figure.

    Raises:
        UserError: Its suffix is none of a figure's, or its folder does not exist.
    """
    return None if path is None else checked_figure_file(option.opts[0], path)


def checked_figure_file(option: str, path: Path) -> Path:
    """Return the file of a figure that an option names; the errors are those of `checked_figure`."""
    if path.suffix.lower() not in _FIGURES:
        raise UserError(f"{option} {path}: must end in {', '.join(_FIGURES)}.")
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: there is no folder {path.parent}.")
    return path


def refuse_existing_figure(path: Path, force: bool) -> None:
    """Raise as `refuse_existing` does if a figure, or the file of its numbers, would replace one."""
    for file in (path, path.with_suffix(".csv")):
        refuse_existing(file, force)


def refuse_existing(path: Path, force: bool, option: str = "--output") -> None:
    """Raise before anything is run if a file could not be written, or would replace one.

    Args:
        path: Where the file is to be.
        force: Whether it may be overwritten.
        option: By which option the path came.

    Raises:
        UserError: `path` is a folder, or a file is there and `force` is false, or no file can be there.
    """
    if path.is_dir():
        raise UserError(f"{option} {path}: must be a file, this is a folder.")
    if path.exists() and not force:
        raise UserError(f"{option} {path}: this file exists; --force overwrites it.")
    above = next(folder for folder in path.absolute().parents if os.path.exists(folder))
    if not above.is_dir():
        raise UserError(f"{option} {path}: {above} is a file, not a folder.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{option} {path}: nothing can be written in {above}.")
