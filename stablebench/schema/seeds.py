"""The range of a run's seed, and how seeds are written: `5`, `3,5`, `0-4,9`."""

import re

from stablebench.errors import UserError

MAX_SEED = 2**32 - 1
"""torch's generator on a CPU reads 32 bits of a seed, so that seeds 2**32 apart would give the same weights."""
WHY = "torch's generator reads 32 bits of a seed"
MAX_SEEDS = 100_000
"""Runs of each row at most: all are listed before the first one begins."""


def listed_seeds(option: str, text: str) -> list[int]:
    """Return the seeds of a list with commas and ranges, `0,1,5-7`, each once.

    Args:
        option: Where the text came from, for messages.
        text: The list.

    Raises:
        UserError: It is none, or has too large or too many seeds.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part, flags=re.ASCII)
        first, last = (0, -1) if match is None else (int(match[1]), int(match[2] or match[1]))
        if first > last:
            raise UserError(f"`{option}` must be whole numbers >= 0, a,b or a range 0-4, got '{text}'.")
        if last > MAX_SEED:
            raise UserError(f"`{option}` must be <= {MAX_SEED} ({WHY}), got {last}.")
        if last - first >= MAX_SEEDS:
            raise UserError(f"`{option}` must be at most {MAX_SEEDS} seeds, got {last - first + 1}.")
        seeds |= dict.fromkeys(range(first, last + 1))
    return list(seeds)


def seeds_named(option: str, text: str) -> list[int]:
    """Return the seeds 0 to N - 1 for a single number N, else those of a list with commas and ranges.

    Args:
        option: Where the text came from, for messages.
        text: A number, or a list.

    Raises:
        UserError: It is neither.
    """
    if "," in text or "-" in text.strip().lstrip("-"):
        return listed_seeds(option, text)
    if not re.fullmatch(r"\s*\d+\s*", text, flags=re.ASCII) or int(text) < 1:
        raise UserError(f"`{option}` must be a whole number >= 1, or seeds 3,5 or 0-4, got '{text}'.")
    if int(text) > MAX_SEEDS:
        raise UserError(f"`{option}` must be <= {MAX_SEEDS}, got {int(text)}.")
    return list(range(int(text)))


def ranges_written_out(text: str) -> str:
    """Return seeds with commas between, ranges such as 0-4 written out; what is none stays as it is."""

    def numbers(match: re.Match[str]) -> str:
        low, high = int(match[1]), int(match[2])
        return ",".join(map(str, range(low, high + 1))) if low <= high < low + MAX_SEEDS else match[0]

    return ",".join(re.sub(r"^\s*(\d{1,10})\s*-\s*(\d{1,10})\s*$", numbers, part) for part in text.split(","))
