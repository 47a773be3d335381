"""Decides which writes of a backward step store and which add to what an earlier one of the same step left."""

from collections.abc import Iterator
from dataclasses import replace

from stablebench.engines.fused.program import Buffer, Kind, Loop, Matmul, Slice, Stage


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
    flags = []
    for target in targets:
        flags.append(target.buffer in zeroed or target.buffer.is_vector_gradient or target in seen)
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
    """Yield the target of every gradient write, in the order of the backward step."""
    for stage in reversed(stages):
        for loop in stage.backward:
            yield from (store.target for store in loop.stores)
        yield from (matmul.lhs.gradient for matmul in stage.matmuls if matmul.lhs_needs_grad)


def _with_flags(stages: list[Stage], flags: Iterator[bool]) -> list[Stage]:
    def flagged_loop(loop: Loop) -> Loop:
        return replace(loop, stores=tuple(replace(store, accumulate=next(flags)) for store in loop.stores))

    def flagged_matmul(matmul: Matmul) -> Matmul:
        return replace(matmul, accumulate_lhs_gradient=matmul.lhs_needs_grad and next(flags))

    result = []
    for stage in reversed(stages):
        backward = tuple(flagged_loop(loop) for loop in stage.backward)
        matmuls = tuple(flagged_matmul(matmul) for matmul in stage.matmuls)
        result.append(replace(stage, backward=backward, matmuls=matmuls))
    return result[::-1]
