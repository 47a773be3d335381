"""The block that `--set model.block=residual` puts around every recurrent layer of a network.

    u_t = E x_t + e in the first layer, x_t in those above    v_t = norm(u_t)    what the layer reads
    o_t = u_t + mix(y_t)                                      y_t                what the layer gives out

It is that of `blocks.block`, which `lru`, `s4d` and others have of their own. Its arguments are given like a model's
and stand among them in the run spec; with `block` plain they are left out, so that earlier runs keep their hash.
"""

import inspect
from typing import Any, Literal

from pydantic import ValidationError
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.blocks.block import Block, Mix, Norm
from stablebench.schema.strict import InvalidValues, Strict


class BlockArguments(Strict):
    """What is around the layers.

    Args:
        block: `plain` for nothing, `residual` for the block.
        block_norm: Normalisation before a layer: `layer`, `rms` or `none`.
        block_mix: Map behind it: `glu`, a gated linear unit of gelu; `gelu`; or `none`.
    """

    block: Literal["plain", "residual"] = "plain"
    block_norm: Norm = "layer"
    block_mix: Mix = "glu"


NAMES = tuple(BlockArguments.model_fields)


def split_arguments(cls: type[Any], params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a model's own arguments, and those of the block around it.

    Args:
        cls: The model; an argument of its own by one of these names stays its own.
        params: All.
    """
    names = [name for name in NAMES if name not in inspect.signature(cls).parameters]
    own = {name: value for name, value in params.items() if name not in names}
    return own, {name: params[name] for name in names if name in params}


def block_arguments(cls: type[Any], name: str, given: dict[str, Any], *, family: str) -> dict[str, Any]:
    """Return the block's arguments with defaults filled in; none where there is no block.

    Args:
        cls: The model.
        name: What the user calls it.
        given: The block's arguments, as `split_arguments` returns them.
        family: `recurrent`, `deep` or `attention`.

    Raises:
        UserError: A value is wrong, or the model has no place for a block.
    """
    try:
        arguments = BlockArguments.model_validate(given)
    except ValidationError as error:
        raise InvalidValues.of(error, BlockArguments, f"model {name}", given) from None
    if arguments.block == "plain":
        if more := sorted(given.keys() - {"block"}):
            raise UserError(f"model.{more[0]}: there is no block around the layers; add --set model.block=residual.")
        return {}
    if family != "recurrent":
        kind = "a deep model" if family == "deep" else "an attention model with residual blocks of its own"
        raise UserError(f"model.block: {name} is {kind}, and a block goes around recurrent layers. Leave it out.")
    if {"norm", "mix", "skip"} <= inspect.signature(cls).parameters.keys():
        raise UserError(
            f"model.block: {name} has this block of its own, set by model.norm, model.mix and model.skip. Leave it out."
        )
    return arguments.model_dump()


def new_block(params: dict[str, Any], in_features: int, width: int, *, layer: int, inner: int) -> Block | None:
    """Return the block around a layer, drawn from torch's global generator, or None.

    Args:
        params: What `ModelEntry.resolve` returned.
        in_features: Width of x_t.
        width: Width of the block, which is what the layer reads.
        layer: Position in the stack.
        inner: Width of what the layer gives out.

    Raises:
        UserError: The widths do not fit, and nothing in the block changes them.
    """
    if params.get("block") != "residual":
        return None
    mix = params["block_mix"]
    if inner != width and mix != "glu":
        raise UserError(
            f"model.block_mix={mix}: the layers give out {inner} features, and only `glu` takes these to the block's "
            f"{width}."
        )
    return Block(in_features, width, layer=layer, norm=params["block_norm"], mix=mix, skip=True, inner=inner)


def enter(block: Block | None, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return u and v of x, (..., in); without a block x twice."""
    if block is None:
        return x, x
    u = block.stream(x)
    return u, block.norm(u)


def leave(block: Block | None, y: Tensor, u: Tensor) -> Tensor:
    """Return o of y and u, (..., any); without a block y."""
    return y if block is None else block.merge_residual(y, u)
