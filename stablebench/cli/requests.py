"""From command-line options to a request."""

from stablebench import registry
from stablebench.cli.options import RunOptions
from stablebench.errors import UserError
from stablebench.training.resolve import Request

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


def request_of(options: RunOptions, model: str | None = None) -> Request:
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
    return Request(
        model=model,
        task=options.task,
        T=options.T,
        options=named(options),
        settings=dict(options.set),
        recipe=options.recipe,
    )


def name_code(model: str | None) -> None:
    """Load the user's own model that `--model` names, so that a run whose record names it can be built.

    Raises:
        UserError: It names no code, or the code cannot be loaded.
    """
    if model is None:
        return
    if ":" not in model:
        raise UserError(f"--model {model}: a run has its own model; --model names the code of one, file.py:Class.")
    registry.model_entry(model)


def named(options: RunOptions) -> dict[str, object]:
    """Return the named options that were given, by the key of the run spec that each sets."""
    return {key: value for name, key in _KEYS.items() if (value := getattr(options, name)) is not None}
