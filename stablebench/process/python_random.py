"""Random numbers that are not torch's: Python's `random` and numpy's global generator, seeded, kept and put back.

A model may draw from them as from torch's. A run seeds them, a checkpoint holds them, and who called finds them as they
were.
"""

import random
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy
import torch
from torch import Tensor

_SEEDS = 2**32
"""numpy's generator takes seeds below this."""
_MERSENNE = "MT19937"


def seed(value: int) -> None:
    """Seed both; a record of an earlier version may have a seed beyond 2**32."""
    random.seed(value)
    numpy.random.seed(value % _SEEDS)  # noqa: NPY002 - what a model may draw from


def states() -> dict[str, Tensor]:
    """Return the states as tensors of int64 that a checkpoint can hold."""
    _, words, gauss = random.getstate()
    states = {"python": _packed(words, gauss)}
    legacy = numpy.random.get_state(legacy=False)  # noqa: NPY002
    if legacy["bit_generator"] == _MERSENNE:  # else someone put another one in its place, which is not held
        cached = legacy["gauss"] if legacy["has_gauss"] else None
        states["numpy"] = _packed((*legacy["state"]["key"].tolist(), legacy["state"]["pos"]), cached)
    return states


def set_states(tensors: Mapping[str, Tensor]) -> None:
    """Put back what `states` returned; what it has not is left as it is."""
    if "python" in tensors:
        words, gauss = _unpacked(tensors["python"])
        random.setstate((3, tuple(words), gauss))
    if "numpy" in tensors:
        words, gauss = _unpacked(tensors["numpy"])
        key = numpy.array(words[:-1], dtype=numpy.uint32)
        numpy.random.set_state((_MERSENNE, key, words[-1], int(gauss is not None), gauss or 0.0))  # noqa: NPY002


def taken() -> Callable[[], None]:
    """Return what makes both again as they are now."""
    before, legacy = random.getstate(), numpy.random.get_state(legacy=False)  # noqa: NPY002

    def back() -> None:
        random.setstate(before)
        numpy.random.set_state(legacy)  # noqa: NPY002

    return back


@contextmanager
def kept() -> Iterator[None]:
    """Context behind which both are as they were before it."""
    back = taken()
    try:
        yield
    finally:
        back()


@contextmanager
def seeded(value: int) -> Iterator[None]:
    """Context in which both begin from a seed, and behind which they are as they were before it."""
    with kept():
        seed(value)
        yield


def _packed(words: tuple[int, ...], gauss: float | None) -> Tensor:
    """Return words of a state and the normal number that waits to be drawn, if one does, as one tensor."""
    waits = [0, 0] if gauss is None else [1, *struct.unpack("<q", struct.pack("<d", gauss))]
    return torch.tensor([*words, *waits], dtype=torch.int64)


def _unpacked(state: Tensor) -> tuple[list[int], float | None]:
    *words, waits, bits = state.tolist()
    return words, struct.unpack("<d", struct.pack("<q", bits))[0] if waits else None
