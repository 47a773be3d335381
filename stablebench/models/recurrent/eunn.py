r"""EUNN (EURNN): a complex state, and a unitary matrix composed of layers of 2 x 2 rotations.

Equation:

    h_t = modrelu(W h_{t-1} + V x_t, b)        modrelu(z, b) = z relu(|z| + b) / |z|
    W = D F_1 F_2 ... F_L,  D = diag(exp(i omega))          (with `order` code D F_L ... F_2 F_1)

    Each layer F turns disjoint pairs of coordinates, each by its own theta and phi:

        cos(theta)   -exp(i phi) sin(theta)
        sin(theta)    exp(i phi) cos(theta)

    `layout` tunable: L = `capacity`; odd layers turn (1, 2), (3, 4), ..., even ones (2, 3), (4, 5), ...
    `layout` fft: L = log2(hidden); layer l turns all pairs at a distance p = hidden / 2^l, (2 p k + j, 2 p k + j + p)

Shapes: x_t (batch, in); h_t (batch, 2 hidden), hidden complex units as real parts, then imaginary parts; W, D, F
    (hidden, hidden), complex; theta, phi (pairs of all layers), omega (hidden); V (2 hidden, in); b (hidden). The
    output is h_t, 2 hidden wide.
Parameters: `capacity * (hidden - 1) + hidden + hidden * (2 * inputs + 1)`. Of an even capacity; the fft layout has
    hidden log2(hidden) in the place of the first term.
Cost per step: `4 * hidden ** 2 + 2 * hidden * inputs` multiply-adds; W is built once per pass in O(L hidden^2) and
    applied as a real matrix. The layers applied one by one, as in the paper, would cost O(L hidden).
Init: theta, phi, omega ~ U(-pi, pi), b = 0; V by `input_init`: Glorot uniform with fan-out hidden, as uRNN's paper has
    it, or U(-0.01, 0.01) in each real and imaginary part, as in the authors' code (small).
Stability claim: W^H W = I whatever the optimiser does. With capacity = hidden the hidden^2 parameters of W move it in
    as many directions, all that the unitary group has. Where b <= 0 the Jacobian of a step has norm <= 1, so dh_T/dh_t
    has. Asserted in tests/models/test_eunn.py.
Reference: Jing, Shen, Dubcek, Peurifoy, Skirlo, LeCun, Tegmark, Soljacic. Tunable Efficient Unitary Neural Networks
    (EUNN) and their application to RNNs. ICML 2017. https://arxiv.org/abs/1612.05231
Differs from the paper:
    - exp(i phi) is in a column of a rotation, as in the authors' code and in Clements et al. 2016. In a row, where the
      paper has it as far as could be checked, D absorbs the phases of the first layer, and L = n reaches a set of fewer
      dimensions than the group: 13 of 16 for n = 4 (asserted too).
    - |z| is sqrt(re^2 + im^2 + 1e-10), for a finite derivative at 0.
    - The product is the paper's, so F_L acts first; the authors' code applies F_1 first (`order` code), whose matrices
      are others for the same angles.
    - Its initial angles are as ours and b = 0, but for one of its commits, which has angles within 0.01 of 0 and b =
      -0.01; what the experiments had could not be checked.
    - The readout takes real and imaginary parts, the code's the real ones.
    - Odd sizes and capacities are allowed.
"""

import math
from typing import Literal

import torch
from jaxtyping import Complex
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import ParameterGroup, with_main_group
from stablebench.models.blocks.unitary_rnn import UnitaryRNN
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count


