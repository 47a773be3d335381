"""What can be wrong with a task card of the user's own: the card, its code, its data, every variant."""

from pathlib import Path
from typing import Any

from stablebench.data.task import resolve_params, sizes_of
from stablebench.errors import UserError
from stablebench.schema.yaml_file import Document
from stablebench.specs.own_card import data_of
from stablebench.specs.own_task import card_named


def is_own_card(content: Any) -> bool:
    """Return whether a card's examples come from a file of the user's, or a generator in one."""
    if not isinstance(content, dict):
        return False
    data = content.get("data")
    if "generator" in content or data is None or isinstance(data, str):
        return True
    return isinstance(data, dict) and ("file" in data or ".py" in str(data.get("generator")))


def problems_of_own_card(path: Path, document: Document, *, run: bool) -> list[str]:
    """Return one line per problem.

    Args:
        path: The card.
        document: Its content.
        run: Whether its code may be run; without it, only what it says of its examples is checked.
    """
    try:
        if not run:
            data_of(document, str(path))
            return []
        card, _ = card_named(str(path))
        for variant in (None, *card.variants):
            sizes_of(card, resolve_params(card, variant=variant))
        card.baseline(card.metric, resolve_params(card))
    except UserError as error:
        return [line if line.startswith(str(path)) else f"{path}: {line}" for line in str(error).splitlines()]
    return []
