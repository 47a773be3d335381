"""Score a trained run: its weights, put back, on a split at its own length or another."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stablebench.data.task import Split, Task, resolve_params
from stablebench.errors import UserError
from stablebench.models.build import build_network, resolve_device
from stablebench.models.network import AnyNetwork
from stablebench.models.revisions import other_revision
from stablebench.process import python_random
from stablebench.runs import checkpoint
from stablebench.runs.checkpoint import Checkpoint
from stablebench.runs.progress import Lines
from stablebench.runs.store import RunFolder
from stablebench.schema.run_record import RunRecord
from stablebench.specs.limits import checked_card
from stablebench.specs.repeat_command import command_of
from stablebench.training.checked_engine import engine_for_evaluation
from stablebench.training.evaluation import evaluate, metric_names, with_scaled_accuracy
from stablebench.training.network_state import NetworkState, StateKeeper
from stablebench.training.resume import latest_valid_checkpoint


@dataclass(frozen=True)
class EvaluationOptions:
    """Where and with what a trained run is evaluated.

    Args:
        data_dir: Folder of the real data sets; None for the cache folder.
        device: `auto`, `cpu` or `cuda`.
        engine: `auto`, `reference`, `scan`, `fused` or `chunkwise`.
        file: One checkpoint; by default the weights that were tested.
    """

    data_dir: Path | None = None
    device: str = "auto"
    engine: str = "auto"
    file: Path | None = None


@dataclass(frozen=True)
class Score:
    """The score of a run on a split.

    Args:
        split: `test` or `validation`.
        step: Updates that the weights had.
        params: The task's parameters.
        metrics: By name.
        baselines: The trivial baselines at these parameters, by metric.
    """

    split: str
    step: int
    params: dict[str, Any]
    metrics: dict[str, float]
    baselines: dict[str, float]

    @property
    def not_finite(self) -> list[str]:
        """Metrics that are no finite number: outputs or the loss overflow, and the other metrics say little."""
        return [name for name, value in self.metrics.items() if not math.isfinite(value)]


_DEFAULT = EvaluationOptions()


def trained_network(folder: RunFolder, record: RunRecord, file: Path | None = None) -> tuple[AnyNetwork, Checkpoint]:
    """Return a run's network with its trained weights, on the CPU, and the checkpoint they came from.

    Args:
        folder: The run.
        record: Its record.
        file: One checkpoint; by default the weights that were tested, else the newest whole ones.

    Raises:
        UserError: There is no whole checkpoint, the model changed since, or the record's spec cannot be built here.
    """
    card = checked_card(record)
    sizes = Task(card, record.spec.task.params).sizes
    network = build_network(record.spec, card, sizes, weights_follow=True)
    reporter = Lines(sys.stderr)
    if (other := other_revision(record.spec)) is not None:
        reporter.note(f"{other}: only initialisation differs; the trained weights are the run's own.")
    if file is None and record.result.tested == "best" and folder.best_path.exists():
        file = folder.best_path
    saved = checkpoint.load(file) if file is not None else latest_valid_checkpoint(folder, reporter)
    if saved is None:
        again = f"{command_of(record, [record.spec.seed])[0]} --rerun"
        raise UserError(f"{folder.path}: {folder.why_no_weights()}. This trains the run again:\n  {again}")
    try:
        StateKeeper(network, whole=record.spec.model.source is not None).put_back(NetworkState.of_checkpoint(saved))
    except UserError as error:
        raise UserError(f"{folder.path}: {error}") from None
    return network, saved


def score(
    folder: RunFolder,
    record: RunRecord,
    options: EvaluationOptions = _DEFAULT,
    *,
    T: int | None = None,
    split: Split = "test",
    drawn: tuple[int, int] | None = None,
) -> Score:
    """Return the metrics of a trained run on a split.

    Args:
        folder: The run.
        record: Its record.
        options: Where and with what it is evaluated.
        T: Another length of the task.
        split: `test` or `validation`.
        drawn: Ends of a range that the lengths of test examples are drawn from, in place of the run's.

    Raises:
        UserError: There is no whole checkpoint, the task has no such length, or its data are missing.
    """
    card = checked_card(record)
    ranges = {} if drawn is None else {"test_lengths": list(drawn)}
    params = resolve_params(card, T=T, settings=record.spec.task.params | ranges)
    task = Task(card, params, options.data_dir)
    network, saved = trained_network(folder, record, options.file)
    where = resolve_device(options.device)
    network = network.to(where)
    first = next(iter(task.pieces(split)))
    engine_for_evaluation(options.engine, network, where, first.inputs, first.lengths)
    names = metric_names(card)
    with python_random.seeded(record.spec.seed):  # what a user's model may draw from
        metrics = evaluate(network, task.pieces(split), card.loss, names, 100, carried=task.carries_states)
    metrics = with_scaled_accuracy(metrics, card, params)
    baselines = {name: value for name in names if (value := card.baseline(name, params)) is not None}
    return Score(split, saved.step, params, metrics, baselines)
