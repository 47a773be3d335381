"""Answers that follow from the code, the cards and the recipes alone, kept in the cache folder for the next command.

Resolving a spec imports torch and the models, which takes longer than reading a thousand records. What it came to is
kept under a digest of what was asked, of every file of the package and its cards, and of this machine's memory, which
decides what is refused: of another version, or after an edit, nothing is found. A file that anybody else can have
written is not read.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from stablebench import __version__, resources
from stablebench.errors import StablebenchError
from stablebench.process.cgroups import memory_limit
from stablebench.process.compile_cache import untrusted_reason
from stablebench.process.folders import cache_dir
from stablebench.runs.atomic import write_atomically

_EDITIONS = 8
"""Editions of the code, with their cards, whose answers are kept."""
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError, StablebenchError)
"""What a file of another form than an answer's ends in."""


def remembered(question: Any, answer: Callable[[], Any], read: Callable[[Any], Any] = lambda plain: plain) -> Any:
    """Return an answer, from the cache folder where the same was asked before.

    Args:
        question: What decides it next to the package's files; anything JSON can write.
        answer: Computes it where it is not known; anything JSON can write. Its errors are passed on, and not kept.
        read: Makes of the answer what is returned; a file that it cannot read is written again.
    """
    try:
        key = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
    except (TypeError, ValueError):  # a value that no spec can have: the answer is an error
        return read(answer())
    path = cache_dir() / "answers" / _edition() / f"{key[:32]}.json"
    with suppress(OSError, *_UNREADABLE):
        return read(json.loads(_own(path)))
    new = answer()
    with suppress(StablebenchError, OSError):  # a full disk, a folder that cannot be written
        if not path.parent.is_dir():
            _drop_old(path.parent.parent)
        write_atomically(path, json.dumps(new).encode())
    return read(new)


def _own(path: Path) -> bytes:
    """Return the content of a file that nobody else can have written.

    Raises:
        OSError: There is none.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        if untrusted_reason(os.fstat(file.fileno())) is not None:
            raise PermissionError(path)
        return file.read()


def _drop_old(folder: Path) -> None:
    """Remove answers of editions of the code that have not been in use for longest."""
    if folder.is_dir():
        editions = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in editions[: -(_EDITIONS - 1)]:
            shutil.rmtree(old, ignore_errors=True)


def _edition() -> str:
    """Return a digest of the files, versions and limits that answers follow from."""
    package = Path(__file__).resolve().parent.parent
    data = (resources.tasks_dir(), resources.published_dir(), resources.recipes_dir().parent)
    files = sorted(entry for folder in (package, *data) for entry in _files(str(folder)))
    memory = psutil.virtual_memory().total + psutil.swap_memory().total
    about = [__version__, sys.version, os.cpu_count(), memory_limit(), memory, files]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]


def _files(folder: str) -> Iterator[tuple[str, int, int]]:
    """Yield path, time and size of every file that answers may depend on."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir() and entry.name != "__pycache__":
                yield from _files(entry.path)
            elif entry.name.endswith((".py", ".yaml")):
                status = entry.stat()
                yield entry.path, status.st_mtime_ns, status.st_size
