"""Checks the values that the methods of a model return: tuples, shapes and types of one small pass without gradient."""

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from stablebench.errors import ContractError
from stablebench.models import recurrent_model
from stablebench.models.base import ChainModel, DeepModel, LayerGroup, RecurrentModel, real_like
from stablebench.models.contract import place_of, written_in
from stablebench.models.restore import restored

BATCH, STEPS = 3, 4
"""Examples and time steps of the small pass."""


class Malformed(ContractError):
    """A method returns what no engine can run.

    Args:
        model: Whose.
        method: Which.
        must: What it must return.
        got: What it returned, in words.
    """

    def __init__(self, model: ChainModel, method: str, must: str, got: str) -> None:
        attribute: Any = getattr(type(model), method)
        code = attribute.fget if isinstance(attribute, property) else attribute
        verb, where = ("returned", code) if callable(code) else ("is", type(model))
        super().__init__(f"`{method}` must {must}; it {verb} {got} ({place_of(where)}).")


def refuse_malformed(model: ChainModel, reference_name: str) -> None:
    """Refuse a user's model whose methods return what no engine can run. It and the random states are left as they are.

    Errors that its methods raise are left to the run, which keeps their traceback.

    Args:
        model: As it was built.
        reference_name: What the user calls it.

    Raises:
        ContractError: With the method, what it must return, what it returned, and its file and line.
    """
    problem: Malformed | None = None
    try:
        with restored(surroundings(type(model))):
            check_structure(copy.deepcopy(model))
    except Malformed as error:
        problem = error
    except Exception:  # the pass that follows fails in the same way, or the model cannot be copied: the run says it
        return
    if problem is not None:
        raise ContractError(f"--model {reference_name}: {problem}")


def surroundings(cls: type[Any]) -> nn.Module:
    """Return a module that has what a class may draw from or count in, its file's globals, as an attribute."""
    holder = nn.Module()
    for i, part in enumerate(written_in(cls)):
        functions = [value for value in (part, *vars(part).values()) if inspect.isfunction(value)]
        setattr(holder, f"globals_{i}", functions[0].__globals__ if functions else None)
        setattr(holder, f"class_{i}", dict(vars(part)))
    return holder


@torch.no_grad()
def check_structure(model: ChainModel) -> None:
    """Run a small pass, and check that every method returns what the contract says.

    Raises:
        Malformed: One returns something else.
    """
    if isinstance(model, RecurrentModel):
        _recurrent(model)
    elif isinstance(model, DeepModel):
        _deep(model)


def _recurrent(model: RecurrentModel) -> None:
    sizes: Any = model.state_sizes
    whole = isinstance(sizes, tuple) and sizes and all(type(size) is int and size > 0 for size in sizes)
    if not whole:
        got = repr(sizes) if isinstance(sizes, int | float | str | list | tuple) else description(sizes)
        raise Malformed(model, "state_sizes", "be a tuple of whole numbers, the widths of the states", got)
    if type(model.output_state) is not int or not -len(sizes) <= model.output_state < len(sizes):
        raise Malformed(model, "output_state", f"be the number of one of {len(sizes)} states", repr(model.output_state))
    if type(model.out_features) is not int or model.out_features < 1:
        raise Malformed(model, "out_features", "be a whole number, the output's width", repr(model.out_features))
    state = model.initial_state(BATCH)
    if (got := _misfit(state, [(BATCH, size) for size in sizes])) is not None:
        raise Malformed(model, "initial_state", f"return a tuple of states {_shapes(sizes)}", got)
    x = _inputs(model, BATCH, STEPS, model.in_features)
    projected = model.input_projection(x)
    parts = projected if isinstance(projected, tuple) else (projected,)
    for part in parts:
        if not isinstance(part, Tensor) or part.shape[:2] != (BATCH, STEPS) or part.ndim < 2:
            must = f"return a tensor (batch, time, any) or a tuple of such, here ({BATCH}, {STEPS}, any)"
            raise Malformed(model, "input_projection", must, description(projected))
    recurrent_weights = model.recurrent_weights()
    outputs = []
    for at_step in recurrent_model.split_by_step(projected):
        following = model.step(at_step, state, recurrent_weights)
        if (got := _misfit(following, [(BATCH, size) for size in sizes], state)) is not None:
            must = f"return the next states as a tuple {_shapes(sizes)}, of the type of those before it"
            raise Malformed(model, "step", must, got)
        state = following
        outputs.append(state[model.output_state])
    output: Any = model.layer_output(torch.stack(outputs, dim=1), x)
    shape = (BATCH, STEPS, model.out_features)
    if not isinstance(output, Tensor) or output.shape != shape:
        raise Malformed(
            model, "layer_output", f"return a tensor (batch, time, out_features), here {shape}", description(output)
        )


