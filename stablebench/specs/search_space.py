"""The space that a sweep searches: where it comes from, whether its values can be run, its points on a grid."""

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stablebench import registry
from stablebench.errors import UserError
from stablebench.models import registry as model_registry
from stablebench.schema.card import TaskCard
from stablebench.schema.recipe import OwnRecipe
from stablebench.schema.strict import lines_of, load
from stablebench.schema.sweep import Dimension, OwnSpace, Scalar, SweepSpace
from stablebench.specs.own_card import OwnCard
from stablebench.specs.own_task import card_named, own_recipes
from stablebench.specs.resolve import Resolved, RunRequest, resolve

ANY_TASK = "any_task"
"""A model's space for all tasks is the preset `model/any_task`."""
_SEARCHABLE = ("model", "optim", "train")
_ENDINGS = (".yaml", ".yml")
_DIGITS = 4
"""Significant digits of a drawn value: what a recipe says is what was run."""


def find_space(name: str | None, model: str, task: str, recipe: Path | None = None) -> tuple[str, SweepSpace]:
    """Return a space and what it is called.

    Args:
        name: A preset's name or a file; None for the space that a recipe states, else the preset
            `model/task`, else the model's for any task.
        model: The model whose values are searched.
        task: The task; a variant of it has the same space.
        recipe: A recipe file whose space comes before that of the registered recipe.

    Raises:
        UserError: There is no such model, task or space, it has problems, or it is made for another model or task.
    """
    model_registry.model_entry(model)
    card, _ = card_named(task)
    task = card.task
    if name is None:
        label, space = _stated(model, card, recipe)
    elif name.endswith(_ENDINGS):
        label, space = name, load(Path(name), OwnSpace)
    else:
        label, space = name, registry.sweep(name)
    for what, wanted, given in (("model", space.model, model), ("task", space.task, task)):
        if wanted is not None and wanted != given:
            raise UserError(f"--space {label}: it is made for the {what} {wanted}, not {given}.")
    return label, space


def _stated(model: str, card: TaskCard, recipe: Path | None) -> tuple[str, SweepSpace]:
    own, task = load(recipe, OwnRecipe) if recipe is not None else None, card.task
    if isinstance(card, OwnCard):
        registered = next((recipe for recipe, _ in own_recipes(card, model)), None)
    else:
        registered = None if ":" in model else registry.recipe(task, model)
    for known, label in ((own, f"--recipe {recipe}"), (registered, f"recipe {task}/{model}")):
        if known is not None and known.space:
            summary = f"the space that the {label.removeprefix('--')} states"
            return label, SweepSpace(summary=summary, source=label, model=model, task=task, space=known.space)
    presets = registry.sweep_names()
    for preset in (f"{model}/{task}", f"{model}/{ANY_TASK}"):
        if preset in presets:
            return preset, registry.sweep(preset)
    raise UserError(
        f"--space: no recipe of {model} on {task} states a `space`, and there is no preset {model}/{ANY_TASK}; name a "
        "file, or a preset (`stablebench list sweeps` shows them)."
    )


def check_space(space: SweepSpace, request: RunRequest) -> None:
    """Check a space together with what it is laid over.

    Args:
        space: The space.
        request: What the user asks for next to it.

    Raises:
        UserError: A key cannot be searched or is given as well, or a value at an end of the space cannot be run.
    """
    problems = space_problems(space, request)
    if problems:
        lines = (f"{key}: {text}" if value is None else f"{key} {value}: {text}" for key, value, text in problems)
        raise UserError("\n".join(dict.fromkeys(lines)))


def space_problems(space: SweepSpace, request: RunRequest) -> list[tuple[str, Scalar, str]]:
    """Return what `check_space` refuses: the key, the value at an end of the space or None, and what is wrong."""
    names = ", ".join(f"{group}.NAME" for group in _SEARCHABLE)
    problems: list[tuple[str, Scalar, str]] = [
        (key, None, f"only {names} can be searched: scores of different tasks or seeds do not compare.")
        for key in space.space
        if key.partition(".")[0] not in _SEARCHABLE or not key.partition(".")[2]
    ]
    given = {"--set": request.settings, "option": request.options, "--model": request.arguments}
    problems += [
        (key, None, f"it is searched and also given ({where}); leave it out of one.")
        for where, values in given.items()
        for key in sorted(space.space.keys() & values.keys())
    ]
    if problems:
        return problems
    for key, dimension in space.space.items():
        for value in dimension.corners():
            try:
                resolved_with(request, space, {key: value})
            except UserError as error:
                problems += [(key, value, line) for line in lines_of(error)]
    return problems


def resolved_with(request: RunRequest, space: SweepSpace, values: Mapping[str, Any]) -> Resolved:
    """Return the run of one trial: it has the space's fixed values, then the user's, then the searched ones.

    Raises:
        UserError: It cannot be resolved.
    """
    return resolve(replace(request, settings={**space.overrides, **request.settings, **values}))


def grid(space: SweepSpace, seed: int) -> list[dict[str, Scalar]]:
    """Return every point of the grid, in an order drawn from the seed, so that the first N are a fair sample.

    Raises:
        UserError: A range does not say how many points it has.
    """
    without = [key for key, dimension in space.space.items() if dimension.choices is None and dimension.points is None]
    if without:
        raise UserError(
            f"--sampler grid: {', '.join(without)} must have `choices` or `points`; or take --sampler random or tpe."
        )
    axes = [_points(dimension) for dimension in space.space.values()]
    points = [dict(zip(space.space, values, strict=True)) for values in itertools.product(*axes)]
    random.Random(seed).shuffle(points)
    return points


def _points(dimension: Dimension) -> list[Scalar]:
    if dimension.choices is not None:
        return dimension.choices
    low, high, count = dimension.low, dimension.high, dimension.points
    assert low is not None and high is not None and count is not None  # the schema and `grid` hold this
    shares = [i / (count - 1) for i in range(count)]
    values = [low + share * (high - low) for share in shares]
    if dimension.log:
        values = [math.exp(math.log(low) + share * math.log(high / low)) for share in shares]
    return list(dict.fromkeys(rounded(dimension, value) for value in values))


def rounded(dimension: Dimension, value: Scalar) -> Scalar:
    """Return a drawn value as it is run and written down: a whole number, or one of four digits inside the range."""
    if dimension.choices is not None or dimension.low is None or dimension.high is None:
        return value
    assert isinstance(value, int | float)  # of a range
    if dimension.integer:
        return round(value)
    return min(max(float(f"{value:.{_DIGITS}g}"), dimension.low), dimension.high)


def describe(space: dict[str, Dimension]) -> str:
    """Return a space in one line: `optim.lr 0.0001 to 0.1 (log); model.rho 1, 2, 3`."""
    parts = []
    for key, dimension in space.items():
        if dimension.choices is not None:
            parts.append(f"{key} {', '.join(map(str, dimension.choices))}")
        else:
            kinds = [kind for kind in ("log", "integer") if getattr(dimension, kind)]
            kinds += [f"{dimension.points} points"] if dimension.points else []
            ends = f"{dimension.low:g} to {dimension.high:g}"
            parts.append(f"{key} {ends}" + (f" ({', '.join(kinds)})" if kinds else ""))
    return "; ".join(parts)
