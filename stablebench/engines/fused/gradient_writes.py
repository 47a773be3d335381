"""Decides which writes of a reverse step store and which add to what an earlier one of the same step left."""

from collections.abc import Iterator
from dataclasses import replace

from stablebench.engines.fused.program import Loop, Product, Slice, Stage


def order_gradient_writes(stages: list[Stage], widths: dict[str, int]) -> tuple[list[Stage], frozenset[str]]:
    """Return the stages with every `accumulate` of their reverse set, and the buffers that must start from zero.

    The first write to a feature stores, later ones add. A buffer where writes overlap in part, or that is not written
    everywhere, starts from zero. Gradients of vectors are sums over the steps, so they always add.

    Args:
        stages: In the order of the forward pass.
        widths: Features of every gradient buffer.
    """
    targets = list(_targets(stages))
    zeroed = {
        buffer
        for buffer, width in widths.items()
        if buffer.startswith(("d_old", "d_product", "d_left", "d_drive"))
        and not _tiled([target for target in targets if target.buffer == buffer], width)
    }
    seen: set[Slice] = set()
    flags = []
    for target in targets:
        flags.append(target.buffer in zeroed or target.buffer.startswith("d_vector") or target in seen)
        seen.add(target)
    return _with_flags(stages, iter(flags)), frozenset(zeroed)


def _tiled(targets: list[Slice], width: int) -> bool:
    """Return whether the different targets cover a buffer once."""
    end = 0
    for target in sorted(set(targets), key=lambda target: target.offset):
        if target.offset != end:
            return False
        end += target.width
    return end == width


def _targets(stages: list[Stage]) -> Iterator[Slice]:
    """Yield the target of every gradient write, in the order of the reverse step."""
    for stage in reversed(stages):
        for loop in stage.reverse:
            yield from (store.target for store in loop.stores)
        yield from (product.left.gradient for product in stage.products if product.has_gradient)


def _with_flags(stages: list[Stage], flags: Iterator[bool]) -> list[Stage]:
    def flagged_loop(loop: Loop) -> Loop:
        return replace(loop, stores=tuple(replace(store, accumulate=next(flags)) for store in loop.stores))

    def flagged_product(product: Product) -> Product:
        return replace(product, accumulate_gradient=product.has_gradient and next(flags))

    result = []
    for stage in reversed(stages):
        reverse = tuple(flagged_loop(loop) for loop in stage.reverse)
        products = tuple(flagged_product(product) for product in stage.products)
        result.append(replace(stage, reverse=reverse, products=products))
    return result[::-1]
