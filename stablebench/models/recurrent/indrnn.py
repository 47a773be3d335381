r"""IndRNN: every unit sees only its own previous state, with a bounded weight.

Equation:

    h_t = relu(W x_t + u * h_{t-1} + b),    |u| <= gamma^(1 / horizon)

    The layer gives out h_t (`stack` plain), h_t + x_t where the widths are equal (residual), or [x_t, h_t] (dense).

Shapes: x_t (batch, in); h_t (batch, hidden); W (hidden, in); u, b (hidden). The output is hidden wide, and in + hidden
    with `stack` dense.
Parameters: `hidden * (inputs + 2)`.
Cost per step: `hidden * inputs` multiply-adds.
Init: u ~ U(gamma^(-1/horizon), gamma^(1/horizon)) in layers from `long_from` on, U(0, gamma^(1/horizon)) below. The
    paper has the first in the last layer only: with several layers take `long_from` = layers - 1. W Kaiming uniform
    with slope 8, so U(+-sqrt(6 / (65 in))), b = 0, as in the authors' code, whose readout N(0, 2 / in) with bias 0 is
    `readout_init` kaiming; by default it starts as torch's.
Stability claim: dh_T/dh_t is diagonal with entries u^(T-t) times a product of relu' in [0, 1], so at most gamma over
    `horizon` steps (section 3.1); u is clamped after every update. Asserted in tests/models/test_indrnn.py.
Reference: Li, Li, Cook, Zhu, Gao. Independently Recurrent Neural Network (IndRNN): Building A Longer and Deeper RNN.
    CVPR 2018. https://arxiv.org/abs/1803.04831. Residual and dense stacks: Li, Li, Cook, Gao. Deep Independently
    Recurrent Neural Network (IndRNN). 2019. https://arxiv.org/abs/1910.06251
Differs from the paper:
    - No batch normalisation and no dropout, both part of its deep stacks.
    - Its residual blocks have two layers, and its dense ones reduce their width between blocks; here every layer adds,
      or appends, its own input.
    - gamma is 2; the later code's default is 5.
    - That code clamps u before the pass; here u is clamped after the update.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import ParameterGroup, RecurrentModel, State, with_main_group
from stablebench.models.blocks.activations import Activation, activation
from stablebench.models.blocks.readouts import ReadoutInit, initialise
from stablebench.models.claims.claim import Claim, Evidence, Outcome, largest_singular_value_at_most
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count, NonNegativeInt, Positive


@register_model
class IndRNN(RecurrentModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        horizon: Number of time steps of the sequences that the model is trained on, >= 1.
        layer: Position of this layer in the stack, >= 0; 0 is the first.
        gamma: Bound on the derivative over `horizon` steps, >= 1: recurrent weights are clamped to gamma^(1 / horizon).
        activation: Elementwise nonlinearity phi of the update: `tanh`, `relu`, `abs`, `leaky_relu` (slope 0.01 below 0)
            or `identity`. The bound holds for |phi'| <= 1.
        stack: Output of the layer: `plain` h_t, `residual` h_t + x_t where the widths are equal, or `dense` [x_t, h_t].
        long_from: First layer, >= 0 and counted from 0, whose weights start near the bound, so with a memory as long as
            the chain.
        readout_init: Distribution of the readout's initial weights: `default` as torch.nn.Linear's, `kaiming` N(0, 2 /
            in) or `xavier` N(0, 2 / (in + outputs)), both with bias 0. The authors' scripts have kaiming.
    """

    added_arguments = (("readout_init", "default"),)

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        horizon: Count,
        layer: NonNegativeInt = 0,
        gamma: Positive = 2.0,
        activation: Activation = "relu",
        stack: Literal["plain", "residual", "dense"] = "plain",
        long_from: NonNegativeInt = 0,
        readout_init: ReadoutInit = "default",
    ) -> None:
        super().__init__(in_features, hidden)
        if gamma < 1:
            raise UserError(f"`gamma` must be >= 1 (u starts between its inverse's root and its root), got {gamma}.")
        self.bound = gamma ** (1 / horizon)
        self.activation: Activation = activation
        self.stack = stack
        self.readout_init: ReadoutInit = readout_init
        self.W = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(hidden, in_features), a=8))
        self.u = nn.Parameter(torch.empty(hidden).uniform_(1 / self.bound if layer >= long_from else 0.0, self.bound))
        self.b = nn.Parameter(torch.zeros(hidden))

    @property
    def out_features(self) -> int:
        """The width of what the layer gives out."""
        return self.hidden + (self.in_features if self.stack == "dense" else 0)

    def initialise_readout(self, readout: nn.Linear) -> None:
        """Draw the readout as `readout_init` says."""
        initialise(readout, self.readout_init)

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time hidden"]:
        """Return W x_t + b, (batch, time, hidden)."""
        return nn.functional.linear(x, self.W, self.b)

    def recurrent_weights(self) -> Float[Tensor, " hidden"]:
        """Return u."""
        return self.u

    def recurrent_matrix(self) -> Float[Tensor, "hidden hidden"]:
        """Return diag(u)."""
        return torch.diag(self.u)

    def step(
        self, projected: Float[Tensor, "batch hidden"], state: State, recurrent_weights: Float[Tensor, " hidden"]
    ) -> State:
        """Return h_t."""
        (h,) = state
        return (activation(self.activation, projected + recurrent_weights * h),)

    def layer_output(
        self, output: Float[Tensor, "*steps state"], x: Float[Tensor, "*steps in"]
    ) -> Float[Tensor, "*steps out"]:
        """Return h_t, with x_t added or put in front where the stack says so."""
        if self.stack == "dense":
            return torch.cat([x, output], dim=-1)
        return output + x if self.stack == "residual" and self.in_features == self.hidden else output

    def after_update(self) -> None:
        """Clamp u to its bound."""
        with torch.no_grad():
            self.u.clamp_(-self.bound, self.bound)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return `main` and `recurrent`, which is u: the authors decay all weights but these."""
        return with_main_group(self, ParameterGroup("recurrent", [self.u]))

    def claims(self) -> list[Claim]:
        """Return the bound on the derivative, for the chain's own number of steps N."""

        def check(e: Evidence) -> Outcome:
            growth = e.steps * math.log(self.bound)
            bounded = self.u.detach().abs().max().item() <= self.bound * (1 + e.weights_eps)
            return largest_singular_value_at_most(e, growth, e.steps * e.weights_eps).under_hypothesis(bounded)

        return [
            Claim(
                "log10 of the largest singular value of dh_T/dh_1 <= (N / horizon) log10(gamma)",
                "|u| <= gamma^(1 / horizon), which every update restores; |phi'| <= 1",
                check,
            )
        ]
