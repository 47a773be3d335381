"""On which inputs outputs depend: by vector-Jacobian products, and by inputs that are changed.

Of y (batch, time, out) as a function of x (batch, time, in), a model may depend on x_s in y_t for s <= t only, and on
example i in the outputs of example i only. Both are looked at in two ways, each of which sees what the other may not:

    derivative   v^T dy_t/dx_s for s > t with random v, which is exactly 0, however small a dependence would be
    change       y_t again with other x_s, s > t: a dependence through `detach`, a rounding or an index has derivative 0

A dependence is of the size of rounding below 1e-9 of the largest derivative or output (float64): an FFT has such.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from stablebench.contract.checked_model import Checkable, run, unchanged, weighted_sum

ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Relative to the largest derivative, or output, below which a dependence is of the size of rounding, by dtype."""
_SCALES = (1.0, 10.0, 0.0)
"""Standard deviations of the inputs that replace others; zeros, since these may be read as padding."""
Axis = int
"""0 for examples, 1 for time steps."""


@dataclass(frozen=True)
class Dependence:
    """An output that depends on an input which it must not depend on.

    Args:
        output: Position of the output, the first one that does, from 0.
        input: Position of the input, the first one of this output; None where only several together show it.
        relative: Largest forbidden derivative or change, relative to the largest derivative or output.
        derivative: Largest entry of v^T dy/dx there; 0 where a changed input shows the dependence.
    """

    output: int
    input: int | None
    relative: float
    derivative: float = 0.0


def forbidden(axis: Axis, position: int, count: int) -> list[int]:
    """Return the inputs that an output must not depend on: later steps, or all other examples."""
    return list(range(position + 1, count)) if axis else [i for i in range(count) if i != position]


def by_derivative(
    model: Checkable, x: Tensor, axis: Axis, positions: Sequence[int], *, training: bool
) -> tuple[Dependence | None, bool]:
    """Return the first dependence that vector-Jacobian products show, and whether all of them are finite.

    One that is larger than rounding comes before any that is not. A derivative that is not finite proves nothing.

    Args:
        model: The model.
        x: Inputs (batch, time, in), or (batch, in) of a deep model.
        axis: Of what is to be independent.
        positions: Of the outputs that are looked at, one product each.
        training: The model's mode.
    """
    seen, finite, largest = [], True, 0.0
    with unchanged(model, training=training):
        x = x.clone().requires_grad_()
        one = run(model, x)
        parts = [one.outputs, *one.states] if axis == 0 else [one.outputs]
        for position in positions:
            total = torch.stack([weighted_sum(part.select(axis, position)) for part in parts]).sum()
            if not total.requires_grad:
                continue
            gradient = torch.autograd.grad(total, x, retain_graph=True, allow_unused=True)[0]
            if gradient is None:
                continue
            by_input = gradient.abs().movedim(axis, 0).flatten(1).amax(1)
            others = forbidden(axis, position, len(by_input))
            finite = finite and bool(by_input[others].isfinite().all())
            by_input = by_input.nan_to_num(0, 0, 0)
            largest = max(largest, float(by_input.max()))
            reached = [i for i in others if by_input[i]]
            if reached:
                seen.append((position, reached[0], float(by_input[reached].max())))
    dependences = [Dependence(output, at, size / largest, size) for output, at, size in seen]
    return _first(dependences, ROUNDING[x.dtype]), finite


def _first(dependences: Sequence[Dependence], tolerance: float) -> Dependence | None:
    """Return the first one larger than rounding, else the first one."""
    large = [one for one in dependences if one.relative > tolerance]
    return next(iter([*large, *dependences]), None)


def by_change(
    model: Checkable, x: Tensor, axis: Axis, positions: Sequence[int], *, training: bool
) -> Dependence | None:
    """Return the first output that changes with inputs which it must not depend on, compared bit by bit.

    Arguments as those of `by_derivative`. Random draws are the same in every pass.
    """

    def outputs(inputs: Tensor) -> Tensor:
        with unchanged(model, training=training), torch.no_grad():
            return run(model, inputs).outputs.movedim(axis, 0)

    whole = outputs(x)
    largest = float(whole.abs().nan_to_num(0, 0, 0).max()) or 1.0
    tolerance = ROUNDING[x.dtype]
    small: Dependence | None = None
    for position, scale in product(positions, _SCALES):
        others = forbidden(axis, position, len(whole))
        kept = list(range(position + 1)) if axis else [position]
        changes = _changes(whole[kept], outputs(_replaced(x, axis, others, scale))[kept]) / largest
        if (changes > tolerance).any():
            at = int((changes > tolerance).nonzero()[0])
            for one in forbidden(axis, kept[at], len(whole)):
                alone = _changes(whole, outputs(_replaced(x, axis, [one], scale))) / largest
                if alone[kept[at]] > tolerance:
                    return Dependence(kept[at], one, float(alone[kept[at]]))
            return Dependence(kept[at], None, float(changes[at]))
        if small is None and (changes > 0).any():
            at = int(changes.nonzero()[0])
            small = Dependence(kept[at], None, float(changes[at]))
    return small


def _changes(before: Tensor, after: Tensor) -> Tensor:
    """Return the largest change of each position, (positions,); infinite where a value is no longer finite."""
    same = (before == after) | (before.isnan() & after.isnan())
    change = (before - after).abs().nan_to_num(torch.inf).masked_fill(same, 0)
    return change.flatten(1).amax(1)


def _replaced(x: Tensor, axis: Axis, positions: Sequence[int], scale: float) -> Tensor:
    """Return inputs with random ones of a scale at some positions."""
    generator = torch.Generator().manual_seed(3)
    other = x.movedim(axis, 0).clone()
    draw = torch.randn(other.shape, generator=generator, dtype=torch.float64).to(x)
    other[list(positions)] = scale * draw[list(positions)]
    return other.movedim(0, axis)
