"""When a run has got where its card wants it: past the trivial baseline, and to the target."""

from collections.abc import Callable, Sequence
from typing import Any

from stablebench.schema.card import TaskCard
from stablebench.schema.run_record import Evaluation
from stablebench.training.convergence import beats_baseline, first_sustained, reaches_target


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
        """Return whether the last `wanted` evaluations all reach the target; never where none is wanted."""
        if not wanted or "target" not in self._tests or len(evaluations) < wanted:
            return False
        metric, passes = self._tests["target"]
        return all(passes(evaluation.metrics[metric]) for evaluation in evaluations[-wanted:])

    def arrivals(self, evaluations: Sequence[Evaluation]) -> dict[str, int | float]:
        """Return steps and seconds to each goal that was held, by the names of `Result`."""
        found: dict[str, int | float] = {}
        for goal, (metric, passes) in self._tests.items():
            held = first_sustained([(e.step, e.train_s, e.metrics[metric]) for e in evaluations], passes)
            if held is not None:
                found[f"steps_to_{goal}"], found[f"seconds_to_{goal}"] = held
        return found
