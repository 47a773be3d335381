"""From command-line options to a request: one run (`RunRequest`), or the runs of a suite (`SuiteOverrides`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stablebench.cli.shared import options
from stablebench.errors import UserError

if TYPE_CHECKING:
    from stablebench.execution.suites import SuiteOverrides
    from stablebench.runs.store import RunFolder
    from stablebench.schema.run_record import RunRecord
    from stablebench.specs.resolve import RunRequest

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


@dataclass(frozen=True)
class _Named:
    model: options.Model = None
    task: options.TaskName = None
    recipe: options.Recipe = None
    seed: options.Seed = None


@dataclass(frozen=True)
class RunOptions(options.RuntimeOptions, options.TrainingOptions, options.ModelOptions, _Named):
    """What decides one run's numbers; None where the user gave nothing."""


@dataclass(frozen=True)
class SuiteRunOptions(options.RuntimeOptions, options.TrainingOptions, options.ModelOptions, options.SuiteOptions):
    """What decides the numbers of a suite's runs, where they are not the suite's own; None where nothing is given."""


def spec_values(*groups: Any, **single: Any) -> dict[str, Any]:
    """Return the values that options give to a run spec, by its keys; what was not given is left out.

    Args:
        groups: Groups of options.
        single: Single options by name.
    """
    values: dict[str, Any] = {}
    for group in (*map(vars, groups), single):
        values |= {_KEYS[name]: value for name, value in group.items() if name in _KEYS and value is not None}
    return values


def run_request(
    model: str | None, task: str | None, sizes: options.ModelOptions, values: dict[str, Any], recipe: Path | None
) -> "RunRequest":
    """Return the request for one run.

    Args:
        model: `--model`.
        task: `--task`.
        sizes: Length, width, depth and `--set`.
        values: What options give to the run spec (`spec_values`).
        recipe: `--recipe`.

    Raises:
        UserError: `--model` or `--task` is missing, or `--set` cannot be read.
    """
    from stablebench.specs.resolve import RunRequest

    settings = options.parse_settings(sizes.settings)
    if not model or not task:
        missing = "--model" if not model else "--task"
        raise UserError(f"{missing} is missing: `stablebench list {missing[2:]}s` shows what there is.")
    return RunRequest(model, task, T=sizes.T, options=values, settings=settings, recipe=recipe)


def request_of(asked: RunOptions) -> "RunRequest":
    """Return the request for the run that options describe; the errors are those of `run_request`."""
    return run_request(asked.model, asked.task, asked, spec_values(asked), asked.recipe)


def suite_overrides(asked: SuiteRunOptions) -> "SuiteOverrides":
    """Return what the options request in place of a suite, or on top of one.

    Raises:
        UserError: Names or `--set` cannot be read.
    """
    from stablebench.execution.suites import SuiteOverrides

    return SuiteOverrides(
        models=options.names_of("--models", asked.models),
        tasks=options.names_of("--tasks", asked.tasks),
        seeds=options.seeds_of(asked.seeds),
        T=asked.T,
        options=spec_values(asked),
        settings=options.parse_settings(asked.settings),
        short=asked.budget == "short",
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
