"""Checks, before a run begins, that a network computes the same function and gradient with gradient checkpointing.

It is tried on a few steps of random inputs, because a wrong result of a run would not show it.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.base import RecurrentModel, as_tuple
from stablebench.models.network import Network
from stablebench.models.recompute import ModuleSnapshot, isolated

_EVERY, _STEPS, _BATCH = 2, 5, 3
"""Time steps of a segment, of a sequence, and sequences: three segments, the last one shorter."""


def check_recomputing(network: Network) -> None:
    """Refuse gradient checkpointing of a network that would become another function, or have another gradient.

    Args:
        network: On its device, with its engine; left as it is.

    Raises:
        UserError: A layer's `input_projection` or `layer_output` looks at more than one time step, or the second
            pass cannot repeat the first one.
    """
    for layer in network.recurrent_layers:
        for name in ("input_projection", "layer_output"):
            if (why := steps_apart(layer, name)) is not None:
                raise _refused(type(layer).__name__, f"`{name}` {why}, and a segment would not see the others")
    names = ", ".join(dict.fromkeys(type(layer).__name__ for layer in network.recurrent_layers))
    kept, again = _run(network, stores_all=True), _run(network, stores_all=True)
    if _differ(kept, again, 1e-4):
        raise _refused(names, "it draws random numbers that are not torch's, numpy's or Python's, or remembers a call")
    if _differ(kept, _run(network, stores_all=False), 1e-4):
        raise _refused(names, "a second pass does not repeat what the first one did or leaves something behind twice")
    if not _differ(kept, _run(network, stores_all=True, seed=1), 1e-4):  # it draws nothing
        if _differ(kept[:2], _run(network, stores_all=True, every=None)[:2], 1e-2):
            raise _refused(names, "run in segments of time it is another function")


def _refused(name: str, why: str) -> UserError:
    return UserError(f"--recompute-every: {name}: {why}. Leave it out, or have the model act step by step.")


def steps_apart(model: RecurrentModel, name: str) -> str | None:
    """Return how `input_projection` or `layer_output` of a model looks at more than one time step, or None."""
    for training in (True, False):
        why = _steps_apart(model, name, training)
        if why is not None:
            return f"{why} {'in training' if training else 'in evaluation'}"
    return None


def _steps_apart(model: RecurrentModel, name: str, training: bool) -> str | None:
    like = model.initial_state(_BATCH)[model.output_state]
    generator = torch.Generator().manual_seed(0)

    def drawn(width: int) -> Tensor:
        return torch.randn(_BATCH, _STEPS, width, generator=generator, dtype=torch.float64).to(like)

    function: Callable[..., Any] = getattr(model, name)
    inputs = [drawn(like.shape[1])] if name == "layer_output" else []
    inputs.append(drawn(model.in_features))

    @torch.no_grad()
    def run(given: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
        with isolated(model, seed):
            model.train(training)
            return [part.clone() for part in as_tuple(function(*given))]

    whole = run(inputs)
    for at in range(_STEPS):
        others = [t for t in range(_STEPS) if t != at]
        changed = [x.clone() for x in inputs]
        for x in changed:
            x[:, at] += 1
        if any(not _close(a[:, others], b[:, others], 1e-5) for a, b in zip(whole, run(changed), strict=True)):
            return "at one time step depends on the inputs of others"
    if all(_close(a, b, 1e-5) for a, b in zip(whole, run(inputs, seed=1), strict=True)):  # it draws nothing
        starts = [*range(0, _STEPS, _EVERY), _STEPS]
        parts = [run([x[:, a:b] for x in inputs]) for a, b in pairwise(starts)]
        joined = [torch.cat(part, dim=1) for part in zip(*parts, strict=True)]
        if any(not _close(a, b, 1e-4) for a, b in zip(whole, joined, strict=True)):
            return "depends on where a sequence begins or ends"
    return None


def _run(
    network: Network, *, stores_all: bool, seed: int = 0, every: int | None = _EVERY
) -> tuple[list[Tensor], list[Tensor], dict[str, Any]]:
    """Return outputs and last states, the parameters' gradients, and buffers and attributes after a pass."""
    layer = network.recurrent_layers[0]
    generator = torch.Generator().manual_seed(0)
    if network.input == "tokens":
        tokens = layer.in_features if network.embedding is None else network.embedding.num_embeddings
        inputs = torch.randint(tokens, (_BATCH, _STEPS), generator=generator)
    else:
        inputs = torch.randn(_BATCH, _STEPS, layer.in_features, generator=generator)
    parameters = [p for p in network.parameters() if p.requires_grad]
    before = network.recompute_every, network.stores_all
    network.recompute_every, network.stores_all = every, stores_all
    try:
        with isolated(network, seed), torch.enable_grad():
            network.train()
            outputs, states = network(inputs.to(parameters[0].device))
            loss = outputs.square().sum() + sum(part.abs().sum() for state in states for part in state)
            gradients = torch.autograd.grad(torch.as_tensor(loss), parameters, allow_unused=True)
            values = [outputs.detach(), *(part.detach() for state in states for part in state)]
            kept = {str(i): ModuleSnapshot(layer).entries() for i, layer in enumerate(network.recurrent_layers)}
    finally:
        network.recompute_every, network.stores_all = before
    return values, [torch.zeros(()) if g is None else g for g in gradients], kept


