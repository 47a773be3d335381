"""What came out where the papers' theorems were put to numbers; each computed when it is called.

A check says what its paper states, what this project expects to measure instead or as well, and what it measures.
Sizes are arguments; the defaults are the papers' own, and take seconds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PaperCheck:
    """One statement of a paper, put to numbers.

    Args:
        statement: What the paper states, and where.
        setting: The network and inputs that it was measured on.
        expected: What this project expects.
        measured: The numbers, by name.
        confirmed: Whether they are as expected.
    """

    statement: str
    setting: str
    expected: str
    measured: dict[str, float]
    confirmed: bool

    @property
    def verdict(self) -> str:
        """Whether they are as expected, in words."""
        return "confirmed" if self.confirmed else "not confirmed"


@contextmanager
def seed_0() -> Iterator[None]:
    """Draw from seed 0 in float32, whatever the caller's generator and default type are, and leave them as they are."""
    dtype = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
