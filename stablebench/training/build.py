"""From a resolved run to its parts, at the start or at its newest checkpoint, ready to train."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from stablebench.data.task import Task
from stablebench.engines.fallback import FallbackEngine
from stablebench.models.base import count_parameters
from stablebench.models.build import build_network, resolve_device, start_embedding
from stablebench.models.network import AnyNetwork, Network
from stablebench.models.recompute_check import check_recomputing
from stablebench.process import python_random
from stablebench.process import settings as process
from stablebench.process.signals import Interrupt
from stablebench.runs.progress import Reporter
from stablebench.runs.store import RunFolder
from stablebench.specs.request import Resolved
from stablebench.training import checkpointing, reproducibility
from stablebench.training.checked_engine import checked
from stablebench.training.environment import RunEnvironment
from stablebench.training.evaluation import kept_pieces
from stablebench.training.floss import Flosser
from stablebench.training.loop import TrainingLoop
from stablebench.training.monitor import MonitorConfig, TrainingProbe
from stablebench.training.network_state import StateKeeper
from stablebench.training.parts import RunParts
from stablebench.training.state import TrainingState
from stablebench.training.step import forward, next_batch
from stablebench.training.trackers import Trackers
from stablebench.training.updates.optimiser import Updater


def build_run(
    resolved: Resolved,
    folder: RunFolder,
    *,
    reporter: Reporter,
    data_dir: Path | None = None,
    force: bool = False,
    monitor: MonitorConfig | None = None,
    self_check: bool = True,
    track: Sequence[str] = (),
) -> TrainingLoop:
    """Build a run and restore its newest whole checkpoint, if there is one.

    The caller has set the process up (`process.prepare_process`) and holds the folder's lock.

    Args:
        resolved: The run.
        folder: Its folder.
        reporter: Follows the run, and may end it.
        data_dir: Folder of the real data sets; None for the cache folder.
        force: Resume although engine, device or versions differ; the record says so.
        monitor: What is measured along the run, in addition to its curve; it changes no number of the run.
        self_check: Check the engine against the reference before the first update.
        track: Trackers that receive the run's curve.

    Raises:
        UserError: The spec cannot be built, its data are missing, or it may not be resumed here.
    """
    spec, card = resolved.spec, resolved.card
    device = resolve_device(spec.device)
    task = Task(card, spec.task.params, data_dir)
    build = partial(_network, resolved, task, weights_follow=force and bool(folder.checkpoints()))
    network = build()
    own_code = spec.model.source is not None
    keeper = StateKeeper(network, whole=own_code)
    irreproducible = process.why_not_reproducible(device.type, spec.deterministic)
    if own_code and irreproducible is None:
        irreproducible = reproducibility.why_built_differently(keeper, build)
    parameters, embedding = count_parameters(network.parameters()), getattr(network, "embedding", None)
    network = network.to(device)
    engine = FallbackEngine(spec.engine, network, device)
    if isinstance(network, Network) and network.recompute_every is not None:
        check_recomputing(network)
    parts = RunParts(
        resolved,
        folder,
        reporter,
        task,
        device,
        network,
        parameters=parameters,
        embedding_parameters=0 if embedding is None else count_parameters(embedding.parameters()),
        engine=engine,
        updater=Updater(network.parameter_groups(), spec.optim, task.steps_per_epoch(spec.train.batch_size)),
        keeper=keeper,
        environment=RunEnvironment(engine, device, irreproducible, reporter),
        state=TrainingState(card.metric),
        validation=kept_pieces(task, "validation"),
        probe=None if monitor is None else TrainingProbe(monitor.for_network(network, reporter.note), task),
        trackers=Trackers(track, folder, reporter.note),
        restore_random=python_random.taken(),
        interrupt=Interrupt(),
        flosser=None if spec.floss is None else Flosser(network, spec.floss, spec.horizon),
    )
    checkpointing.restore(parts, force)
    if own_code:
        _check_passes(parts)
    parts.self_check = checked(parts, self_check)
    return TrainingLoop(parts)


def _network(resolved: Resolved, task: Task, weights_follow: bool) -> AnyNetwork:
    network = build_network(resolved.spec, resolved.card, task.sizes, weights_follow=weights_follow)
    start_embedding(network, task)
    return network


def _check_passes(parts: RunParts) -> None:
    """Find out whether a user's model draws what no seed decides, or changes in a pass what a replay would not."""
    passes = reproducibility.two_passes(parts.keeper, parts.device, lambda: forward(parts, next_batch(parts)))
    if parts.environment.irreproducible is None:
        parts.environment.add_irreproducible(passes.differ, "warning: ")
    parts.engine.draws_elsewhere = passes.moves is not None
    parts.graph_reason = passes.moves  # a replay would not change it
