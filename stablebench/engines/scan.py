"""The scan engine: all states of a linear recurrence in O(log T) operations of O(T) work in all.

Two steps of h_t = a_t h_{t-1} + b_t are one of the same kind, with a_t a_{t-1} and a_t b_{t-1} + b_t. So steps are
joined in pairs, the half as long chain is solved likewise, and the states between are filled in (odd-even, in place).
Nothing is divided by and no logarithm is taken: a may be 0, and of any sign.

A product of many a that is beyond the largest number makes a state NaN where the loop over `step` has a finite one; it
takes |a| > 1 over a long chain.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from stablebench.models.base import RecurrentModel, State
from stablebench.models.blocks.linear import LinearRecurrence


def run(
    model: RecurrentModel,
    x: Float[Tensor, "batch time in"],
    state: State | None = None,
    outputs: Literal["every", "last"] = "every",
    recurrent_weights: Any = None,
) -> tuple[Float[Tensor, "batch ..."], State]:
    """Run the chain; see `recurrent_model.run_steps`.

    Args:
        model: A `LinearRecurrence`.
        x: Inputs (batch, time, in), time >= 1.
        state: The state before the first step, (batch, size); by default the model's own.
        outputs: `every` step's output, or only the `last` one's.
        recurrent_weights: What `model.recurrent_weights()` returned; by default it is called.

    Returns:
        The outputs, (batch, time, out) for `every` and (batch, out) for `last`, and the state after the last step.

    Raises:
        TypeError: The model is no `LinearRecurrence`.
    """
    if not isinstance(model, LinearRecurrence):
        raise TypeError(f"{type(model).__name__}: {unsupported_reason(model)}")
    (initial,) = model.initial_state(len(x)) if state is None else state
    recurrent_weights = model.recurrent_weights() if recurrent_weights is None else recurrent_weights
    a, b = model.terms(model.input_projection(x), recurrent_weights)
    if model.complex_state:
        h = _from_complex(states(_to_complex(a), _to_complex(b), _to_complex(initial)))
    else:
        h = states(a, b, initial)
    last = h[:, -1].clone()  # a view would keep all states in memory
    return (h[:, 1:] if outputs == "every" else last), (last,)


def unsupported_reason(model: RecurrentModel) -> str | None:
    """Return why a model cannot be scanned, or None if it can."""
    if isinstance(model, LinearRecurrence):
        own = "step" in vars(model) or type(model).step is not LinearRecurrence.step
        return "it has a `step` of its own, which a scan of its `terms` would not run" if own else None
    return "its recurrence is not declared linear in the state (stablebench.models.blocks.linear.LinearRecurrence)"


def states(a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
    """Return h_0 ... h_T of h_t = a_t h_{t-1} + b_t, (batch, time + 1, size); any number of times differentiable.

    Args:
        a: (batch, time, size), or (size,) where it is the same at all steps; real or complex.
        b: (batch, time, size).
        initial: h_0, (batch, size).
    """
    return _scanned(a, torch.cat([initial[:, None], b], dim=1), reverse=False)


def _to_complex(halves: Tensor) -> Tensor:
    return torch.complex(*halves.chunk(2, dim=-1))


def _from_complex(numbers: Tensor) -> Tensor:
    return torch.cat([numbers.real, numbers.imag], dim=-1)


def _scanned(a: Tensor, x: Tensor, *, reverse: bool) -> Tensor:
    """Scan x, a temporary, in place (see `_accumulate`), under autograd."""
    result = _Scan.apply(a, x, reverse)
    assert isinstance(result, Tensor)
    return result


class _Scan(torch.autograd.Function):
    """`_accumulate` of x in place; its gradient is the scan the other way."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, x: Tensor, reverse: bool) -> Tensor:
        _accumulate(x, a, reverse)
        ctx.mark_dirty(x)
        ctx.save_for_backward(a, x)
        ctx.reverse = reverse
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None]:
        """With g_t = d_t + conj(a_{t+1}) g_{t+1}: db_t = g_t and da_t = g_t conj(h_{t-1}), summed if a is constant."""
        (d,) = gradients
        a, h = ctx.saved_tensors
        # conj(g_t) = conj(d_t) + a_{t+1} conj(g_{t+1}) takes a as it is
        conjugate = torch.conj_physical(d) if d.is_complex() else d.clone()
        g = _scanned(a, conjugate, reverse=not ctx.reverse)
        d_a = None
        if ctx.needs_input_grad[0]:
            d_a = (g[:, :-1] * h[:, 1:] if ctx.reverse else g[:, 1:] * h[:, :-1]).conj()
            d_a = d_a.sum((0, 1)) if a.dim() == 1 else d_a
        return d_a, g.conj(), None


def _accumulate(x: Tensor, a: Tensor, reverse: bool) -> None:
    """Replace x_t by x_t + a_t x_{t-1} from the left on, or with `reverse` by x_t + a_{t+1} x_{t+1} from the right on.

    Args:
        x: (batch, time + 1, size), in place.
        a: a_1 ... a_time, (batch, time, size), or (size,); a_t links x_{t-1} and x_t.
        reverse: The direction.
    """
    length = x.shape[1]
    if length == 1:
        return
    # Every second x absorbs its neighbour; these, counted from where the scan ends, are a chain of half the length.
    first = length % 2 if reverse else 1
    half, between = x[:, first::2], x[:, 1 - first :: 2]
    pairs = half.shape[1]
    if reverse:
        half.addcmul_(_links(a, first, pairs), x[:, first + 1 :: 2])
    else:
        half.addcmul_(_links(a, 0, pairs), between[:, :pairs])
    _accumulate(half, _links(a, first, pairs - 1) * _links(a, first + 1, pairs - 1), reverse)
    # Those between absorb their neighbour in turn, all but the one where the scan begins.
    if reverse:
        between, neighbours = between[:, :-1], x[:, 2 - first :: 2]
        between.addcmul_(_links(a, 1 - first, between.shape[1]), neighbours)
    else:
        between = between[:, 1:]
        between.addcmul_(_links(a, 1, between.shape[1]), half[:, : between.shape[1]])


def _links(a: Tensor, start: int, count: int) -> Tensor:
    """Return every second a from `start` on."""
    return a if a.dim() == 1 else a[:, start::2][:, :count]
