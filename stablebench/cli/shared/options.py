"""Options that several commands take, each declared once, and groups of them.

A command takes a single option as a parameter (`seed: Seed = None`) or a group as one (`training: TrainingOptions`).
Only what a command uses is declared by it, so nothing is shown in its help that it refuses or ignores.
"""

import dataclasses
import math
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stablebench.cli.shared import completion
from stablebench.cli.shared.commands import MODEL, OUTPUT, RUNTIME, TRAINING, option
from stablebench.cli.shared.printed import OutputOptions as OutputOptions
from stablebench.cli.shared.printed import PrintedTables as PrintedTables
from stablebench.cli.shared.printed import PrintedText as PrintedText
from stablebench.cli.shared.printed import Quiet as Quiet
from stablebench.cli.shared.printed import RunsDir as RunsDir
from stablebench.cli.shared.printed import TableOutputOptions as TableOutputOptions
from stablebench.errors import UserError
from stablebench.schema.model_name import split_names
from stablebench.schema.seeds import MAX_SEED, WHY, seeds_named


def _data_folder(context: typer.Context, folder: Path | None) -> Path | None:
    """Return a folder that `--data-dir` names; one that STABLEBENCH_DATA names is looked for when it is needed."""
    source = context.get_parameter_source("data_dir")
    if folder is not None and source is not None and source.name == "COMMANDLINE" and not folder.is_dir():
        raise UserError(
            f"--data-dir {folder}: there is no such folder; "
            f"`stablebench data fetch --all --data-dir {folder}` makes and fills it."
        )
    return folder


