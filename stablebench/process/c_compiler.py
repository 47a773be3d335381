"""The C compiler: which one it is, its flags, and running it so that it ends in time and leaves nothing behind."""

import logging
import math
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import FrameType

from stablebench.errors import StablebenchError, UserError

_log = logging.getLogger(__name__)

DEADLINE = "STABLEBENCH_COMPILE_TIMEOUT"
"""Environment variable: seconds that compiling one program may take."""
_DEADLINE_S = 120.0
_VERSION_S = 10.0
"""Seconds that a compiler gets to say its version."""
_POLL_S = 0.01
"""Seconds after which it is looked whether it has ended, has printed something, or a signal came."""
_TAIL_BYTES = 2**16
"""Of what a compiler prints; the last of it is stored, as much as a pipe holds."""
_REASON_LINES, _REASON_CHARACTERS = 3, 500
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
_NO_ROOM = ("no space left", "quota exceeded", "file too large", "file size limit", "read-only file system")
"""What compilers and linkers print where a file cannot be written."""


class CompilerError(StablebenchError):
    """There is no compiled code: no C compiler, or it refused, did not end, or wrote what cannot be loaded."""


class CompilationInterrupted(KeyboardInterrupt):
    """A signal came while a program was compiled, and its handler has the process end in its own way."""


class _NoRoom(CompilerError):
    """The compiler's files could not be written where it ran."""


def flags() -> tuple[str, ...]:
    """Return the compiler's flags, which decide how results are rounded: records contain them.

    Not -ffast-math: it gives up NaN, and a library linked with it flushes subnormals in the whole process.
    """
    return ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd")


@cache
def compiler() -> tuple[str, str]:
    """Return the compiler's path and what it says of its version.

    Raises:
        CompilerError: There is none, or none that says its version in time.
    """
    named = os.environ.get("CC")
    if named and shutil.which(named) is None:
        _log.warning("CC names %s, which is not there; cc, gcc or clang is taken if there is one.", named)
    problems = []
    for name in (named, "cc", "gcc", "clang"):
        path = shutil.which(name) if name else None
        if path is None:
            continue
        path = os.path.abspath(path)  # it is run in another folder
        try:
            return path, _version(path)
        except CompilerError as error:
            problems.append(str(error))
            _log.warning("%s; another compiler is taken if there is one.", error)
    raise CompilerError("; ".join(["there is no C compiler (CC, cc, gcc or clang)", *problems]))


_unusable: dict[str, str] = {}
"""Why a compiler is not run again in this process, by its path: one that hangs is waited for once."""


def _version(path: str) -> str:
    if path not in _unusable:
        try:
            code, printed = _run([path, "--version"], min(_VERSION_S, deadline_s()), errors=subprocess.DEVNULL)
            if code >= 0:  # one other than 0 may be a compiler's that does not know the option
                return printed
            _unusable[path] = f"{path} --version was {_exit_in_words(code)}"
        except CompilerError as error:
            _unusable[path] = str(error)
    raise CompilerError(_unusable[path])


def deadline_s() -> float:
    """Return the seconds that compiling one program may take.

    Raises:
        UserError: The environment variable holds no positive number.
    """
    named = os.environ.get(DEADLINE)
    if not named:
        return _DEADLINE_S
    try:
        seconds = float(named)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UserError(f"{DEADLINE} must be a number of seconds > 0, got {named!r}.")
    return seconds


def compile_library(text: str, folders: tuple[str | Path, ...], more_flags: tuple[str, ...] = ()) -> bytes:
    """Return the shared library that the compiler makes of C text.

    Args:
        text: The text.
        folders: Where to do it, in a folder that is removed again: the next where the one before has no room.
        more_flags: After `flags()`.

    Raises:
        CompilerError: The compiler refused, did not end in time, or wrote nothing; or no folder has room.
        CompilationInterrupted: A signal came.
    """
    path, _ = compiler()
    if path in _unusable:
        raise CompilerError(_unusable[path])
    problem = CompilerError("there is no folder to compile in")
    for folder in folders:
        try:
            with tempfile.TemporaryDirectory(
                prefix="stablebench-building-", dir=folder, ignore_cleanup_errors=True
            ) as building:
                return _compiled([path, *flags(), *more_flags], text, Path(building))
        except OSError as error:
            problem = CompilerError(f"no file can be written in {folder}: {error.strerror or error}")
        except _NoRoom as error:
            problem = error
    raise problem


