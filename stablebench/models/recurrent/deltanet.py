r"""DeltaNet: a matrix memory that is corrected, not only added to: the delta rule as a linear recurrence.

Equation (a head's matrix S, d_v x d_k; |q| = |k| = 1):

    S_t = S_{t-1} (I - beta_t k_t k_t^T) + beta_t v_t k_t^T
    q_t = norm(silu(W_q x_t + b_q)),  k_t = norm(silu(W_k x_t + b_k)),  v_t = silu(W_v x_t + b_v)
    beta_t = b sigmoid(W_beta x_t + b_beta),    b = 1, or 2 with `negative_eigenvalues`
    y_t = W_o RMSNorm(S_t q_t)                    (every head normalised by itself)

Shapes: x_t (batch, in); v_t, y_t (batch, hidden); q_t, k_t (batch, heads d_k); beta_t (batch, heads); the state (batch,
    hidden d_k): the first columns of all heads' S, then the second ones, and so on; W_o (hidden, hidden); RMSNorm's
    weights (d_v). `hidden` = heads d_v, d_k = `key_size`: the state has hidden d_k numbers whatever the heads.
Parameters: `(2 * heads * key_size + hidden + heads) * (inputs + 1) + hidden ** 2 + hidden / heads`.
Cost per step: `hidden * (hidden + key_size + inputs) + heads * (2 * key_size + 1) * inputs + heads * key_size ** 2 *
    hidden` multiply-adds. The last term is a product with a fixed matrix of 0 and 1 that copies a key's numbers to
    where they act. The delta rule itself is elementwise: 3 hidden d_k more.
Init: all affine maps as torch.nn.Linear, RMSNorm's weights 1. S_0 = 0.
Stability claim: in the direction of k the eigenvalue of a step is 1 - beta, in (0, 1), or with `negative_eigenvalues`
    in (-1, 1); in all others it is 1. So no singular value of a product of steps exceeds 1, and -1 is approached, which
    a memory that has to count modulo two needs. Asserted in tests/models/test_deltanet.py.
Reference: Yang, Wang, Zhang, Shen, Kim. Parallelizing Linear Transformers with the Delta Rule over Sequence Length.
    NeurIPS 2024. https://arxiv.org/abs/2406.06484. Negative eigenvalues: Grazzi, Siems, Franke, Zela, Hutter, Pontil.
    Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues. ICLR 2025. https://arxiv.org/abs/2411.12537
Differs from the paper:
    - Without the short convolutions of queries, keys and values.
    - The affine maps have biases, since here a first layer reads inputs as they are, of one feature perhaps.
    - Chunks of 16 to 32 writes (`blocks.delta_rule`), where the authors' code has 64: on a CPU fewer are faster.
"""

from stablebench.models.blocks.delta_rule import DeltaRule
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count


@register_model
class DeltaNet(DeltaRule):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Width of values and of the output, heads times d_v, >= 1.
        heads: Number of heads, each with a matrix of its own, >= 1; it divides `hidden`.
        key_size: Width d_k of a head's queries and keys, >= 1; the state has `hidden` times as many numbers.
        negative_eigenvalues: Whether beta is in (0, 2) and eigenvalues in (-1, 1); otherwise they are in (0, 1).
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        heads: Count = 1,
        key_size: Count = 8,
        negative_eigenvalues: bool = False,
    ) -> None:
        super().__init__(in_features, hidden, heads=heads, key_size=key_size, negative_eigenvalues=negative_eigenvalues)
