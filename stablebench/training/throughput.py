"""How fast a run makes its updates: lately, for who watches, and over the sitting, for the record."""

import statistics
from collections import deque

_WINDOW = 50
"""Updates over which the present speed is taken."""


class Throughput:
    """Seconds of the updates of one sitting; the first, which compiles, counts only while there is no other."""

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
        """End a block of updates, whose speed is one of those that the median is taken of."""
        if self._block:
            self._block_rates.append(len(self._block) / sum(self._block))
        self._block = []

    @property
    def current(self) -> float:
        """Updates a second, lately; 0 before the first."""
        if self._recent:
            return len(self._recent) / sum(self._recent)
        return 1 / self._first if self._first else 0.0

    @property
    def median(self) -> float | None:
        """Updates a second, the median over blocks; None before the first block ended."""
        return statistics.median(self._block_rates) if self._block_rates else None
