"""Engines run a recurrent model's chain over time. `reference` defines the model, the others compute the same."""

from typing import TYPE_CHECKING, Any

from stablebench.engines import reference
from stablebench.errors import UserError

if TYPE_CHECKING:
    import torch

    from stablebench.models.network import EngineRun


def choose(name: str, network: Any, device: "torch.device") -> "tuple[EngineRun, str]":
    """Return the engine that runs `network` on `device`, and its name.

    Raises:
        UserError: An engine was asked for that is not there.
    """
    if name not in ("auto", "reference"):
        raise UserError(f"--engine {name}: this engine is not in this version; use --engine reference or auto.")
    return reference.run, "reference"
