"""An engine that was chosen, and why it is not a faster one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """An engine.

    Args:
        run: Runs a layer's chain (`EngineRun`), or a deep model's layers (`EngineRunLayers`).
        name: What the record calls it: `reference`, `scan`, `fused`, or `fused-torch` for the fused engine in torch
            calls.
        note: Why it is not a faster one, or None.
        backend: What computes, as the record says it: `native C`, `Triton`, `torch calls`; None for the
            engine's name.
    """

    run: Callable[..., Any]
    name: str
    note: str | None = None
    backend: str | None = None
