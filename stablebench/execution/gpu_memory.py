"""How many runs share a GPU: as many as are estimated to fit in its free memory.

What a run takes is estimated before it begins:

    context + parameters x copies + max(passes x taken(T, batch), taken(T, examples of an evaluation))

`context` is what CUDA takes for a process; the copies of the parameters are the weights, their gradients, what the
optimiser keeps of each (Adam two values, RMSprop and Adagrad one, momentum one more), and the best weights where
validation chooses them. `taken` is what T steps leave behind for the gradient, and, unless the fused engine is asked
for, which holds them one time step at a time, their drives and states. It is linear in T and in the batch; so it is
counted on the CPU, by passes of the reference engine over a few steps. `passes` is 2, for what arises on the way back;
1.5 for the fused engine; 4 for linear recurrences, whose scan keeps partial results. Measured on a CPU (64 sequences of
500 steps, 128 units, eleven models) a pass took 0.6 to 1 times that with the reference engine, 0.5 to 0.7 times with
the fused one, and 0.3 to 0.9 times where the recurrence is linear. Torch's attention keeps queries, keys, values and
outputs, not the square of T, so an attention model's share is linear in T as well.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from stablebench.data.task import sizes_of
from stablebench.engines import scan
from stablebench.errors import StablebenchError
from stablebench.models import deep_model, recurrent_model
from stablebench.models.attention_network import AttentionNetwork
from stablebench.models.base import DeepModel, LayerGroup, RecurrentModel, State
from stablebench.models.build import build_network, resolve_device
from stablebench.models.deep_network import DeepNetwork
from stablebench.models.network import AnyNetwork, Network
from stablebench.process.child import result_in_child
from stablebench.schema.run_spec import RunSpec
from stablebench.specs.limits import kept_per_parameter
from stablebench.specs.request import Resolved

_CONTEXT = 768 << 20
"""Bytes of a process's CUDA context, with the kernels and the workspace that its libraries load."""
_USABLE = 0.9
"""Share of the free memory that is given out: estimates are no measurements, and memory is handed out in blocks."""
_EVALUATED = 100
"""Examples that an evaluation takes at once at least."""
_STEPS, _EXAMPLES = (2, 4), (2, 4)
"""Where what is kept is counted."""


class GpuMemoryBudget:
    """The memory of the GPU that runs share.

    Args:
        free: Bytes that are free before the first of them begins; None where there is no GPU to share.
    """

    def __init__(self, free: int | None) -> None:
        self.free = free
        self._known: dict[str, int] = {}

    @classmethod
    def now(cls, runs: Iterable[Resolved]) -> "GpuMemoryBudget":
        """Return what there is at present for these runs, which each choose their device."""
        on_gpu = any(resolve_device(device).type == "cuda" for device in {run.spec.device for run in runs})
        return cls(free_gpu_bytes() if on_gpu else None)

    def fits(self, resolved: Resolved, running: Iterable[Resolved]) -> bool:
        """Return whether a run fits next to those that run; a single one is tried whatever it takes."""
        others = list(running)
        if self.free is None or not others:
            return True
        return sum(map(self._bytes, [resolved, *others])) <= _USABLE * self.free

    def wait_message(self, resolved: Resolved) -> str:
        """Return why a run waits."""
        assert self.free is not None
        wanted, free = (f"{n / 2**30:.1f}" for n in (self._bytes(resolved), self.free))
        return f"waits for memory: it takes about {wanted} GiB of the GPU, which had {free} GiB free for all"

    def _bytes(self, resolved: Resolved) -> int:
        """Return what a run takes, estimated once for all of its seeds."""
        key = resolved.spec.spec_hash()
        if key not in self._known:
            self._known[key] = run_bytes(resolved)
        return self._known[key]


def free_gpu_bytes() -> int | None:
    """Return the free bytes of the GPU that runs take; None where it does not say.

    A process of its own asks: the question takes a context, which this one would keep.
    """
    return result_in_child(_free_bytes)


def _free_bytes() -> int | None:
    try:
        return torch.cuda.mem_get_info()[0]
    except RuntimeError:
        return None


