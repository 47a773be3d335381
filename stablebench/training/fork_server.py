"""What the fork server of our processes loads: all that they need, and how it says that it may fork no more.

The server itself would end with a traceback where the limit on processes is reached, and with it what it knows of the
processes that run. Here it tells the caller instead, as a process number below zero.
"""

import os

from stablebench.training import preload  # noqa: F401

_fork = os.fork


def _fork_or_say() -> int:
    """Return what `os.fork` does, or the negative error number with which the system refused."""
    try:
        return _fork()
    except OSError as error:
        return -(error.errno or 1)


os.fork = _fork_or_say