def _rate(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise UserError(f"`--lr` must be a finite number, got {value}.")
    if value is not None and value <= 0:
        raise UserError(f"`--lr` must be > 0, got {value}.")
    return value


def _checked_seed(value: int | None) -> int | None:
    if value is not None and value > MAX_SEED:
        raise UserError(f"`--seed` must be <= {MAX_SEED} ({WHY}), got {value}.")
    return value


def _count(help: str, panel: str, *names: str, metavar: str = "N") -> Any:
    return option(help, panel, *names, metavar=metavar, min=1)


# -- model and task --------------------------------------------------------------------------------------------------

OneModel = Annotated[
    list[str] | None,
    option(
        "A model's name; or path/to/file.py:Class or package.module:Class, whose code is run.",
        MODEL,
        "--model",
        earlier=["--models"],
        metavar="NAME",
        autocompletion=completion.models,
    ),
]
OwnModel = Annotated[
    str | None,
    option("The code of a run's own model; it is run only if named here.", MODEL, "--model", metavar="FILE.py:CLASS"),
]
Models = Annotated[
    list[str] | None,
    option(
        "Models, or FILE.py:CLASS: a,b or repeated.",
        MODEL,
        "--model",
        earlier=["--models"],
        metavar="A,B",
        autocompletion=completion.models,
    ),
]
OwnTask = Annotated[
    str | None,
    option("The card of a run's own task; its code is run only if named here.", MODEL, "--task", metavar="CARD.yaml"),
]
OneTask = Annotated[
    list[str] | None,
    option(
        "A task, or one of its variants; or my_task.yaml, whose code is run, or data.npz.",
        MODEL,
        "--task",
        earlier=["--tasks"],
        metavar="TASK[/VARIANT]",
        autocompletion=completion.tasks,
    ),
]
Tasks = Annotated[
    list[str] | None,
    option(
        "Tasks, task/variant or my_task.yaml: a,b or repeated.",
        MODEL,
        "--task",
        earlier=["--tasks"],
        metavar="A,B",
        autocompletion=completion.tasks,
    ),
]
Recipe = Annotated[Path | None, option("A recipe that overrides the registered one.", MODEL, metavar="FILE")]
Length = Annotated[int | None, _count("The task's length; its card says what it counts.", MODEL, "--T")]
Hidden = Annotated[int | None, _count("Width of the hidden state.", MODEL)]
Layers = Annotated[int | None, _count("Stacked layers; a deep model's depth with its input and output.", MODEL)]
Settings = Annotated[
    list[str] | None,
    option(
        "Set one value of the run spec: model.rho=0.5, task.S=10, optim.lr=1e-3. Repeatable.",
        MODEL,
        "--set",
        metavar="KEY=VALUE",
    ),
]
Seed = Annotated[
    int | None,
    option("Determines initialisation and training data.", MODEL, metavar="N", min=0, callback=_checked_seed),
]
Seeds = Annotated[list[str] | None, option("Seeds 0 to N - 1; or these: 3,5 or 0-4,9.", MODEL, metavar="N|LIST")]
Budget = Annotated[Literal["full", "short"], option("The suite's full budget of updates, or its short one.", MODEL)]

Match = Annotated[
    Literal["units", "params", "recipe"] | None,
    option(
        "What models share besides updates and batch: the width, or the parameters of the first model; recipe leaves "
        "all of it to each recipe. Default: what the suite says, units without one.",
        MODEL,
    ),
]

# -- runtime and output ----------------------------------------------------------------------------------------------

DataDir = Annotated[
    Path | None,
    option("Folder of the real data sets.", RUNTIME, metavar="DIR", envvar="STABLEBENCH_DATA", callback=_data_folder),
]
Device = Annotated[Literal["auto", "cpu", "cuda"] | None, option("Where to compute.", RUNTIME)]
Threads = Annotated[int | None, _count("CPU threads.", RUNTIME)]
Engine = Annotated[
    Literal["auto", "reference", "scan", "fused", "chunkwise"] | None,
    option("How the chain is run over time; scan is for linear recurrences, chunkwise for matrix memories.", RUNTIME),
]
Precision = Annotated[Literal["float32", "float64"] | None, option("Floating-point type of all tensors.", RUNTIME)]
SelfCheck = Annotated[
    bool,
    option(
        "Before the first update, check a fast engine against the reference engine on a few examples and steps.",
        RUNTIME,
        "--self-check/--no-self-check",
    ),
]
Track = Annotated[
    list[str] | None, option("Also log curves to tensorboard, mlflow, wandb, trackio.", OUTPUT, metavar="A,B")
]
Where = Annotated[
    list[str] | None,
    option(
        "Only runs with status=failed, model=lstm, task=copy, model.rho=0.5 ...: a,b or repeated.", metavar="KEY=VALUE"
    ),
]
_RUN = typer.Argument(
    help="A run: its folder, a checkpoint in it, its name or the start of it, or last.",
    metavar="RUN",
    autocompletion=completion.runs,
)
RunName = Annotated[str, _RUN]
RunOrNone = Annotated[str | None, _RUN]
Force = Annotated[bool, option("Overwrite the file of --output.", OUTPUT, "--force")]


# -- groups ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelOptions:
    """Sizes and settings of the model and its task; None where the user gave nothing."""

    T: Length = None
    hidden: Hidden = None
    layers: Layers = None
    settings: Settings = None


Recipes = Annotated[
    Path | None,
    option(
        "Recipes of `tune` in place of the registered ones: its folder, or core. What has none is left out.",
        MODEL,
        metavar="DIR|NAME",
    ),
]


@dataclass(frozen=True)
class SuiteOptions:
    """Which runs a suite has; None where the user gave nothing."""

    models: Models = None
    tasks: Tasks = None
    seeds: Seeds = None
    budget: Budget = "full"
    match: Match = None
    recipes: Recipes = None


@dataclass(frozen=True)
class TrainingOptions:
    """How a model is trained; None where the user gave nothing."""

    steps: Annotated[int | None, _count("Number of optimiser updates.", TRAINING)] = None
    epochs: Annotated[int | None, _count("Passes over the training set.", TRAINING)] = None
    batch_size: Annotated[int | None, _count("Batch size.", TRAINING)] = None
    lr: Annotated[float | None, option("Learning rate.", TRAINING, metavar="RATE", callback=_rate)] = None
    recompute_every: Annotated[
        int | None,
        _count("Gradient checkpointing: store every K-th state only. Less memory, more time.", TRAINING, metavar="K"),
    ] = None
    floss: Annotated[
        int | None,
        _count("Drive the K largest Lyapunov exponents to 0; --set floss.KEY says how.", TRAINING, metavar="K"),
    ] = None


@dataclass(frozen=True)
class RuntimeOptions:
    """Where and how the numbers are computed; None where the user gave nothing."""

    device: Device = None
    threads: Threads = None
    engine: Engine = None
    precision: Precision = None
    deterministic: Annotated[
        bool | None, option("Use deterministic algorithms only; for CUDA.", RUNTIME, "--deterministic")
    ] = None


# -- values ----------------------------------------------------------------------------------------------------------


def names_of(option: str, values: Iterable[str] | None) -> list[str] | None:
    """Return the names that an option was given, `a,b` or repeated, commas in brackets left; None if it was not given.

    Args:
        option: The option, for messages: `--model`.
        values: What it was given.

    Raises:
        UserError: A name is empty.
    """
    if values is None:
        return None
    names = []
    for text in values:
        parts = split_names(text)
        if not all(parts):
            raise UserError(f"{option} '{text}': must be names with commas between, and none of them may be empty.")
        names += parts
    return names


def one_name(option: str, values: Iterable[str] | None) -> str | None:
    """Return the name that an option of a single run was given; None if it was not given.

    Raises:
        UserError: It was given several.
    """
    names = names_of(option, values)
    if names is not None and len(names) > 1:
        raise UserError(
            f"{option}: a run has one {option[2:]}, got {', '.join(names)}. `stablebench compare {option} "
            f"{','.join(names)}` runs several, `stablebench tune` searches for several."
        )
    return names[0] if names else None


def numbers_of(option: str, values: Iterable[str] | None, least: int = 1) -> list[int] | None:
    """Return the whole numbers that an option was given, `1,2` or repeated; None if it was not given.

    Raises:
        UserError: One is no whole number, or below `least`.
    """
    if values is None:
        return None
    text = ",".join(values)
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < least:
        raise UserError(f"`{option}` must be whole numbers >= {least} with commas between, got '{text}'.")
    return numbers


def seeds_of(values: list[str] | None) -> list[int] | None:
    """Return the seeds that `--seeds` names: 0 to N - 1 for a single N, else those given, `0,1,5-7` or repeated.

    Raises:
        UserError: They are no whole numbers, or too many or too large.
    """
    return None if values is None else seeds_named("--seeds", ",".join(values))


def parse_settings(items: Iterable[str] | None) -> dict[str, Any]:
    """Return the values of `--set KEY=VALUE` by key; a value is read as strictly as those in files.

    Raises:
        UserError: An item has no `=` or no key, a key stands twice, or a value is not YAML.
    """
    from stablebench.schema.yaml_file import parse

    settings: dict[str, Any] = {}
    for item in items or ():
        key, equals, text = item.partition("=")
        key = key.strip()
        if not equals or not key or not all(key.split(".")):
            raise UserError(f"--set {item}: must be KEY=VALUE, for example --set model.rho=0.5.")
        if key in settings:
            raise UserError(f"--set {key}: given twice; give it once.")
        settings[key] = parse(text, f"--set {key}").data
    return settings


def words_of(*groups: Any) -> list[str]:
    """Return the words of a command line that give the same values to groups of options."""
    words: list[str] = []
    for group in groups:
        for field in dataclasses.fields(group):
            value = getattr(group, field.name)
            if value == field.default or value is None:
                continue
            _, option = typing.get_args(field.type)
            name = next((n for n in (option.default, *(option.param_decls or ())) if isinstance(n, str)), None)
            name = name or "--" + field.name.replace("_", "-")
            words += [name] if value is True else [w for v in _each(value) for w in (name, str(v))]
    return words


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
