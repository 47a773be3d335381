"""What a user may say about a suite: the same words, with the same meaning, wherever its runs are made or drawn.

A command takes them as one argument:

    @suite_options
    def report(options: SuiteOptions, ...) -> None:
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stablebench.cli.shared.options import RunOptions, option_parameters, parse_settings
from stablebench.errors import UserError

if TYPE_CHECKING:
    from stablebench.execution.suites import SuiteOverrides
    from stablebench.leaderboard import Overrides

_MOST_SEEDS = 100_000
"""Cells of each row at most: all are listed before the first one runs."""

Models = Annotated[str | None, typer.Option(help="Models, with commas between.", metavar="A,B")]
Tasks = Annotated[str | None, typer.Option(help="Tasks or task/variant, with commas between.", metavar="A,B")]
Seeds = Annotated[int | None, typer.Option(help="Seeds 0 to N - 1.", min=1, max=_MOST_SEEDS, metavar="N")]
Budget = Annotated[Literal["full", "short"], typer.Option(help="The suite's own budget, or its short one.")]

_NOT_OF_SUITES = {"model", "task", "seed", "recipe", "data_dir", "json", "quiet"}
_OWN = {"models": Models, "tasks": Tasks, "seeds": Seeds, "budget": Budget}


@dataclass(frozen=True)
class SuiteOptions:
    """What was said about the cells of a suite; None where nothing was.

    Args:
        models: Models, with commas between.
        tasks: Tasks, with commas between.
        seeds: Their number.
        budget: The suite's own, or its short one.
        run: What every run of it has.
    """

    models: str | None = None
    tasks: str | None = None
    seeds: int | None = None
    budget: Literal["full", "short"] = "full"
    run: RunOptions = field(default_factory=RunOptions)

    def asked(self) -> "SuiteOverrides":
        """Return what is asked for in place of a suite, or on top of one."""
        from stablebench.cli.shared.requests import named
        from stablebench.execution.suites import SuiteOverrides

        run = self.run
        short = self.budget == "short"
        models, tasks = _split("models", self.models), _split("tasks", self.tasks)
        return SuiteOverrides(models, tasks, self.seeds, run.T, named(run), dict(run.set), short)

    def changes(self) -> "Overrides":
        """Return what the runs have in place of the suite's own settings."""
        from stablebench.leaderboard import Overrides

        asked = self.asked()
        return Overrides(asked.changed, asked.short)

    def words(self) -> list[str]:
        """Return the words of a command line that say the same, the run store's folder left out."""
        from stablebench.specs.repeat_command import yaml_text

        words = []
        for name in _OWN:
            value = getattr(self, name)
            words += [] if value in (None, "full") else [_option(name), str(value)]
        for f in dataclasses.fields(RunOptions):
            value = getattr(self.run, f.name)
            if f.name in ("set", "runs_dir", *_NOT_OF_SUITES) or value is None or value is False:
                continue
            words += [_option(f.name)] if value is True else [_option(f.name), str(value)]
        for key, value in self.run.set.items():
            words += ["--set", f"{key}={yaml_text(value)}"]
        return words


def suite_options(function: Callable[..., None]) -> Callable[..., None]:
    """Decorator: replace the parameter `options: SuiteOptions` by the single options that Typer reads."""
    signature = inspect.signature(function)
    given = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for n, p in signature.parameters.items() if n != "options"]
    of_run = {name: p for name, p in option_parameters().items() if name not in _NOT_OF_SUITES}
    own = {
        f.name: inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=_OWN[f.name])
        for f in dataclasses.fields(SuiteOptions)
        if f.name in _OWN
    }

    @functools.wraps(function)
    def command(**values: Any) -> None:
        run = {name: values.pop(name) for name in of_run}
        run["set"] = parse_settings(run["set"] or [])
        function(SuiteOptions(**{name: values.pop(name) for name in own}, run=RunOptions(**run)), **values)

    parameters = [*given, *own.values(), *of_run.values()]
    command.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportAttributeAccessIssue]
    command.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return command


def _split(option: str, text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UserError(f"--{option} '{text}': must be names with commas between, and none of them may be empty.")
    return names


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
