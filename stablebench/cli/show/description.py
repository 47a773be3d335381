"""What `show` prints of a thing, of whatever kind."""

from dataclasses import dataclass
from typing import Any

from stablebench.tables import Table

WRAPPED_COLUMNS = frozenset(
    {"why", "differs", "source", "where", "note", "what", "result", "search", "values", "origin"}
)


@dataclass(frozen=True)
class Description:
    """A thing in full.

    Args:
        document: For `--json`.
        text: Lines for readers.
        tables: Tables below them; those without rows are not printed.
        wraps: Whether long lines of the text may be broken; equations stay as they are.
    """

    document: dict[str, Any]
    text: str
    tables: list[Table]
    wraps: bool = True
