"""How far an accuracy holds beyond the lengths that were trained on."""

from collections.abc import Mapping

HELD = 0.9
"""Accuracy at which a length counts as held."""


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
