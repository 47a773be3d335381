"""The order of the passes, and which of them count."""

import gc
from collections.abc import Iterator

import pytest

from stablebench.speed.contenders import Contender
from stablebench.speed.timing import WARM_UPS, round_robin


def ticking(*steps: float) -> Iterator[float]:
    now = 0.0
    for step in steps:
        now += step
        yield now


def test_contenders_take_turns_after_a_warm_up_of_each() -> None:
    log: list[str] = []
    contenders = [Contender(n, lambda n=n: log.append(n), lambda n=n: log.append(f"clear {n}")) for n in "abc"]
    diagnostics: list[tuple[str, int, int]] = []
    seconds = round_robin(contenders, 4, watch=lambda *told: diagnostics.append(told))
    assert log == ["a", "clear a", "b", "clear b", "c", "clear c"] * (WARM_UPS + 4)
    assert diagnostics == [("abc"[i % 3], i, 3 * (WARM_UPS + 4)) for i in range(3 * (WARM_UPS + 4))]
    assert {name: len(s) for name, s in seconds.items()} == {"a": 4, "b": 4, "c": 4}


def test_what_is_timed_is_pass_and_not_warm_up_or_clearing() -> None:
    """What is timed is the pass and not the warm up or the clearing."""
    clock = ticking(0, 100, 0, 100, 0, 1, 5, 2, 5, 3, 5, 4)
    seconds = round_robin([Contender("a", lambda: None), Contender("b", lambda: None)], 2, clock=lambda: next(clock))
    assert seconds == {"a": [1, 3], "b": [2, 4]}


def test_collector_is_off_while_timing_and_on_again_after_error() -> None:
    """The collector is off while timing and on again after an error."""

    def fail() -> None:
        assert not gc.isenabled()
        raise RuntimeError

    assert gc.isenabled()
    with pytest.raises(RuntimeError):
        round_robin([Contender("a", fail)], 1)
    assert gc.isenabled()
