"""Fetching a data set from its official source.

A download goes to `<name>.part` next to its place, is resumed where it was cut off (HTTP Range), checked against its
size and checksum, and only then moved to its place. Of an archive the data set's own files are taken out, each
checked and moved to its place when whole; nothing is written under a name that the archive chose.
"""

import http.client
import os
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from stablebench import __version__
from stablebench.data.files import access, archives
from stablebench.data.files.source import DataSource, Download, SourceFile, cannot_fetch
from stablebench.errors import StablebenchError
from stablebench.visible import visible

Progress = Callable[[str, int, int | None], None]
"""Called with a file, how many of its bytes have arrived, and of how many."""
_TIMEOUT_S = 30.0
_TRIES = 5
"""Connections in a row that may bring nothing new before an address is given up."""
_PAUSE_S = 1.0
_PIECE = 2**18
_LIMIT = 2**33
"""Bytes of a download whose size is not known."""


class _Refused(Exception):
    """An address did not give the file."""


def fetch(source: DataSource, root: Path, progress: Progress | None = None) -> bool:
    """Fetch what is missing or damaged of a data set into its folder inside `root`.

    Args:
        source: The data set.
        root: Folder of all data sets.
        progress: Called with how far a download is; by default one line on stderr says what is fetched.

    Returns:
        Whether something had to be fetched.

    Raises:
        StablebenchError: It cannot be fetched; the message says what to put where by hand.
    """
    folder = root / source.name
    if all(_is_there(source, download, root) for download in source.downloads):
        return False  # the folder may be one that cannot be written
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".fetch.lock"):
            for left in folder.glob(".unpacked-*"):  # of a process that was killed; nobody else is here
                shutil.rmtree(left, ignore_errors=True)
            needed = [d for d in source.downloads if not _is_there(source, d, root)]
            for download in needed:
                if progress is None:
                    print(visible(f"{source.name}: fetching {download.described()} to {folder}"), file=sys.stderr)
                _fetch(source, download, folder, progress or (lambda *_: None))
    except OSError as error:
        raise StablebenchError(
            f"{source.name}: {error.filename or folder} cannot be written ({error.strerror or error}); "
            "--data-dir or STABLEBENCH_DATA names another folder."
        ) from None
    return bool(needed)


def _is_there(source: DataSource, download: Download, root: Path) -> bool:
    """Return whether what a download brings lies whole in one of the data set's folders, in whatever form."""
    files = [f for f in source.files if f.required] if download.kind == "archive" else [_brought(source, download)]
    try:
        for _ in access.read_all(source, files, root):
            pass
    except StablebenchError:
        return False
    return True


def _brought(source: DataSource, download: Download) -> SourceFile:
    """Return the file that a download of the kind `file` is, perhaps packed."""
    names = [download.path, *(download.path.removesuffix(end) for end in archives.packed_endings())]
    return next(file for file in source.files if file.path in names)


def _fetch(source: DataSource, download: Download, folder: Path, progress: Progress) -> None:
    target = folder / download.path
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    for url in (download.url, *download.mirrors):
        try:
            _download(url, part, download, progress)
            break
        except _Refused as error:
            reasons.append(f"{url}: {error}")
    else:
        raise cannot_fetch(source, f"it cannot be fetched ({'; '.join(reasons)})", folder)
    if download.kind == "file":
        before = access.find(source, _brought(source, download), folder.parent)
        if (
            before is not None and not before.renamed and folder in before.path.parents
        ):  # damaged: it would be read before what has come
            os.replace(before.path, before.path.with_name(f"{before.path.name}.damaged"))
    os.replace(part, target)
    if download.kind == "archive":
        _unpack(source, target, folder)
        target.unlink()


