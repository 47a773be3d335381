"""What of a run is not as the search had it whose recipe it takes (`compare --recipes`)."""

import re
from typing import Any

from stablebench.models.registry import ModelEntry
from stablebench.schema.optim import OptimSpec
from stablebench.schema.recipe import Recipe
from stablebench.schema.run_spec import RunSpec

TUNED = re.compile(r"^--recipe .*, (?P<trials>\d+) trials(?:, otherwise: (?P<departures>[^,]+))?(?:, its variant .*)?$")
"""The origin of a value of such a recipe, as a run's record has it."""


def departures_from(recipe: Recipe, spec: RunSpec, entry: ModelEntry, length: Any) -> list[str]:
    """Return the keys of a run whose values are not those that the recipe's search had.

    Args:
        recipe: What `tune` wrote; what it leaves out is the default of the task, the model or the optimiser.
        spec: The run.
        entry: The run's model.
        length: The task's length; None where it has none.
    """
    sizes = {
        "task.length": (recipe.when.length, length),
        "model.hidden": (recipe.hidden, spec.model.hidden),
        "model.layers": (recipe.layers, spec.model.layers),
        "train.steps": (recipe.train.steps, spec.train.steps),
        "train.batch_size": (recipe.train.batch_size, spec.train.batch_size),
    }
    differ = [key for key, (searched, here) in sizes.items() if searched is not None and searched != here]
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


def _different(of: str, searched: dict[str, Any], here: dict[str, Any]) -> list[str]:
    return [f"{of}.{key}" for key in sorted({*searched, *here}) if searched.get(key) != here.get(key)]
