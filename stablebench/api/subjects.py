"""What is probed of a task: models at initialisation, or the trained weights of a run, each with examples."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stablebench.data.batch import Batch
from stablebench.data.task import Task, resolve_params
from stablebench.errors import UserError
from stablebench.models.build import build_network, start_embedding
from stablebench.models.chain_checks import check_repeatable, is_users
from stablebench.models.network import AnyNetwork, Network
from stablebench.process import python_random
from stablebench.runs.run_paths import run_and_checkpoint
from stablebench.runs.store import RunFolder
from stablebench.schema.card import TaskCard
from stablebench.schema.run_record import RunRecord
from stablebench.schema.run_spec import RunSpec
from stablebench.specs.limits import checked_card
from stablebench.specs.request import RunRequest
from stablebench.specs.resolve import resolve
from stablebench.training.monitor import validation_examples
from stablebench.training.score import trained_network


@dataclass(frozen=True)
class Subject:
    """A network to probe, and examples.

    Args:
        spec: Its spec.
        card: Its task card.
        params: The task's parameters, those of the spec unless a trained run is probed at another length.
        network: The network.
        step: Updates that its weights had; None for an untrained one.
        examples: The first examples of the validation split.
        called: The model's name where it came with arguments.
    """

    spec: RunSpec
    card: TaskCard
    params: dict[str, Any]
    network: AnyNetwork
    step: int | None
    examples: Batch
    called: str | None = None

    @property
    def label(self) -> str:
        """The model's name."""
        return self.called or self.spec.model.label

    @property
    def title(self) -> str:
        """One line."""
        state = f"untrained, seed {self.spec.seed}" if self.step is None else f"after {self.step} updates"
        layers = f", {self.spec.model.layers:,} layers" if self.spec.model.layers > 1 else ""
        return f"{self.label} on {self.where}, hidden {self.spec.model.hidden}{layers}, {state}"

    @property
    def unit(self) -> str:
        """What its chain runs over."""
        return "layers" if self.card.input == "static" else "steps"

    @property
    def where(self) -> str:
        """The task and its length."""
        length = f", {self.card.length} {self.params[self.card.length]}" if self.card.length else ""
        return f"{self.card.task}{length}"

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {
            "model": self.spec.model.model_dump(mode="json"),
            "task": {"name": self.card.task, "params": self.params},
            "seed": self.spec.seed,
            "step": self.step,
        }


def untrained(requests: Sequence[RunRequest], *, data_dir: Path | None, count: int) -> list[Subject]:
    """Return models at initialisation, each as its spec says.

    They are made in float64 unless a precision is asked for: a fixed matrix is then as orthogonal as float64 allows.

    Args:
        requests: What is asked for.
        data_dir: Folder of the real data sets.
        count: How many examples.

    Raises:
        UserError: A value is wrong, or a model stands twice.
    """
    labels = [request.called or request.model.rsplit(":", 1)[-1] for request in requests]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise UserError(f"--model: {', '.join(twice)} stands twice; give each name once.")
    subjects = []
    for request in requests:
        if "precision" not in request.options and "precision" not in request.settings:
            request = dataclasses.replace(request, options=request.options | {"precision": "float64"})
        resolved = resolve(request)
        spec, data = resolved.spec, Task(resolved.card, resolved.spec.task.params, data_dir)
        network = build_network(spec, data.card, data.sizes)
        start_embedding(network, data)
        subject = _subject(spec, data, network, None, count)
        subjects.append(dataclasses.replace(subject, called=resolved.called))
    return subjects


def _subject(spec: RunSpec, task: Task, network: AnyNetwork, step: int | None, count: int) -> Subject:
    python_random.seed(spec.seed)  # what a user's model may draw from
    examples = validation_examples(task, count, "--batch-size")
    if isinstance(network, Network) and is_users(network.recurrent_layers[0]):
        with torch.no_grad(), python_random.kept():
            check_repeatable(network.recurrent_layers[0], network.encode(examples.inputs[:2]), "model")
    return Subject(spec, task.card, task.params, network, step, examples)


def trained(
    run: str | Path,
    runs_dir: Path,
    model: str | None,
    T: int | None,
    *,
    data_dir: Path | None,
    count: int,
    load_code: Callable[[RunFolder, RunRecord, str | None], None],
) -> Subject:
    """Return a run's trained network: the weights that were tested, else those of its newest whole checkpoint.

    Args:
        run: The run, or one checkpoint file in it.
        runs_dir: The run store, where the run is named.
        model: The code of its own model, as `--model` names it.
        T: Another length than in training.
        data_dir: Folder of the real data sets.
        count: How many examples.
        load_code: Loads the code of a run's own model; it takes the folder, the record and `model`.

    Raises:
        UserError: There is no such run or no whole checkpoint.
    """
    folder, checkpoint = run_and_checkpoint(run, runs_dir)
    record = folder.read_record()
    load_code(folder, record, model)
    card = checked_card(record)
    params = resolve_params(card, T=T, settings=record.spec.task.params)
    network, weights = trained_network(folder, record, checkpoint)
    return _subject(record.spec, Task(card, params, data_dir), network, weights.step, count)
