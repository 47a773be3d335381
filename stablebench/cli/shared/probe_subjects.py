"""What `probe-gradients` probes: models as they start, or the trained weights of a run, each with examples."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stablebench.cli.shared.options import RunOptions
from stablebench.cli.shared.requests import name_code, named, request_of
from stablebench.data.batch import Batch
from stablebench.data.task import Task, resolve_params
from stablebench.errors import UserError
from stablebench.models.build import build_network, start_embedding
from stablebench.models.network import AnyNetwork
from stablebench.process import python_random
from stablebench.runs.store import RunFolder
from stablebench.schema.card import TaskCard
from stablebench.schema.run_spec import RunSpec
from stablebench.specs.limits import checked_card
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
    """

    spec: RunSpec
    card: TaskCard
    params: dict[str, Any]
    network: AnyNetwork
    step: int | None
    examples: Batch

    @property
    def label(self) -> str:
        """The model's name."""
        return self.spec.model.label

    @property
    def title(self) -> str:
        """One line."""
        state = f"untrained, seed {self.spec.seed}" if self.step is None else f"after {self.step} updates"
        layers = f", {self.spec.model.layers:,} layers" if self.spec.model.layers > 1 else ""
        return f"{self.label} on {self.where}, hidden {self.spec.model.hidden}{layers}, {state}"

    @property
    def where(self) -> str:
        """The task and its length."""
        length = f", {self.card.length} {self.params[self.card.length]}" if self.card.length else ""
        return f"{self.card.task}{length}"

    def document(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "model": self.spec.model.model_dump(mode="json"),
            "task": {"name": self.card.task, "params": self.params},
            "seed": self.spec.seed,
            "step": self.step,
        }


def untrained(options: RunOptions, count: int) -> list[Subject]:
    """Return the models that `--model` names, as their spec says and as they start.

    They start in float64 unless `--precision` says otherwise: a fixed matrix is then as orthogonal as float64 allows.

    Args:
        options: The options.
        count: How many examples.

    Raises:
        UserError: An option is missing or wrong, or a model stands twice.
    """
    models = [name.strip() for name in (options.model or "").split(",") if name.strip()]
    return [_untrained(options, model, count) for model in _different(models)] or [_untrained(options, None, count)]


def _different(models: list[str]) -> list[str]:
    labels = [model.rsplit(":", 1)[-1] for model in models]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise UserError(f"--model: {', '.join(twice)} stands twice; give each name once.")
    return models


def _untrained(options: RunOptions, model: str | None, count: int) -> Subject:
    request = request_of(options, model)
    if "precision" not in request.options and "precision" not in request.settings:
        request = dataclasses.replace(request, options=request.options | {"precision": "float64"})
    resolved = resolve(request)
    spec, card = resolved.spec, resolved.card
    task = Task(card, spec.task.params, options.data_dir)
    network = build_network(spec, card, task.sizes)
    start_embedding(network, task)
    python_random.seed(spec.seed)  # what a user's model may draw from
    return Subject(spec, card, spec.task.params, network, None, validation_examples(task, count, "--batch"))


def trained(run: Path, options: RunOptions, count: int) -> Subject:
    """Return a run's trained network: the weights that were tested, else those of its newest whole checkpoint.

    Args:
        run: The run folder, or one checkpoint file in it.
        options: `--T`, `--data-dir` and what cannot change the network.
        count: How many examples.

    Raises:
        UserError: There is no such run or no whole checkpoint, or an option would change the network.
    """
    kept = {"device", "threads"}
    named_model = options.model and ":" not in options.model
    if named_model or options.task or options.set or options.recipe or set(named(options)) - kept:
        raise UserError(f"{run}: a run is probed as its own spec says; leave the options that change it out.")
    given_file = run if run.suffix == ".safetensors" else None
    folder = RunFolder(run.parent.parent if given_file else run)
    record = folder.read_record()
    name_code(folder, record, options.model)
    card = checked_card(record)
    params = resolve_params(card, T=options.T, settings=record.spec.task.params)
    network, found = trained_network(folder, record, given_file)
    task = Task(card, params, options.data_dir)
    python_random.seed(record.spec.seed)
    return Subject(record.spec, card, params, network, found.step, validation_examples(task, count, "--batch"))
