"""What the fork server of our processes loads: all that they need, and how it says that it may fork no more.

The server itself would end with a traceback where the limit on processes is reached, and with it what it knows of the
processes that run. Here it tells the caller instead, as a process number below zero. Where it ends all the same, it is
the caller who says so.
"""

import os
import sys
from typing import Any

from stablebench.execution import preload  # noqa: F401

_fork = os.fork
_print_error = sys.excepthook
_server = os.getpid()


def _fork_or_say() -> int:
    """Return what `os.fork` does, or the negative error number with which the system refused."""
    try:
        return _fork()
    except OSError as error:
        return -(error.errno or 1)


os.fork = _fork_or_say


def _quiet_in_server(*error: Any) -> None:
    if os.getpid() != _server:
        _print_error(*error)


sys.excepthook = _quiet_in_server
