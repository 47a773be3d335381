"""The range of a run's seed, and how seeds are written."""

import re

MAX_SEED = 2**32 - 1
"""torch's generator on a CPU reads 32 bits of a seed, so that seeds 2**32 apart would give the same weights."""
WHY = "torch's generator reads 32 bits of a seed"
MAX_SEEDS = 100_000
"""Runs of each row at most: all are listed before the first one begins."""


def ranges_written_out(text: str) -> str:
    """Return seeds with commas between, ranges such as 0-4 written out; what is none stays as it is."""

    def numbers(match: re.Match[str]) -> str:
        low, high = int(match[1]), int(match[2])
        return ",".join(map(str, range(low, high + 1))) if low <= high < low + MAX_SEEDS else match[0]

    return ",".join(re.sub(r"^\s*(\d{1,10})\s*-\s*(\d{1,10})\s*$", numbers, part) for part in text.split(","))
