"""What a stored run is resumed with: its own spec and code, or those of the longer run that it is the beginning of."""

from collections.abc import Callable

from stablebench.runs.store import RunFolder
from stablebench.specs.request import Resolved
from stablebench.training import extend, run_code
from stablebench.training import run as session


def resumed(
    folder: RunFolder,
    *,
    model: str | None = None,
    task: str | None = None,
    steps: int | None = None,
    rerun: bool = False,
    force: bool = False,
    begins: bool = True,
    note: Callable[[str], None] = lambda line: None,
) -> tuple[Resolved, RunFolder]:
    """Return what a run is resolved to and the folder in which it goes on, its code loaded.

    Args:
        folder: The run's.
        model: The code of its own model, `file.py:Class`; None for the one that the user has named before.
        task: The card of its own task; None likewise.
        steps: Updates in all, for a finished run that goes on for longer; None for those of its spec.
        rerun: Whether a run that has ended runs again.
        force: Whether it goes on although engine, device, versions or card differ.
        begins: Whether a longer run's folder is made, with the shorter one's checkpoint and curve.
        note: Takes a line for each package that differs.

    Raises:
        UserError: Something named is not what it began with, or it cannot go on for longer.
        StablebenchError: The disk does not take the longer run's folder.
    """
    record = folder.read_record()
    runs = bool(model or task) or rerun or steps is not None or not session.has_ended(folder)
    runs = runs or record.spec.task.source is not None  # a run is read with its card
    if runs:  # else no code is run
        for line in run_code.name_code(folder, record.spec, model, task=task, same_packages=not force):
            note(f"resumed with other packages than it began with: {line}")
    resolved = session.resolved_of(record, force, check=runs or ":" not in record.spec.model.name)
    if steps is None or (steps == record.spec.train.steps and not rerun):
        return resolved, folder
    resolved, target = extend.longer(folder, record, resolved, steps)
    if begins:
        extend.begin(folder, resolved, target)
    return resolved, target
