"""Which code this user has named with `--model` on this machine: a run that carries it may run it without a name.

One empty file a digest, made in one step, in a folder that no one else can write to. Files and folders of others, and
what others may write to, count for nothing.
"""

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_state_path

_DIGITS = 64


def state_dir() -> Path:
    """Return the folder that stablebench keeps about this user; STABLEBENCH_STATE, else the platform's."""
    named = os.environ.get("STABLEBENCH_STATE")
    return Path(named).expanduser() if named else user_state_path("stablebench", appauthor=False)


def remember(digest: str) -> None:
    """Keep that the user named code; where that cannot be kept, it must be named again."""
    folder = state_dir() / "named_code"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(folder / _file(digest), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except (OSError, ValueError):  # it is there, or the folder cannot be written
        return


def is_known(digest: str) -> bool:
    """Return whether this user has named code of this digest here."""
    folder = state_dir() / "named_code"
    try:
        return _is_ours(folder, stat.S_ISDIR) and _is_ours(folder / _file(digest), stat.S_ISREG)
    except (OSError, ValueError):
        return False


def _file(digest: str) -> str:
    if len(digest) != _DIGITS or set(digest) - set("0123456789abcdef"):
        raise ValueError(digest)
    return digest


def _is_ours(path: Path, is_kind: Callable[[int], bool]) -> bool:
    status = path.lstat()
    if not is_kind(status.st_mode):
        return False
    if sys.platform == "win32":  # where others' rights are not in the mode
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
