"""Compares an engine with the reference on a few examples and steps: outputs, last states, and all gradients.

The states begin a little off those of the model, because a chain at rest (zeros, and inputs of zeros) would hide a
wrong term; the outputs are weighed at random, because a task's own loss may count none of the first steps. A dozen
steps see every term of a step and of its carry from step to step, and stay short of where rounding has grown large.

The reference itself separates rounding from a wrong formula: it is run again with all numbers changed by about one
rounding, and what an engine differs by is weighed against what that changes. Where a chain is so unstable that this
says nothing, fewer steps decide. A difference counts if it is there from three starts.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from stablebench.models import deep_model, recurrent_model
from stablebench.models.base import DeepModel, LayerGroup, State
from stablebench.models.deep_network import DeepNetwork
from stablebench.models.network import AnyNetwork, Network
from stablebench.models.restore import restored

ROWS = 4
"""Examples."""
_STEPS = (12, 3, 1)
"""Steps of time, or layers of a group; the fewer ones where rounding grows too fast for a verdict."""
_STARTS = 3
"""Starts, and roundings, that are tried before an engine is called wrong."""
_STATE_NOISE = 0.1
"""Standard deviation of what is added to the first states."""
_NEGLIGIBLE_DIFFERENCE = {torch.float32: 2e-5, torch.float64: 1e-11}
"""Relative difference that needs no second look."""
_MAX_ROUNDINGS = 30.0
"""How many times what one rounding changes an engine may differ by."""
_UNSTABLE_CHANGE = 0.01
"""Relative change by one rounding from which on a difference says nothing."""

Quantities = dict[str, Tensor]
Engine = Callable[..., Any]


@dataclass(frozen=True)
class _Trial:
    """What is run.

    Args:
        network: The network; its engine is the one that is checked.
        inputs: (batch, time, any), or (batch, in) of a deep model.
        lengths: Real steps, (batch,), or None.
        states: The states before the first step by layer, or None for the model's own.
        steps: Steps of time, or layers of a group.
        start: Which start.
        gradients: Whether gradients are compared, too.
    """

    network: AnyNetwork
    inputs: Tensor
    lengths: Tensor | None
    states: list[State] | None
    steps: int
    start: int
    gradients: bool


def difference(
    network: AnyNetwork,
    inputs: Tensor,
    lengths: Tensor | None = None,
    states: list[State] | None = None,
    *,
    gradients: bool = True,
) -> str | None:
    """Return in one line what the network's engine computes otherwise than the reference, or None.

    Nothing of the network or of any random generator is different afterwards.

    Args:
        network: The network, on its device, with its engine and in its mode.
        inputs: Of a batch, on that device.
        lengths: Of the batch.
        states: The states that the batch goes on from, by layer.
        gradients: Whether gradients are compared, too; without them what an evaluation needs.

    Raises:
        Exception: What the reference raises, or what the engine does.
    """
    for steps in _STEPS:
        differences: list[str] = []
        for start in range(_STARTS):
            trial = _Trial(network, inputs, lengths, states, steps, start, gradients)
            decided, what = _verdict(trial)
            if not decided:
                break
            if what is None:
                return None
            differences.append(what)
        if len(differences) == _STARTS:
            return differences[0]
    return None


def _verdict(trial: _Trial) -> tuple[bool, str | None]:
    """Return whether a trial says anything, and what differs, or None."""
    engine = trial.network.engine
    expected = _quantities(trial, _reference(trial.network))
    if not all(b.isfinite().all() for b in expected.values()):
        return False, None
    computed = _quantities(trial, engine)
    sizes = {name: _norm(b) for name, b in expected.items()}
    off = {name: _norm(computed[name].double() - b.double()) for name, b in expected.items()}
    close = _NEGLIGIBLE_DIFFERENCE[trial.network.dtype]
    suspicious = [name for name in expected if not off[name] <= close * sizes[name]]
    if not suspicious:
        return True, None
    changes = dict.fromkeys(suspicious, 0.0)
    for rounding in range(_STARTS):
        again = _quantities(trial, _reference(trial.network), rounding)
        for name in suspicious:
            changed = _norm(again[name].double() - expected[name].double())
            changes[name] = max(changes[name], changed if changed == changed else float("inf"))
    least = torch.finfo(trial.network.dtype).eps * max(sizes.values())
    wrong = [n for n in suspicious if not off[n] <= max(_MAX_ROUNDINGS * changes[n], close * sizes[n], least)]
    if wrong:
        worst = max(wrong, key=lambda name: off[name] / max(sizes[name], least))
        by = off[worst] / sizes[worst] if sizes[worst] else float("inf")
        return True, f"{worst} differs by {by:.2g} of its norm"
    return all(changes[n] <= max(_UNSTABLE_CHANGE * sizes[n], least) for n in suspicious), None


def _norm(values: Tensor) -> float:
    return values.double().norm().item() if not values.is_complex() else values.abs().double().norm().item()


def _reference(network: AnyNetwork) -> Engine:
    return deep_model.run_layers if isinstance(network, DeepNetwork) else recurrent_model.run_steps


def _quantities(trial: _Trial, engine: Engine, rounding: int | None = None) -> Quantities:
    """Return outputs, last states and gradients by name.

    Args:
        trial: What is run.
        engine: Runs it.
        rounding: Which change of all numbers by about one rounding; None for none.
    """
    network = trial.network
    draw = torch.Generator().manual_seed(trial.start)
    with _prepared(network, engine, trial.steps), torch.set_grad_enabled(trial.gradients):
        inputs, lengths = _first_inputs(trial)
        if rounding is None:
            states = _initial_states(trial, draw, len(inputs))
        else:
            roundings = torch.Generator().manual_seed(1 + rounding)
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.copy_(_rounded(parameter, roundings))
            begun = _initial_states(trial, draw, len(inputs))
            states = None if begun is None else [tuple(_rounded(part, roundings) for part in of) for of in begun]
            inputs = _rounded(inputs, roundings)
        leaves = {f"state {i + 1} of layer {k + 1}": s for k, of in enumerate(states or []) for i, s in enumerate(of)}
        output, after = network(inputs, states, lengths)
        last = [t for t in pytree.tree_leaves(after) if isinstance(t, Tensor) and t.is_floating_point()]
        quantities = {"the output": output, **{f"the last state {i + 1}": t for i, t in enumerate(last)}}
        if trial.gradients:
            total = torch.stack([(t * _like(t, draw)).sum() for t in quantities.values()]).sum()
            named = dict(network.named_parameters()) | leaves
            differentiable = {name: t for name, t in named.items() if t.requires_grad}
            gradients = torch.autograd.grad(total, list(differentiable.values()), allow_unused=True)
            for (name, t), gradient in zip(differentiable.items(), gradients, strict=True):
                quantities[f"the gradient of {name}"] = torch.zeros_like(t) if gradient is None else gradient
        return {name: t.detach() for name, t in quantities.items()}


def _first_inputs(trial: _Trial) -> tuple[Tensor, Tensor | None]:
    """Return the first rows and steps of the inputs, and the real steps among them."""
    lengths = None if trial.lengths is None else trial.lengths[:ROWS].clamp(max=trial.steps)
    if isinstance(trial.network, DeepNetwork):
        return trial.inputs[:ROWS], lengths
    return trial.inputs[:ROWS, : trial.steps], lengths


def _initial_states(trial: _Trial, draw: torch.Generator, rows: int) -> list[State] | None:
    """Return states a little off those that the batch goes on from, which a gradient can be had of."""
    network = trial.network
    if not isinstance(network, Network):
        return None
    before = trial.states or [layer.initial_state(rows) for layer in network.recurrent_layers]
    return [tuple(_leaf(part[:rows] + _STATE_NOISE * _like(part[:rows], draw)) for part in state) for state in before]


def _leaf(value: Tensor) -> Tensor:
    return value if value.requires_grad or not torch.is_grad_enabled() else value.requires_grad_()


def _like(value: Tensor, draw: torch.Generator) -> Tensor:
    """Return standard normal numbers, the same ones for every type and device."""
    drawn = torch.randn(value.shape, generator=draw, dtype=torch.float64)
    return drawn.to(value.dtype).to(value.device)


def _rounded(value: Tensor, draw: torch.Generator) -> Tensor:
    """Return numbers changed by about one rounding each."""
    if not value.is_floating_point():
        return value
    return value * (1 + torch.finfo(value.dtype).eps * _like(value, draw))


@contextmanager
def _prepared(network: AnyNetwork, engine: Engine, layers: int) -> Iterator[None]:
    """Context in which the network runs with an engine and the first of each group of layers; it is left as it was."""

    def first_layers(model: DeepModel, group: LayerGroup, state: State) -> Any:
        part = LayerGroup(tuple(t[:layers] for t in group.layers), group.shared)
        return engine(model, part, state)

    with restored(network):
        chosen: Any = first_layers if isinstance(network, DeepNetwork) else engine
        network.engine = chosen
        yield
