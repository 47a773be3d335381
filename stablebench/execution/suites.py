"""From a suite to its runs: tasks x models x seeds, each resolved as `train` would resolve it."""

import json
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from stablebench import registry
from stablebench.errors import ContractError, UserError
from stablebench.execution.tuned_recipes import cells_of, tuned_recipe, with_recipes_only
from stablebench.schema.learning_rates import RATES
from stablebench.schema.model_name import base_of, label_of
from stablebench.schema.run_spec import RunSpec
from stablebench.schema.suite import Shared, Suite, SuiteTask
from stablebench.specs.remembered import remembered
from stablebench.specs.request import Resolved, RunRequest

Match = Literal["units", "params", "recipe"]
_LEAST_EVALUATIONS = 10
"""Evaluations of a budget that an option makes smaller, at least: more would take longer than the updates."""
_RUNTIME_KEYS = ("device", "threads", "engine", "precision", "train.recompute_every", "train.checkpoint_every")


@dataclass(frozen=True)
class SuiteOverrides:
    """What the command line says in place of a suite, or on top of one.

    Args:
        models: Models; None for the suite's.
        tasks: Tasks, `task` or `task/variant`; None for the suite's.
        seeds: Seeds; None for the suite's.
        T: Length of every task.
        options: Named options, by key of the run spec.
        settings: `--set` values.
        short: Whether the suite's short budget is asked for.
        match: What models share besides updates and batch: `units`, or `params`, the number of parameters that the
            first model has at the width that the suite or an option sets, else the card's; `recipe` for each recipe's
            own of all three; None for what the suite says, and `units` where models and tasks are named without one.
        recipes: Folder of recipes that `tune` wrote, in place of the registered ones; runs without one are left out.
        rates: Whether every run is one at each rate of the grid (`schema.learning_rates`) in place of its own.
    """

    models: list[str] | None = None
    tasks: list[str] | None = None
    seeds: list[int] | None = None
    T: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    short: bool = False
    match: Match | None = None
    recipes: Path | None = None
    rates: bool = False

    @property
    def changed(self) -> dict[str, Any]:
        """What is asked for in place of the suite's own, by key; how it is computed is left out."""
        asked = ({} if self.T is None else {"T": self.T}) | self.options | self.settings
        return {key: value for key, value in asked.items() if key not in _RUNTIME_KEYS}


def suite_of(name: str | None, asked: SuiteOverrides) -> tuple[str, Suite]:
    """Return the suite to run and its name: a registered one, or an ad-hoc one of models and tasks.

    Raises:
        UserError: There is no such suite, tasks are named without models, or no run has a recipe in `recipes`.
    """
    called, suite = _named_suite(name, asked)
    if asked.recipes is None:
        return called, suite
    if asked.T is not None:
        raise UserError("--T and --recipes: recipes were tuned at the suite's own lengths; leave one out.")
    return called, with_recipes_only(suite, asked.recipes)


def _named_suite(name: str | None, asked: SuiteOverrides) -> tuple[str, Suite]:
    if name is None and asked.models is not None and asked.tasks is not None:
        made = Suite(
            summary="ad-hoc suite",
            tasks=[SuiteTask(task=task) for task in asked.tasks],
            models=asked.models,
            seeds=asked.seeds or [0],
            equal=_equal(asked.match or "units"),
        )
        return "ad-hoc suite", made
    if name is None and asked.tasks is not None:
        raise UserError("--task: name the models as well, with --model a,b.")
    suite = registry.suite(name or "quick")
    changed: dict[str, Any] = {}
    if asked.models is not None:
        named = {*asked.models, *map(base_of, asked.models)}
        of_models = {name: values for name, values in suite.model_overrides.items() if name in named}
        changed |= {"models": asked.models, "model_overrides": of_models}
    if asked.models is not None or asked.tasks is not None:
        groups = [suite.tasks] if asked.tasks is None else [_of_task(suite, task) for task in asked.tasks]
        changed["tasks"] = [task for group in groups for task in _narrowed(suite, group, asked.models)]
    if asked.seeds is not None:
        changed["seeds"] = asked.seeds
    if asked.match is not None:
        changed["equal"] = _equal(asked.match)
    return name or "quick", suite.model_copy(update=changed)


