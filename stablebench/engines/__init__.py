"""Engines run a recurrent model's chain over time. `reference` defines the model, the others compute the same."""

import logging
from typing import TYPE_CHECKING

from stablebench.engines import reference
from stablebench.errors import UserError, unknown_name

if TYPE_CHECKING:
    import torch

    from stablebench.models.network import EngineRun, Network

_log = logging.getLogger(__name__)


def choose(name: str, network: "Network", device: "torch.device") -> "tuple[EngineRun, str]":
    """Return the engine that runs `network` on `device`, and its name.

    Args:
        name: `reference`, `fused`, or `auto` for the fastest that can run every layer: fused on a CPU with a C
            compiler, else reference. Why it is not fused is logged.
        network: Its layers, already on `device`.
        device: Where they run.

    Raises:
        UserError: There is no such engine, or `fused` cannot run a layer.
    """
    if name not in ("auto", "reference", "fused"):
        raise unknown_name("engine", name, ["auto", "reference", "fused"])
    if name == "reference":
        return reference.run, "reference"
    from stablebench.engines import fused

    reason = _why_not_fused(network, device)
    if reason is not None and name == "fused":
        raise UserError(f"--engine fused cannot run this model: {reason}. Take --engine reference, or auto.")
    if reason is None and name == "auto":
        reason = fused.why_slow(device)
    if reason is not None:
        _log.info("The reference engine runs this model: %s", reason)
        return reference.run, "reference"
    return fused.run, "fused"


def _why_not_fused(network: "Network", device: "torch.device") -> str | None:
    from stablebench.engines.fused import why_not

    for i, layer in enumerate(network.recurrent_layers):
        reason = why_not(layer, device, inputs_need_gradient=i > 0)
        if reason is not None:
            return f"layer {i + 1} ({type(layer).__name__}): {reason}"
    return None
