"""A recipe in full: its variants, who tuned it and what came of it."""

from typing import Any

from stablebench import registry
from stablebench.cli.shared.text import format_values
from stablebench.cli.show.description import WRAPPED_COLUMNS, Description
from stablebench.errors import unknown_name
from stablebench.schema.recipe import Recipe, RecipeVariant
from stablebench.tables import Table


def describe(name: str) -> Description:
    """Return what a recipe says for each of its variants, who tuned it and whether it has been run."""
    if name not in registry.recipe_names():
        raise unknown_name("recipe", name, registry.recipe_names())
    task_name, _, model_name = name.partition("/")
    recipe = registry.recipe(task_name, model_name)
    assert recipe is not None  # its file is there
    parts = [_resolved_part(recipe, part) for part in (recipe, *recipe.variants)]
    text = f"{name}: tuned by {'the paper' if recipe.tuned_by == 'paper' else 'us'}\n{recipe.source}"
    if recipe.search:
        text += f"\nSearch: {recipe.search}"
    rows = [
        [p["when"] or "(default)", p["hidden"], p["layers"], format_values(p["values"]), p["tuned_by"], p["result"]]
        for p in parts
    ]
    rows = [[*row[:-1], row[-1] or "not run yet"] for row in rows]
    table = Table(["made for", "hidden", "layers", "values", "tuned by", "result"], rows, wrap=WRAPPED_COLUMNS)
    document = {"name": name, **recipe.model_dump(mode="json"), "resolved": parts}
    return Description(document, text, [table])


def _resolved_part(whole: Recipe, part: Recipe | RecipeVariant) -> dict[str, Any]:
    budget = whole.train.model_dump(exclude_none=True)
    own = part.train.model_dump(exclude_none=True)
    if {"steps", "epochs"} & set(own):
        budget = {k: v for k, v in budget.items() if k not in ("steps", "epochs")}
    values = {
        **{f"model.{k}": v for k, v in (whole.params | part.params).items()},
        **{f"optim.{k}": v for k, v in whole.optim_of(part, {}).items()},
        **{f"train.{k}": v for k, v in (budget | own).items()},
    }
    return {
        "when": ", ".join(f"{k} {v}" for k, v in part.when.model_dump(exclude_none=True).items()),
        "hidden": part.hidden or whole.hidden,
        "layers": part.layers or whole.layers,
        "values": values,
        "tuned_by": part.tuned_by or whole.tuned_by,
        "reproduces": part.reproduces or whole.reproduces,
        "source": part.source or whole.source,
        "result": part.result,
    }
