"""What of a run is not as the search had it whose recipe it takes (`compare --recipes`)."""

import json
import re
from pathlib import Path
from typing import Any

from stablebench.models.registry import ModelEntry
from stablebench.schema.optim import OptimSpec
from stablebench.schema.recipe import Recipe
from stablebench.schema.run_spec import RunSpec
from stablebench.schema.tuned_search import read_search

TUNED = re.compile(r"^--recipe .*, (?P<trials>\d+) trials(?:, otherwise: (?P<departures>[^,]+))?(?:, its variant .*)?$")
"""The origin of a value of such a recipe, as a run's record has it."""


def departures_from(
    recipe: Recipe, spec: RunSpec, entry: ModelEntry, length: Any, task: tuple[dict[str, Any], dict[str, Any]]
) -> list[str]:
    """Return the keys of a run whose values are not those that the recipe's search had.

    Args:
        recipe: What `tune` wrote; what it leaves out is the default of the task, the model or the optimiser.
        spec: The run.
        entry: The run's model.
        length: The task's length; None where it has none.
        task: The task's other parameters, as the search had them and as they are here.
    """
    sizes = {
        "task.length": (recipe.when.length, length),
        "model.hidden": (recipe.hidden, spec.model.hidden),
        "model.layers": (recipe.layers, spec.model.layers),
        "train.steps": (recipe.train.steps, spec.train.steps),
        "train.batch_size": (recipe.train.batch_size, spec.train.batch_size),
    }
    differ = [key for key, (searched, here) in sizes.items() if searched is not None and searched != here]
    differ += _different("task", *task)
    searched = entry.cls.spec_arguments(entry.resolve(recipe.params))
    differ += _different("model", searched, spec.model.params)
    if not recipe.variants:
        optim = OptimSpec.model_validate(recipe.optim)
        differ += _different("optim", optim.model_dump(), spec.optim.model_dump())
    return differ


def with_departures(origin: dict[str, str], departures: list[str]) -> dict[str, str]:
    """Return origins of values, those from a recipe of `tune` with what is otherwise."""
    if not departures:
        return origin
    said = f" trials, otherwise: {' '.join(departures)}"
    return {
        key: re.sub(r" trials(?=$|, its variant)", said, where) if TUNED.match(where) else where
        for key, where in origin.items()
    }


def searched_task(recipe: Path, here: dict[str, Any], length: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a task's parameters as the search of a recipe had them, and as a run has them, without the length.

    Args:
        recipe: The recipe's file; where the trials next to it do not say the parameters, there are none.
        here: The run's.
        length: Name of the length, which recipes have themselves.

    Raises:
        UserError: The trials cannot be read.
    """
    trials = recipe.with_suffix(".trials.json")
    searched = read_search(trials).task_params if trials.is_file() else None
    if searched is None:
        return {}, {}
    as_read = json.loads(json.dumps(here))  # tuples are lists there
    without = [{key: value for key, value in params.items() if key != length} for params in (searched, as_read)]
    return without[0], without[1]


def _different(of: str, searched: dict[str, Any], here: dict[str, Any]) -> list[str]:
    return [f"{of}.{key}" for key in sorted({*searched, *here}) if searched.get(key) != here.get(key)]