def run_bytes(resolved: Resolved) -> int:
    """Return about how many bytes of a GPU a run takes; for one that cannot be built, only the context."""
    spec, card = resolved.spec, resolved.card
    sizes = sizes_of(card, spec.task.params)
    fused = spec.engine == "fused"
    try:
        network = build_network(spec, card, sizes)
        taken = _taken(network, sizes.inputs, _kept_steps(spec, sizes.steps), with_drives=not fused)
    except (StablebenchError, RuntimeError):  # it will say so where it runs
        return _CONTEXT
    tensors = [*network.parameters(), *network.buffers()]
    copies = 2 + kept_per_parameter(spec.optim) + (card.protocol.select_on == "validation")
    batch = spec.train.batch_size
    most = max(_passes(network, fused) * taken(batch), taken(max(batch, _EVALUATED)))
    return _CONTEXT + copies * sum(tensor.nbytes for tensor in tensors) + round(most)


def _passes(network: AnyNetwork, fused: bool) -> float:
    """Return how many times what a pass takes an update takes."""
    linear = isinstance(network, Network) and all(
        scan.unsupported_reason(layer) is None for layer in network.recurrent_layers
    )
    return 1.5 if fused else 4.0 if linear else 2.0


def _kept_steps(spec: RunSpec, steps: int) -> int:
    """Return the time steps of which everything is kept; of a stretch computed again, that stretch and its start."""
    every = spec.train.recompute_every
    return steps if every is None else min(steps, every + -(-steps // every))


def _taken(network: AnyNetwork, inputs: int, steps: int, *, with_drives: bool) -> Callable[[int], float]:
    """Return the bytes that a pass over `steps` steps takes, as a function of the examples.

    Args:
        network: The network; its engine is set to one that counts.
        inputs: Alphabet of its tokens, or features of its values.
        steps: Of a sequence.
        with_drives: Whether the drives and states of all steps are held in addition to what is kept for the gradient.
    """
    ends = []
    for n in _EXAMPLES:
        if isinstance(network, DeepNetwork):
            ends.append(_counted(network, torch.zeros(n, inputs), with_drives))
        else:
            if isinstance(network, Network):
                network.recompute_every = None
            few = [_counted(network, _zeros(network, n, t, inputs), with_drives) for t in _STEPS]
            ends.append(_line(_STEPS, few, steps))
    return lambda examples: _line(_EXAMPLES, ends, examples)


def _zeros(network: AnyNetwork, examples: int, steps: int, inputs: int) -> Tensor:
    assert isinstance(network, Network | AttentionNetwork)
    if network.input == "tokens":
        return torch.zeros(examples, steps, dtype=torch.int64)
    return torch.zeros(examples, steps, inputs)


def _line(at: tuple[int, int], values: list[float], wanted: int) -> float:
    """Return what a line through two points has elsewhere."""
    (x0, x1), (y0, y1) = at, values
    return y0 + (y1 - y0) * (wanted - x0) / (x1 - x0)


def _counted(network: AnyNetwork, inputs: Tensor, with_drives: bool) -> float:
    """Return the bytes of all that autograd keeps of a pass, and of its drives and states; each storage once.

    The network's own tensors are left out.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    kept: dict[int, Tensor] = {}
    forward_bytes = 0

    def note(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    def run(
        model: RecurrentModel,
        x: Tensor,
        state: State | None = None,
        outputs: Literal["every", "last"] = "every",
        recurrent_weights: Any = None,
    ) -> tuple[Tensor, State]:
        nonlocal forward_bytes
        state = model.initial_state(len(x)) if state is None else state
        with torch.no_grad():
            projected = model.input_projection(x)
        projections = (projected,) if isinstance(projected, Tensor) else projected
        forward_bytes += sum(part.nbytes for part in projections) + x.shape[1] * sum(part.nbytes for part in state)
        return recurrent_model.run_steps(model, x, state, outputs, recurrent_weights)

    def run_layers(model: DeepModel, group: LayerGroup, state: State, /) -> Any:
        nonlocal forward_bytes
        forward_bytes += len(group) * sum(part.nbytes for part in state)
        return deep_model.run_layers(model, group, state)

    if isinstance(network, DeepNetwork):
        network.engine = run_layers
    elif isinstance(network, Network):
        network.engine = run
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output, _ = network(inputs)
    saved = sum(tensor.untyped_storage().nbytes() for at, tensor in kept.items() if at not in own)
    return saved + output.nbytes + with_drives * forward_bytes
