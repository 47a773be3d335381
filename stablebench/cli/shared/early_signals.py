"""Signals before a command has begun, or during its imports, end the process at once and print nothing.

An error that is raised during an import may be swallowed there, turn into another one, or be printed. Nothing has
begun by then, so there is nothing to clean up. This module imports nothing that takes time.
"""

import _thread
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

_CODES = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGTERM: 143}
_IMPORTING = "<frozen importlib._bootstrap>"
_SHOW_CURSOR = b"\x1b[?25h"
_NO_THREADS = b"Error: The limit on processes and threads is reached; raise it (`ulimit -u`, its group's pids.max).\n"
_began = False


def watch_if_command() -> None:
    """Take SIGINT, SIGTERM and SIGHUP over if this process is the command, and they have their usual handling."""
    if not _is_command():
        return
    default = signal.SIG_DFL
    usual_ones = ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, default), (signal.SIGTERM, default))
    for signum, usual in usual_ones:
        if signal.getsignal(signum) == usual:
            signal.signal(signum, _end)


def _is_command() -> bool:
    """Return whether this process was started as `stablebench` or `python -m stablebench`; its workers were not."""
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and getattr(processes.current_process(), "_inheriting", False):
        return False  # a worker, which imports what the command was started with
    started = getattr(sys, "argv", [""])[0]
    folder, name = os.path.split(started)
    return name.partition(".")[0] == "stablebench" or (name == "__main__.py" and folder.endswith("stablebench"))


def command_begins() -> None:
    """From here on Ctrl-C is a KeyboardInterrupt again; other signals end the process cleanly, except in imports."""
    global _began
    _began = True


def command_ended() -> None:
    """From here on Ctrl-C changes nothing: the exit code stands, and Python would only complain about it."""
    if signal.getsignal(signal.SIGINT) in (_end, signal.default_int_handler):
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(signum: int, frame: FrameType | None) -> None:
    if not _began or _imports(frame):
        if signum == signal.SIGINT and not _can_begin_threads():  # OpenBLAS sends it where its own do not begin
            os.write(2, _NO_THREADS)
            _leave(1)
        _leave(_CODES[signal.Signals(signum)])
    if signum == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(_CODES[signal.Signals(signum)])


def _imports(frame: FrameType | None) -> bool:
    """Return whether a module is being imported where a signal came."""
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False


def _can_begin_threads() -> bool:
    try:
        _thread.start_new_thread(int, ())
    except RuntimeError:
        return False
    return True


def _leave(code: int) -> NoReturn:
    """End the process now; a live bar may have hidden the cursor."""
    if sys.stderr is not None and sys.stderr.isatty():
        os.write(2, _SHOW_CURSOR)
    os._exit(code)
