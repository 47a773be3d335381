"""What a user asks for, and what it came to: light enough to be read without torch, as a leaderboard is."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stablebench.schema.card import TaskCard
from stablebench.schema.model_name import arguments_of, base_of, label_of
from stablebench.schema.run_spec import RunSpec
from stablebench.visible import visible

if TYPE_CHECKING:
    from stablebench.models.user_code.code import Code

OPTION_KEYS = {
    "hidden": "model.hidden",
    "layers": "model.layers",
    "steps": "train.steps",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "lr": "optim.lr",
    "seed": "seed",
    "device": "device",
    "threads": "threads",
    "engine": "engine",
    "precision": "precision",
    "deterministic": "deterministic",
    "recompute_every": "train.recompute_every",
    "floss": "floss.exponents",
}
"""Named options by the key of the run spec that they set."""


@dataclass(frozen=True)
class RunRequest:
    """What a user asks for; None where nothing is given.

    Args:
        model: A registered name, `path/to/file.py:Class` or `package.module:Class`; arguments in brackets behind it,
            `dizzy[activation=relu]`, go into `arguments`.
        task: `task` or `task/variant`.
        T: The task's length.
        options: Named options by dotted key of the run spec: `model.hidden`, `train.steps`, `optim.lr`, `seed`.
        settings: `--set` values by dotted key: `model.rho`, `task.S`, `optim.groups.orthogonal.lr`.
        recipe: A recipe file that comes on top of the registered one.
        registered: Whether the registered recipe counts; without it and `recipe`, values are the card's and the
            model's own.
        arguments: The model's arguments that came with its name, by dotted key; they come before all others.
        called: What tables call the model where its name came with arguments.
    """

    model: str
    task: str
    T: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    recipe: Path | None = None
    registered: bool = True
    arguments: dict[str, Any] = field(default_factory=dict)
    called: str | None = None

    def __post_init__(self) -> None:
        """Part the model's name from the arguments that came with it."""
        if arguments := arguments_of(self.model):
            object.__setattr__(self, "arguments", self.arguments | arguments)
            object.__setattr__(self, "called", label_of(self.model))
            object.__setattr__(self, "model", base_of(self.model))


@dataclass(frozen=True)
class Resolved:
    """A run spec, its card, where each value came from, by dotted key, and the code of a user's own model.

    The code goes along to other processes, which run it as it was when the run was resolved. `called` is what tables
    call a model whose name came with arguments.
    """

    spec: RunSpec
    card: TaskCard
    origin: dict[str, str]
    code: "Code | None" = None
    called: str | None = None

    @property
    def model_label(self) -> str:
        """What the model is called."""
        return self.called or self.spec.model.label

    @property
    def label(self) -> str:
        """What the run is called: model, task and seed."""
        task = self.spec.task
        variant = f"/{task.variant}" if task.variant else ""
        return visible(f"{self.model_label} on {task.name}{variant} seed {self.spec.seed}")

    def seeded(self, seed: int) -> "Resolved":
        """Return the same run with another seed."""
        return replace(self, spec=self.spec.model_copy(update={"seed": seed}))
