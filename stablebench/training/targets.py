"""When a run reaches its task's baseline and target: at the first of three evaluations in a row that do."""

from collections.abc import Callable, Sequence
from typing import Any

from stablebench.data.metrics import beats_baseline, reaches_target
from stablebench.schema.card import TaskCard
from stablebench.schema.run_record import Evaluation

CONSECUTIVE_EVALUATIONS = 3
"""Evaluations that must pass in a row; a single one may be luck."""


def first_sustained(
    values: Sequence[tuple[int, float, float]], passes: Callable[[float], bool], running: int = CONSECUTIVE_EVALUATIONS
) -> tuple[int, float] | None:
    """Return step and seconds of the first of `running` evaluations in a row that pass, or None.

    Args:
        values: Step, seconds of training and value of each evaluation, in their order.
        passes: Whether a value passes.
        running: How many must pass in a row.
    """
    streak = 0
    for i, (_, _, value) in enumerate(values):
        streak = streak + 1 if passes(value) else 0
        if streak == running:
            step, seconds, _ = values[i - running + 1]
            return step, seconds
    return None


class TargetTracker:
    """A task's baseline and target at a run's parameters.

    Args:
        card: The task's card.
        params: The task's parameters.
    """

    def __init__(self, card: TaskCard, params: dict[str, Any]) -> None:
        self._tests: dict[str, tuple[str, Callable[[float], bool]]] = {}
        baseline, target = card.baseline(card.metric, params), card.target_value(params)
        if baseline is not None:
            self._tests["baseline"] = card.metric, beats_baseline(card.metric, baseline)
        if target is not None and card.target is not None:  # a card may have a target, but none at these parameters
            self._tests["target"] = card.target.metric, reaches_target(card.target.metric, target)

    def target_holds(self, evaluations: Sequence[Evaluation], wanted: int) -> bool:
        """Return whether the last `wanted` evaluations all reach the target; never where `wanted` is 0."""
        if not wanted or "target" not in self._tests or len(evaluations) < wanted:
            return False
        metric, passes = self._tests["target"]
        return all(passes(evaluation.metrics[metric]) for evaluation in evaluations[-wanted:])

    def time_to_target(self, evaluations: Sequence[Evaluation]) -> dict[str, int | float]:
        """Return updates and seconds until the baseline was beaten and the target reached, as `Result` names them."""
        times: dict[str, int | float] = {}
        for goal, (metric, passes) in self._tests.items():
            first = first_sustained([(e.step, e.train_s, e.metrics[metric]) for e in evaluations], passes)
            if first is not None:
                times[f"steps_to_{goal}"], times[f"seconds_to_{goal}"] = first
        return times
