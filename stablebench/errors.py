"""The errors that end a command with one message instead of a traceback."""

import difflib
import errno
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path

from stablebench.visible import visible


class StablebenchError(Exception):
    """Something failed that the user can read and act on. The command exits with `exit_code`."""

    exit_code = 1


class UserError(StablebenchError):
    """The user's input is wrong: a name, a value, a file."""

    exit_code = 2


class LimitReached(StablebenchError):
    """The system begins no more processes or threads for this user, or opens no more files for this process."""


_LIMITS = {
    errno.EAGAIN: "processes and threads is reached; raise it (`ulimit -u`, the pids.max of its control group)",
    errno.EMFILE: "a process's open files is reached; raise it (`ulimit -n`)",
    errno.ENFILE: "the machine's open files is reached; raise it (fs.file-max)",
}
_NO_THREAD = ("can't start new thread", "Resource temporarily unavailable")


def reached_limit(error: BaseException) -> LimitReached | None:
    """Return in one line which limit of the system an error comes from, with the way out; None of other errors."""
    code = error.errno if isinstance(error, OSError) else None
    if isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_THREAD):
        code = errno.EAGAIN
    if code not in _LIMITS:
        return None
    return LimitReached(f"The limit on {_LIMITS[code]} or take fewer --workers and --threads.")


class OtherEnvironment(UserError):
    """A run's checkpoint comes from where numbers are rounded differently; `differences` says what differs."""

    def __init__(self, message: str, differences: list[str]) -> None:
        super().__init__(message)
        self.differences = differences


class ContractError(UserError):
    """A user's own model is not what a model must be. In `compare` it costs that model's cells alone."""


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out; torch says so of a CPU in a RuntimeError like any other."""
    text = str(error)
    said = any(words in text for words in ("can't allocate memory", "not enough memory", "out of memory"))
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and said)


def first_line(error: BaseException | str) -> str:
    """Return the first line of a message that says something: some begin with an empty one."""
    said = (line.strip() for line in str(error).splitlines())
    return next(filter(None, said), "" if isinstance(error, str) else type(error).__name__)


def described(error: BaseException) -> str:
    """Return an error's type and what it says, which may be nothing."""
    return f"{type(error).__name__}: {str(error).strip()}".removesuffix(": ")


def users_line(error: BaseException) -> str:
    """Return `" (FILE:LINE)"` of the innermost code that is neither stablebench's nor a library's, or nothing."""
    installed = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    others = (*(str(Path(folder).resolve()) for folder in installed), str(Path(__file__).resolve().parent), "<")
    lines = [
        f" ({Path(frame.f_code.co_filename).name}:{line})"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith(others) and "site-packages" not in frame.f_code.co_filename
    ]
    return lines[-1] if lines else ""


_DEVICE_FAILED = ("CUDA error", "CUDA driver error", "cuDNN error", "CUBLAS_STATUS", "CUDNN_STATUS", "Triton Error")
_NO_DETERMINISTIC = "does not have a deterministic implementation"


def device_failure(error: BaseException) -> str | None:
    """Return in one line what a GPU or one of its kernels failed with; None of other errors, and of memory."""
    if ran_out_of_memory(error) or not isinstance(error, Exception):
        return None
    said = first_line(error)
    where = type(error).__module__.partition(".")[0]  # triton refuses a kernel that needs more than there is
    failed = isinstance(error, RuntimeError) and any(words in said for words in _DEVICE_FAILED)
    return said if failed or where == "triton" else None


def not_deterministic(error: BaseException) -> str | None:
    """Return in one line what torch can only compute with numbers that may differ each time; None of other errors."""
    said = str(error).partition(",")[0]
    return said if isinstance(error, RuntimeError) and _NO_DETERMINISTIC in said else None


_LISTED = 16
"""Names that are listed in full where an unknown one is refused; of more, the command that lists them is named."""
_LISTS = {"data set": "stablebench data list", "command": "stablebench -h"}
"""Commands that list the names of a kind, where it is not `stablebench list KINDs`."""
_CLOSE = 0.6
"""Similarity above which a name may be what was meant."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean X?"` for the known name closest to `name`, or an empty string.

    Of equally similar ones it is the one whose length is closest, too: rrn is rnn, not roarnn.
    """

    def similarity(other: str) -> tuple[float, int]:
        return difflib.SequenceMatcher(None, other, name).ratio(), -abs(len(other) - len(name))

    best = max(known, key=similarity, default="")
    return f" Did you mean {best}?" if best and similarity(best)[0] > _CLOSE else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for a name that no `kind` has: what may have been meant, else the names or how to list them."""
    names = sorted(known)
    way_out = did_you_mean(name, names)
    if len(names) <= _LISTED:
        way_out += f" Known: {', '.join(names)}."
    elif not way_out:
        way_out = f" `{_LISTS.get(kind, f'stablebench list {kind}s')}` shows what there is."
    return UserError(f"No {kind} named '{visible(name)}'.{way_out}")
