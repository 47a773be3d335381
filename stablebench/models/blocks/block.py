"""The block around deep linear recurrences: a residual stream, a norm before, a nonlinear mixing after.

    u_t = E x_t + e        in the first layer of a stack; x_t, which has this width already, in those above
    v_t = norm(u_t)        what the recurrence reads
    o_t = u_t + mix(y_t)   what the layer gives out, where y_t is what the recurrence gives out

All of it is done step by step, so a model calls the first two in `input_projection` and all three in `layer_output`.
"""

from typing import Literal, TypeAlias

from torch import Tensor, nn

Norm: TypeAlias = Literal["layer", "rms", "none"]
Mix: TypeAlias = Literal["glu", "gelu", "none"]


class Block(nn.Module):
    """The layers around a recurrence.

    Args:
        in_features: Width of x_t, >= 1.
        width: Width of u_t, v_t, y_t and o_t, >= 1.
        layer: Position in the stack, >= 0; layer 0 has an encoder, and so has every layer whose widths differ.
        norm: `layer` for LayerNorm of u_t over its features, `rms` for RMSNorm, or `none`.
        mix: `glu` is W gelu(y) + b, its first half times the sigmoid of its second; `gelu` only gelu(y); or `none`.
        skip: Whether u_t is added to the output.
        inner: Width of y_t; None for `width`, which it must be where `mix` is not `glu`.
    """

    def __init__(
        self, in_features: int, width: int, *, layer: int, norm: Norm, mix: Mix, skip: bool, inner: int | None = None
    ) -> None:
        super().__init__()
        self.in_features, self.width = in_features, width
        self.encoder = nn.Linear(in_features, width) if layer == 0 or in_features != width else nn.Identity()
        norms: dict[Norm, type[nn.Module]] = {"layer": nn.LayerNorm, "rms": nn.RMSNorm, "none": nn.Identity}
        self.norm = norms[norm](width)
        self.gate = nn.Linear(width if inner is None else inner, 2 * width) if mix == "glu" else None
        self.mix: Mix = mix
        self.skip = skip

    def stream(self, x: Tensor) -> Tensor:
        """Return u, (..., width), of x, (..., in)."""
        return self.encoder(x)

    def read(self, x: Tensor) -> Tensor:
        """Return v, (..., width), of x, (..., in)."""
        return self.norm(self.stream(x))

    def merge_residual(self, y: Tensor, u: Tensor) -> Tensor:
        """Return o = u + mix(y) of y and u, (..., width) each; without `skip` mix(y)."""
        if self.mix != "none":
            y = nn.functional.gelu(y)
        if self.gate is not None:
            y = nn.functional.glu(self.gate(y), dim=-1)
        return u + y if self.skip else y
