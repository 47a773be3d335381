"""Engines run a model's chain over time or layers. `reference` defines the model, the others compute the same."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from stablebench.engines import reference
from stablebench.errors import UserError, unknown_name
from stablebench.schema.run_spec import Engine

if TYPE_CHECKING:
    import torch

    from stablebench.models.deep_network import DeepNetwork
    from stablebench.models.network import Network


@dataclass(frozen=True)
class Choice:
    """An engine.

    Args:
        run: Runs a layer's chain (`EngineRun`), or a deep model's layers (`EngineRunLayers`).
        name: What the record calls it: `reference`, `scan`, `fused`, or `fused-torch` for the fused engine in torch
            calls.
        note: Why it is not a faster one, or None.
    """

    run: Callable[..., Any]
    name: str
    note: str | None = None


def choose(name: str, network: "Network | DeepNetwork", device: "torch.device") -> Choice:
    """Return the engine that runs `network` on `device`.

    Args:
        name: `reference`, `scan`, `fused`, or `auto` for the fastest that is known to run every layer: fused on a CPU
            with a C compiler; scan for linear recurrences elsewhere, and where fused cannot run them; else
            reference.
        network: Its layers, already on `device`.
        device: Where they run.

    Raises:
        UserError: There is no such engine, or `scan` or `fused` cannot run a layer.
    """
    if name not in get_args(Engine):
        raise unknown_name("engine", name, list(get_args(Engine)))
    from stablebench.models.deep_network import DeepNetwork

    if isinstance(network, DeepNetwork):
        from stablebench.engines.layers import choose_for_layers

        return choose_for_layers(name, network, device)
    if name == "reference":
        return Choice(reference.run, "reference")
    if name == "scan":
        return _scan(network)
    if name == "fused":
        return _fused(network, device)
    return _fastest(network, device)


def _scan(network: "Network") -> Choice:
    from stablebench.engines import scan

    reason = _why_not_scan(network)
    if reason is not None:
        raise UserError(f"--engine scan cannot run this model: {reason}. Take --engine fused, reference, or auto.")
    return Choice(scan.run, "scan")


def _fused(network: "Network", device: "torch.device") -> Choice:
    from stablebench.engines import fused

    reason = _why_not_fused(network, device)
    if reason is not None:
        raise UserError(f"--engine fused cannot run this model: {reason}. Take --engine reference, or auto.")
    reason = fused.why_torch_calls(device, network.head.weight.dtype)
    if reason is None:
        return Choice(fused.run, "fused")
    return Choice(fused.run, "fused-torch", f"the fused engine makes torch calls: {reason}")


def _fastest(network: "Network", device: "torch.device") -> Choice:
    from stablebench.engines import fused, scan

    linear = _why_not_scan(network) is None
    if linear and device.type == "cuda":  # a dozen calls for a sequence, where the loop makes several for a step
        return Choice(scan.run, "scan")
    reason = _why_not_fused(network, device) or fused.why_torch_calls(device, network.head.weight.dtype)
    if reason is None and device.type == "cuda":
        reason = "the fused engine has not been measured on CUDA yet (--engine fused takes it)"
    if reason is None:  # on a CPU 5 to 10 times faster than a scan, which there is about as fast as the loop
        return Choice(fused.run, "fused")
    if linear:
        return Choice(scan.run, "scan", f"the scan engine runs this model: {reason}")
    return Choice(reference.run, "reference", f"the reference engine runs this model: {reason}")


def _why_not_scan(network: "Network") -> str | None:
    from stablebench.engines.scan import why_not

    for i, layer in enumerate(network.recurrent_layers):
        reason = why_not(layer)
        if reason is not None:
            return f"layer {i + 1} ({type(layer).__name__}): {reason}"
    return None


def _why_not_fused(network: "Network", device: "torch.device") -> str | None:
    from stablebench.engines.fused import why_not

    for i, layer in enumerate(network.recurrent_layers):
        reason = why_not(layer, device, inputs_need_gradient=i > 0)
        if reason is not None:
            return f"layer {i + 1} ({type(layer).__name__}): {reason}"
    return None
