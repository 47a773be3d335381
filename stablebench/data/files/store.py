"""Prepared data: tensors in the cache folder, made once and mapped into memory from then on.

A set of tensors has a key that decides its content: which source (by its checksums), which preparation, which version
of it. The folder's name holds a digest of the key. Making happens under a lock, in a folder next to it that is moved to
its place when whole, so that several processes may begin at once and an interruption leaves nothing half made. A
folder that does not contain what its `meta.json` says is made again.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from stablebench.errors import UserError
from stablebench.process.folders import cache_dir

if TYPE_CHECKING:
    from torch import Tensor

_FORMAT = 1
"""Raised when the layout of these folders changes."""
_NAME = re.compile(r"[a-z0-9_]+$")
_intact: dict[Path, tuple[Any, ...]] = {}
"""Folders whose digests were right in this process, with the sizes and times their files had then."""


def prepared(name: str, key: Mapping[str, Any], make: "Callable[[], Mapping[str, Tensor]]") -> "dict[str, Tensor]":
    """Return tensors by name, mapped into memory; they are made first where the cache folder does not have them.

    What a caller writes into a mapped tensor stays in this process.

    Args:
        name: Of the data set: the beginning of the folder's name.
        key: All that decides the content, as JSON can write it.
        make: Returns the tensors; called under a lock, at most once in all processes.

    Raises:
        UserError: The cache folder cannot be used; or what `make` raises: then nothing is left behind.
    """
    assert _NAME.match(name), name
    whole_key = json.loads(json.dumps({"format": _FORMAT, "name": name, **key}, sort_keys=True))
    digest = hashlib.sha256(json.dumps(whole_key, sort_keys=True).encode()).hexdigest()
    folder = cache_dir() / "prepared" / f"{name}-{digest[:16]}"
    try:
        tensors = _load(folder, whole_key)
        if tensors is None:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):
                tensors = _load(folder, whole_key)  # another process may have been first
                if tensors is None:
                    _make(folder, whole_key, make)
                    tensors = _load(folder, whole_key)
    except OSError as error:
        raise UserError(
            f"{name}: the cache folder {folder.parent.parent} cannot be used ({error.strerror or error}); "
            "name another one in the environment variable STABLEBENCH_CACHE."
        ) from None
    if tensors is None:
        raise UserError(f"{name}: what was written to {folder} does not read back the same; is the disk full?")
    return tensors


def _make(folder: Path, key: dict[str, Any], make: "Callable[[], Mapping[str, Tensor]]") -> None:
    import numpy as np

    for stale in folder.parent.glob(f"{folder.name}.tmp-*"):  # of a process that was killed; nobody else is here
        shutil.rmtree(stale, ignore_errors=True)
    tensors = make()
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.tmp-", dir=folder.parent) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        files = {}
        for tensor_name, tensor in tensors.items():
            assert _NAME.match(tensor_name), tensor_name
            path = made / f"{tensor_name}.npy"
            with path.open("wb") as file:
                np.save(file, tensor.contiguous().numpy(), allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            files[tensor_name] = {
                "shape": list(tensor.shape),
                "dtype": str(tensor.dtype).removeprefix("torch."),
                "bytes": path.stat().st_size,
                "sha256": _sha256(path),
            }
        with (made / "meta.json").open("w", encoding="utf-8") as file:
            json.dump({"key": key, "tensors": files}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(made, folder)


def _load(folder: Path, key: dict[str, Any]) -> "dict[str, Tensor] | None":
    """Return the tensors of a whole folder, or None where it is missing or not what its key says."""
    import numpy as np
    import torch

    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        if meta["key"] != key:
            return None
        paths = {name: folder / f"{name}.npy" for name in meta["tensors"]}
        marks = tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in paths.values())
        if _intact.get(folder) != marks:
            for name, path in paths.items():
                stated = meta["tensors"][name]
                if path.stat().st_size != stated["bytes"] or _sha256(path) != stated["sha256"]:
                    return None
            _intact[folder] = marks
        arrays = {}
        for name, path in paths.items():
            empty = 0 in meta["tensors"][name]["shape"]  # nothing to map
            arrays[name] = np.load(path, mmap_mode=None if empty else "c", allow_pickle=False)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
