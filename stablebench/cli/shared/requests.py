"""From command-line options to a request."""

from typing import TYPE_CHECKING

from stablebench.cli.shared.options import RunOptions
from stablebench.errors import UserError
from stablebench.specs.resolve import RunRequest

if TYPE_CHECKING:
    from stablebench.runs.store import RunFolder
    from stablebench.schema.run_record import RunRecord

_KEYS = {
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
}
"""Options by the key of the run spec that they set."""


def request_of(options: RunOptions, model: str | None = None) -> RunRequest:
    """Return what the options ask for.

    Args:
        options: The options.
        model: Replaces `--model`.

    Raises:
        UserError: `--model` or `--task` is missing.
    """
    model = model or options.model
    if not model or not options.task:
        missing = "--model" if not model else "--task"
        raise UserError(f"{missing} is missing: `stablebench list {missing[2:]}s` shows what there is.")
    return RunRequest(
        model=model,
        task=options.task,
        T=options.T,
        options=named(options),
        settings=dict(options.set),
        recipe=options.recipe,
    )


def name_code(folder: "RunFolder", record: "RunRecord", model: str | None) -> None:
    """Load the code of a run's own model: what `--model` names, else the run's copy if the user has named it before.

    Raises:
        UserError: It names no code or other code, the code cannot be loaded, or it is not known here.
    """
    from stablebench.cli.ui.output import note
    from stablebench.training import run_code

    if others := run_code.name_code(folder, record.spec, model):
        note(f"packages that the model imports are not as they were: {', '.join(others)}")


def named(options: RunOptions) -> dict[str, object]:
    """Return the named options that were given, by the key of the run spec that each sets."""
    return {key: value for name, key in _KEYS.items() if (value := getattr(options, name)) is not None}
