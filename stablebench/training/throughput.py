"""How fast a run makes its updates, at present and over the session, and how long it has taken."""

import statistics
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

_WINDOW = 50
"""Updates over which the present speed is averaged."""


class Throughput:
    """Seconds of the updates of one session; the first, which compiles, counts only while there is no other."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._recent: deque[float] = deque(maxlen=_WINDOW)
        self._block: list[float] = []
        self._block_rates: list[float] = []

    def add(self, seconds: float) -> None:
        """Note an update."""
        if self._first is None:
            self._first = seconds
        else:
            self._recent.append(seconds)
            self._block.append(seconds)

    def end_block(self) -> None:
        """End a block of updates; the median is that of the speeds of all blocks."""
        if self._block:
            self._block_rates.append(len(self._block) / sum(self._block))
        self._block = []

    @property
    def current(self) -> float:
        """Updates per second at present; 0 before the first."""
        if self._recent:
            return len(self._recent) / sum(self._recent)
        return 1 / self._first if self._first else 0.0

    @property
    def median(self) -> float | None:
        """Updates per second, the median over blocks; None before the first block ended."""
        return statistics.median(self._block_rates) if self._block_rates else None


class WallClock:
    """Seconds of a run over all its sessions.

    Args:
        seconds: Of the sessions before this one.
    """

    def __init__(self, seconds: float) -> None:
        self._began = time.perf_counter() - seconds

    @property
    def seconds(self) -> float:
        """Seconds so far, pauses excluded."""
        return time.perf_counter() - self._began

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Context whose seconds do not count."""
        began = time.perf_counter()
        yield
        self._began += time.perf_counter() - began
