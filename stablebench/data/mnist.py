"""The MNIST images (LeCun, Cortes & Burges), read by torchvision.

A named data folder holds the four original files in `mnist/` or, as torchvision has them, in `MNIST/raw/`; it is only
read. They are checked against their published checksums and unpacked by torchvision in the cache folder: under a lock,
in a folder of its own that is moved to its place when whole, so that neither an interruption nor a second run leaves
half a file.
"""

import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from filelock import FileLock

from stablebench.data.folders import cache_dir, named_data_dir
from stablebench.data.vision import torchvision_datasets
from stablebench.errors import UserError

PIXELS = 784
_TIMEOUT_S = 30.0


class Archive(NamedTuple):
    """One of the original files: its size and checksum, and the checksum of what it holds."""

    n_bytes: int
    md5: str
    unpacked_md5: str


ARCHIVES = {
    "train-images-idx3-ubyte.gz": Archive(
        9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"
    ),
    "train-labels-idx1-ubyte.gz": Archive(
        28881, "d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"
    ),
    "t10k-images-idx3-ubyte.gz": Archive(
        1648877, "9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"
    ),
    "t10k-labels-idx1-ubyte.gz": Archive(4542, "ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
}


class Images(NamedTuple):
    """Images row by row, (n, 784) uint8, and their classes, (n,) int64."""

    pixels: torch.Tensor
    classes: torch.Tensor


def prepare(data_dir: Path | None = None) -> Path:
    """Return torchvision's root folder with the unpacked files, which are made first where they are missing.

    Args:
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA, or without it the cache folder.

    Raises:
        UserError: The data are missing or damaged, or the cache folder cannot be written.
    """
    named = named_data_dir(data_dir)
    source = None if named is None else _checked_source(named)
    root = cache_dir() / "mnist"
    try:
        if _is_whole(root):
            return root
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.parent / "mnist.lock"):
            if not _is_whole(root):  # another run may have been first
                _unpack(source, root)
    except OSError as error:
        raise UserError(
            f"MNIST: the cache folder {root.parent} cannot be used ({error.strerror or error}); "
            "name another one in the environment variable STABLEBENCH_CACHE."
        ) from None
    return root


@lru_cache(maxsize=2)
def images(root: Path, name: Literal["train", "test"]) -> Images:
    """Return 60,000 images of `train` or 10,000 of `test` from the folder that `prepare` returned."""
    part = torchvision_datasets().MNIST(root, train=name == "train", download=False)
    return Images(part.data.reshape(-1, PIXELS), part.targets)


def _checked_source(named: Path) -> Path:
    """Return the folder with the original files inside a folder that the user named."""
    try:
        return _find_and_check(named)
    except OSError as error:
        raise UserError(f"MNIST: {error.filename or named} cannot be read ({error.strerror}).") from None


def _find_and_check(named: Path) -> Path:
    folders = [named / "mnist", named / "MNIST" / "raw"]
    source = max(folders, key=lambda folder: sum((folder / name).is_file() for name in ARCHIVES))
    missing = [name for name in ARCHIVES if not (source / name).is_file()]
    if missing:
        raise UserError(_how_to_get(f"MNIST: {source} lacks {', '.join(missing)}", source))
    for name, archive in ARCHIVES.items():
        size = (source / name).stat().st_size
        if size != archive.n_bytes:
            problem = f"MNIST: {source / name} must have {archive.n_bytes:,} bytes, it has {size:,}"
            raise UserError(_how_to_get(problem, source))
        digest = _md5(source / name)
        if digest != archive.md5:
            problem = f"MNIST: {source / name} is damaged: its md5 must be {archive.md5}, it is {digest}"
            raise UserError(_how_to_get(problem, source))
    return source


def _how_to_get(problem: str, folder: Path | None) -> str:
    files = "\n".join(f"  {name}  {a.n_bytes:,} bytes, md5 {a.md5}" for name, a in ARCHIVES.items())
    mirrors = " or ".join(torchvision_datasets().MNIST.mirrors)
    where = "" if folder is None else f"{folder}, or into "
    return (
        f"{problem}.\nThe four original files are needed:\n{files}\n"
        f"Official source: http://yann.lecun.com/exdb/mnist/; torchvision takes them from {mirrors}.\n"
        f"Put them into {where}`mnist/` of the folder that --data-dir or STABLEBENCH_DATA names; "
        "with neither of the two they are downloaded to the cache folder."
    )


def _is_whole(root: Path) -> bool:
    return all(
        _md5(root / "MNIST" / "raw" / name.removesuffix(".gz")) == archive.unpacked_md5
        for name, archive in ARCHIVES.items()
    )


def _md5(path: Path) -> str | None:
    """Return a file's md5, None where there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except FileNotFoundError:
        return None


def _unpack(source: Path | None, root: Path) -> None:
    """Make `root` from the files of `source`, or from torchvision's mirrors where there is none."""
    for stale in root.parent.glob("mnist.tmp-*"):  # of a run that was killed; nobody else is here
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="mnist.tmp-", dir=root.parent) as temporary:
        made = Path(temporary) / "mnist"
        raw = made / "MNIST" / "raw"
        raw.mkdir(parents=True)
        if source is not None:
            for name in ARCHIVES:
                shutil.copyfile(source / name, raw / name)
        with _network_timeout():
            try:
                torchvision_datasets().MNIST(made, download=True)  # takes the files that are there, without a network
            except (RuntimeError, OSError, EOFError) as error:
                reason = str(error).strip().splitlines()[-1]
                raise UserError(_how_to_get(f"MNIST: it cannot be got ({reason})", source)) from None
        if not _is_whole(made):
            raise UserError("MNIST: the unpacked files do not have the published checksums; is the disk full?")
        for name in ARCHIVES:
            (raw / name).unlink()
        shutil.rmtree(root, ignore_errors=True)
        os.replace(made, root)


@contextmanager
def _network_timeout() -> Iterator[None]:
    """Bound how long torchvision's downloads, which set no limit of their own, wait for an answer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
