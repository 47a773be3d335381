"""Engines run a recurrent model's chain over time. `reference` defines the model, the others compute the same."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stablebench.engines import reference
from stablebench.errors import UserError, unknown_name

if TYPE_CHECKING:
    import torch

    from stablebench.models.network import EngineRun, Network


@dataclass(frozen=True)
class Choice:
    """An engine.

    Args:
        run: Runs a layer's chain.
        name: What the record calls it: `reference`, `fused`, or `fused-torch` for the fused engine in torch calls.
        note: Why it is not a faster one, or None.
    """

    run: "EngineRun"
    name: str
    note: str | None = None


def choose(name: str, network: "Network", device: "torch.device") -> Choice:
    """Return the engine that runs `network` on `device`.

    Args:
        name: `reference`, `fused`, or `auto` for the fastest that is known to run every layer: fused on a CPU with a
            C compiler, else reference.
        network: Its layers, already on `device`.
        device: Where they run.

    Raises:
        UserError: There is no such engine, or `fused` cannot run a layer.
    """
    if name not in ("auto", "reference", "fused"):
        raise unknown_name("engine", name, ["auto", "reference", "fused"])
    if name == "reference":
        return Choice(reference.run, "reference")
    from stablebench.engines import fused

    reason = _why_not_fused(network, device)
    if reason is not None and name == "fused":
        raise UserError(f"--engine fused cannot run this model: {reason}. Take --engine reference, or auto.")
    reason = reason or fused.why_torch_calls(device, network.head.weight.dtype)
    if name == "fused":
        if reason is None:
            return Choice(fused.run, "fused")
        return Choice(fused.run, "fused-torch", f"the fused engine makes torch calls: {reason}")
    if reason is None and device.type == "cuda":
        reason = "the fused engine has not been measured on CUDA yet (--engine fused takes it)"
    if reason is None:
        return Choice(fused.run, "fused")
    return Choice(reference.run, "reference", f"the reference engine runs this model: {reason}")


def _why_not_fused(network: "Network", device: "torch.device") -> str | None:
    from stablebench.engines.fused import why_not

    for i, layer in enumerate(network.recurrent_layers):
        reason = why_not(layer, device, inputs_need_gradient=i > 0)
        if reason is not None:
            return f"layer {i + 1} ({type(layer).__name__}): {reason}"
    return None
