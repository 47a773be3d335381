"""The measurements on sizes that take no time."""

from stablebench.speed.comparison import Conditions, SpeedComparison, compare
from stablebench.speed.contenders import SEQUENCE_CONTENDERS
from stablebench.speed.memory import peak_bytes_on_cpu
from stablebench.speed.summary import Spread
from stablebench.speed.workload import Size, Workload

WORK = Workload("rnn", Size(batch=2, hidden=4, steps=5), inputs=3)
THRICE = Conditions(repeats=3, threads=1, precision="float32")


def test_a_comparison_times_every_contender_side_by_side() -> None:
    order: list[str] = []
    found = compare(WORK, THRICE, lambda what, done, total: order.append(what), memory=False)
    assert order == [*SEQUENCE_CONTENDERS, "transition"] * 4
    assert not found.absent and not found.peak_bytes
    assert all(len(seconds) == 3 and min(seconds) > 0 for seconds in found.seconds.values())


def test_ratios_are_medians_of_pairs_and_missing_where_a_side_is() -> None:
    seconds = {"fused": [1.0, 2.0, 4.0], "literal": [4.0, 6.0, 20.0], "floor": [0.5, 1.0, 1.0]}
    found = SpeedComparison(WORK, seconds, {"nn.LSTM": "none"}, {}, [])
    assert found.ratio("literal / fused") == Spread(4, 3.5, 4.5)
    assert found.ratio("fused / floor") == Spread(2, 2, 3)
    assert found.ratio("nn.LSTM / fused") is None
    assert found.median("fused") == 2 and found.median("nn.LSTM") is None


def test_a_pass_takes_the_memory_that_autograd_keeps() -> None:
    work = Workload("rnn", Size(batch=64, hidden=64, steps=400))
    states = 64 * 64 * 400 * 4
    reference = peak_bytes_on_cpu(work, "reference", 1, "float32")
    fused = peak_bytes_on_cpu(work, "fused", 1, "float32")
    assert reference is not None and 2 * states < reference < 12 * states
    assert fused is not None and states / 2 < fused < reference
