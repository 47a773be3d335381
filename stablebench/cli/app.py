"""The entry point: finds the commands, imports one only when it is asked for, and turns errors into messages.

Every file of this folder, and every folder but `shared` and `ui`, is a command: it defines a function, or a Typer of
subcommands, of its own name. A command's line in `--help` is the first line of its file, read without importing it.
"""

import errno
import importlib
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from stablebench import __version__
from stablebench.cli.shared import early_signals
from stablebench.cli.shared.commands import Group, option, parser_of
from stablebench.cli.shared.old_words import with_new_words
from stablebench.cli.shared.usage_errors import UsageError, is_help, one_line_of
from stablebench.errors import StablebenchError, device_failure, ran_out_of_memory, reached_limit
from stablebench.process.streams import keep_stdout_for_results, lose_quietly, loss_of, open_closed_descriptors, results
from stablebench.visible import visible_lines

_FIRST = ("train", "evaluate", "probe-gradients", "compare")
"""What `--help` shows first; the rest follows in alphabetical order."""
_ANSWERED_BY_THE_PARSER = frozenset({"-h", "--help", "--version", "--show-completion", "--install-completion"})
"""What is printed on stdout without a command being run."""
_FOLDER = Path(__file__).resolve().parent
_NO_COMMANDS = ("__init__.py", "app.py", "shared", "ui")


def command_files() -> dict[str, Path]:
    """Return the file of every command, by the command's name, in the order of `--help`."""
    files = {}
    for path in _FOLDER.iterdir():
        if path.name not in _NO_COMMANDS and (path.suffix == ".py" or (path / "__init__.py").is_file()):
            name = path.stem.rstrip("_").replace("_", "-")
            files[name] = path if path.suffix else path / "__init__.py"
    order = {name: i for i, name in enumerate(_FIRST)}
    return {name: files[name] for name in sorted(files, key=lambda name: (order.get(name, len(order)), name))}


def _first_line(path: Path) -> str:
    """Return the first line of a module, which is that of its docstring."""
    with path.open(encoding="utf-8") as file:
        return file.readline().strip().removeprefix('"""').removesuffix('"""')


class _LazyCommand(TyperCommand):
    """Stands for a command until it is run or asked for its own help."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name=name, help=_first_line(path), rich_markup_mode=None)
        self._stem = path.parent.name if path.name == "__init__.py" else path.stem

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Import the command and give its own context: what runs from here on is the command itself."""
        return self._load().make_context(info_name, args, parent=parent, **extra)

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the whole line; the list of commands breaks it where it must."""
        return self.help or ""

    def _load(self) -> Any:
        module = importlib.import_module(f"stablebench.cli.{self._stem}")
        return parser_of(getattr(module, self._stem), self.name)


class _Group(Group):
    """The commands, and what an error of theirs looks like."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.commands.update({name: _LazyCommand(name, path) for name, path in command_files().items()})

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Read what stands before the command's name."""
        try:
            return super().make_context(info_name, args, parent=parent, **extra)
        except UsageError as error:
            _say_usage(error)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of `--help`."""
        return list(self.commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the first argument names."""
        return super().resolve_command(ctx, with_new_words(args))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error that the user can act on is one message and an exit code."""
        early_signals.command_begins()
        try:
            return super().invoke(ctx)
        except UsageError as error:
            _say_usage(error)
        except StablebenchError as error:
            _say_error(str(error))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            early_signals.command_ended()
            typer.echo("Stopped.", err=True)
            raise typer.Exit(130) from None
        except (MemoryError, RuntimeError) as error:
            if (failed := device_failure(error)) is not None:
                _say_error(f"the device failed ({failed}).")
                raise typer.Exit(1) from None
            _say_limit(error)
            if not ran_out_of_memory(error):
                raise
            _say_error("out of memory; take a smaller size, batch or --recompute-every.")
            raise typer.Exit(1) from None
        except BrokenPipeError:  # the reader has seen enough: `| head`
            _discard_stdout()
            raise typer.Exit(1) from None
        except OSError as error:  # a folder that cannot be written, a full disk
            _say_limit(error)
            if error.strerror is None or error.filename is None:
                raise
            _say_error(f"{error.filename}: {error.strerror}.")
            raise typer.Exit(1) from None


def _say_usage(error: Exception) -> NoReturn:
    if is_help(error):
        raise error
    _say_error(one_line_of(error))
    raise typer.Exit(2) from None


def _say_error(text: str) -> None:
    """Print the message of an error; what a terminal would obey in it is seen as its code."""
    typer.echo(f"Error: {visible_lines(text)}", err=True)


def _say_limit(error: Exception) -> None:
    """End with one message where an error says that a limit of the system is reached."""
    if (limit := reached_limit(error)) is not None:
        _say_error(str(limit))
        raise typer.Exit(limit.exit_code) from None


app = typer.Typer(
    name="stablebench",
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"stablebench {__version__}")
        raise typer.Exit


@app.callback()
def _stablebench(
    version: Annotated[
        bool, option("Print the version.", None, "--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Does its gradient survive, does it learn, what does it cost? A benchmark suite for recurrent networks."""


def _show_warning(message: Warning | str, category: type[Warning], *where: Any) -> None:
    """Print a warning: what has a new name in one line, others as Python does."""
    if issubclass(category, FutureWarning):
        typer.echo(f"Warning: {visible_lines(str(message))}", err=True)
    else:
        _python_shows(message, category, *where)


_python_shows = warnings.showwarning


def main() -> None:
    """Run the command line, with quiet ends: whatever a terminal cannot show or a closed pipe does not take.

    What stdout does not take is dropped, so that the command still does its work, and makes the exit code 1.
    """
    open_closed_descriptors()
    if _ANSWERED_BY_THE_PARSER.isdisjoint(sys.argv) and "_STABLEBENCH_COMPLETE" not in os.environ:
        keep_stdout_for_results()
    else:
        lose_quietly()
    warnings.showwarning = _show_warning
    code = None
    try:
        app(prog_name="stablebench")
    except SystemExit as end:
        code = end.code
    finally:
        early_signals.command_ended()
    lost = loss_of(results())
    if lost not in (None, errno.EPIPE):  # EPIPE: the reader has seen enough, as with `| head`
        print(f"Error: stdout: {os.strerror(lost)}.", file=sys.stderr)
    sys.exit(code or (0 if lost is None else 1))


def _discard_stdout() -> None:
    """Let what is still buffered go nowhere, or the interpreter complains about it when it ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, AttributeError):
        pass
