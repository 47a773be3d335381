"""Captures a training step in a CUDA graph, so that its thousands of small kernels are launched with one call.

What is captured is everything from the batch to the gradient's norm: forward pass, loss, backward pass. It runs in
memory of its own that stays where it is; a replay copies the batch there first. Where a capture is impossible, the
step runs as it would without this module, and the log says why, once.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.errors import first_line

_log = logging.getLogger(__name__)

MOST_NODES = 100_000
"""Kernels that a graph may hold. The driver keeps the arguments of each in memory, a few hundred bytes to some KiB, and
instantiating takes some microseconds each: this many are some hundred MB and about a second."""
_WARM_UP = 3
"""Steps ahead of a capture: libraries choose their kernels and allocate workspace at first use. torch's own advice."""

Step: TypeAlias = Callable[[Batch], tuple[Tensor, ...]]
"""Takes a batch, adds the gradients of its loss to `.grad`, and returns what is to be known of it."""


def estimated_nodes(time_steps: int, calls: int) -> int:
    """Return about how many kernels a training step launches.

    Args:
        time_steps: Steps of a sequence; 1 where one kernel runs them all.
        calls: torch calls of one step forward, products and loops; backward makes about two for each.
    """
    return 3 * time_steps * calls


def unsupported_reason(device: torch.device, nodes: int, most: int = MOST_NODES) -> str | None:
    """Return why a step is not captured, or None if it is to be.

    Args:
        device: Where it runs.
        nodes: About how many kernels it launches.
        most: How many may be.
    """
    if device.type != "cuda":
        return f"it runs on {device.type}"
    if nodes > most:
        return f"about {nodes} kernels are more than the {most} that a graph may hold"
    return None


class GraphedStep:
    """A training step that is replayed from a CUDA graph.

    The gradients lie where the capture has put them: do not set `.grad` to None between calls, and read what a call
    returns before the next one, which writes over it. `step` must not wait for the device (no `.item()`), and takes
    its randomness from torch's generator.

    Args:
        step: What is captured. It finds the gradients at zero; it must not set them to None.
        parameters: Whose gradients it fills.
        device: Where it runs.
        nodes: About how many kernels it launches (`estimated_nodes`).
    """

    def __init__(self, step: Step, parameters: Iterable[Tensor], device: torch.device, nodes: int) -> None:
        self._step = step
        self._parameters = list(parameters)
        self._device = device
        self.reason = unsupported_reason(device, nodes)
        """Why steps run one call at a time, or None."""
        self._said = False
        self._graph: Any = None  # torch.cuda.CUDAGraph
        self._inputs: Batch | None = None
        self._results: tuple[Tensor, ...] = ()
        self._gradients: list[Tensor | None] = []

    def __call__(self, batch: Batch) -> tuple[Tensor, ...]:
        """Make the step and return what `step` returns; the gradients of the step before are gone."""
        if self.reason is None and self._graph is None:
            self.reason = self._capture(batch)
        static = self._inputs
        # A last, smaller batch; or another phase of training. The graph is kept for the batches that fit it.
        if self.reason is not None or static is None or not same_kind(static, batch):
            self._say(self.reason or "the batch has another shape than the captured one")
            zero(self._parameters)
            return self._step(batch)
        copy_into(static, batch)
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient  # someone may have put another there
        assert self._graph is not None  # else there is a reason
        self._graph.replay()
        return self._results

    def _say(self, reason: str) -> None:
        if not self._said:
            _log.info("The training step is not run from a CUDA graph: %s", reason)
            self._said = True

    def _capture(self, batch: Batch) -> str | None:
        """Capture the step, and return why it failed, or None. Nothing but the gradients is different afterwards."""
        random = torch.cuda.get_rng_state(self._device)
        before = [parameter.grad for parameter in self._parameters]
        try:
            self._inputs = batch.map(Tensor.clone)
            stream = torch.cuda.Stream(self._device)
            stream.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP):
                    zero(self._parameters)
                    self._step(self._inputs)
            torch.cuda.current_stream(self._device).wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                zero(self._parameters)
                self._results = tuple(result.detach() for result in self._step(self._inputs))
        except torch.OutOfMemoryError:
            raise  # the step itself would not fit either, or hardly
        except Exception as error:  # whatever a step does that a capture does not allow
            self._inputs, self._results = None, ()
            for parameter, gradient in zip(self._parameters, before, strict=True):
                parameter.grad = gradient
            return f"capturing it failed with {type(error).__name__}: {first_line(error)}"
        finally:
            torch.cuda.set_rng_state(random, self._device)
        self._gradients = [parameter.grad for parameter in self._parameters]
        self._graph = graph
        return None


def zero(parameters: Iterable[Tensor]) -> None:
    """Set the gradients to zero where they lie; what has none stays without."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.zero_()


def same_kind(static: Batch, batch: Batch) -> bool:
    """Return whether a batch can be copied into another: parts of equal shape, type and device."""
    kinds = ([None if p is None else (p.shape, p.dtype, p.device) for p in parts] for parts in (static, batch))
    return next(kinds) == next(kinds)


def copy_into(static: Batch, batch: Batch) -> None:
    """Copy the parts of a batch into those of another of the same kind."""
    for target, part in zip(static, batch, strict=True):
        if target is not None and part is not None:
            target.copy_(part, non_blocking=True)
