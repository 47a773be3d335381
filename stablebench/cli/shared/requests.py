"""From command-line options to a request: one run (`RunRequest`), or the runs of a suite (`SuiteOverrides`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stablebench.cli.shared import options
from stablebench.cli.shared.known_names import check_names
from stablebench.errors import UserError
from stablebench.specs.request import OPTION_KEYS

if TYPE_CHECKING:
    from stablebench.execution.suites import SuiteOverrides
    from stablebench.runs.store import RunFolder
    from stablebench.schema.run_record import RunRecord
    from stablebench.specs.resolve import RunRequest


@dataclass(frozen=True)
class _Named:
    models: options.OneModel = None
    tasks: options.OneTask = None
    recipe: options.Recipe = None
    seed: options.Seed = None


@dataclass(frozen=True)
class RunOptions(options.RuntimeOptions, options.TrainingOptions, options.ModelOptions, _Named):
    """What decides one run's numbers; None where the user gave nothing.

    Raises:
        UserError: There is no such model or task, or several are named.
    """

    def __post_init__(self) -> None:
        """Check names before anything is imported for them."""
        check_names([self.model] if self.model else None, [self.task] if self.task else None)

    @property
    def model(self) -> str | None:
        """The model."""
        return options.one_name("--model", self.models)

    @property
    def task(self) -> str | None:
        """The task."""
        return options.one_name("--task", self.tasks)


@dataclass(frozen=True)
class SuiteRunOptions(options.RuntimeOptions, options.TrainingOptions, options.ModelOptions, options.SuiteOptions):
    """What decides the numbers of a suite's runs, where they are not the suite's own; None where nothing is given.

    Raises:
        UserError: There is no such model or task.
    """

    def __post_init__(self) -> None:
        """Check names before anything is imported for them."""
        check_names(options.names_of("--model", self.models), options.names_of("--task", self.tasks))


_PLAIN_ORIGINS = {
    "card": "the task's card",
    "task": "the task's default",
    "model": "the model's default",
    "default": "the default",
    "--set": "your --set",
    "--model": "your --model",
    "model.layers": "follows from model.layers",
    "the task's parameters": "follows from the task's parameters",
}


def origin_text(key: str, origin: str, value: Any = None) -> str:
    """Return in plain words where a value of a run spec came from.

    Args:
        key: Its dotted key: `train.steps`.
        origin: As `Resolved.origin` has it.
        value: The value.
    """
    named = {"task.variant": "--task", "task.source": "--task", "task.file": "--task", "model.source": "--model"}
    own = {"model.name": "--model", "task.name": "--task"} | named
    own |= {key: f"--{name.replace('_', '-')}" for name, key in OPTION_KEYS.items()}
    if key in named and value is not None:
        origin = "option"
    if key == "model.revision" and origin == "default":
        origin = "the model's code"
    if origin.startswith("option"):
        given = "--epochs" if "epochs" in origin else own.get(key, "--T")
        return f"your {given}{origin.removeprefix('option')}"
    if origin.startswith("--recipe"):
        origin = f"your {origin}"
    origin = origin.replace(", its variant ", ", its part for ")
    if origin.startswith("variant "):
        return f"the task's {origin}"
    return _PLAIN_ORIGINS.get(origin, origin)


def spec_values(*groups: Any, **single: Any) -> dict[str, Any]:
    """Return the values that options give to a run spec, by its keys; what was not given is left out.

    Args:
        groups: Groups of options.
        single: Single options by name.
    """
    values: dict[str, Any] = {}
    for group in (*map(vars, groups), single):
        values |= {
            OPTION_KEYS[name]: value for name, value in group.items() if name in OPTION_KEYS and value is not None
        }
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
    settings = options.parse_settings(sizes.settings)
    if not model or not task:
        missing = "--model" if not model else "--task"
        raise UserError(f"{missing} is missing: `stablebench list {missing[2:]}s` shows what there is.")
    from stablebench.specs.resolve import RunRequest

    return RunRequest(model, task, T=sizes.T, options=values, settings=settings, recipe=recipe)


def request_of(asked: RunOptions) -> "RunRequest":
    """Return the request for the run that options describe; the errors are those of `run_request`."""
    return run_request(asked.model, asked.task, asked, spec_values(asked), asked.recipe)


def suite_overrides(asked: SuiteRunOptions) -> "SuiteOverrides":
    """Return what the options request in place of a suite, or on top of one.

    Raises:
        UserError: Names or `--set` cannot be read.
    """
    settings = options.parse_settings(asked.settings)
    if "seed" in settings:
        raise UserError("--set seed: give --seeds instead: their number, or the seeds with commas between.")
    models, tasks = options.names_of("--model", asked.models), options.names_of("--task", asked.tasks)
    from stablebench.execution.suites import SuiteOverrides

    return SuiteOverrides(
        models=models,
        tasks=tasks,
        seeds=options.seeds_of(asked.seeds),
        T=asked.T,
        options=spec_values(asked),
        settings=settings,
        short=asked.budget == "short",
        match=asked.match,
        recipes=_recipes_folder(asked.recipes),
    )


def _recipes_folder(named: Path | None) -> Path | None:
    """Return the folder that `--recipes` means: one of the user's, else that of a suite whose recipes come along.

    Raises:
        UserError: There is neither.
    """
    if named is None or named.is_dir():
        return named
    from stablebench.resources import tuned_dir

    if (own := tuned_dir() / named).is_dir():
        return own
    known = ", ".join(sorted(path.name for path in tuned_dir().glob("*/")))
    raise UserError(f"--recipes {named}: there is no such folder, and no suite of this name was tuned ({known}).")


def name_code(folder: "RunFolder", record: "RunRecord", model: str | None, task: str | None = None) -> None:
    """Load a run's own model and task: what `--model` and `--task` name, else its copies if they were named before.

    Raises:
        UserError: It names no code or other code, the code cannot be loaded, or it is not known here.
    """
    from stablebench.cli.ui.output import note
    from stablebench.training import run_code

    if others := run_code.name_code(folder, record.spec, model, task=task):
        note(f"packages that it imports are not as they were: {', '.join(others)}")
