"""Engines run a recurrent model's chain over time. `reference` defines the model, the others compute the same."""

from typing import TYPE_CHECKING, Any

from stablebench.engines import reference
from stablebench.errors import UserError, unknown_name

if TYPE_CHECKING:
    import torch

    from stablebench.models.network import EngineRun, Network


def choose(name: str, network: Any, device: "torch.device") -> "tuple[EngineRun, str]":
    """Return the engine that runs `network` on `device`, and its name."""
    return reference.run, "reference"
