"""Whether a run's spec decides its numbers, which a user's own model may draw elsewhere, or read from the clock.

It is tested once, before the first update of a session: the model is built twice and run twice from one state, and the
results must be equal bit for bit.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stablebench.models.network import AnyNetwork
from stablebench.process import python_random
from stablebench.runs.checkpoint import as_bytes, as_stored
from stablebench.training.network_state import NetworkState, StateKeeper

_ELSEWHERE = (
    "draws random numbers that the run's seed does not decide (a generator made without a seed, os.urandom), or reads "
    "something else that changes (the time)"
)


def equal(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors have the same type, shape and bytes."""
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    return torch.equal(*(as_bytes(as_stored(t)) for t in (a, b)))


def difference(a: NetworkState, b: NetworkState) -> str | None:
    """Return the name of the first tensor or attribute in which two states differ, or None if they are equal."""
    for one, other in ((a.tensors, b.tensors), (a.outside, b.outside)):
        for name in dict.fromkeys([*one, *other]):
            if name not in one or name not in other or not equal(one[name], other[name]):
                return name
    ours, theirs = (s.document.get("modules", {}) for s in (a, b))
    for module in dict.fromkeys([*ours, *theirs]):
        here, there = ours.get(module, {}), theirs.get(module, {})
        for key in dict.fromkeys([*here, *there]):
            if key not in here or key not in there or here[key] != there[key]:
                return f"{module}.{key}"
    return None


def why_built_differently(keeper: StateKeeper, build: Callable[[], AnyNetwork]) -> str | None:
    """Return why building a user's model again gives another one, or None if it gives the same.

    Args:
        keeper: Of the network as it was built.
        build: Builds it again.
    """
    other = StateKeeper(build(), whole=True)
    name = difference(keeper.state(), other.state())
    return None if name is None else f"the model's `__init__` {_ELSEWHERE}: built twice, `{name}` differs"


@dataclass(frozen=True)
class Passes:
    """How two forward passes of a user's model from one state compare.

    Args:
        differ: Why they gave other numbers; None if they gave the same.
        moves: What a pass changes next to its outputs, which a replay of its kernels would not; None if nothing.
    """

    differ: str | None = None
    moves: str | None = None


def two_passes(keeper: StateKeeper, where: torch.device, forward: Callable[[], list[Tensor]]) -> Passes:
    """Run a user's model twice from one state.

    The network and the generators of random numbers are as before afterwards.

    Args:
        keeper: Of the network.
        where: Its device.
        forward: Runs the network and returns its results.
    """
    before, generators = keeper.state().copied(), python_random.states()
    results: list[tuple[list[Tensor], NetworkState]] = []
    drawn = False
    for _ in range(2):
        with keeper.undisturbed(where):
            try:
                outputs = [output.detach() for output in forward()]
            except Exception:  # the update that follows fails in the same way, and reports its error
                return Passes()
            results.append((outputs, keeper.state().copied()))
            drawn |= any(not torch.equal(now, generators[name]) for name, now in python_random.states().items())
    (one, after), (other, after_again) = results
    name = difference(before, after)
    moves = "the model draws random numbers that are not torch's" if drawn else None
    if moves is None and name is not None:
        moves = f"a forward pass changes `{name}`"
    if len(one) != len(other) or not all(map(equal, one, other)):
        return Passes(f"the model {_ELSEWHERE}: run twice from one state, its outputs differ", moves)
    name = difference(after, after_again)
    return Passes(
        None if name is None else f"the model {_ELSEWHERE}: run twice from one state, `{name}` differs", moves
    )
