"""Messages about a command line that cannot be read: one line with option, what it takes, what arrived, a guess."""

import re
from typing import Any

import typer

from stablebench.cli.shared.commands import spellings
from stablebench.errors import did_you_mean

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""What the option library raises; it is the library's own class, or click's."""
_KINDS = {"int_parsing": "a whole number", "float_parsing": "a number", "bool_parsing": "true or false"}
_BOUNDS = {"greater_than_equal": (">=", "ge"), "greater_than": (">", "gt"), "less_than_equal": ("<=", "le")}


def is_help(error: Exception) -> bool:
    """Return whether it is no error but a command without arguments, which shows its help."""
    return type(error).__name__ == "NoArgsIsHelpError"


def one_line_of(error: Any) -> str:
    """Return a usage error in one line."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "stablebench"
    way_out = f"`{command} -h` shows what it takes."
    if hasattr(error, "option_name") and hasattr(error, "possibilities"):
        return f"{command} has no option {error.option_name}.{_nearest_option(error, context)} {way_out}"
    name = _name(error)
    if type(error).__name__ == "MissingParameter":
        meaning = (getattr(error.param, "help", None) or "").rstrip(".")
        return f"{name} is missing{meaning and ': '}{meaning}. {way_out}"
    if name is not None:
        return f"`{name}` {_must(error)}"
    return f"{_plain(error)} {way_out}"


def _nearest_option(error: Any, context: Any) -> str:
    parameters = context.command.params if context is not None else []
    known = [name for parameter in parameters for name in spellings(parameter)]
    return did_you_mean(error.option_name, [name for name in known if name.startswith("--")])


def _name(error: Any) -> str | None:
    parameter = getattr(error, "param", None)
    if parameter is None:
        return None
    options = [name for name in parameter.opts if name.startswith("-")]
    return options[0] if options else (parameter.metavar or parameter.name.upper()).rstrip(".")


def _must(error: Any) -> str:
    """Return what a value must be and what arrived."""
    problem = _first_of(error.__cause__)
    kind, got = problem.get("type", ""), problem.get("input")
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}, got {_shown(got)}."
    if kind in _BOUNDS:
        sign, key = _BOUNDS[kind]
        return f"must be {sign} {problem['ctx'][key]}, got {got}."
    text = _plain(error)
    chosen = re.match(r"(?P<got>'.*') is not one of (?P<known>'.*')\.?$", text, flags=re.DOTALL)
    if chosen is None:
        return f"cannot be read: {text[:1].lower()}{text[1:].rstrip('.')}" + (
            f", got {_shown(got)}." if problem else "."
        )
    known = re.findall(r"'([^']*)'", chosen["known"])
    return f"must be one of {', '.join(known)}, got {chosen['got']}.{did_you_mean(chosen['got'].strip(chr(39)), known)}"


def _first_of(cause: Any) -> dict[str, Any]:
    return cause.errors(include_url=False)[0] if hasattr(cause, "errors") else {}


def _plain(error: Any) -> str:
    return " ".join(str(error.message).removeprefix("Value error, ").split())


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
