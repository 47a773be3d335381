"""What happens to runs while they execute, wherever that is: they begin, go on and end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stablebench.runs.progress import Progress


@dataclass(frozen=True)
class RunEnd:
    """How a run ended.

    Args:
        index: Which run.
        status: `finished`, `diverged`, `interrupted` or `failed`.
        message: Why it failed, else what it scored.
        died: Whether its process ended without reporting this.
    """

    index: int
    status: str
    message: str
    died: bool = False


def _nothing(*_: Any) -> None:
    pass


@dataclass(frozen=True)
class RunCallbacks:
    """Functions that are called while runs execute.

    Args:
        on_start: Called with the index of a run that begins.
        on_update: Called with an index and the run's progress, or a note about it.
        on_end: Called with how a run ended.
    """

    on_start: Callable[[int], None] = _nothing
    on_update: Callable[[int, Progress | str], None] = _nothing
    on_end: Callable[[RunEnd], None] = _nothing