def _compiled(words: list[str], text: str, building: Path) -> bytes:
    source, result = building / "step.c", building / "step.so"
    source.write_text(text, encoding="utf-8")
    command = [*words, "-shared", "-fPIC", source.name, "-o", result.name]
    failure = f"{' '.join(words)} failed"
    seconds = deadline_s()
    try:
        code, printed = _run(command, seconds, folder=building)
    except _TooSlow as error:
        _unusable[words[0]] = f"{error}; {DEADLINE} sets another deadline"
        raise CompilerError(_unusable[words[0]]) from None
    if code:
        kind = _NoRoom if any(words in printed.lower() for words in _NO_ROOM) else CompilerError
        raise kind(f"{failure}: {_reason(printed) or _exit_in_words(code)}")
    library = result.read_bytes() if result.is_file() else b""
    if not library:
        raise CompilerError(f"{failure}: {_exit_in_words(code)} and wrote no library. {_reason(printed)}".rstrip())
    return library


def _reason(printed: str) -> str:
    """Return the first error of what a compiler printed, else its last lines."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    first = next((line.partition("error")[2].lstrip(": ") for line in lines if "error" in line), "")
    reason = first or "; ".join(lines[-_REASON_LINES:])
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in reason)[:_REASON_CHARACTERS]


def _exit_in_words(code: int) -> str:
    if code >= 0:
        return f"it ended with exit code {code}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"


# -- running it ------------------------------------------------------------------------------------------------------


class _TooSlow(CompilerError):
    """A compiler did not end in time."""


def _run(
    command: list[str], seconds: float, *, folder: Path | None = None, errors: int = subprocess.STDOUT
) -> tuple[int, str]:
    """Run a command, with its children in a process group of their own that ends with it.

    Args:
        command: The command.
        seconds: Until when it is waited for.
        folder: Where it runs, and keeps temporary files of its own; by default where this process does.
        errors: Where its messages go.

    Returns:
        Its exit code, minus the signal that killed it, and the last of what it printed.

    Raises:
        CompilerError: It cannot be run, or did not end in time.
        CompilationInterrupted: A signal came whose handler lets this process go on.
    """
    environment = os.environ | ({} if folder is None else {"TMPDIR": str(folder)})
    printed = b""
    with _noted_signals() as arrived:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for this process, which ends the compiler in turn
            )
        except OSError as error:
            raise CompilerError(f"{command[0]} cannot be run: {error.strerror or error}") from error
        with process:
            pipe = process.stdout
            assert pipe is not None  # it was opened so
            os.set_blocking(pipe.fileno(), False)
            until = time.monotonic() + seconds
            try:
                while not (ended := _has_ended(process)) and not arrived and time.monotonic() < until:
                    time.sleep(_POLL_S)
                    printed = (printed + (pipe.read(_TAIL_BYTES) or b""))[-_TAIL_BYTES:]
            finally:
                _end_group(process)
            printed = (printed + (pipe.read(_TAIL_BYTES) or b""))[-_TAIL_BYTES:]
    if arrived:
        raise CompilationInterrupted
    if not ended:
        raise _TooSlow(f"{command[0]} did not end within {seconds:g} s")
    return process.returncode, printed.decode(errors="replace")


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Return whether a process has ended; where the system can, its number is not given out again meanwhile."""
    if process.returncode is not None:
        return True
    if not hasattr(os, "waitid"):
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill what is left of a process and its children."""
    if process.returncode is None:  # its number is still its own
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Context in which signals that would end or interrupt this process are noted; they take effect at its end."""
    arrived: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        arrived.append(signum)

    before = {}
    try:
        for name in _SIGNALS:
            signum = getattr(signal, name, None)
            if signum is not None and signal.getsignal(signum) not in (None, signal.SIG_IGN):
                before[signum] = signal.signal(signum, note)
    except ValueError:  # not the main thread: its owner handles signals
        pass
    try:
        yield arrived
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        for signum in arrived:
            signal.raise_signal(signum)
