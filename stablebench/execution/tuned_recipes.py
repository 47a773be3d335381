"""Where `tune` puts the recipes of a suite, `FOLDER/<task>/<model>.yaml`, and which of its runs have one.

Next to each lie the trials, `<model>.trials.json`: a recipe without them says that it was tuned, and nothing shows it.
"""

from pathlib import Path

from stablebench import registry
from stablebench.errors import UserError
from stablebench.schema.dotted import dotted
from stablebench.schema.model_name import base_of
from stablebench.schema.optim import OptimSpec
from stablebench.schema.recipe import Recipe
from stablebench.schema.strict import load
from stablebench.schema.suite import Suite, SuiteTask
from stablebench.schema.tuned_search import TunedSearch, read_search


def task_folder(task: SuiteTask) -> str:
    """Return the folder of a task of a suite: `copy-t100`, `selective_copy-T32`."""
    return registry.task_label(task.task) + (f"-T{task.T}" if task.T is not None else "")


def tuned_recipe(folder: Path, task: SuiteTask, model: str) -> Path:
    """Return the file of a model's recipe on a task; it need not exist."""
    return folder / task_folder(task) / f"{base_of(model).rpartition(':')[2]}.yaml"


def cells_of(suite: Suite) -> list[tuple[SuiteTask, str]]:
    """Return the tasks and models of a suite, in its order."""
    return [(task, model) for task in suite.tasks for model in task.models or suite.models]


def read_tuned(path: Path, model: str) -> tuple[Recipe, TunedSearch]:
    """Read a recipe that `tune` wrote, and the search that it is of.

    Args:
        path: The recipe; its trials lie next to it.
        model: Whose it must be, as the suite names it.

    Raises:
        UserError: A file is missing, cannot be read or is not of `tune`; the recipe is another model's, or the trials
            are not those that it counts, of another model or task, or chose other values than it has.
    """
    recipe, trials_path = load(path, Recipe), path.with_suffix(".trials.json")
    if base_of(recipe.model).rpartition(":")[2] != base_of(model).rpartition(":")[2]:
        raise UserError(f"{path}: this recipe is for the model {recipe.model}, not {model}.")
    if not trials_path.is_file():
        raise UserError(f"{path}: there is no {trials_path.name} next to it, so that nothing shows how it was tuned.")
    search = read_search(trials_path)
    if recipe.trials != len(search.trials):
        raise UserError(f"{path}: it counts {recipe.trials} trials, and {trials_path.name} has {len(search.trials)}.")
    whose, task = (search.model, recipe.model), (search.task, path.parent.name)
    for theirs, ours in (whose, task):
        if theirs != ours:
            raise UserError(f"{path}: {trials_path.name} next to it has the trials of {theirs}, not of {ours}.")
    if other := _not_as_chosen(recipe, search):
        raise UserError(f"{path}: {other}; the trial that {trials_path.name} says was chosen has another value.")
    return recipe, search


def _not_as_chosen(recipe: Recipe, search: TunedSearch) -> str | None:
    """Return the first searched value of a recipe that is not its chosen trial's.

    Arguments of a model that a recipe leaves out are defaults, which it does not know.
    """
    tried = next((trial.get("values") for trial in search.trials if trial.get("number") == search.chosen), None)
    if not isinstance(tried, dict) or tried.keys() != recipe.space.keys():
        return "its space is not what the trial was drawn from"
    optim = OptimSpec.model_validate(recipe.optim).model_dump() | recipe.optim  # what is left out is its default
    said = dotted({"model": recipe.params, "optim": optim, "train": recipe.train.model_dump(exclude_none=True)})
    said |= {"model.hidden": recipe.hidden, "model.layers": recipe.layers}
    return next((f"{key} {said[key]}" for key, value in tried.items() if key in said and said[key] != value), None)


def with_recipes_only(suite: Suite, folder: Path) -> Suite:
    """Return a suite without the models, on each task, that have no recipe in a folder.

    Raises:
        UserError: None is left; or a recipe is another model's, or not what its trials came to.
    """
    tasks = []
    for task in suite.tasks:
        models = [model for model in task.models or suite.models if tuned_recipe(folder, task, model).is_file()]
        for model in models:
            read_tuned(tuned_recipe(folder, task, model), model)
        tasks += [task.model_copy(update={"models": models})] if models else []
    if not tasks:
        example = tuned_recipe(folder, *cells_of(suite)[0])
        raise UserError(f"--recipes {folder}: it has no recipe of this suite, such as {example}; `tune` writes them.")
    return suite.model_copy(update={"tasks": tasks})
