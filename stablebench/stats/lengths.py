"""How far an accuracy holds beyond the lengths that were trained on."""

from collections.abc import Iterable, Mapping

HELD = 0.9
"""Accuracy at which a length counts as held."""
PAPER_RANGE = (40, 256)
"""Ends of the lengths, drawn uniformly, over which papers on state tracking print the mean accuracy."""
DRAWN = f"{PAPER_RANGE[0]}-{PAPER_RANGE[1]}"
"""What scores over that range are kept under."""


def spans_paper_range(lengths: Iterable[int]) -> bool:
    """Return whether lengths reach from one end of `PAPER_RANGE` to the other."""
    ordered = sorted(lengths)
    return bool(ordered) and ordered[0] <= PAPER_RANGE[0] and ordered[-1] >= PAPER_RANGE[1]


def longest_held(accuracies: Mapping[int, float], least: float = HELD) -> int | None:
    """Return the longest length up to which every length has at least an accuracy; None where the shortest has not.

    Args:
        accuracies: By length.
        least: The accuracy, a fraction.
    """
    held = None
    for length in sorted(accuracies):
        if accuracies[length] < least:
            break
        held = length
    return held