def _equal(match: Match) -> list[Shared]:
    return {"units": ["updates", "batch", "units"], "params": ["updates", "batch"], "recipe": []}[match]


def _of_task(suite: Suite, name: str) -> list[SuiteTask]:
    """Return the suite's own entries of a task; one that it does not have has the settings of all its runs alone."""
    return [task for task in suite.tasks if task.task == name] or [SuiteTask(task=name)]


def _narrowed(suite: Suite, tasks: list[SuiteTask], models: list[str] | None) -> list[SuiteTask]:
    """Return tasks with only these models: each where the suite runs it, any other on every one of the tasks."""
    if models is None:
        return tasks
    own = {model for task in tasks for model in task.models or suite.models}
    narrowed = []
    for task in tasks:
        here = [model for model in models if model not in own or model in (task.models or suite.models)]
        if here:
            narrowed.append(task.model_copy(update={"models": here}))
    return narrowed


def runs_of(suite: Suite, asked: SuiteOverrides, refused: dict[str, str] | None = None) -> list[Resolved]:
    """Return every run of a suite: seeds innermost, so that each row of the leaderboard fills early.

    Args:
        suite: The suite.
        asked: What the command line says on top of it.
        refused: Takes why a user's model is none, by the names of its runs, which are left out; by default that is an
            error, as it is where no other run is left.

    Raises:
        UserError: A run cannot be resolved, the suite has no short budget and it is asked for, or a learning rate is
            given along with the grid of them.
    """
    if asked.rates and "optim.lr" in asked.options | asked.settings:
        raise UserError("--rates runs a grid of learning rates: leave --lr and --set optim.lr out.")
    if asked.short and not suite.short_overrides:
        raise UserError(
            "--budget short: this suite has no `short_overrides`; leave it out or give --set train.steps=N."
        )
    if asked.recipes is not None or any(_is_own(task, model) for task, model in cells_of(suite)):
        resolved = _resolved(suite, asked, refused)
    else:
        decided = suite.model_dump(mode="json", exclude={"seeds"})
        question = ["runs", decided, asked.T, asked.options, asked.settings, asked.short, asked.match, asked.rates]
        plain = partial(_plain, suite, asked, refused)
        resolved = remembered(question, plain, _from_plain)
    by_hash = {run.spec.spec_hash(): run for run in resolved}
    return [run.seeded(seed) for run in by_hash.values() for seed in dict.fromkeys(suite.seeds)]


def _resolved(suite: Suite, asked: SuiteOverrides, refused: dict[str, str] | None) -> list[Resolved]:
    """Return what `runs_of` does, one run for all seeds."""
    from stablebench.execution.equal_parameters import parameters_at, width_for
    from stablebench.specs.resolve import resolve

    runs: list[Resolved] = []
    last: ContractError | None = None
    width_asked = "model.hidden" in asked.settings | asked.options
    sizes = {id(task): None if width_asked else task.match_parameters for task in suite.tasks}
    for task, model in cells_of(suite):
        request = request_for(suite, task, model, asked)
        try:
            if sizes[id(task)] is None and asked.match == "params":
                first, given = resolve(request), request.settings | request.options | request.arguments
                width = first.spec.model.hidden if "model.hidden" in given else first.card.protocol.hidden
                sizes[id(task)] = parameters_at(first, width)
            if (wanted := sizes[id(task)]) is not None and "model.hidden" not in request.arguments:
                width = width_for(resolve(request), wanted)
                others = {key: value for key, value in request.options.items() if key != "model.hidden"}
                request = replace(request, options=others, settings=request.settings | {"model.hidden": width})
            run = resolve(request)
            runs += [resolve(at_rate) for at_rate in _at_rates(request, run)] if asked.rates else [run]
        except ContractError as error:
            if refused is None:
                raise
            last = error
            label = label_of(model)
            refused |= {f"{label} on {task.task} seed {seed}": str(error) for seed in suite.seeds}
    if last is not None and not runs:
        raise last
    return runs


