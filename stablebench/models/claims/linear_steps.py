"""What is proved of steps that are linear in the state: decays, eigenvalues of a step, products that do not grow.

A step is held against its promise for whatever input: for 256 of them, one half standard normal, the other 30 times as
large, from a generator of their own. Its map is measured by the step itself, S -> step(S) - step(0) of a basis.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from stablebench.models.base import RecurrentModel, real_like
from stablebench.models.blocks.linear import LinearRecurrence
from stablebench.models.blocks.matrix_memory import MatrixMemory
from stablebench.models.claims.claim import Claim, Evidence, Outcome, largest_singular_value_at_most

_INPUTS, _LARGER = 256, 30.0
_ROUNDING = 1e-9
"""What rounding of a step in float64 may move a number of at most 1."""


def never_grows(factor: str, hypothesis: str = "none", roundings: float = 0.0) -> Claim:
    """Return the claim that the gradient does not explode.

    Args:
        factor: What dh_T/dh_1 is a product of.
        hypothesis: What it presupposes.
        roundings: Rounding units of the weights that a step may grow by.
    """
    return Claim(
        f"log10 of the largest singular value of dh_T/dh_1, a product of {factor}, <= 0",
        hypothesis,
        lambda e: largest_singular_value_at_most(e, 0.0, roundings * e.steps * e.weights_eps),
    )


def stable_diagonal(largest: float, symbol: str, hypothesis: str) -> list[Claim]:
    """Return that a constant diagonal recurrence is stable, and what that makes of the Jacobian over N steps.

    Args:
        largest: The largest modulus of its factors.
        symbol: What the moduli are called.
        hypothesis: What their bound presupposes.
    """

    def check(e: Evidence) -> Outcome:
        return largest_singular_value_at_most(e, e.steps * math.log(largest), 2 * e.steps * e.weights_eps)

    return [
        Claim(f"largest {symbol} < 1", hypothesis, lambda e: Outcome(largest, 1.0, largest < 1), "weights"),
        Claim(f"log10 of the largest singular value of dh_T/dh_1 <= N log10(max {symbol})", "none", check),
    ]


def decays_never_negative(model: LinearRecurrence) -> Claim:
    """Return the claim that the a of h_t = a_t h_{t-1} + b_t lie between 0 and 1: no state changes its sign by them."""

    def decays() -> Tensor:
        return model.terms(model.input_projection(drawn_inputs(model)), model.recurrent_weights())[0]

    return within("a_t: least and greatest, for any input", decays, 0.0, 1.0)


def within(statement: str, measure: Callable[[], Tensor], low: float, high: float, hypothesis: str = "none") -> Claim:
    """Return the claim that all of some numbers of a layer lie in an interval, up to rounding.

    Args:
        statement: What the numbers are.
        measure: Returns them, in float64.
        low: The lower end.
        high: The upper end.
        hypothesis: What it presupposes.
    """

    def check(evidence: Evidence) -> Outcome:
        with torch.no_grad():
            least, most = (end.item() for end in measure().aminmax())
        return Outcome((least, most), (low, high), low - _ROUNDING <= least and most <= high + _ROUNDING)

    return Claim(statement, hypothesis, check, "weights")


def drawn_inputs(model: RecurrentModel) -> Float[Tensor, "inputs 1 in"]:
    """Return the inputs that a step is measured on, one time step each, in the model's precision."""
    x = torch.randn(_INPUTS, 1, model.in_features, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[_INPUTS // 2 :] *= _LARGER
    return x.to(real_like(model))


def one_step(model: RecurrentModel, x: Float[Tensor, "inputs 1 in"], state: Float[Tensor, "inputs _"]) -> Tensor:
    """Return the only state after one step."""
    projected = model.input_projection(x)
    parts = projected[:, 0] if isinstance(projected, Tensor) else tuple(part[:, 0] for part in projected)
    return model.step(parts, (state,), model.recurrent_weights())[0]


def maps_of_heads(model: MatrixMemory) -> Float[Tensor, "inputs heads keys keys"]:
    """Return M of S_t = S_{t-1} M + ..., which takes a row of a head's matrix to that of the next step.

    Of the first row of each head. What the state has behind the matrices is 0, and stays out.
    """
    x, d_k, width = drawn_inputs(model), model.key_size, model.hidden
    states = model.initial_state(len(x))[0].new_zeros(d_k + 1, model.state_sizes[0])
    for column in range(d_k):
        states[column, column * width : (column + 1) * width] = 1
    rows = [one_step(model, x, row.expand(len(x), -1))[:, : d_k * width] for row in states]
    maps = torch.stack([row - rows[-1] for row in rows[:-1]], dim=1)
    return maps.unflatten(-1, (d_k, model.heads, -1))[..., 0].movedim(-1, 1)
