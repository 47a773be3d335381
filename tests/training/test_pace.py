"""How fast updates are made, and when goals are reached, from what a run noted."""

import pytest

from stablebench import registry
from stablebench.schema.run_record import Evaluation
from stablebench.training.targets import TargetTracker
from stablebench.training.throughput import Throughput


def test_the_first_update_counts_only_while_there_is_no_other() -> None:
    pace = Throughput()
    assert (pace.current, pace.median) == (0.0, None)
    pace.add(10.0)
    assert pace.current == 0.1
    for seconds in (0.5, 0.25):
        pace.add(seconds)
    assert pace.current == pytest.approx(2 / 0.75)


def test_the_median_is_that_of_whole_blocks() -> None:
    pace = Throughput()
    pace.add(10.0)
    for seconds in (1.0, 0.5, 0.25):
        pace.add(seconds)
        pace.end_block()
    pace.end_block()  # an empty one
    pace.add(100.0)
    assert pace.median == 2.0


def at(step: int, accuracy: float) -> Evaluation:
    return Evaluation(step=step, train_s=step / 10, metrics={"accuracy": accuracy, "loss": 1.0})


def test_goals_are_reached_where_they_are_held() -> None:
    goals = TargetTracker(registry.task_card("digits"), {})  # baseline about 0.1, target 0.9
    curve = [at(1, 0.95), at(2, 0.05), *(at(step, 0.5) for step in (3, 4, 5)), *(at(step, 0.99) for step in (6, 7, 8))]
    found = goals.time_to_target(curve)
    assert (found["steps_to_baseline"], found["seconds_to_baseline"]) == (3, 0.3)
    assert found["steps_to_target"] == 6
    assert goals.target_holds(curve, 3) and not goals.target_holds(curve, 4) and not goals.target_holds(curve, 0)
