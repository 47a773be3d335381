"""What a card's examples come from: a module of `stablebench.data.tasks`, or code or data of the user's own."""

import importlib
from typing import Any

from stablebench.errors import UserError
from stablebench.schema.card import TaskCard

own_sources: dict[str, Any] = {}
"""Users' own sources that are loaded in this process, by the digests of their cards."""


def source_module(card: TaskCard) -> Any:
    """Return what has the function that a card's `data` names, and `sizes`.

    Raises:
        UserError: There is no such module, it is no such source, or it is the user's own and was not loaded.
    """
    if card.source is not None:
        if card.source not in own_sources:
            raise UserError(f"task {card.task}: this card is one of your own and was not loaded; name it with --task.")
        return own_sources[card.source]
    try:
        module = importlib.import_module(f"stablebench.data.tasks.{card.data.module}")
    except ModuleNotFoundError as error:
        raise UserError(f"task {card.task}: `data` must name a module of stablebench.data ({error}).") from None
    needed = (card.data.function, "sizes")
    missing = [name for name in needed if not hasattr(module, name)]
    if missing:
        raise UserError(
            f"task {card.task}: stablebench.data.tasks.{card.data.module} must have `{'`, `'.join(missing)}`."
        )
    return module