def _deep(model: DeepModel) -> None:
    state: Any = model.embed_input(_inputs(model, BATCH, model.in_features))
    if (got := _misfit(state, None)) is not None:
        raise Malformed(model, "embed_input", "return a tuple of states (batch, size)", got)
    layer_groups: Any = model.layer_groups()
    if not isinstance(layer_groups, list | tuple) or not all(isinstance(part, LayerGroup) for part in layer_groups):
        raise Malformed(model, "layer_groups", "return a list of LayerGroup", description(layer_groups))
    for group in layer_groups:
        layers: Any = group.layers
        if (
            not isinstance(layers, tuple)
            or not layers
            or not all(isinstance(t, Tensor) and t.ndim and len(t) == len(layers[0]) for t in layers)
        ):
            must = "give `LayerGroup.layers` as a tuple of tensors (layers, ...) of one first size"
            raise Malformed(model, "layer_groups", must, description(layers))
        for layer in group:
            following: Any = model.step(layer, state, group.shared)
            shapes = [tuple(part.shape) for part in state] if len(group) > 1 else None
            if (got := _misfit(following, shapes, state)) is not None:
                must = f"return the next states as a tuple of {len(state)}, each (batch, size), of the type before it"
                raise Malformed(model, "step", must, got)
            state = following
    output = state[model.output_state]
    if output.shape != (BATCH, model.out_features):
        must = f"end with a state (batch, out_features), here ({BATCH}, {model.out_features})"
        raise Malformed(model, "step", must, description(output))


def _inputs(model: ChainModel, *shape: int) -> Tensor:
    """Return random inputs of a generator of their own, in the model's type."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(real_like(model))


def _misfit(states: Any, shapes: list[tuple[int, ...]] | None, like: tuple[Tensor, ...] | None = None) -> str | None:
    """Return a description of states that do not fit, or None if they fit.

    Args:
        states: What a method returned.
        shapes: Their shapes; None where only the batch is known.
        like: As many states, of the same types.
    """
    if not isinstance(states, tuple) or not states or not all(isinstance(part, Tensor) for part in states):
        return description(states)
    count = len(states if like is None else like) if shapes is None else len(shapes)
    if len(states) != count:
        return f"{len(states)} states, {description(states)}"
    for part in states:
        if part.ndim != 2 or len(part) != BATCH:
            return description(states)
    if shapes is not None and any(tuple(part.shape) != shape for part, shape in zip(states, shapes, strict=True)):
        return description(states)
    if like is not None and any(a.dtype != b.dtype for a, b in zip(states, like, strict=True)):
        return f"{description(states)} after {description(like)}"
    return None


def description(value: Any) -> str:
    """Return a value as words: its type, shape and dtype."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of ({', '.join(description(part) for part in value)})"
    return "None" if value is None else f"a {type(value).__name__}"


def _shapes(sizes: tuple[int, ...]) -> str:
    return f"({', '.join(f'({BATCH}, {size})' for size in sizes)},)"
