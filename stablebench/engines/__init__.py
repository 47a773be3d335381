"""Engines run a model's chain over time or layers. `reference` defines the model, the others compute the same."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from stablebench.engines.choice import Choice
from stablebench.errors import UserError, unknown_name
from stablebench.models import recurrent_model
from stablebench.schema.run_spec import Engine

if TYPE_CHECKING:
    import torch

    from stablebench.models.deep_network import DeepNetwork
    from stablebench.models.network import Network
__all__ = ["Choice", "choose"]


def choose(name: str, network: "Network | DeepNetwork", device: "torch.device") -> Choice:
    """Return the engine that runs `network` on `device`.

    Args:
        name: `reference`, `scan`, `fused`, or `auto` for the fastest that is known to run every layer: fused on a CPU
            with a C compiler that works; scan for linear recurrences elsewhere, and where fused cannot run them; else
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
        return Choice(recurrent_model.run_steps, "reference")
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
    from stablebench.engines.fused import engine as fused

    reason = _why_not_fused(network, device)
    if reason is not None:
        raise UserError(f"--engine fused cannot run this model: {reason}. Take --engine reference, or auto.")
    reason = fused.torch_calls_reason(device, network.head.weight.dtype)
    if reason is None:
        not_compiled = _why_not_compiled(network, device)
        if not not_compiled:
            return _compiled(fused.run, device)
        reason = "; ".join(f"{where}: {why}" for where, why in not_compiled.items())
        if device.type == "cuda" and len(not_compiled) < len(network.recurrent_layers):
            said = f"Triton, torch calls in {', '.join(not_compiled)}"
            run = partial(fused.run, torch_calls="if needed")
            return Choice(run, "fused", f"the fused engine makes torch calls: {reason}", said)
    return _torch_calls(fused.run, reason)


def _compiled(run: Callable[..., Any], device: "torch.device") -> Choice:
    return Choice(run, "fused", backend="Triton" if device.type == "cuda" else "native C")


def _torch_calls(run: Callable[..., Any], reason: str) -> Choice:
    note = f"the fused engine makes torch calls: {reason}"
    return Choice(partial(run, torch_calls="always"), "fused-torch", note, "torch calls")


def _fastest(network: "Network", device: "torch.device") -> Choice:
    from stablebench.engines import scan
    from stablebench.engines.fused import engine as fused

    linear = _why_not_scan(network) is None
    if linear and device.type == "cuda":  # a dozen calls for a sequence, where the loop makes several for a step
        return Choice(scan.run, "scan")
    reason = _why_not_fused(network, device) or fused.torch_calls_reason(device, network.head.weight.dtype)
    if reason is None and device.type == "cuda":
        reason = "the fused engine has not been measured on CUDA yet (--engine fused takes it)"
    if reason is None:
        reason = next((f"{where}: {why}" for where, why in _why_not_compiled(network, device).items()), None)
    if reason is None:  # on a CPU 5 to 10 times faster than a scan, which there is about as fast as the loop
        return _compiled(fused.run, device)
    if linear:
        return Choice(scan.run, "scan", f"the scan engine runs this model: {reason}")
    return Choice(recurrent_model.run_steps, "reference", f"the reference engine runs this model: {reason}")


def _why_not_scan(network: "Network") -> str | None:
    from stablebench.engines.scan import unsupported_reason

    for i, layer in enumerate(network.recurrent_layers):
        reason = unsupported_reason(layer)
        if reason is not None:
            return f"layer {i + 1} ({type(layer).__name__}): {reason}"
    return None


def _why_not_fused(network: "Network", device: "torch.device") -> str | None:
    from stablebench.engines.fused.engine import unsupported_reason

    for i, layer in enumerate(network.recurrent_layers):
        reason = unsupported_reason(layer, device, inputs_need_gradient=_inputs_need_gradient(network, i))
        if reason is not None:
            return f"layer {i + 1} ({type(layer).__name__}): {reason}"
    return None


def _why_not_compiled(network: "Network", device: "torch.device") -> dict[str, str]:
    """Return the layers whose steps cannot be compiled and run here, and why: on a CPU the first of them alone."""
    from stablebench.engines.trial import why_not_compiled

    found: dict[str, str] = {}
    for i, layer in enumerate(network.recurrent_layers):
        reason = why_not_compiled(layer, device, inputs_need_gradient=_inputs_need_gradient(network, i))
        if reason is not None:
            found[f"layer {i + 1} ({type(layer).__name__})"] = reason
            if device.type != "cuda":  # the compiler failed: it would fail, or hang, again
                break
    return found


def _inputs_need_gradient(network: "Network", layer: int) -> bool:
    """Return whether a layer's inputs do: then the plan that is made here is the one that training uses."""
    return layer > 0 or (network.embedding is not None and network.embedding.weight.requires_grad)
