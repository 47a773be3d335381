"""Where `tune` puts the recipes of a suite, `FOLDER/<task>/<model>.yaml`, and which of its runs have one."""

from pathlib import Path

from stablebench import registry
from stablebench.errors import UserError
from stablebench.schema.model_name import base_of
from stablebench.schema.suite import Suite, SuiteTask


def task_folder(task: SuiteTask) -> str:
    """Return the folder of a task of a suite: `copy-t100`, `selective_copy-T32`."""
    return registry.task_label(task.task) + (f"-T{task.T}" if task.T is not None else "")


def tuned_recipe(folder: Path, task: SuiteTask, model: str) -> Path:
    """Return the file of a model's recipe on a task; it need not exist."""
    return folder / task_folder(task) / f"{base_of(model).rpartition(':')[2]}.yaml"


def cells_of(suite: Suite) -> list[tuple[SuiteTask, str]]:
    """Return the tasks and models of a suite, in its order."""
    return [(task, model) for task in suite.tasks for model in task.models or suite.models]


def with_recipes_only(suite: Suite, folder: Path) -> Suite:
    """Return a suite without the models, on each task, that have no recipe in a folder.

    Raises:
        UserError: None is left.
    """
    tasks = []
    for task in suite.tasks:
        models = [model for model in task.models or suite.models if tuned_recipe(folder, task, model).is_file()]
        tasks += [task.model_copy(update={"models": models})] if models else []
    if not tasks:
        example = tuned_recipe(folder, *cells_of(suite)[0])
        raise UserError(f"--recipes {folder}: it has no recipe of this suite, such as {example}; `tune` writes them.")
    return suite.model_copy(update={"tasks": tasks})
