r"""nnRNN: a recurrent matrix in Schur form, its eigenvalues on a circle and its eigenvectors not orthogonal.

Equation (1 and 5 of the paper):

    h_t = modrelu(W h_{t-1} + U x_t, b)        modrelu(z, b) = sign(z) relu(|z| + b)
    W = P (Lambda + T) P^T                     the paper's V
    Lambda = blockdiag(gamma_i [[cos theta_i, -sin theta_i], [sin theta_i, cos theta_i]])
    P = expm(A),  A = -A^T;  T lower triangular, zero on and above the blocks (`mask` blocks)

    Penalty: delta * sum (gamma_i - 1)^2. A decay of T is the weight decay of the parameter group `lower`.

Shapes: x_t (batch, in), h_t (batch, hidden), W, P, T (hidden, hidden), U (hidden, in), b (hidden),
    gamma (ceil(hidden/2)), theta (floor(hidden/2)); the last block of odd sizes is the number gamma.
Parameters: `hidden * (hidden - 1) + hidden * (inputs + 2) - hidden / 2`.
Cost per step: `hidden * (hidden + inputs)` multiply-adds; W is built once per pass: an exponential and two products.
Init: A by `henaff` or `cayley` as in expRNN, theta ~ U(0, 2 pi), gamma = 1 (section 4); from the authors' code T = 0,
    b ~ U(-0.01, 0.01) (expRNN's modrelu). U by `input_init`: xavier, N(0, 2 / (in + hidden)), the initialiser that the
    shipped cell is given and never applies; or linear, U(+-1/sqrt(in)), what torch.nn.Linear leaves there: of standard
    deviation 0.58 where that has 0.062 (one input, 512 units). The readout by `readout_init`: torch's default, or with
    Xavier normal weights, as in the authors' copying and adding scripts.
Stability claim: the moduli of W's eigenvalues are |gamma_i| for every T. Asserted in tests/models/test_nnrnn.py. W is
    orthogonal for T = 0 and gamma = 1 only; else powers of W, and gradients, grow polynomially (proposition 2): with
    |gamma| = 1, ||W^t|| is at most the sum over l < hidden / 2 of C(t, l) ||T||^l. Proposition 1, on the Fisher memory
    of a strictly lower triangular matrix, is about gamma = 0. Both asserted in tests/probes/test_nnrnn_claims.py.
Reference: Kerg, Goyette, Puelma Touzel, Gidel, Vorontsov, Bengio, Lajoie. Non-normal Recurrent Neural Network (nnRNN):
    learning long time dependencies while improving expressivity with transient dynamics. NeurIPS 2019.
    https://arxiv.org/abs/1905.12080
Differs from the paper:
    - Equation 5 prints t_{2,1}, an entry of the first block, and the authors' code has one such entry in every block;
      then the moduli are not gamma and the claim fails. `mask` authors is that form.
    - T is decayed by the optimiser.
    - Odd sizes are allowed.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import ParameterGroup, RecurrentModel, State, with_main_group
from stablebench.models.blocks.activations import modrelu
from stablebench.models.blocks.skew_exponential import BlockInit, SkewExponential, block_angles, filled
from stablebench.models.claims.claim import Claim
from stablebench.models.claims.nnrnn import nnrnn_claims
from stablebench.models.registry import register_model
from stablebench.schema.strict import NonNegative

Weights = tuple[Float[Tensor, "hidden hidden"], Float[Tensor, " hidden"]]


@register_model
class NnRNN(RecurrentModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        gamma: Moduli of W's eigenvalues: `learned`, starting at 1, or `fixed` at 1.
        delta: Weight of the penalty on learned moduli away from 1, >= 0; 1e-4 is the supplement's for the copying
            problem.
        mask: Places where T may be nonzero: below the 2 x 2 `blocks`, or as in the `authors` code, one more in every
            block.
        init: Distribution of the initial angles of A's 2 x 2 blocks: `henaff` uniform in (-pi, pi), `cayley` tan(u/2)
            with u uniform in (0, pi/2).
        input_init: Distribution of the initial input matrix U: `xavier` normal, or `linear`, U(+-1/sqrt(in)), which the
            shipped cell has.
        readout_init: Distribution of the readout's initial weights: `default` as torch.nn.Linear's, or `xavier` normal;
            its bias is torch's.
    """

    added_arguments = (
        ("input_init", "xavier"),
        ("readout_init", "default"),
    )

    gamma: Tensor
    below: Tensor

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        gamma: Literal["learned", "fixed"] = "learned",
        delta: NonNegative = 1e-4,
        mask: Literal["blocks", "authors"] = "blocks",
        init: BlockInit = "henaff",
        input_init: Literal["xavier", "linear"] = "xavier",
        readout_init: Literal["default", "xavier"] = "default",
    ) -> None:
        super().__init__(in_features, hidden)
        self.delta = delta
        self.mask = mask
        self.readout_init: Literal["default", "xavier"] = readout_init
        self.P = SkewExponential(hidden, block_angles(init, hidden // 2))
        self.theta = nn.Parameter(torch.empty(hidden // 2).uniform_(0, 2 * math.pi))
        moduli = torch.ones((hidden + 1) // 2)
        if gamma == "learned":
            self.gamma = nn.Parameter(moduli)
        else:
            self.register_buffer("gamma", moduli)
        rows, columns = torch.tril_indices(hidden, hidden, offset=-1)
        if mask == "blocks":
            outside = rows // 2 != columns // 2
            rows, columns = rows[outside], columns[outside]
        self.register_buffer("below", rows * hidden + columns, persistent=False)
        self.T = nn.Parameter(torch.zeros(len(rows)))
        bound, U = 1 / math.sqrt(in_features), torch.empty(hidden, in_features)
        self.U = nn.Parameter(nn.init.xavier_normal_(U) if input_init == "xavier" else U.uniform_(-bound, bound))
        self.b = nn.Parameter(torch.empty(hidden).uniform_(-0.01, 0.01))

    def initialise_readout(self, readout: nn.Linear) -> None:
        """Draw the weights as `readout_init` says."""
        if self.readout_init == "xavier":
            nn.init.xavier_normal_(readout.weight)

    def schur_form(self) -> Tensor:
        """Return Lambda + T, (hidden, hidden)."""
        pairs = len(self.theta)
        cos, sin = self.gamma[:pairs] * self.theta.cos(), self.gamma[:pairs] * self.theta.sin()
        diagonal = torch.cat([cos.repeat_interleave(2), self.gamma[pairs:]])
        below = torch.stack([sin, torch.zeros_like(sin)], dim=1).flatten()[: self.hidden - 1]
        blocks = torch.diag(diagonal) + torch.diag(below, -1) - torch.diag(below, 1)
        return blocks + filled(self.hidden, self.below, self.T)

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time hidden"]:
        """Return U x_t, (batch, time, hidden)."""
        return nn.functional.linear(x, self.U)

    def recurrent_weights(self) -> Weights:
        """Return W, transposed for states in rows, and b."""
        P = self.P()
        return P @ self.schur_form().T @ P.T, self.b

    def recurrent_matrix(self) -> Float[Tensor, "hidden hidden"]:
        """Return W."""
        return self.recurrent_weights()[0].T

    def step(self, projected: Float[Tensor, "batch hidden"], state: State, recurrent_weights: Weights) -> State:
        """Return h_t."""
        (h,) = state
        W, b = recurrent_weights
        return (modrelu(projected + h @ W, b),)

    def penalty(self) -> Tensor | None:
        """Return delta * sum (gamma - 1)^2, or None where gamma stays 1."""
        if not isinstance(self.gamma, nn.Parameter) or not self.delta:
            return None
        return self.delta * (self.gamma - 1).square().sum()

    def diagnostics(self) -> dict[str, float | Tensor]:
        """Return the mean of gamma, and T's energy sum t_ij^2, also as its share of the Schur form's (figure 3)."""
        energy = self.T.square().sum()
        return {
            "mean_gamma": self.gamma.mean(),
            "lower_energy": energy,
            "lower_share": energy / self.schur_form().square().sum(),
        }

    def orthogonal_matrices(self) -> dict[str, Tensor]:
        """Return P."""
        return {"P": self.P()}

    def claims(self) -> list[Claim]:
        """Return section 4 and propositions 1 and 2 for this W; see `stablebench.models.claims.nnrnn`."""
        lower = filled(self.hidden, self.below, self.T.detach())
        return nnrnn_claims(self.schur_form().detach(), lower, self.gamma.detach(), self.mask == "blocks")

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return `main`, `orthogonal` (the entries of A) and `lower` (T)."""
        return with_main_group(self, ParameterGroup("orthogonal", [self.P.upper]), ParameterGroup("lower", [self.T]))
