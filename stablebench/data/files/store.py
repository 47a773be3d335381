"""Prepared data: tensors in the cache folder, made once and mapped into memory from then on.

A set of tensors has a key that decides its content: which source (by its checksums), which preparation, which version
of it. The folder's name holds a digest of the key, its file is a checkpoint whose state is the key. Making happens
under a lock, and the file is written atomically, so that several processes may begin at once and an interruption leaves
nothing half made. A file that is damaged, or is not what its key says, is made again.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from stablebench.errors import UserError
from stablebench.process.folders import cache_dir
from stablebench.runs.atomic import remove_temporaries

if TYPE_CHECKING:
    from torch import Tensor

_FORMAT = 2
"""Raised when the layout of these folders changes."""
_NAME = re.compile(r"[a-z0-9_]+$")
_intact: dict[Path, tuple[int, int]] = {}
"""Files whose digests were right in this process, with the size and time they had then."""


def prepared(name: str, key: Mapping[str, Any], make: "Callable[[], Mapping[str, Tensor]]") -> "dict[str, Tensor]":
    """Return tensors by name, mapped into memory; they are made first where the cache folder does not have them.

    What a caller writes into a mapped tensor stays in this process.

    Args:
        name: Of the data set: the beginning of the folder's name.
        key: All that decides the content, as JSON can write it.
        make: Returns the tensors; called under a lock, at most once in all processes.

    Raises:
        UserError: The cache folder cannot be used; or what `make` raises: then nothing is left behind.
        StablebenchError: The disk does not take them.
    """
    assert _NAME.match(name), name
    whole_key = json.loads(json.dumps({"format": _FORMAT, "name": name, **key}, sort_keys=True))
    digest = hashlib.sha256(json.dumps(whole_key, sort_keys=True).encode()).hexdigest()
    path = cache_dir() / "prepared" / f"{name}-{digest[:16]}" / "tensors.safetensors"
    try:
        tensors = _load(path, whole_key)
        if tensors is None:
            path.parent.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.parent.with_suffix(".lock")):
                remove_temporaries(path.parent)  # of a process that was killed; nobody else is here
                tensors = _load(path, whole_key)  # another process may have been first
                if tensors is None:
                    _save(path, whole_key, make())
                    tensors = _load(path, whole_key)
    except OSError as error:
        raise UserError(
            f"{name}: the cache folder {cache_dir()} cannot be used ({error.strerror or error}); "
            "name another one in the environment variable STABLEBENCH_CACHE."
        ) from None
    if tensors is None:
        raise UserError(f"{name}: what was written to {path} does not read back the same; is the disk full?")
    return tensors


def _save(path: Path, key: dict[str, Any], tensors: "Mapping[str, Tensor]") -> None:
    from stablebench.runs import checkpoint

    checkpoint.save(path, checkpoint.Checkpoint(dict(tensors), key))


def _load(path: Path, key: dict[str, Any]) -> "dict[str, Tensor] | None":
    """Return the tensors of a whole file, or None where it is missing or not what its key says."""
    from stablebench.runs import checkpoint

    try:
        there = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    mark = (there.st_size, there.st_mtime_ns)
    try:
        stored = checkpoint.load(path, checked=_intact.get(path) != mark)
    except UserError:
        return None
    _intact[path] = mark
    return stored.tensors if stored.state == key else None
