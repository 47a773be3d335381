"""Times contenders in turn, so that what slows a machine down for a while hits all of them."""

import gc
import time
from collections.abc import Callable, Sequence

import torch

from stablebench.speed.contenders import Contender

WARM_UPS = 1
"""Passes of each contender before the first that counts: they plan, compile, and fill caches."""
Watch = Callable[[str, int, int], None]
"""Called with what runs next, how many passes are done, and how many there are."""


def round_robin(
    contenders: Sequence[Contender],
    repeats: int,
    *,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
    watch: Watch = lambda what, done, total: None,
) -> dict[str, list[float]]:
    """Return the seconds of every repetition by the contender's name.

    Every contender is warmed up; then each runs once, in the given order, `repeats` times over. Python's collector of
    cycles is off meanwhile.

    Args:
        contenders: What to time; their names differ.
        repeats: Timed passes of each, >= 1.
        device: On `cuda` the clock is read when the device has finished.
        clock: Gives the time in seconds.
        watch: Called before every pass.
    """
    synchronise = torch.cuda.synchronize if device == "cuda" else lambda: None
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    total = (WARM_UPS + repeats) * len(contenders)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for i in range(WARM_UPS + repeats):
            for j, contender in enumerate(contenders):
                watch(contender.name, i * len(contenders) + j, total)
                synchronise()
                began = clock()
                contender.run()
                synchronise()
                ended = clock()
                contender.clear()
                if i >= WARM_UPS:
                    seconds[contender.name].append(ended - began)
    finally:
        if collecting:
            gc.enable()
    return seconds
