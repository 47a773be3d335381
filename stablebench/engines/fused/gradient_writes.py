"""Decides which writes of a backward step store and which add to what an earlier one of the same step left."""

from collections.abc import Iterator
from dataclasses import replace

from stablebench.engines.fused.program import Buffer, Kind, Slice, Stage


def order_gradient_writes(stages: list[Stage], widths: dict[Buffer, int]) -> tuple[list[Stage], frozenset[Buffer]]:
    """Return the stages with every `accumulate` of their backward set, and the buffers that must start from zero.

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
        if buffer.is_gradient
        and buffer.kind in (Kind.OLD, Kind.MATMUL, Kind.MATMUL_LHS, Kind.PROJECTION)
        and not _tiled([target for target in targets if target.buffer == buffer], width)
    }
    seen: set[Slice] = set()

    def adds(target: Slice) -> bool:
        is_later = target.buffer in zeroed or target.buffer.is_vector_gradient or target in seen
        seen.add(target)
        return is_later

    ordered = []
    for stage in reversed(stages):
        backward = [
            replace(loop, stores=tuple(replace(store, accumulate=adds(store.target)) for store in loop.stores))
            for loop in stage.backward
        ]
        matmuls = [
            replace(matmul, accumulate_lhs_gradient=matmul.lhs_needs_grad and adds(matmul.lhs.gradient))
            for matmul in stage.matmuls
        ]
        ordered.append(replace(stage, backward=tuple(backward), matmuls=tuple(matmuls)))
    return ordered[::-1], frozenset(zeroed)


def _tiled(targets: list[Slice], width: int) -> bool:
    """Return whether the different targets cover a buffer once."""
    end = 0
    for target in sorted(set(targets), key=lambda target: target.offset):
        if target.offset != end:
            return False
        end += target.width
    return end == width


def _targets(stages: list[Stage]) -> Iterator[Slice]:
    """Yield the target of every gradient write."""
    for stage in stages:
        for loop in stage.backward:
            yield from (store.target for store in loop.stores)
        yield from (matmul.lhs.gradient for matmul in stage.matmuls if matmul.lhs_needs_grad)
