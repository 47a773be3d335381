"""Chooses the engine that runs a network on a device: the named one, or for `auto` the first without a reason against.

| engine    | cannot run                                           | `auto` passes it over                 |
| --------- | ---------------------------------------------------- | ------------------------------------- |
| fused     | a step that cannot be planned                        | on CUDA, and where it is not compiled |
| scan      | a step not declared linear, a deep model's layers    |                                       |
| reference |                                                      |                                       |
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import torch

from stablebench.engines import scan
from stablebench.engines.fused import engine as fused
from stablebench.engines.trial import layers_not_compiled_reason, not_compiled_reason
from stablebench.errors import UserError, unknown_name
from stablebench.models import deep_model, recurrent_model
from stablebench.models.deep_network import DeepNetwork
from stablebench.models.network import Network
from stablebench.schema.run_spec import Engine

# On CUDA a scan makes a dozen calls for a sequence, where the loop makes several for a step. On a CPU the fused engine
# is 5 to 10 times faster than a scan, which there is about as fast as the loop.
_FASTEST_FIRST = {"cuda": ("scan", "fused", "reference")}
_FASTEST_FIRST_ELSEWHERE = ("fused", "scan", "reference")


@dataclass(frozen=True)
class Choice:
    """An engine.

    Args:
        run: Runs a layer's chain (`EngineRun`), or a deep model's layers (`EngineRunLayers`).
        name: What the record calls it: `reference`, `scan`, `fused`, or `fused-torch` for the fused engine in torch
            calls.
        note: Why it is not a faster one, or None.
        backend: What computes, as in the record: `native C`, `Triton`, `torch calls`; None for the engine's name.
    """

    run: Callable[..., Any]
    name: str
    note: str | None = None
    backend: str | None = None


def choose(name: str, network: Network | DeepNetwork, device: torch.device) -> Choice:
    """Return the engine that runs `network` on `device`.

    Args:
        name: `reference`, `scan`, `fused`, or `auto` for the fastest that is known to run every layer: fused on a CPU
            with a C compiler that works; scan for linear recurrences elsewhere, and where fused cannot run them; else
            reference.
        network: The network, already on `device`.
        device: Where it runs.

    Raises:
        UserError: There is no such engine, or `scan` or `fused` cannot run a layer.
    """
    if name not in get_args(Engine):
        raise unknown_name("engine", name, list(get_args(Engine)))
    if name == "auto":
        return _fastest(network, device)
    reason = unsupported_reason(name, network, device)
    if reason is not None:
        others = "fused, reference" if name == "scan" else "reference"
        raise UserError(f"--engine {name} cannot run this model: {reason}. Take --engine {others}, or auto.")
    return _fused(network, device) if name == "fused" else Choice(_run(name, network), name)


def unsupported_reason(name: str, network: Network | DeepNetwork, device: torch.device) -> str | None:
    """Return why an engine cannot run a network, or None if it can.

    Args:
        name: `reference`, `scan` or `fused`.
        network: The network, already on `device`.
        device: Where it runs.
    """
    if name == "reference":
        return None
    if isinstance(network, DeepNetwork):
        if name == "scan":
            return "it is a chain of layers, and --engine scan is for linear recurrences over time"
        return fused.layers_unsupported_reason(network.model, device)
    for i, layer in enumerate(network.recurrent_layers):
        if name == "scan":
            reason = scan.unsupported_reason(layer)
        else:
            reason = fused.unsupported_reason(layer, device, inputs_need_gradient=_inputs_need_gradient(network, i))
        if reason is not None:
            return f"{_layer_name(network, i)}: {reason}"
    return None


def _fastest(network: Network | DeepNetwork, device: torch.device) -> Choice:
    note = None
    for name in _FASTEST_FIRST.get(device.type, _FASTEST_FIRST_ELSEWHERE):
        reason = unsupported_reason(name, network, device)
        if name == "fused":
            reason = reason or _slow_reason(network, device)
            note = reason
        if reason is None:
            note = None if note is None else f"the {name} engine runs this model: {note}"
            return Choice(_run(name, network), name, note, "native C" if name == "fused" else None)
    raise AssertionError("the reference engine runs every model")


def _fused(network: Network | DeepNetwork, device: torch.device) -> Choice:
    run = _run("fused", network)
    reason = _torch_calls_reason(network, device)
    if reason is None:
        not_compiled = _not_compiled_reasons(network, device)
        if not not_compiled:
            return Choice(run, "fused", backend="Triton" if device.type == "cuda" else "native C")
        reason = "; ".join(f"{where}: {why}" if where else why for where, why in not_compiled.items())
        if (
            not isinstance(network, DeepNetwork)
            and device.type == "cuda"
            and len(not_compiled) < len(network.recurrent_layers)
        ):
            backend = f"Triton, torch calls in {', '.join(not_compiled)}"
            note = f"the fused engine makes torch calls: {reason}"
            return Choice(partial(run, torch_calls="if needed"), "fused", note, backend)
    note = f"the fused engine makes torch calls: {reason}"
    return Choice(partial(run, torch_calls="always"), "fused-torch", note, "torch calls")


def _run(name: str, network: Network | DeepNetwork) -> Callable[..., Any]:
    if isinstance(network, DeepNetwork):
        return {"reference": deep_model.run_layers, "fused": fused.run_layers}[name]
    return {"reference": recurrent_model.run_steps, "scan": scan.run, "fused": fused.run}[name]


def _slow_reason(network: Network | DeepNetwork, device: torch.device) -> str | None:
    """Return why the fused engine, which can run a network, is not known to be fast."""
    reason = _torch_calls_reason(network, device)
    if reason is None and device.type == "cuda":
        reason = "the fused engine has not been measured on CUDA yet (--engine fused takes it)"
    if reason is None:
        reasons = _not_compiled_reasons(network, device).items()
        reason = next((f"{where}: {why}" if where else why for where, why in reasons), None)
    return reason


def _torch_calls_reason(network: Network | DeepNetwork, device: torch.device) -> str | None:
    """Return why nothing is compiled on a device, or None."""
    if isinstance(network, DeepNetwork):
        if device.type == "cuda":
            return "no kernel has parameters of its own at every step yet"
        return fused.torch_calls_reason(device, network.dtype)
    return fused.torch_calls_reason(device, network.head.weight.dtype)


def _not_compiled_reasons(network: Network | DeepNetwork, device: torch.device) -> dict[str, str]:
    """Return why steps cannot be compiled and run here, by layer ("" for a deep model): on a CPU only the first."""
    if isinstance(network, DeepNetwork):
        reason = layers_not_compiled_reason(network.model, device)
        return {} if reason is None else {"": reason}
    reasons: dict[str, str] = {}
    for i, layer in enumerate(network.recurrent_layers):
        reason = not_compiled_reason(layer, device, inputs_need_gradient=_inputs_need_gradient(network, i))
        if reason is not None:
            reasons[_layer_name(network, i)] = reason
            if device.type != "cuda":  # the compiler failed: it would fail, or hang, again
                break
    return reasons


def _layer_name(network: Network, layer: int) -> str:
    return f"layer {layer + 1} ({type(network.recurrent_layers[layer]).__name__})"


def _inputs_need_gradient(network: Network, layer: int) -> bool:
    """Return whether a layer's inputs do: then the plan that is made here is the one that training uses."""
    return layer > 0 or (network.embedding is not None and network.embedding.weight.requires_grad)
