"""Whether the threads that a run asks for can begin: torch's own end the process without a word that helps."""

import threading

from stablebench.errors import reached_limit

_MOST = 256
"""Threads that are begun to try, at most."""


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