def _download(url: str, part: Path, download: Download, progress: Progress) -> None:
    """Bring `part` to the whole file.

    Raises:
        _Refused: The address does not give it; what has come so far stays, unless it is wrong.
        OSError: The disk does not take it.
    """
    idle = 0
    while True:
        before = _size(part)
        reason = "the connection was cut off"
        try:
            if _receive(url, part, before, download, progress):
                break
        except _Refused as error:
            reason = str(error)
        idle = idle + 1 if _size(part) <= before else 0
        if idle >= _TRIES or reason.startswith("HTTP 4"):
            raise _Refused(reason)
        time.sleep(_PAUSE_S * (idle > 0))
    problem = _problem(part, download)
    if problem is None:
        return
    part.unlink()
    if before:  # perhaps resumed from a part of something else: try again from the beginning
        _download(url, part, download, progress)
        return
    raise _Refused(problem)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _receive(url: str, part: Path, start: int, download: Download, progress: Progress) -> bool:
    """Append what the address gives from byte `start` on, and return whether the file is whole then."""
    if start and start == download.n_bytes:
        return True
    limit = _LIMIT if download.n_bytes is None else download.n_bytes
    answer = _open(url, start)
    if answer is None:  # what has come so far is longer than the file
        part.unlink()
        return False
    with answer:
        if start and not (answer.headers.get("Content-Range") or "").startswith(f"bytes {start}-"):
            start = 0  # all of it comes again
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else download.n_bytes
        if total is not None and total > limit:
            raise _Refused(f"it offers {total:,} bytes, {limit:,} were expected")
        size = start
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            while piece := _piece(answer):
                size += len(piece)
                if size > limit:
                    raise _Refused(f"it gives more than the {limit:,} bytes that were expected")
                file.write(piece)
                progress(download.path, size, total)
            file.flush()
            os.fsync(file.fileno())
    return total is None or size == total


def _open(url: str, start: int) -> Any:
    """Return the answer of an address from byte `start` on; None where the file is shorter than that."""
    headers = {"User-Agent": f"stablebench/{__version__}"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # range not satisfiable
            return None
        raise _Refused(f"HTTP {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise _Refused(str(getattr(error.reason, "strerror", None) or error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _Refused(str(error) or type(error).__name__) from None


def _piece(answer: Any) -> bytes:
    """Read on; a connection that breaks ends like one that is closed: how much has arrived decides."""
    try:
        return answer.read(_PIECE)
    except (OSError, http.client.HTTPException):
        return b""


def _problem(path: Path, download: Download) -> str | None:
    """Return what is wrong with a downloaded file as it was offered, or None."""
    with path.open("rb") as file:
        size, digest = access.measured(file, download.checksum)
    if download.n_bytes is not None and size != download.n_bytes:
        return f"it gives {size:,} bytes, {download.n_bytes:,} were expected"
    if digest is not None and digest != download.checksum:
        kind, _, expected = (download.checksum or "").partition(":")
        return f"what it gives has the {kind} {digest.removeprefix(f'{kind}:')}, {expected} was expected"
    return None


def _unpack(source: DataSource, archive: Path, folder: Path) -> None:
    """Take the data set's files out of an archive, each to its own place in the folder."""
    files = {file.path: file for file in source.files}
    placed = set()

    def path_of(name: str) -> str | None:
        parts = name.split("/")
        return next((end for i in range(len(parts)) if (end := "/".join(parts[i:])) in files), None)

    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=folder) as temporary:
        try:
            limit = archives.limit_of(file.n_bytes for file in source.files)
            for name, content in archives.members(archive, lambda name: path_of(name) is not None, limit):
                path = path_of(name)
                if path is None or path in placed:
                    continue
                access.check(source, archive / name, files[path], content)
                whole = Path(temporary) / "file"
                with whole.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(whole, folder / path)
                placed.add(path)
        except archives.ArchiveError as error:
            archive.unlink()
            raise cannot_fetch(source, f"{archive.name} as it was fetched: {error}", folder) from None
    missing = [file.path for file in source.files if file.required and file.path not in placed]
    if missing:
        raise cannot_fetch(source, f"{archive} does not hold {', '.join(missing)}", folder)
