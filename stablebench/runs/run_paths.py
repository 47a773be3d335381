"""The run that a command is given: a folder, a checkpoint file, a name in the run store, a prefix of one, or `last`."""

import os
from collections.abc import Iterator
from pathlib import Path

from stablebench.errors import UserError
from stablebench.runs.store import RunFolder, run_paths
from stablebench.visible import visible

_LISTED = 5
"""Runs that are listed where several may be meant."""
LAST = "last"
"""Names the run whose record was written last: `last`, `copy/last`, `copy/dizzy/last`."""
RUNS_DIR = Path("runs")
"""The run store where no other is named."""


def run_folder(name: str | Path, runs_dir: Path = RUNS_DIR) -> RunFolder:
    """Return the folder of one run; that it has no record is left to be said where it is read.

    Args:
        name: A run's folder; or its name in the run store, a prefix of the name, of its hash or of its model, its
            label, or `last`, also below a task or model.
        runs_dir: The run store.

    Raises:
        UserError: No run is called so, or several are: the message names them.
    """
    path = Path(name)
    if path.exists() or os.path.lexists(path / "record.json") or path.is_absolute():
        below = [] if os.path.lexists(path / "record.json") else runs_within(path) if path.is_dir() else []
        if below:
            inside = "one in it is" if len(below) == 1 else f"the {len(below)} runs in it are"
            names = _listed([str(run.path) for run in below])
            raise UserError(f"{path}: must be the folder of one run, with a record.json; {inside} {names}.")
        return RunFolder(path)
    called = named_runs(str(name), runs_dir)
    if len(called) == 1:
        return called[0]
    if not called:
        raise UserError(
            f"No run '{visible(str(name))}': it is neither a folder with record.json nor a run in {runs_dir}. "
            "`stablebench list runs` shows what there is."
        )
    names = [run.path.relative_to(runs_dir).as_posix() for run in called]
    raise UserError(f"{visible(str(name))}: {len(called)} runs in {runs_dir} are called so: {_listed(names)}.")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED])}{more}"


def run_and_checkpoint(name: str | Path, runs_dir: Path = RUNS_DIR) -> tuple[RunFolder, Path | None]:
    """Return the run that is named, or that a checkpoint file is of, and the checkpoint.

    Raises:
        UserError: No run is called so, or several are.
    """
    if (path := Path(name)).suffix == ".safetensors":
        return RunFolder(path.parent.parent), path
    return run_folder(name, runs_dir), None


def named_runs(name: str, runs_dir: Path) -> list[RunFolder]:
    """Return the runs of a run store that a name may mean: those called so, else those whose name begins so.

    `task/model/hash-sN` is a run's name; any part of it with what stands to its right may be left out, or to its left.

    Args:
        name: The name, a prefix, a label, or `last`.
        runs_dir: The run store.
    """
    *parents, last = [part for part in name.removeprefix(f"{runs_dir}{os.sep}").split("/") if part] or [""]
    stored = {path: tuple(path.split(os.sep)[-3:]) for path in run_paths(runs_dir)}
    if last == LAST:
        below = [path for path, parts in stored.items() if not parents or parents in _windows(parts[:2], len(parents))]
        return [RunFolder(Path(max(below, key=_written)))] if below else []
    asked = [*parents, last]
    near = [
        (path, window)
        for path, parts in stored.items()
        for window in _windows(parts, len(asked))
        if last and window[:-1] == parents and window[-1].startswith(last)
    ]
    exact = [path for path, window in near if window == asked]
    labelled = [path for path in stored if not near and RunFolder(Path(path)).label == name]
    return [RunFolder(Path(path)) for path in dict.fromkeys(exact or [path for path, _ in near] or labelled)]


def _windows(parts: tuple[str, ...], size: int) -> list[list[str]]:
    return [list(parts[i : i + size]) for i in range(len(parts) - size + 1)]


def _written(path: str) -> float:
    try:
        return os.stat(f"{path}/record.json").st_mtime
    except OSError:
        return 0.0


def run_names(runs_dir: Path) -> Iterator[str]:
    """Yield the names of all runs in a run store: `task/model/hash-sN`."""
    return ("/".join(path.split(os.sep)[-3:]) for path in run_paths(runs_dir))


def runs_within(folder: Path, depth: int = 3) -> list[RunFolder]:
    """Return the runs at any of the depths at which a run store has folders."""
    try:
        with os.scandir(folder) as entries:
            paths = sorted(entry.path for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except FileNotFoundError:
        return []
    folders: list[RunFolder] = []
    for path in paths:
        if os.path.isfile(os.path.join(path, "record.json")):
            folders.append(RunFolder(Path(path)))
        elif depth > 1:
            folders += runs_within(Path(path), depth - 1)
    return folders