def _at_rates(request: RunRequest, run: Resolved) -> list[RunRequest]:
    """Return the request at each learning rate of the grid; rates of parameter groups keep their ratio to it."""
    groups = {name: group.lr for name, group in run.spec.optim.groups.items() if group.lr is not None}
    requests = []
    for rate in RATES:
        settings = {"optim.lr": rate}
        ratio = rate / run.spec.optim.lr
        settings |= {f"optim.groups.{name}.lr": float(f"{lr * ratio:.4g}") for name, lr in groups.items()}
        requests.append(replace(request, settings=request.settings | settings))
    return requests


def request_for(suite: Suite, task: SuiteTask, model: str, asked: SuiteOverrides) -> RunRequest:
    """Return what a suite asks for of a model on one of its tasks; its width where parameters are equal comes later."""
    settings = _with_budget(settings_of(suite, task, model, asked.short), asked.settings, asked.options)
    settings = _evaluated_often(settings, asked) if "updates" in suite.equal else settings
    request = RunRequest(model, task.task, T=asked.T or task.T, options=asked.options, settings=settings)
    if asked.recipes is None:
        return request
    return replace(request, recipe=tuned_recipe(asked.recipes, task, model), registered=False)


def _plain(suite: Suite, asked: SuiteOverrides, refused: dict[str, str] | None) -> list[Any]:
    """Return what `_resolved` does, of registered models, as plain values."""
    return [[run.spec.model_dump(mode="json"), run.origin, run.called] for run in _resolved(suite, asked, refused)]


def _is_own(task: SuiteTask, model: str) -> bool:
    """Return whether a model or a task is code or data of the user's own, of which no answer is remembered."""
    return ":" in model or registry.task_parts(task.task)[2]


def _from_plain(runs: list[Any]) -> list[Resolved]:
    """Return what `_plain` made of runs.

    Raises:
        ValueError: It is something else.
    """
    resolved = []
    for document, origin, called in runs:
        spec = RunSpec.model_validate_json(json.dumps(document))  # tuples are lists in plain values
        if not isinstance(origin, dict) or not isinstance(called, str | None):
            raise ValueError("`origin` must be values by key, `called` a text")
        resolved.append(Resolved(spec, registry.task_card(spec.task.name), origin, called=called))
    if not resolved:
        raise ValueError("there must be runs")
    return resolved


def settings_of(suite: Suite, task: SuiteTask, model: str, short: bool = False) -> dict[str, Any]:
    """Return what a suite sets for a model on one of its tasks, by key of the run spec.

    Args:
        suite: The suite.
        task: The task.
        model: The model.
        short: Whether its short budget is meant.
    """
    of_model = suite.model_overrides.get(base_of(model), {}) | suite.model_overrides.get(model, {})
    own = suite.overrides | task.overrides | of_model
    own = _with_budget(own, suite.short_overrides if short else {})
    return {"threads": suite.threads} | _with_budget(_shared(suite, task), own)


def _shared(suite: Suite, task: SuiteTask) -> dict[str, Any]:
    """Return what all runs of a task share, as the task card has it."""
    if not suite.equal:
        return {}
    from stablebench.specs.own_task import card_named

    protocol = card_named(task.task)[0].protocol
    shared = {"train.batch_size": protocol.batch_size} if "batch" in suite.equal else {}
    shared |= {"model.hidden": protocol.hidden} if "units" in suite.equal and task.match_parameters is None else {}
    if "updates" in suite.equal:
        shared |= {"train.steps": protocol.steps, "train.eval_every": protocol.eval_every}
    return shared


def _evaluated_often(settings: dict[str, Any], asked: SuiteOverrides) -> dict[str, Any]:
    """Return settings under which a smaller budget that was asked for is evaluated as often as a usual one."""
    steps = (asked.settings | asked.options).get("train.steps")
    interval = settings.get("train.eval_every")
    if "train.eval_every" in asked.settings or not isinstance(steps, int) or not isinstance(interval, int):
        return settings
    return settings | {"train.eval_every": max(1, min(interval, steps // _LEAST_EVALUATIONS))}


def _with_budget(
    settings: dict[str, Any], more: dict[str, Any], options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return settings with more laid over them; a budget in steps takes the place of one in epochs, and the reverse."""
    given = more | (options or {})
    gone = {"train.epochs"} if "train.steps" in given else {"train.steps"} if "train.epochs" in given else set()
    return {key: value for key, value in settings.items() if key not in gone} | more
