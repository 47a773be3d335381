"""The suite, `configs/suites/<path>.yaml`: what `compare` runs."""

from typing import Any

from pydantic import Field, model_validator

from stablebench.schema.strict import Count, NonNegativeInt, Strict


class SuiteTask(Strict):
    """A task of a suite.

    Args:
        task: `task` or `task/variant`.
        T: The task's length, where it is no variant's.
        models: The models on this task; None for the suite's.
        set: Values that all of its cells have, as `--set` takes them: `train.steps`, `optim.lr`, `model.hidden`.
    """

    task: str
    T: Count | None = None
    models: list[str] | None = None
    set: dict[str, Any] = {}


class Suite(Strict):
    """Tasks x models x seeds at a budget.

    Args:
        summary: What it shows, and how long it takes on which machine.
        tasks: The tasks.
        models: The models, each with its recipe.
        seeds: The seeds of every cell.
        threads: Threads of a cell.
        set: Values that all cells have, as `--set` takes them.
        sets: Values that all cells of one model have, by model.
    """

    summary: str
    tasks: list[SuiteTask] = Field(min_length=1)
    models: list[str] = Field(min_length=1)
    seeds: list[NonNegativeInt] = Field(min_length=1)
    threads: Count = 1
    set: dict[str, Any] = {}
    sets: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _models_known(self) -> "Suite":
        unknown = sorted(set(self.sets) - set(self.models))
        if unknown:
            raise ValueError(f"`sets` names models that the suite does not run: {', '.join(unknown)}.")
        return self
