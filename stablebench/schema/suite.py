"""The suite, `configs/suites/<path>.yaml`: what `compare` runs."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from stablebench.schema.model_name import base_of
from stablebench.schema.seeds import MAX_SEEDS, ranges_written_out
from stablebench.schema.strict import Count, Positive, Seed, Strict

SETTINGS = {
    **{name: f"train.{name}" for name in ("steps", "epochs", "batch_size", "eval_every")},
    **{"lr": "optim.lr", "hidden": "model.hidden", "layers": "model.layers"},
}
"""Keys that `overrides` takes by what options call them."""
_ELSEWHERE = {name: f"`overrides: {{{key}: ...}}`" for name, key in SETTINGS.items()}


def _names(value: Any) -> Any:
    """Return names that one text has with commas between, as on the command line, as a list."""
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def _tasks(value: Any) -> Any:
    listed = _names(value)
    return [{"task": task} if isinstance(task, str) else task for task in listed] if isinstance(listed, list) else value


def _seeds(value: Any) -> Any:
    """Return seeds as the command line takes them: 3 are 0, 1, 2; `0-4` and `3,5` are these."""
    if type(value) is int and 1 <= value <= MAX_SEEDS:
        return list(range(value))
    if not isinstance(value, str):
        return value
    written = ranges_written_out(value).split(",")
    return [int(part) for part in written] if all(part.strip().isdecimal() for part in written) else value


class SuiteTask(Strict):
    """A task of a suite; the same task may stand several times, with other values.

    Args:
        task: `task`, `task/variant`, or a card of the user's own, a path from the suite's file.
        T: The task's length, where it is no variant's.
        models: The models on this task; None for the suite's.
        overrides: Values that all of its runs have, as `--set` takes them: `train.steps`, `optim.lr`, `model.hidden`.
        match_parameters: Trainable parameters that all models get, the readout's and a trained embedding's included:
            each model's width is solved for. None leaves the widths as they are.
        lengths: Lengths that its finished runs are scored at, too; None for the suite's.
    """

    keys_elsewhere: ClassVar[dict[str, str]] = _ELSEWHERE

    task: str
    T: Count | None = None
    models: list[str] | None = None
    overrides: dict[str, Any] = {}
    match_parameters: Count | None = None
    lengths: list[Count] | None = None

    @model_validator(mode="after")
    def _one_width(self) -> "SuiteTask":
        if self.match_parameters is not None and "model.hidden" in self.overrides:
            raise ValueError(
                "`match_parameters` and model.hidden in `overrides` must not both be given: one decides the width."
            )
        return self


class Expectation(Strict):
    """What a figure without numbers shows: one model does better than others on a task, or reaches a value.

    Args:
        statement: What the paper says, in words.
        task: `task` or `task/variant`, one of the suite's.
        T: The task's length, where it is no variant's.
        model: The model it is about; where it has several rows, its best one.
        where: Values that its row has, as `--set` takes them, where the suite runs the model with several.
        every_seed: Whether it is about every seed in place of their median.
        better_than: Models whose scores its score must beat.
        reaches: A value that its score must reach, in the task's metric.
        misses: A value that its score must not reach, in the task's metric.
        others_miss: A value that the scores of `better_than` must not reach, where the paper says that they fail.
    """

    statement: str
    task: str
    T: Count | None = None
    model: str
    where: dict[str, Any] = {}
    every_seed: bool = False
    better_than: list[str] = []
    reaches: float | None = None
    misses: float | None = None
    others_miss: float | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Expectation":
        if self.others_miss is not None and not self.better_than:
            raise ValueError("`others_miss` is about the models of `better_than`; name them.")
        if not self.better_than and self.reaches is None and self.misses is None:
            raise ValueError("one of `better_than`, `reaches` and `misses` must be given.")
        return self


Shared = Literal["updates", "batch", "units"]


class Suite(Strict):
    """Tasks x models x seeds at a budget.

    Args:
        summary: What it shows, and how long it takes on which machine.
        tasks: The tasks.
        models: The models, each with its recipe; `dizzy[activation=relu]` is one with other arguments.
        seeds: The seeds of every model on every task.
        equal: What all runs of a task share: `updates` (with the evaluations), `batch`, `units`. It is the task card's,
            unless the suite or an option sets it; recipes give the rest. What is left out is the recipes'.
        lengths: Lengths that every finished run is scored at besides its own, of tasks with a length.
        threads: CPU threads of a run.
        overrides: Values that all runs have, as `--set` takes them.
        model_overrides: Values that all runs of one model have, by model.
        source: The paper and the table or figure that it repeats.
        short_overrides: Values that replace those of all runs under `--budget short`.
        published: Keys of the published numbers that it is compared with, `task: [key, ...]`.
        expected: What the figure shows, as checks.
        core_hours: What all its runs take, by budget: hours of one core of an AMD EPYC, as `compare --estimate` says;
            less where runs stop at their target.
    """

    earlier_keys: ClassVar[dict[str, str]] = {
        "set": "overrides",
        "sets": "model_overrides",
        "short": "short_overrides",
        "tasks.*.set": "overrides",
        "tasks.*.params": "match_parameters",
        "expected.*.says": "statement",
    }
    short_forms: ClassVar[dict[str, Any]] = {
        "tasks": _tasks,
        "models": _names,
        "tasks.*.models": _names,
        "seeds": _seeds,
    }
    keys_elsewhere: ClassVar[dict[str, str]] = _ELSEWHERE | {"T": "it with each task: `{task: copy, T: 100}`"}

    summary: str
    tasks: list[SuiteTask] = Field(min_length=1)
    models: list[str] = Field(min_length=1)
    seeds: list[Seed] = Field(min_length=1)
    equal: list[Shared] = []
    lengths: list[Count] = []
    threads: Count = 1
    overrides: dict[str, Any] = {}
    model_overrides: dict[str, dict[str, Any]] = {}
    source: str | None = None
    short_overrides: dict[str, Any] = {}
    published: dict[str, list[str]] = {}
    expected: list[Expectation] = []
    core_hours: dict[Literal["full", "short"], Positive] = {}

    @model_validator(mode="after")
    def _models_known(self) -> "Suite":
        unknown = sorted(set(self.model_overrides) - {*self.models, *map(base_of, self.models)})
        if unknown:
            raise ValueError(f"`model_overrides` names models that the suite does not run: {', '.join(unknown)}.")
        return self

    def located(self, rename: Callable[[str], str]) -> "Suite":
        """Return the suite with its models and tasks named by `rename`."""

        def renamed(part: Any) -> Any:
            models = None if part.models is None else list(map(rename, part.models))
            return part.model_copy(update={"task": rename(part.task), "models": models})

        overrides = {rename(name): values for name, values in self.model_overrides.items()}
        expected = [
            one.model_copy(
                update={
                    "task": rename(one.task),
                    "model": rename(one.model),
                    "better_than": list(map(rename, one.better_than)),
                }
            )
            for one in self.expected
        ]
        models, tasks = list(map(rename, self.models)), list(map(renamed, self.tasks))
        own = {"models": models, "tasks": tasks, "model_overrides": overrides, "expected": expected}
        return self.model_copy(update=own)
