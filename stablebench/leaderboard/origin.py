"""Where the hyper-parameters of a row come from: a paper, a search of so many trials, or the task card's defaults."""

import re
from collections.abc import Callable

from stablebench import registry
from stablebench.errors import UserError
from stablebench.schema.leaderboard import RecipeOrigin
from stablebench.schema.recipe import Recipe, RecipeVariant
from stablebench.schema.run_record import RunRecord
from stablebench.specs.tuned_values import TUNED

Recipes = Callable[[str, str], Recipe | None]

_FROM = re.compile(r"recipe ([^,]+?)/([^,]+?)(?:, its variant (.+?))?(?:, \d+ epochs)?$")
_NO_HYPERPARAMETERS = ("model.name", "model.hidden", "model.layers")
"""What an option gives that is no departure from a recipe: the width and depth have columns of their own."""


def registered_recipe(task: str, model: str) -> Recipe | None:
    """Return a registered recipe, None where there is none or it cannot be read."""
    try:
        return registry.recipe(task, model)
    except UserError:
        return None


def recipe_origin(record: RunRecord, recipes: Recipes = registered_recipe) -> RecipeOrigin:
    """Return where a run's optimiser and its model's arguments come from.

    Args:
        record: The run; its field `origin` says which part of which recipe gave each value.
        recipes: The recipes, for the number of their trials and what their recorded result reached.
    """
    decided = {key: where for key, where in record.origin.items() if key.startswith(("optim.", "model."))}
    changed = sorted(
        key
        for key, where in decided.items()
        if where in ("option", "--set", "--model") and key not in _NO_HYPERPARAMETERS
    )
    for where in (where for where in decided.values() if where.startswith("--recipe ")):
        tuned = TUNED.match(where)
        if tuned is None:
            return RecipeOrigin(source="own", changed=changed)
        departures = (tuned["departures"] or "").split()
        return RecipeOrigin(source="tuned", trials=int(tuned["trials"]), changed=changed, departures=departures)
    for where in dict.fromkeys(sorted(decided.values(), key=len, reverse=True)):  # a variant before its recipe
        match = _FROM.match(where)
        if match is not None:
            recipe = recipes(match[1], match[2])
            return _of_part(recipe, match[3], changed)
    return RecipeOrigin(source="card", changed=changed)


def _of_part(recipe: Recipe | None, when: str | None, changed: list[str]) -> RecipeOrigin:
    """Return what a recipe, or its variant that was made for `when`, says of itself."""
    if recipe is None:
        return RecipeOrigin(source="recipe", changed=changed)
    parts: list[Recipe | RecipeVariant] = [part for part in recipe.variants if part.when.in_words() == when]
    part = (parts or [recipe])[0]
    source = part.tuned_by or recipe.tuned_by
    trials = part.trials if part.tuned_by is not None or part.trials is not None else recipe.trials
    return RecipeOrigin(
        source="paper" if source == "paper" else "tuned", trials=trials, outcome=part.outcome, changed=changed
    )


def format_origin(origin: RecipeOrigin | None) -> str:
    """Return where hyper-parameters come from, in a few words."""
    if origin is None:
        return ""
    trials = "" if origin.trials is None else f" ({origin.trials} trial{'' if origin.trials == 1 else 's'})"
    words = {
        "paper": "paper",
        "tuned": f"tuned{trials}" if origin.trials != 0 else "not tuned",
        "card": "card default",
        "own": "own recipe",
        "recipe": "recipe",
    }[origin.source]
    if origin.departures:
        return f"{words}, other {', '.join(key.partition('.')[2] for key in origin.departures)}"
    return f"{words}, {len(origin.changed)} set" if origin.changed else words