@register_model
class EUNN(UnitaryRNN):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of complex units of h_t, >= 2, for the fft layout a power of two; the output is twice as wide.
        capacity: Number L of rotation layers in the tunable layout, >= 1 and at most hidden; the fft layout has
            log2(hidden).
        layout: Pairs that the layers rotate: `tunable` neighbouring ones, `fft` those of a fast Fourier transform.
        order: Order of the layers: the last acts on the state first (`paper`), or the first one does (`code`).
        input_init: Distribution of the initial input matrix V: `glorot` uniform, or `small` U(-0.01, 0.01).
    """

    added_arguments = (
        ("order", "paper"),
        ("input_init", "glorot"),
    )

    first: Tensor
    second: Tensor
    partner: Tensor

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        capacity: Count = 2,
        layout: Literal["tunable", "fft"] = "tunable",
        order: Literal["paper", "code"] = "paper",
        input_init: Literal["glorot", "small"] = "glorot",
    ) -> None:
        super().__init__(in_features, hidden)
        if hidden < 2:
            raise UserError(f"`hidden` must be >= 2 (a rotation turns two units), got {hidden}.")
        if layout == "tunable" and capacity > hidden:
            raise UserError(
                f"`capacity` must be <= {hidden}, the hidden width (W is any unitary then), got {capacity}."
            )
        if layout == "fft" and hidden & (hidden - 1):
            raise UserError(
                f"`hidden` must be a power of two for `layout` fft (it halves distances), got {hidden}; "
                "choose `layout` tunable for another width."
            )
        layers = _tunable_pairs(hidden, capacity) if layout == "tunable" else _fft_pairs(hidden)
        count = sum(len(pairs) for pairs in layers)
        self.theta, self.phi, self.omega = (
            nn.Parameter(torch.empty(size).uniform_(-math.pi, math.pi)) for size in (count, count, hidden)
        )
        self.order = order
        self.add_input_map()
        if input_init == "small":
            nn.init.uniform_(self.V, -0.01, 0.01)
        partner = torch.arange(hidden).repeat(len(layers), 1)
        for row, (first, second) in zip(partner, (pairs.unbind(1) for pairs in layers), strict=True):
            row[first], row[second] = second, first
        places = torch.cat([pairs + hidden * layer for layer, pairs in enumerate(layers)])
        for name, indices in (("first", places[:, 0]), ("second", places[:, 1]), ("partner", partner)):
            self.register_buffer(name, indices.contiguous(), persistent=False)

    def unitary(self) -> Complex[Tensor, "hidden hidden"]:
        """Return the recurrent matrix, (hidden, hidden), complex."""
        cos, sin, turn = self.theta.cos(), self.theta.sin(), torch.polar(torch.ones_like(self.phi), self.phi)
        ones = torch.ones(self.partner.numel(), dtype=turn.dtype, device=turn.device)
        own = ones.index_copy(0, self.first, cos + 0j).index_copy(0, self.second, turn * cos)
        others = torch.zeros_like(ones).index_copy(0, self.first, -turn * sin).index_copy(0, self.second, sin + 0j)
        product = torch.eye(self.hidden, dtype=turn.dtype, device=turn.device)
        layers = list(zip(*(t.view(*self.partner.shape, 1).unbind() for t in (own, others)), self.partner, strict=True))
        for own_l, others_l, partner_l in layers if self.order == "code" else reversed(layers):
            product = own_l * product + others_l * product[partner_l]
        return torch.polar(torch.ones_like(self.omega), self.omega)[:, None] * product

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return `main` and `orthogonal`, the angles of W."""
        return with_main_group(self, ParameterGroup("orthogonal", [self.theta, self.phi, self.omega]))


def _tunable_pairs(n: int, layers: int) -> list[Tensor]:
    """Return for each layer its pairs of neighbours, (pairs, 2); layers of two units differ in having one or none."""
    firsts = [torch.arange(layer % 2, n - 1, 2) for layer in range(layers)]
    return [torch.stack([first, first + 1], dim=1) for first in firsts]


def _fft_pairs(n: int) -> list[Tensor]:
    """Return for each layer its pairs at distances n / 2, n / 4, ..., 1, (n / 2, 2)."""
    layers = []
    for level in range(1, n.bit_length()):
        p = n >> level
        first = (2 * p * torch.arange(n // (2 * p))[:, None] + torch.arange(p)).flatten()
        layers.append(torch.stack([first, first + p], dim=1))
    return layers
