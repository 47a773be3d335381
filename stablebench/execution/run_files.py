"""A run's files sent between machines that share no file system: what changed since the last time, as bytes."""

from pathlib import Path

from stablebench.runs.atomic import write_atomically
from stablebench.runs.store import RunFolder

Files = dict[str, bytes | None]
"""Contents by path below the run's folder; None of one that is gone."""


class RunFolderSync:
    """What changed in a run's folder between two looks.

    Args:
        folder: The run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder.path
        self._seen = _stamps(self._folder)

    def new_checkpoint(self) -> bool:
        """Return whether there is a checkpoint since the last look: from then on less of the run can be lost."""
        return any(name.startswith("checkpoints/") for name in _stamps(self._folder).keys() - self._seen.keys())

    def look(self) -> Files:
        """Return what is new or changed, and None for what is gone."""
        now = _stamps(self._folder)
        changed: Files = dict.fromkeys(self._seen.keys() - now.keys())
        for name in [name for name, stamp in now.items() if self._seen.get(name) != stamp]:
            changed[name] = (self._folder / name).read_bytes()
        self._seen = now
        return changed


def all_files(folder: RunFolder) -> Files:
    """Return everything that a run's folder holds."""
    return {name: (folder.path / name).read_bytes() for name in _stamps(folder.path)}


def write_files(folder: RunFolder, files: Files) -> None:
    """Write files into a run's folder, each atomically: the record last, for it speaks of the others."""
    last = folder.record_path.name
    for name, content in sorted(files.items(), key=lambda item: (item[0] == last, item[1] is None)):
        path = folder.path / name
        if not path.resolve().is_relative_to(folder.path.resolve()):
            raise ValueError(f"{name} lies outside of {folder.path}")
        if content is None:
            path.unlink(missing_ok=True)
        else:
            write_atomically(path, content)


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return time and size of every whole file, by its path below `folder`."""
    stamps = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith("."):  # locks and what is being written
            stat = path.stat()
            stamps[path.relative_to(folder).as_posix()] = (stat.st_mtime_ns, stat.st_size)
    return stamps
