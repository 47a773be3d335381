"""A curve of any length is read in little memory, and thinned evenly; a short one is read whole."""

import json
import tracemalloc
from itertools import pairwise
from pathlib import Path

from stablebench.report.figures.curves import ThinnedCurve, measured


def write(path: Path, count: int) -> None:
    with path.open("w") as file:
        for i in range(count):
            line = {"step": 10 * i, "split": "train", "loss": 1.0, "gradient_norm": i / 7, "wall_s": 1.0}
            file.write(json.dumps(line) + "\n")


def test_a_short_curve_is_whole(tmp_path: Path) -> None:
    write(tmp_path / "metrics.jsonl", 1000)
    assert measured(tmp_path / "metrics.jsonl") == {"gradient_norm": {10.0 * i: i / 7 for i in range(1000)}}


def test_a_long_one_is_thinned_while_it_is_read(tmp_path: Path) -> None:
    write(tmp_path / "metrics.jsonl", 50_000)
    tracemalloc.start()
    found = measured(tmp_path / "metrics.jsonl")["gradient_norm"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    steps = list(found)
    assert peak < 2_000_000
    assert steps[0] == 0 and steps[-1] == 10 * 49_999 and 2048 <= len(steps) <= 4097
    gaps = {b - a for a, b in pairwise(steps[:-1])}
    assert len(gaps) == 1
    assert all(value == step / 70 for step, value in found.items())


def test_a_step_that_comes_again_takes_the_place_of_the_first() -> None:
    curve = ThinnedCurve(4)
    for step, value in ((0, 1.0), (1, 2.0), (1, 3.0)):
        curve.add(step, value)
    assert curve.values() == {0: 1.0, 1: 3.0}
