r"""DeltaProduct: several steps of the delta rule for every time step, a product of Householder transformations.

Equation (a head's matrix S, d_v x d_k; n_h = `householders`, |q| = |k| = 1):

    S_{t,0} = S_{t-1},    S_{t,i} = S_{t,i-1} (I - beta_{t,i} k_{t,i} k_{t,i}^T) + beta_{t,i} v_{t,i} k_{t,i}^T
    S_t = S_{t,n_h}, i = 1 ... n_h
    q_t = norm(silu(W_q x_t + b_q)),  k_{t,i} = norm(silu(W_k,i x_t + b_k,i)),  v_{t,i} = silu(W_v,i x_t + b_v,i)
    beta_{t,i} = b sigmoid(W_beta,i x_t + b_beta,i),    b = 2, or 1 without `negative_eigenvalues`
    y_t = W_o RMSNorm(S_t q_t)                    (every head normalised by itself)

    With `decay` S_{t,0} = alpha_t S_{t-1}, alpha_t = exp(-exp(A_log) softplus(W_alpha x_t + b_alpha)): the gated form.

Shapes: x_t (batch, in); v_{t,i}, y_t (batch, hidden); q_t, k_{t,i} (batch, heads d_k); alpha_t, beta_{t,i} (batch,
    heads); the state (batch, hidden d_k): the first columns of all heads' S, then the second ones, and so on; W_o
    (hidden, hidden); RMSNorm's weights (d_v). `hidden` = heads d_v, d_k = `key_size`.
Parameters: `(heads * key_size + householders * (heads * key_size + hidden + heads)) * (inputs + 1) + hidden ** 2 +
    hidden / heads`.
Cost per step: `hidden ** 2 + hidden * key_size + (heads * key_size + householders * (heads * key_size + hidden +
    heads)) * inputs + householders * heads * key_size ** 2 * hidden` multiply-adds. The last term are products with a
    fixed matrix of 0 and 1 that copies a key's numbers to where they act. The delta rule itself is elementwise: 3 n_h
    hidden d_k more.
Init: all affine maps as torch.nn.Linear, but b_alpha as in `gated_deltanet`; RMSNorm's weights 1. S_0 = 0.
Stability claim: the factors have singular values 1 and |1 - beta| < 1, so those of a time step do not exceed 1. With
    n_h = 2 and beta near 2 a step is near a rotation in the plane of its two keys, whose eigenvalues are complex; a
    product of n_h reflections can be any orthogonal matrix that leaves a subspace of dimension d_k - n_h as it is, a
    permutation of n_h + 1 things for instance. Asserted in tests/models/test_deltanet.py.
Reference: Siems, Carstensen, Zela, Hutter, Pontil, Grazzi. DeltaProduct: Improving State-Tracking in Linear RNNs via
    Householder Products. NeurIPS 2025. https://arxiv.org/abs/2502.10297
Differs from the paper:
    - Without the short convolutions of queries, keys and values, and without the output gate of its gated form.
    - The affine maps have biases, since here a first layer reads inputs as they are, of one feature perhaps.
    - Chunks of 16 to 32 writes (`blocks.delta_rule`), where the authors' code has 64: on a CPU fewer are faster.
"""

from stablebench.models.blocks.delta_rule import DeltaRule
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count


@register_model
class DeltaProduct(DeltaRule):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Width of values and of the output, heads times d_v, >= 1.
        householders: Number n_h of writes a time step, each with a key of its own, >= 1.
        heads: Number of heads, each with a matrix of its own, >= 1; it divides `hidden`.
        key_size: Width d_k of a head's queries and keys, >= 1; the state has `hidden` times as many numbers.
        negative_eigenvalues: Whether beta is in (0, 2) and each factor's eigenvalue in (-1, 1); otherwise in (0, 1).
        decay: Whether the whole memory is scaled by alpha before the writes (the paper's gated form).
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        householders: Count = 2,
        heads: Count = 1,
        key_size: Count = 8,
        negative_eigenvalues: bool = True,
        decay: bool = False,
    ) -> None:
        super().__init__(
            in_features,
            hidden,
            heads=heads,
            key_size=key_size,
            negative_eigenvalues=negative_eigenvalues,
            householders=householders,
            decay=decay,
        )
