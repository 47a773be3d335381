"""Standard streams that may go away: a pipe without a reader, a closed terminal, a full disk cost words, not a run."""

import errno
import io
import os
import select
import sys
from typing import TextIO

_PATIENCE_S = 5.0
"""Seconds that a stream which takes nothing at the moment is waited for."""


_results: io.TextIOWrapper | None = None
"""Where a command's results go, once everything else that is printed goes to stderr."""


class LossyFile(io.FileIO):
    """A file for writing that drops what cannot be written.

    `lost` is the error number of the first loss, or None.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.lost: int | None = None

    def write(self, data: object, /) -> int:
        """Write, and return how much was taken care of: all of it where it cannot be written."""
        try:
            written = super().write(data)  # pyright: ignore[reportArgumentType]
            if written is None:  # another program has made the terminal or pipe one that does not wait
                select.select([], [self], [], _PATIENCE_S)
                written = super().write(data)  # pyright: ignore[reportArgumentType]
            if written is None:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return written
        except OSError as error:
            self.lost = self.lost or error.errno or errno.EIO
            return memoryview(data).nbytes  # pyright: ignore[reportArgumentType]


def open_closed_descriptors() -> None:
    """Have stdin, stdout and stderr lead nowhere where they are closed.

    Else the next file that is opened takes their place, and what is printed lands in it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the lowest number that is free: this one
            os.set_inheritable(descriptor, True)


def lose_quietly() -> None:
    """Make stdout and stderr of this process ones whose failures raise no error; what they cannot show is escaped."""
    sys.stdout = _lossy(sys.stdout, 1)
    sys.stderr = _lossy(sys.stderr, 2)


def results() -> TextIO:
    """Return the stream that a command's results are printed to: the standard output that the process began with."""
    return _results or sys.stdout


def keep_stdout_for_results() -> None:
    """Have whatever prints to stdout print to stderr, but for what is written to `results()`.

    Models print, and libraries below Python do. The file descriptor itself is redirected, so that they, and the
    processes that are begun from here on, cannot end up in a JSON document.
    """
    global _results
    lose_quietly()
    own = os.dup(1)  # closed in processes that are begun
    _results = io.TextIOWrapper(
        io.BufferedWriter(LossyFile(own)), sys.stdout.encoding, errors="backslashreplace", line_buffering=os.isatty(own)
    )
    os.dup2(2, 1)
    sys.stdout = sys.stderr


def _lossy(stream: object, descriptor: int) -> io.TextIOWrapper:
    if isinstance(stream, io.TextIOWrapper) and isinstance(getattr(stream.buffer, "raw", None), LossyFile):
        return stream
    encoding, by_line = "utf-8", descriptor == 2
    if isinstance(stream, io.TextIOWrapper):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
        encoding, by_line = stream.encoding, by_line or stream.line_buffering or stream.write_through
        descriptor = _descriptor_of(stream, descriptor)
    raw = LossyFile(descriptor)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=by_line)


def _descriptor_of(stream: io.TextIOWrapper, otherwise: int) -> int:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return otherwise


def loss_of(stream: object) -> int | None:
    """Write all out, and return the error number with which a stream first lost something; None where it has not.

    Args:
        stream: `results()`, `sys.stdout` or `sys.stderr`.
    """
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if not isinstance(raw, LossyFile):
        return None
    stream.flush()  # pyright: ignore[reportAttributeAccessIssue]
    return raw.lost
