"""What `tune` writes next to a recipe, `MODEL.trials.json`: the search and every trial of it."""

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from stablebench.errors import UserError
from stablebench.schema.strict import Count, NonNegativeInt, Seed, Strict, Values, problems


class TunedSearch(Strict):
    """A search that has ended.

    Args:
        task: The folder of its task (`stablebench.execution.tuned_recipes.task_folder`).
        model: The model's label.
        metric: What trials were judged by, on validation examples.
        updates: Of a trial that was not pruned.
        seed: Of the sampler and every trial.
        chosen: Number of the trial that became the recipe.
        base: Hash of the run spec that trials were laid over; None in files of earlier versions.
        task_params: The task's parameters, which trials shared; None in files of earlier versions.
        trials: Number, values, status and what came of it, one a trial.
    """

    task: str
    model: str
    metric: str
    updates: Count
    seed: Seed
    chosen: NonNegativeInt
    base: str | None = None
    task_params: Values | None = None
    trials: Annotated[list[Values], Field(min_length=1)]


def read_search(path: Path) -> TunedSearch:
    """Read the file next to a recipe.

    Raises:
        UserError: It cannot be read, or is not a file of `tune`.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return TunedSearch.model_validate(document)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValidationError as error:
        raise UserError(f"{problems(error, TunedSearch, str(path))[0]} It is not a file of `tune`.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a file of `tune` ({type(error).__name__}: {error}).") from None
