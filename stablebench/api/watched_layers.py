"""One call of a recurrent layer inside a user's network, kept until its gradient is there: then ||dL/dh_t|| for all t.

The derivative that autograd has in the outputs and in the last state does not go through time: that is done by the
chain of a copy of the layer, in float64.
"""

from dataclasses import dataclass, field
from functools import partial
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stablebench.api.bare_network import BareNetwork
from stablebench.api.compiled_cell import CompiledCell
from stablebench.api.probe import chain_layers
from stablebench.data.batch import Batch
from stablebench.errors import UserError
from stablebench.models.base import RecurrentModel
from stablebench.models.own_cell import OwnCell
from stablebench.models.torch_layers import TorchCell, has_hooks
from stablebench.probes.chain import Chain, frozen
from stablebench.probes.gradient_flow import GradientFlow, gradient_flow

_DIFFERS = 0.05
"""Relative difference of the first outputs from which on a copy computes something else; bfloat16 rounds to 0.004."""


def is_layer(module: nn.Module) -> bool:
    """Whether a module is a recurrent layer that can be followed over time."""
    return isinstance(module, (nn.RNNBase, RecurrentModel, CompiledCell))


def given_to(module: nn.Module, inputs: Any, named: dict[str, Any]) -> list[Any]:
    """Return a call's arguments in the order of the module's signature; None for one left out before another."""
    if not named:
        return list(inputs)
    try:
        known = signature(module.forward).parameters.values()
    except (TypeError, ValueError):  # of compiled code
        known = ()
    order = [p.name for p in known if p.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)]
    if isinstance(module, nn.RNNBase) and not order:  # one that hands all of them on
        order = ["input", "hx"]
    rest = order[len(inputs) :]
    return [*inputs, *(named.get(name) for name in rest), *(named[name] for name in named if name not in rest)]


def draws_of(module: nn.Module) -> list[Tensor]:
    """Return the states of the generators that a layer may draw from, of the processor and of its own device."""
    devices = {p.device for p in module.parameters() if p.device.type == "cuda"}
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in devices)]


class _WholeChain(Chain):
    """A chain whose outputs have all states behind them."""

    def outputs(self, states: Tensor, first: int = 1, inputs: Tensor | None = None) -> Tensor:
        """Return outputs and states side by side, (steps, batch, out + size)."""
        return torch.cat([super().outputs(states, first, inputs), states], dim=2)


@dataclass
class LayerCall:
    """What a layer was called with, as it was then, and the gradients that came back.

    Args:
        layers: The chain's layers, a copy.
        x: Inputs (samples, time, in), float64.
        batch: Sequences of the whole batch.
        time_first: Whether the outputs are (time, batch, out).
        by_layer: Whether states are torch's, (layers, batch, size).
        first: Outputs at the first step (samples, out), float64.
        shapes: Of the parts of the last state.
        structure: How they are nested.
        gradients: Of the outputs, 0, and the parts of the last state, 1 ...
    """

    layers: list[RecurrentModel]
    x: Tensor
    batch: int
    time_first: bool
    by_layer: bool
    first: Tensor
    shapes: list[torch.Size]
    structure: pytree.TreeSpec
    gradients: dict[int, Tensor] = field(default_factory=dict)

    def receive(self, part: int, gradient: Tensor | None) -> None:
        """Keep the gradient of one of the tensors that the layer returned."""
        if gradient is None:  # of an output that the loss does not read
            return
        gradient = gradient.detach().cpu().double()
        self.gradients[part] = self.gradients[part] + gradient if part in self.gradients else gradient.clone()

    def flow(self) -> GradientFlow | None:
        """Return ||dL/dh_t||; None where no gradient came back.

        Raises:
            StablebenchError: A state or a derivative is not finite, or the copy computes something else.
        """
        if not self.gradients:
            return None
        network = frozen(BareNetwork(self.layers, "every"))
        chain = _WholeChain(network, self.x)
        out, samples = self.layers[-1].out_features, len(self.x)
        sources = self.x.new_zeros(samples, chain.steps, out + chain.size)
        if 0 in self.gradients:
            outputs = self.gradients[0].transpose(0, 1) if self.time_first else self.gradients[0]
            sources[:, :, :out] = outputs[:samples]
        if any(self.gradients.keys() - {0}):
            sources[:, -1, out:] = self._of_last_state()[:samples]
        states = chain.states()
        copied = chain.outputs(states[1:2])[0, :, :out]
        if (copied - self.first).norm() > _DIFFERS * max(copied.norm(), self.first.norm()):
            raise UserError("what it computes in training, as with batch statistics, its copy does not repeat")
        return gradient_flow(network, chain, states, Batch(self.x, sources), loss=_directed, which="task")

    def _of_last_state(self) -> Tensor:
        """Return the gradient in the last state of all layers, (batch, size)."""
        parts = [
            self.gradients.get(number, torch.zeros(shape, dtype=torch.float64))
            for number, shape in enumerate(self.shapes, start=1)
        ]
        if self.by_layer:
            parts = [part[layer] for layer in range(len(self.layers)) for part in parts]
        elif isinstance(self.layers[0], OwnCell):
            nested = pytree.tree_unflatten(parts, self.structure)
            parts = list(self.layers[0].begin(nested, self.batch))
        return torch.cat(parts, dim=1)


