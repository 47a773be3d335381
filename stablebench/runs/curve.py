"""The curve of a run, `metrics.jsonl`: one JSON object a line, only ever appended to."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from stablebench.errors import StablebenchError, UserError

_MAX_LINE = 1_000_000
"""Bytes of a line."""


class Curve:
    """The append-only curve of a run.

    Args:
        path: `metrics.jsonl`.
        length: Bytes to keep of what is there: what follows was written after the checkpoint that the run resumes from.
        on_line: Called with each line once it is written.

    Raises:
        UserError: There are fewer: lines are lost that the checkpoint counts on.
    """

    def __init__(
        self, path: Path, length: int = 0, on_line: Callable[[dict[str, Any]], None] = lambda line: None
    ) -> None:
        self._path, self._on_line = path, on_line
        path.parent.mkdir(parents=True, exist_ok=True)
        size = path.stat().st_size if path.exists() else 0
        if size < length:
            raise UserError(
                f"{path}: must have {length:,} bytes where the checkpoint begins, it has {size:,}: lines are lost. Put "
                "it back, or remove the run's folder to start again."
            )
        self._file = path.open("ab", buffering=0)  # nothing is left to write when the disk is full
        self._file.truncate(length)

    def append(self, **values: Any) -> None:
        """Write one line.

        Raises:
            StablebenchError: The disk does not take it.
        """
        line = json.dumps(values, allow_nan=False).encode() + b"\n"
        try:
            written = self._file.write(line)
            if written != len(line):
                self._file.write(line[written:])  # says why
        except OSError as error:
            raise StablebenchError(
                f"{self._file.name}: {len(line):,} bytes cannot be written ({error.strerror})."
            ) from error
        self._on_line(values)

    @property
    def length(self) -> int:
        """Bytes written so far."""
        return self._file.seek(0, 2)

    def sync(self) -> None:
        """Fsync the file.

        Raises:
            StablebenchError: The disk does not take it, or the file was removed or replaced since it was opened.
        """
        try:
            kept = os.path.samestat(os.stat(self._path), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            kept = False
        if not kept:
            raise StablebenchError(f"{self._path}: the run's curve was removed or replaced while the run went on.")
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StablebenchError(f"{self._file.name}: cannot be written ({error.strerror}).") from error

    def follow(self, path: Path) -> None:
        """Take another name for the same file, whose folder was renamed."""
        self._path = path

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_curve(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the curve's lines; a torn last line is left out.

    Raises:
        UserError: A line before the last is no JSON object.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(_whole_lines(file, path), 1):
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                values = None
            if not isinstance(values, dict):
                raise UserError(f"{path}:{number}: must be one JSON object a line, the line is damaged.")
            yield values


def _whole_lines(file: IO[bytes], path: Path) -> Iterator[bytes]:
    while line := file.readline(_MAX_LINE):
        if line.endswith(b"\n"):
            yield line
        elif len(line) == _MAX_LINE:
            raise UserError(f"{path}: a line must have at most {_MAX_LINE:,} bytes.")
