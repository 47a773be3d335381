"""Chooses the engine that runs a network on a device: the named one, or for `auto` the first without a reason against.

| engine    | cannot run                                           | `auto` passes it over                 |
| --------- | ---------------------------------------------------- | ------------------------------------- |
| fused     | a step that cannot be planned, or not compiled here  | on CUDA                               |
| scan      | a step not declared linear, a deep model's layers    |                                       |
| chunkwise | what is no matrix memory, a deep model's layers      |                                       |
| reference |                                                      |                                       |

An attention model has no chain over time; torch's own calls run it, under the name `reference`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import torch

from stablebench.engines import chunkwise, scan
from stablebench.engines.fused import engine as fused
from stablebench.engines.trial import layers_not_compiled_reason, not_compiled_reason
from stablebench.errors import UserError, unknown_name
from stablebench.models import attention_model, deep_model
from stablebench.models.attention_network import AttentionNetwork
from stablebench.models.base import run_steps
from stablebench.models.deep_network import DeepNetwork
from stablebench.models.network import AnyNetwork, Network
from stablebench.models.restore import restored
from stablebench.schema.run_spec import Engine

# On CUDA a scan makes a dozen calls for a sequence, where the loop makes several for a step. On a CPU the fused engine
# is 5 to 10 times faster than a scan, which there is about as fast as the loop. Chunks make a few calls for 16 steps or
# more, whose products take less than the elementwise work of as many steps of the fused engine.
_FASTEST_FIRST = {"cuda": ("chunkwise", "scan", "fused", "reference")}
_FASTEST_FIRST_ELSEWHERE = ("chunkwise", "fused", "scan", "reference")
_OVER_TIME = {"scan": (scan, "linear recurrences"), "chunkwise": (chunkwise, "matrix memories")}
"""Engines of recurrences of one kind, and which."""


@dataclass(frozen=True)
class Choice:
    """An engine.

    Args:
        run: Runs a layer's chain (`EngineRun`), a deep model's layers (`EngineRunLayers`), or an attention model
            (`EngineRunAttention`).
        name: What the record calls it: `reference`, `scan`, `fused` or `chunkwise`. Records of version 0.1 have
            `fused-torch` too, the fused engine in torch calls, where nothing could be compiled.
        note: Why it is not a faster one, or None.
        backend: What computes, as in the record: `native C`, `Triton`; None for the engine's name.
    """

    run: Callable[..., Any]
    name: str
    note: str | None = None
    backend: str | None = None


def choose(name: str, network: AnyNetwork, device: torch.device) -> Choice:
    """Return the engine that runs `network` on `device`; the network is left as it was, running means included.

    Args:
        name: `reference`, `scan`, `fused`, `chunkwise`, or `auto` for the fastest that is known to run every layer:
            chunkwise for matrix memories that have a form in chunks; fused on a CPU with a C compiler that works; scan
            for linear recurrences elsewhere, and where fused cannot run them; else reference.
        network: The network, already on `device`.
        device: Where it runs.

    Raises:
        UserError: There is no such engine, or it cannot run a layer.
    """
    if name not in get_args(Engine):
        raise unknown_name("engine", name, list(get_args(Engine)))
    with restored(network):  # it is planned and tried out in training mode
        if name == "auto":
            return _fastest(network, device)
        reason = _reason_against(name, network, device)
    if reason is not None:
        others = "reference" if name == "fused" or isinstance(network, AttentionNetwork) else "fused, reference"
        raise UserError(f"--engine {name} cannot run this model: {reason}. Take --engine {others}, or auto.")
    return _choice(name, network, device)


def unsupported_reason(name: str, network: AnyNetwork, device: torch.device) -> str | None:
    """Return why an engine cannot run a network, or None if it can.

    Args:
        name: `reference`, `scan`, `fused` or `chunkwise`.
        network: The network, already on `device`.
        device: Where it runs.
    """
    if name == "reference":
        return None
    if isinstance(network, AttentionNetwork):
        return "it has no chain over time, and torch's attention runs it"
    if isinstance(network, DeepNetwork):
        if name in _OVER_TIME:
            return f"it is a chain of layers, and --engine {name} is for {_OVER_TIME[name][1]} over time"
        return fused.layers_unsupported_reason(network.model, device)
    assert isinstance(network, Network)
    for i, layer in enumerate(network.recurrent_layers):
        if name in _OVER_TIME:
            reason = _OVER_TIME[name][0].unsupported_reason(layer)
        else:
            reason = fused.unsupported_reason(layer, device, inputs_need_gradient=_inputs_need_gradient(network, i))
        if reason is not None:
            return f"{_layer_name(network, i)}: {reason}"
    return None


def _fastest(network: AnyNetwork, device: torch.device) -> Choice:
    note = None
    if isinstance(network, AttentionNetwork):
        return _choice("reference", network, device)
    for name in _FASTEST_FIRST.get(device.type, _FASTEST_FIRST_ELSEWHERE):
        reason = _reason_against(name, network, device, auto=True)
        note = reason if name == "fused" else note
        if reason is None:
            return _choice(name, network, device, note and f"the {name} engine runs this model: {note}")
    raise AssertionError("the reference engine runs every model")


def _choice(name: str, network: AnyNetwork, device: torch.device, note: str | None = None) -> Choice:
    backend = "Triton" if device.type == "cuda" else "native C"
    return Choice(_run(name, network), name, note, backend if name == "fused" else None)


def _run(name: str, network: AnyNetwork) -> Callable[..., Any]:
    if isinstance(network, AttentionNetwork):
        return attention_model.run_attention
    if isinstance(network, DeepNetwork):
        return {"reference": deep_model.run_layers, "fused": fused.run_layers}[name]
    return _OVER_TIME[name][0].run if name in _OVER_TIME else {"reference": run_steps, "fused": fused.run}[name]


def _reason_against(name: str, network: AnyNetwork, device: torch.device, *, auto: bool = False) -> str | None:
    """Return why an engine cannot run a network here, or with `auto` is not known to be fast; None if it can."""
    reason = unsupported_reason(name, network, device)
    if name != "fused":
        return reason
    reason = reason or _unavailable_reason(network, device)
    if reason is None and auto and device.type == "cuda":
        return "the fused engine has not been measured on CUDA yet (--engine fused takes it)"
    return reason or _not_compiled_reason(network, device)


def _unavailable_reason(network: AnyNetwork, device: torch.device) -> str | None:
    """Return why nothing is compiled on a device, or None."""
    if isinstance(network, DeepNetwork) and device.type == "cuda":
        return "no kernel has parameters of its own at every step yet"
    return fused.unavailable_reason(device, network.dtype)


def _not_compiled_reason(network: AnyNetwork, device: torch.device) -> str | None:
    """Return why a step cannot be compiled and run here, or None."""
    if isinstance(network, DeepNetwork):
        return layers_not_compiled_reason(network.model, device)
    assert isinstance(network, Network)
    for i, layer in enumerate(network.recurrent_layers):
        reason = not_compiled_reason(layer, device, inputs_need_gradient=_inputs_need_gradient(network, i))
        if reason is not None:
            return f"{_layer_name(network, i)}: {reason}"
    return None


def _layer_name(network: Network, layer: int) -> str:
    return f"layer {layer + 1} ({type(network.recurrent_layers[layer]).__name__})"


def _inputs_need_gradient(network: Network, layer: int) -> bool:
    """Return whether a layer's inputs do: then the plan that is made here is the one that training uses."""
    return (
        layer > 0
        or len(network.blocks) > 0
        or (network.embedding is not None and network.embedding.weight.requires_grad)
    )
