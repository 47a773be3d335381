"""One update of a run's network: the gradient of a batch, and the optimiser's step."""

import math
import time

from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.data.metrics import LOSS_SUMS
from stablebench.process.signals import Interrupted
from stablebench.training.cuda_graph import GraphedStep, estimated_nodes
from stablebench.training.evaluation import to_device
from stablebench.training.failures import Diverged
from stablebench.training.parts import RunParts
from stablebench.training.resume import contiguous_clone
from stablebench.training.throughput import WallClock

_CALLS = 20
"""torch calls of one time step, about: how large a CUDA graph of a training step would be."""
_OVERFLOW = "without overflow"
"""In torch's words where a factor of an optimiser's step, the rate with its corrections, is beyond the type."""


class TrainingStep:
    """Makes the updates of a run, one at a time, with the batch that the counters ask for.

    Args:
        parts: The run.
    """

    def __init__(self, parts: RunParts) -> None:
        self._parts, self.state = parts, parts.state
        self._graphed: GraphedStep | None = None
        spec = parts.spec
        if parts.device.type == "cuda" and spec.engine == "fused" and not parts.task.carries_states:
            time_steps = 1 if parts.engine.name == "fused" else spec.horizon
            nodes = estimated_nodes(time_steps, calls=_CALLS)
            self._graphed = GraphedStep(self.gradients, parts.updater.parameters, parts.device, nodes)
            self._graphed.reason = self._graphed.reason or parts.graph_reason

    def make(self) -> tuple[float, float]:
        """Make one update and return its loss and the norm of its gradient, both before it.

        Raises:
            Diverged: The loss or the gradient is not finite; the weights are those before the update. Or the step is
                larger than the type can hold.
            Interrupted: A signal ended a compilation.
        """
        parts, state = self._parts, self.state
        if parts.flosser is not None and parts.flosser.due(state.step):
            state.floss = parts.flosser.update(next_batch(parts), state.floss, before=False)
        batch = next_batch(parts)
        if parts.task.starts_from_initial_states(state.step, parts.spec.train.batch_size):
            state.carried = None
        carried = state.carried

        def restore() -> None:
            state.carried = carried

        loss, norm = parts.engine.attempt(lambda: self._loss_and_norm(batch), restore, parts.on_engine_failure)
        if math.isfinite(loss) and norm == math.inf:
            norm = self._large_norm()
        for what, value in (("loss", loss), ("gradient norm", norm)):
            if not math.isfinite(value):
                raise Diverged(f"the {what} is {value} in update {state.step + 1}")
        self._update()
        parts.network.after_update()
        state.step += 1
        if state.step == 1:  # later ones are compared where they are saved
            parts.keeper.refuse_other_parameters()
        return loss, norm

    def _update(self) -> None:
        """Have the optimiser make its step."""
        try:
            self._parts.updater.update(self.state.step, self.state.stalls)
        except RuntimeError as error:
            if _OVERFLOW not in str(error):
                raise
            precision, number = self._parts.spec.precision, self.state.step + 1
            raise Diverged(f"the step of update {number} is larger than {precision} can hold") from error

    def _loss_and_norm(self, batch: Batch) -> tuple[float, float]:
        """Fill the gradients and return the loss and the gradient's norm as numbers."""
        if self._graphed is None or self._parts.engine.reason is not None:
            self._parts.updater.zero_grad()
            loss, norm = self.gradients(batch)
        else:
            loss, norm = self._graphed(batch)
        return loss.item(), norm.item()

    def gradients(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Fill the gradients and return the loss and the gradient's norm, as tensors without dimensions."""
        run = self._parts
        output, states = run.network(batch.inputs, self.state.carried, batch.lengths)
        if run.task.carries_states:
            self.state.carried = [tuple(contiguous_clone(part.detach()) for part in state) for state in states]
        total, count = LOSS_SUMS[run.card.loss](output, batch)
        loss = total / count
        penalty = run.network.penalty()
        (loss if penalty is None else loss + penalty).backward()
        return loss, run.updater.gradient_norm()

    def _large_norm(self) -> float:
        """Return the norm of a gradient whose squares pass its type, clipped if the spec says so."""
        updater = self._parts.updater
        norm = updater.norm_of_large()
        if math.isfinite(norm) and not updater.clips:
            raise Diverged(
                f"the gradient norm is {norm:.3g} in update {self.state.step + 1}: its square passes "
                f"{self._parts.spec.precision}; `optim.clip_norm` would bound it"
            )
        return norm


def next_batch(parts: RunParts) -> Batch:
    """Return the batch of a run's next update, on its device."""
    return batch_of(parts, parts.state.step)


def batch_of(parts: RunParts, step: int) -> Batch:
    """Return the batch of a run's update `step` (from 0), on its device."""
    return to_device(parts.task.train_batch(parts.spec.seed, step, parts.spec.train.batch_size), parts.device)


def floss_before(parts: RunParts, clock: WallClock) -> None:
    """Make the flossing updates that precede training, with the batches that training begins with.

    Raises:
        Diverged: The loss or its gradient is not finite.
        Interrupted: A signal ended the run.
    """
    state, flosser = parts.state, parts.flosser
    while flosser is not None and (made := 0 if state.floss is None else state.floss.before) < flosser.spec.before:
        began = time.perf_counter()
        state.floss = flosser.update(batch_of(parts, made), state.floss, before=True)
        state.train_s += time.perf_counter() - began
        state.wall_s = clock.seconds
        if parts.interrupt.signum is not None:
            raise Interrupted


def forward(parts: RunParts, batch: Batch) -> list[Tensor]:
    """Return what a run's network computes of a batch: its output, its last states, its penalty.

    Args:
        parts: The run.
        batch: The batch, on the run's device.
    """
    output, states = parts.network(batch.inputs, parts.state.carried, batch.lengths)
    penalty = parts.network.penalty()
    last = [part for state in states or () for part in state]
    return [output, *last, *([] if penalty is None else [penalty])]
