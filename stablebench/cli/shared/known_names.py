"""Names that a command is given, checked before torch is imported, which takes seconds."""

from collections.abc import Iterable
from pathlib import Path

from stablebench.errors import UserError, unknown_name


def check_names(models: Iterable[str] | None = None, tasks: Iterable[str] | None = None) -> None:
    """Refuse names of models and tasks that there are none of.

    Args:
        models: Names; code of a user's own is left to be checked when it is loaded.
        tasks: `task` or `task/variant`.

    Raises:
        UserError: There is no such model, task or variant.
    """
    from stablebench import registry
    from stablebench.models import registry as model_registry
    from stablebench.schema.model_name import base_of

    for model in map(base_of, models or ()):
        if ":" not in model and not model.endswith(".py") and model not in model_registry.model_names():
            raise unknown_name("model", model, model_registry.model_names())
    for task in tasks or ():
        name, variant, is_file = registry.task_parts(task)
        if is_file:
            if not Path(name).is_file():
                raise UserError(f"--task {name}: there is no such file; `stablebench new task NAME` writes a card.")
            continue
        if name.endswith(".py"):
            raise UserError(
                f"--task {name}: a task is named by its card: a file my_task.yaml with the line `generator: "
                f"{Path(name).name}:generate`; `stablebench new task NAME` writes both."
            )
        if name not in registry.task_names():
            raise unknown_name("task", name, registry.task_names())
        if variant and variant not in (card := registry.task_card(name)).variants:
            raise card.unknown_variant(variant)
