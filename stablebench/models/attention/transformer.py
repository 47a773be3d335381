r"""Transformer: causal self-attention; it remembers by looking at all inputs again, the reference that has no state.

Equation (pre-norm blocks; a head has d = hidden / heads units, the last one fewer where that is no whole number):

    u_t = E x_t + e                                                        (+ p_t with `positions` sinusoidal)
    in every block, for every head, with n_t = norm(u_t):
        q_t = W_q n_t,  k_t = W_k n_t,  v_t = W_v n_t                      (with rotary: R_t W_q n_t, R_t W_k n_t)
        y_t = sum_{s <= t} softmax_s(q_t k_s / sqrt(d)) v_s
    u_t <- u_t + W_o y_t + b_o                                             (the heads' y_t side by side)
    u_t <- u_t + W_2 gelu(W_1 norm(u_t) + b_1) + b_2
    out_t = norm(u_t)                                                      after the last block
    p_t: sin and cos of t / 10000^(2 i / hidden);  R_t: turns the pair i of a head by t / 10000^(2 i / d)

Shapes: x_t (batch, in); u_t, n_t, y_t, out_t (batch, hidden); W_q, W_k, W_v, W_o (hidden, hidden); W_1 (m hidden,
    hidden), W_2 (hidden, m hidden), with m = `expansion`. E is there in the first layer of a stack, and wherever the
    widths differ; --layers stacks layers of `blocks` blocks each.
Parameters: `hidden * (inputs + 3) + blocks * ((4 + 2 * expansion) * hidden ** 2 + (expansion + 6) * hidden)`.
Cost per step: `hidden * inputs + blocks * (4 + 2 * expansion) * hidden ** 2` multiply-adds, and 2 blocks hidden t more
    for looking back from step t: a sequence costs the square of its length.
Init: all affine maps as torch.nn.Linear, norms of weights 1 and biases 0.
Stability claim: none; there is no recurrence. A path from any x_s to out_t has as many blocks, whatever t - s is.
Reference: Vaswani et al. Attention Is All You Need. NeurIPS 2017. https://arxiv.org/abs/1706.03762. Norms before: Xiong
    et al. On Layer Normalization in the Transformer Architecture. ICML 2020. https://arxiv.org/abs/2002.04745. Rotary:
    Su et al. RoFormer. 2021. https://arxiv.org/abs/2104.09864. None: Kazemnejad et al. The Impact of Positional
    Encoding on Length Generalization in Transformers. NeurIPS 2023. https://arxiv.org/abs/2305.19466
Differs from the paper:
    - Only the decoder's causal half, for sequences; no dropout; gelu in place of the rectifier.
    - `positions` is none by default: the causal mask tells early from late, and of the usual encodings none does best
      on sequences longer than those of training (Kazemnejad et al.). Tasks with fixed places may want rotary.
    - Queries, keys and values have no biases: that of the keys changes nothing without rotary.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.attention_model import AttentionModel
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count

_BASE = 10_000.0
"""The longest wavelength of positions over 2 pi, of both papers."""


@register_model
class Transformer(AttentionModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Width of the residual stream and of the output, >= 1.
        layer: Position in the stack, from 0; the first layer has the encoder and the sinusoidal positions.
        blocks: Number of blocks of a layer, each an attention and an MLP, >= 1.
        heads: Number of heads of every attention, >= 1, at most `hidden`; more look at more places with fewer units.
        expansion: Width of the MLP inside a block over the width `hidden`, >= 1.
        positions: How places are told apart: `none` by the causal mask only; `rotary` by queries and keys that are
            turned by their place; `sinusoidal` by waves that are added to the first block's input.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        layer: int = 0,
        blocks: Count = 2,
        heads: Count = 2,
        expansion: Count = 4,
        positions: Literal["none", "rotary", "sinusoidal"] = "none",
    ) -> None:
        super().__init__(in_features, hidden)
        self.encoder = nn.Linear(in_features, hidden) if layer == 0 or in_features != hidden else nn.Identity()
        self.waves = positions == "sinusoidal" and layer == 0
        rotary = positions == "rotary"
        self.blocks = nn.ModuleList(AttentionBlock(hidden, heads, expansion, rotary=rotary) for _ in range(blocks))
        self.norm = nn.LayerNorm(hidden)

    def forward(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time out"]:
        """Return the outputs of all steps; each depends on the inputs up to it."""
        u = self.encoder(x)
        if self.waves:
            u = u + waves(x.shape[1], self.hidden).to(u)
        for block in self.blocks:
            u = block(u)
        return self.norm(u)


class AttentionBlock(nn.Module):
    """Causal self-attention, then an MLP, each behind a norm and added to the stream.

    Args:
        width: Of the stream.
        heads: 1 ... width.
        expansion: Width of the MLP over that of the stream.
        rotary: Whether queries and keys are turned by their place.
    """

    def __init__(self, width: int, heads: int, expansion: int, *, rotary: bool) -> None:
        super().__init__()
        self.heads = min(heads, width)
        self.head_size = -(-width // self.heads)
        self.rotary = rotary
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width))

    def forward(self, u: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch time width"]:
        """Return the stream behind the block."""
        q, k, v = (self._by_head(part) for part in self.query_key_value(self.attention_norm(u)).chunk(3, dim=-1))
        if self.rotary:
            q, k = turned(q), turned(k)
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        u = u + self.out(y.transpose(1, 2).flatten(2)[..., : u.shape[-1]])
        return u + self.mlp(self.mlp_norm(u))

    def _by_head(self, x: Tensor) -> Tensor:
        """Return (batch, heads, time, head size) of (batch, time, width), the last head filled up with zeros."""
        missing = self.heads * self.head_size - x.shape[-1]
        x = nn.functional.pad(x, (0, missing)) if missing else x
        return x.unflatten(-1, (self.heads, self.head_size)).transpose(1, 2)


def angles(steps: int, pairs: int, width: int) -> Float[Tensor, "steps pairs"]:
    """Return t / 10000^(2 i / width) of the places t and the pairs i, from 0, in float64."""
    rates = _BASE ** (-2 * torch.arange(pairs, dtype=torch.float64) / width)
    return torch.arange(steps, dtype=torch.float64)[:, None] * rates


def waves(steps: int, width: int) -> Float[Tensor, "steps width"]:
    """Return p_t of all places: at unit 2 i the sine, at unit 2 i + 1 the cosine of the same angle, in float64."""
    turns = angles(steps, -(-width // 2), width)
    return torch.stack([turns.sin(), turns.cos()], dim=-1).flatten(1)[:, :width]


def turned(x: Float[Tensor, "*batch time size"]) -> Float[Tensor, "*batch time size"]:
    """Return queries or keys with the units 2 i and 2 i + 1 turned as a pair; a last single unit stays as it is."""
    steps, size = x.shape[-2:]
    pairs = size // 2
    turns = angles(steps, pairs, size)
    cos, sin = turns.cos().to(x), turns.sin().to(x)
    even, odd = x[..., : 2 * pairs].unflatten(-1, (pairs, 2)).unbind(-1)
    both = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)
    return torch.cat([both, x[..., 2 * pairs :]], dim=-1)