def _differ(a: Sequence[Any], b: Sequence[Any], tolerance: float) -> bool:
    """Return whether values, gradients, or buffers and attributes of two passes differ."""
    for mine, other in zip(a[:2], b[:2], strict=True):
        largest = max(_largest(part) for part in (*mine, *other))  # of all: some gradients are zero but for rounding
        if any(not _close(x, y, tolerance, largest) for x, y in zip(mine, other, strict=True)):
            return True
    return len(a) > 2 and not _same(a[2], b[2], tolerance)


def _same(mine: Any, other: Any, tolerance: float) -> bool:
    """Return whether two attributes of a model are equal; those that cannot be compared count as equal."""
    if isinstance(mine, Tensor) and isinstance(other, Tensor):
        return mine.shape == other.shape and _close(mine, other, tolerance)
    if isinstance(mine, dict) and isinstance(other, dict):
        return mine.keys() == other.keys() and all(_same(v, other[k], tolerance) for k, v in mine.items())
    if isinstance(mine, list | tuple) and isinstance(other, list | tuple):
        return len(mine) == len(other) and all(_same(x, y, tolerance) for x, y in zip(mine, other, strict=True))
    if isinstance(mine, bool | int | float | str) and isinstance(other, bool | int | float | str):
        return mine == other or (isinstance(mine, float) and math.isclose(mine, other, rel_tol=tolerance))  # pyright: ignore[reportArgumentType]
    return True


def _close(a: Tensor, b: Tensor, tolerance: float, largest: float | None = None) -> bool:
    """Return whether two tensors are equal up to rounding.

    Args:
        a: One.
        b: The other.
        tolerance: Of float32, relative to `largest`; of float64 a ten-thousandth of it.
        largest: By default the largest entry of the two.
    """
    if a.shape != b.shape:
        return False
    if not (a.is_floating_point() or a.is_complex()):
        return torch.equal(a, b)
    largest = max(_largest(a), _largest(b)) if largest is None else largest
    tolerance = tolerance if a.dtype in (torch.float32, torch.complex64) else tolerance * 1e-4
    return torch.allclose(a, b, rtol=0, atol=tolerance * largest + 1e-30, equal_nan=True)


def _largest(tensor: Tensor) -> float:
    if not tensor.numel() or not (tensor.is_floating_point() or tensor.is_complex()):
        return 0.0
    return float(tensor.detach().abs().nan_to_num(0, 0, 0).max())
