"""Values as text."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def format_value(value: Any) -> str:
    """Return a value as a YAML file would have it."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def format_values(values: Mapping[str, Any]) -> str:
    """Return keys and values in one line."""
    return ", ".join(f"{key} {format_value(value)}" for key, value in values.items())


def counted(n: int, what: str) -> str:
    """Return a number with its noun: `1 run`, `2 runs`."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return names in a line, and a count of those beyond `most`."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
