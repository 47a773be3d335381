"""The options of every command that runs something, declared once.

A command takes them as one argument:

    @run_options
    def train(options: RunOptions, ...) -> None:
"""

import dataclasses
import functools
import inspect
import math
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stablebench.errors import UserError
from stablebench.schema.seeds import MAX_SEED, WHY


@dataclass(frozen=True)
class _Least:
    """The smallest value an option takes, or what it must be greater than, and the largest one."""

    value: float
    exclusive: bool = False
    most: int | None = None
    why: str = ""

    def check(self, option: str, value: float) -> None:
        """Raise `UserError` if `value` is out of the range or no finite number."""
        if not math.isfinite(value):
            raise UserError(f"`{option}` must be a finite number, got {value}.")
        if self.most is not None and value > self.most:
            raise UserError(f"`{option}` must be <= {self.most}{self.why}, got {value}.")
        if value < self.value or (value == self.value and self.exclusive):
            raise UserError(f"`{option}` must be {'>' if self.exclusive else '>='} {self.value:g}, got {value}.")


_SEED = _Least(0, most=MAX_SEED, why=f" ({WHY})")


def _existing(context: typer.Context, folder: Path | None) -> Path | None:
    """Return a folder that `--data-dir` names; one that STABLEBENCH_DATA names is looked for when it is needed."""
    source = context.get_parameter_source("data_dir")
    if folder is not None and source is not None and source.name == "COMMANDLINE" and not folder.is_dir():
        raise UserError(
            f"--data-dir {folder}: there is no such folder; "
            f"`stablebench data fetch --all --data-dir {folder}` makes and fills it."
        )
    return folder


DataDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", envvar="STABLEBENCH_DATA", callback=_existing, help="Folder of the real data sets."),
]
SelfCheck = Annotated[
    bool,
    typer.Option(
        "--self-check/--no-self-check",
        help="Before the first update, hold a fast engine against the reference one on a few examples and steps.",
    ),
]
_Count = Annotated[int | None, _Least(1)]
_Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set one value of the run spec: model.rho=0.5, task.S=10, optim.lr=1e-3. Repeatable.",
    ),
]


@dataclass(frozen=True)
class RunOptions:
    """What a user may say about a run; None where nothing was said. `set` holds parsed values by dotted key."""

    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A model's name; or path/to/file.py:Class or package.module:Class, whose code is run."
        ),
    ] = None
    task: Annotated[str | None, typer.Option(metavar="TASK[/VARIANT]", help="A task, or one of its variants.")] = None
    T: Annotated[_Count, typer.Option("--T", metavar="N", help="The task's length; its card says what it counts.")] = (
        None
    )
    hidden: Annotated[_Count, typer.Option(metavar="N", help="Width of the hidden state.")] = None
    layers: Annotated[
        _Count, typer.Option(metavar="N", help="Stacked layers; a deep model's depth, its input and output counted.")
    ] = None
    steps: Annotated[_Count, typer.Option(metavar="N", help="Updates.")] = None
    epochs: Annotated[_Count, typer.Option(metavar="N", help="Passes over the training set.")] = None
    batch_size: Annotated[_Count, typer.Option(metavar="N", help="Examples of an update.")] = None
    lr: Annotated[
        float | None, _Least(0, exclusive=True), typer.Option(metavar="RATE", help="Learning rate of the optimiser.")
    ] = None
    seed: Annotated[int | None, _SEED, typer.Option(metavar="N", help="Decides initialisation and training data.")] = (
        None
    )
    device: Annotated[Literal["auto", "cpu", "cuda"] | None, typer.Option(help="Where to compute.")] = None
    threads: Annotated[_Count, typer.Option(metavar="N", help="CPU threads.")] = None
    engine: Annotated[
        Literal["auto", "reference", "scan", "fused"] | None,
        typer.Option(help="How the chain is run over time; scan is for linear recurrences."),
    ] = None
    recompute_every: Annotated[
        _Count,
        typer.Option(metavar="K", help="Keep the states of every K-th time step alone: less memory, more time."),
    ] = None
    precision: Annotated[
        Literal["float32", "float64"] | None, typer.Option(help="Floating-point type of all tensors.")
    ] = None
    deterministic: Annotated[
        bool | None,
        typer.Option("--deterministic", help="Take no algorithm that may give other numbers each time; for CUDA."),
    ] = None
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A recipe that comes on top of the registered one.")
    ] = None
    set: dict[str, Any] = field(default_factory=dict)
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="The run store.")] = Path("runs")
    data_dir: DataDir = None
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing while running.")] = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UserError: A value is out of range.
        """
        for name, annotation in typing.get_type_hints(type(self), include_extras=True).items():
            value = getattr(self, name)
            for least in getattr(annotation, "__metadata__", ()):
                if isinstance(least, _Least) and value is not None:
                    least.check("--" + name.replace("_", "-"), value)


def run_options(function: Callable[..., None]) -> Callable[..., None]:
    """Decorator: replace the parameter `options: RunOptions` by the single options that Typer reads."""
    signature = inspect.signature(function)
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for n, p in signature.parameters.items() if n != "options"]
    shared = option_parameters()

    @functools.wraps(function)
    def command(**values: Any) -> None:
        given = {name: values.pop(name) for name in list(values) if name in shared}
        given["set"] = parse_settings(given.get("set") or [])
        function(RunOptions(**given), **values)

    parameters = [*shared.values(), *own]
    command.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportAttributeAccessIssue]
    command.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return command


def option_parameters() -> dict[str, inspect.Parameter]:
    """Return the parameters that stand for the fields of `RunOptions`, by name."""
    hints = typing.get_type_hints(RunOptions, include_extras=True) | {"set": _Settings}
    return {
        f.name: inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None if f.default is dataclasses.MISSING else f.default,
            annotation=hints[f.name],
        )
        for f in dataclasses.fields(RunOptions)
    }


def parse_settings(items: list[str]) -> dict[str, Any]:
    """Return the values of `--set KEY=VALUE` by key; a value is read as strictly as those in files.

    Raises:
        UserError: An item has no `=` or no key, a key stands twice, or a value is not YAML.
    """
    from stablebench.schema.yaml_file import parse

    settings: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        key = key.strip()
        if not equals or not key or not all(key.split(".")):
            raise UserError(f"--set {item}: must be KEY=VALUE, for example --set model.rho=0.5.")
        if key in settings:
            raise UserError(f"--set {key}: given twice; give it once.")
        settings[key] = parse(text, f"--set {key}").data
    return settings
