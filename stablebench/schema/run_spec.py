"""The run spec: everything that decides the numbers of a run, resolved; and its hash."""

import hashlib
import json
from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from stablebench.schema.floss import FlossSpec
from stablebench.schema.optim import OptimSpec
from stablebench.schema.strict import Count, NonNegativeInt, Strict, Values

Engine = Literal["auto", "reference", "scan", "fused", "chunkwise"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "float64"]


class TaskSpec(Strict):
    """The task.

    Args:
        name: Its name.
        version: Of its card.
        variant: The named variant, if one was asked for.
        params: All parameters.
        source: SHA-256 of a card of the user's own with its code or data; None for a registered task.
        file: Where that card lies, as it was named.
    """

    name: str
    version: Count
    variant: str | None = None
    params: Values
    source: str | None = None
    file: str | None = None


class ModelSpec(Strict):
    """The model.

    Args:
        name: A registered name, `path/to/file.py:Class` or `package.module:Class`.
        source: SHA-256 of a user's file; None for a registered model.
        hidden: Width.
        layers: Stacked layers; of a deep model all its layers, input and output counted.
        params: Arguments of its constructor, defaults filled in.
        revision: Which version of its initialisation: counted up when the same model starts from other numbers.
    """

    name: str
    source: str | None = None
    hidden: Count
    layers: Count
    params: Values
    revision: Count = 1

    @property
    def label(self) -> str:
        """The model's short name: what tables and run folders call it."""
        return self.name.rsplit(":", 1)[-1]


class TrainSpec(Strict):
    """The budget and when to look.

    Args:
        steps: Updates.
        batch_size: Examples of an update.
        eval_every: Updates between two evaluations.
        stop_at_target: End the run when the target has held in this many evaluations running; 0 never ends it early.
        checkpoint_every: Updates between two checkpoints; not part of the hash.
        recompute_every: Gradient checkpointing: time steps of a segment of which only the first states are stored, and
            the others recomputed for the gradient. Less memory, more time. None stores all.
    """

    steps: Count
    batch_size: Count
    eval_every: Count
    stop_at_target: NonNegativeInt = 0
    checkpoint_every: Count = 500
    recompute_every: Count | None = None


class RunSpec(Strict):
    """A run, resolved: no default is filled in after this.

    Args:
        task: The task.
        model: The model.
        horizon: Time steps of the chain, which the model is given; a deep model's layers.
        readout: Whether the last output or every one is read.
        optim: The optimiser.
        train: The budget.
        seed: Decides initialisation and training data.
        engine: The engine asked for.
        device: The device asked for.
        precision: The floating-point type of all tensors.
        threads: CPU threads of the run.
        deterministic: Whether torch uses deterministic algorithms only; on CUDA these are others.
        floss: Gradient flossing; None for none, and then it is in no document.
    """

    task: TaskSpec
    model: ModelSpec
    horizon: Count
    readout: Literal["last", "every"]
    optim: OptimSpec
    train: TrainSpec
    seed: NonNegativeInt = 0
    engine: Engine = "auto"
    device: Device = "auto"
    precision: Precision = "float32"
    threads: Count = 1
    deterministic: bool = False
    floss: FlossSpec | None = None

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document = handler(self)
        if self.floss is None:
            document.pop("floss", None)
        return document

    def spec_hash(self) -> str:
        """Return 12 hexadecimal digits over all that can change the numbers but the seed.

        A named variant is its parameters: `copy/t100` and `copy` with `--T 100` are one run. `deterministic` counts
        where it is asked for, a model's revision where it is not the first, `floss` where it is used.
        """
        left_out = {"seed": True, "task": {"variant", "file"}, "train": {"checkpoint_every"}}
        content = self.model_dump(mode="json", exclude=left_out)
        if not self.deterministic:
            del content["deterministic"]
        if self.task.source is None:
            del content["task"]["source"]
        if self.model.revision == 1:
            del content["model"]["revision"]
        if self.model.source is not None:  # where a user's file lies changes nothing
            content["model"]["name"] = self.model.label
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]