def _directed(outputs: Tensor, batch: Batch) -> tuple[Tensor, int]:
    """Return what has the kept gradient as its derivative in outputs and states."""
    return (outputs * batch.targets).sum(), 1


def call_of(
    module: nn.Module, given: list[Any], output: Any, samples: int, draws: list[Tensor] | None
) -> tuple[LayerCall, tuple[Tensor, Any]]:
    """Return what a layer was just called with, and what it returned: its gradients will be received.

    A loop's last state is the tensor that its last output was made of. A view of it has the gradient of what is read
    of the state alone, which autograd adds up in the same order as without it.

    Args:
        module: The layer.
        given: Its arguments, in order.
        output: What it returned.
        samples: Sequences that are followed.
        draws: `draws_of` it before the call; None where that is not known.

    Raises:
        UserError: It cannot be followed over time.
    """
    x, h0 = given[0], given[1] if len(given) > 1 else None
    outputs, state = output
    if not isinstance(x, Tensor) or x.dim() != 3 or not isinstance(outputs, Tensor):
        raise UserError("it was not called with a batch of sequences of one length, (batch, time, in)")
    if getattr(module, "bidirectional", False):
        raise UserError("it is bidirectional: no chain of states over time")
    if isinstance(module, CompiledCell) and module.engine == "scan":
        raise UserError("it runs with the engine scan, which has no gradient in its states")
    drawn = draws is not None and not all(map(torch.equal, draws, draws_of(module)))
    if _has_dropout(module, drawn):
        raise UserError("it has dropout, whose draws are not repeated")
    if drawn:
        raise UserError("it draws random numbers, which are not repeated")
    if has_hooks(module):
        raise UserError("it has hooks, so that what it was called with or returns may be changed outside of its steps")
    time_first = isinstance(module, nn.RNNBase) and not module.batch_first
    x = x.detach().cpu().double()
    x = x.transpose(0, 1) if time_first else x
    kept = min(samples, len(x))
    called = module.cell if isinstance(module, CompiledCell) else module
    h0 = pytree.tree_map(lambda part: part.detach().clone() if isinstance(part, Tensor) else part, h0)
    layers = chain_layers(called, x, h0, to_run=isinstance(module, CompiledCell))
    if not isinstance(module, nn.RNNBase) and getattr(module, "engine", None) != "fused":
        state = pytree.tree_map(lambda tensor: tensor.view_as(tensor), state)
    leaves, structure = pytree.tree_flatten(state)
    call = LayerCall(
        layers,
        x[:kept].clone(),  # a loop may write into its tensors
        len(x),
        time_first,
        isinstance(module, nn.RNNBase) and isinstance(layers[0], TorchCell),
        (outputs[0] if time_first else outputs[:, 0])[:kept].detach().cpu().double().clone(),
        [leaf.shape for leaf in leaves],
        structure,
    )
    for part, tensor in enumerate([outputs, *leaves]):
        if tensor.requires_grad:
            tensor.register_hook(partial(call.receive, part))
    return call, (outputs, state)


def _has_dropout(module: nn.Module, drawn: bool) -> bool:
    """Whether a layer dropped units; torch's own on a GPU do it without moving the generator."""
    if isinstance(module, nn.RNNBase) and module.training and module.dropout and module.num_layers > 1:
        return True
    return drawn and any(isinstance(part, nn.modules.dropout._DropoutNd) for part in module.modules())
