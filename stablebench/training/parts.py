"""The parts of a run, which `build_run` makes and the loop uses."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from stablebench.data.batch import Batch
from stablebench.data.task import Task
from stablebench.engines.fallback import FallbackEngine
from stablebench.models.network import AnyNetwork
from stablebench.process.signals import Interrupt
from stablebench.runs.progress import Reporter
from stablebench.runs.store import RunFolder
from stablebench.schema.card import TaskCard
from stablebench.schema.run_record import SelfCheck
from stablebench.schema.run_spec import RunSpec
from stablebench.specs.request import Resolved
from stablebench.training.environment import RunEnvironment
from stablebench.training.floss import Flosser
from stablebench.training.monitor import TrainingProbe
from stablebench.training.network_state import StateKeeper
from stablebench.training.state import TrainingState
from stablebench.training.trackers import Trackers
from stablebench.training.updates.optimiser import Updater


@dataclass
class RunParts:
    """The parts of a run.

    Args:
        resolved: The run.
        folder: Its folder.
        reporter: Follows it, and may end it.
        task: Its task, with data.
        device: Where it computes.
        network: The network, on `device`.
        parameters: Its trainable scalars when it was built.
        embedding_parameters: Those of its embedding among them.
        engine: What runs the network.
        updater: The optimiser.
        keeper: Holds and restores the state of the network.
        environment: What the record says it was computed with.
        state: Its counters.
        validation: Yields the pieces of the validation split, again and again.
        probe: Measures the network along the run; None for no measurement.
        trackers: Receive its curve.
        restore_random: Makes Python's and numpy's generators again what they were before the run was built.
        interrupt: The signals that end it.
        flosser: Makes the flossing updates; None where there are none.
        self_check: How the check of the engine came out; None where there was none.
        graph_reason: Why an update cannot be replayed from a CUDA graph, or None.
    """

    resolved: Resolved
    folder: RunFolder
    reporter: Reporter
    task: Task
    device: torch.device
    network: AnyNetwork
    parameters: int
    embedding_parameters: int
    engine: FallbackEngine
    updater: Updater
    keeper: StateKeeper
    environment: RunEnvironment
    state: TrainingState
    validation: Callable[[], Iterable[Batch]]
    probe: TrainingProbe | None
    trackers: Trackers
    restore_random: Callable[[], None]
    interrupt: Interrupt
    flosser: Flosser | None = None
    self_check: SelfCheck | None = None
    graph_reason: str | None = None

    @property
    def spec(self) -> RunSpec:
        """The run's spec."""
        return self.resolved.spec

    @property
    def card(self) -> TaskCard:
        """The task's card."""
        return self.resolved.card

    def on_engine_failure(self, name: str, reason: str) -> None:
        """Note that an engine failed and the reference engine runs the network from now on."""
        self.reporter.note(f"warning: the {name} engine failed ({reason}); the reference engine goes on")
        self.add_fallback(name, reason)

    def add_fallback(self, name: str, reason: str) -> None:
        """Have checkpoints and the record say that the reference engine runs the network.

        Args:
            name: The engine that ran it before.
            reason: Why, in one line.
        """
        self.state.resumed_elsewhere.append(f"step {self.state.step}: engine: {name} then, reference now ({reason})")
        self.state.fallback_reason = reason
