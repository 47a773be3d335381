"""Whether the threads that a run asks for can begin: torch's own end the process without a message that helps."""

import os
import threading

from stablebench.errors import UserError, reached_limit

_MOST = 256
"""Threads that are begun to try, at most."""


_MOST_NAMED = 1024
"""CPU threads where the machine has fewer cores; each takes memory and a place in the system's table."""


def check_thread_count(threads: int) -> None:
    """Check a number of CPU threads that a user asks for.

    Raises:
        UserError: There are more than any machine would use.
    """
    most = max(_MOST_NAMED, os.cpu_count() or 1)
    if threads > most:
        raise UserError(f"threads: must be at most {most:,}, got {threads:,}.")


def check_threads(count: int) -> None:
    """Hold that this process can have so many threads, by beginning them for a moment.

    Args:
        count: Threads, this one counted.

    Raises:
        LimitReached: It cannot.
    """
    release = threading.Event()
    begun: list[threading.Thread] = []
    try:
        for _ in range(min(count, _MOST) - 1):
            thread = threading.Thread(target=release.wait, daemon=True)
            thread.start()
            begun.append(thread)
    except RuntimeError as error:
        raise reached_limit(error) or error from None
    finally:
        release.set()
        for thread in begun:
            thread.join()
