"""How a command is declared: a function whose parameters are single options, and groups of them.

A group is a dataclass of options (`shared.options`); the parser sees its fields as single options:

    def train(*, model: Model = None, sizes: ModelOptions, training: TrainingOptions, ...) -> None:

The function's docstring is the help. Lines after `Example:` or `Examples:` are shown below it as they are.
"""

import copy
import dataclasses
import functools
import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from stablebench.cli.shared.values import CheckedValues
from stablebench.errors import unknown_name

MODEL, TRAINING, RUNTIME, OUTPUT = "Model and task", "Training", "Runtime", "Output"
_PANELS = (None, MODEL, TRAINING, RUNTIME, OUTPUT)
"""Help panels in the order of a command's help; None has the command's own options."""


class Earlier(str):
    """A spelling of an option that goes on working, and that neither help nor completion shows."""


def option(help: str, panel: str | None = None, *names: str, earlier: Sequence[str] = (), **more: Any) -> Any:
    """Return an option for `Annotated`.

    Args:
        help: One sentence.
        panel: Where the help shows it; None for the command's own options.
        names: Its spellings; by default the parameter's name.
        earlier: Spellings that go on working and are not shown; with these, `names` are given.
        more: What else `typer.Option` takes.
    """
    return typer.Option(*names, *map(Earlier, earlier), help=help, rich_help_panel=panel, **more)


def spellings(parameter: Any) -> list[str]:
    """Return the spellings of an option that are shown."""
    names = [*parameter.opts, *parameter.secondary_opts]
    return [name for name in names if not isinstance(name, Earlier)]


def _shown(parameter: Any) -> Any:
    """Return a parameter without its earlier spellings, for the help."""
    shown = copy.copy(parameter)
    shown.opts = [name for name in parameter.opts if not isinstance(name, Earlier)]
    return shown


class Command(CheckedValues, TyperCommand):
    """A command whose help shows options by panel, and an example as it is typed."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options of each panel."""
        panels: dict[Any, list[tuple[str, str]]] = {"arguments": []} | {panel: [] for panel in _PANELS}
        for parameter in self.get_params(ctx):
            record = _shown(parameter).get_help_record(ctx)
            if record is not None:
                is_option = parameter.param_type_name == "option"
                panels[getattr(parameter, "rich_help_panel", None) if is_option else "arguments"].append(record)
        for panel, records in panels.items():
            if records:
                name = {"arguments": "Arguments", None: "Options"}.get(panel, f"{panel} options")
                with formatter.section(name):
                    formatter.write_dl(records)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Return what an option may be spelt like, earlier spellings left out."""
        return [item for item in super().shell_complete(ctx, incomplete) if not isinstance(item.value, Earlier)]

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, their lines as they are."""
        if self.epilog:
            formatter.write(
                f"\n{'Examples' if chr(10) in self.epilog else 'Example'}:\n{textwrap.indent(self.epilog, '  ')}\n"
            )


class Group(CheckedValues, TyperGroup):
    """A command that has subcommands."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the subcommand that the first argument names."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            kind = ctx.command_path.partition(" ")[2]
            raise unknown_name(f"{kind} command".strip(), args[0], self.commands)
        return super().resolve_command(ctx, args)


class _Flat:
    """A function with its groups of options laid open: a signature as the parser reads it."""

    def __init__(self, function: Callable[..., None]) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        signature = inspect.signature(function)
        self._groups = {p.name: p.annotation for p in signature.parameters.values() if _is_group(p.annotation)}
        parameters = [option for p in signature.parameters.values() for option in _options(p)]
        self.__signature__ = signature.replace(parameters=parameters)
        self.__annotations__ = {p.name: p.annotation for p in parameters}

    def __call__(self, **values: Any) -> None:
        for name, group in self._groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})
        self._function(**values)


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def _options(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """Return a parameter as the parser sees it: a group as one for each of its fields."""
    kind = inspect.Parameter.KEYWORD_ONLY
    if not _is_group(parameter.annotation):
        return [parameter.replace(kind=kind)]
    fields = dataclasses.fields(parameter.annotation)
    return [inspect.Parameter(field.name, kind, default=field.default, annotation=field.type) for field in fields]


def add_command(app: typer.Typer, function: Callable[..., None], name: str | None = None) -> None:
    """Make a function a command of an application.

    Args:
        app: The application, or a command with subcommands.
        function: The command.
        name: What it is called; the function's name by default.
    """
    text, example = [*re.split(r"\n\nExamples?:\n", inspect.getdoc(function) or "", maxsplit=1), ""][:2]
    app.command(name, cls=Command, help=text, epilog=textwrap.dedent(example) or None)(_Flat(function))


def subcommands(text: str) -> typer.Typer:
    """Return a command that has nothing but subcommands.

    Args:
        text: Its help.
    """
    app = typer.Typer(
        cls=Group,
        help=text,
        add_completion=False,
        rich_markup_mode=None,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(lambda: None)  # a single subcommand stays one
    return app


def parser_of(command: Callable[..., None] | typer.Typer, name: str | None) -> Any:
    """Return a command as the option library runs it.

    Args:
        command: A function, or what `subcommands` returned.
        name: What it is called.
    """
    if not isinstance(command, typer.Typer):
        function, command = command, typer.Typer(add_completion=False, rich_markup_mode=None)
        add_command(command, function, name)
    return typer.main.get_command(command)
