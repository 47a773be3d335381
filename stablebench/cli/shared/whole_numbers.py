"""Options that are whole numbers are written as such, on the command line as in files: 5, not 5.0."""

import re
from typing import Any, TypeVar

from stablebench.errors import UserError

_WHOLE = re.compile(r"\s*[-+]?[0-9][0-9_]*\s*")
C = TypeVar("C")


def with_whole_numbers(command: C) -> C:
    """Return a command, or a group of them, whose options of whole numbers refuse anything else.

    The option library reads 5.0 as 5, where `--set` and files refuse it.
    """
    for parameter in getattr(command, "params", ()):
        if getattr(getattr(parameter, "type_descriptor", None), "annotation", None) is int:
            parameter.process_value = _checked(parameter, parameter.process_value)
    for inner in getattr(command, "commands", {}).values():
        with_whole_numbers(inner)
    return command


def _checked(parameter: Any, process: Any) -> Any:
    def process_value(context: Any, value: Any) -> Any:
        if isinstance(value, str) and re.fullmatch(r"\s*[-+]?[0-9_.]*\s*", value) and not _WHOLE.fullmatch(value):
            name = next((name for name in parameter.opts if name.startswith("-")), parameter.name.upper())
            raise UserError(f"`{name}` must be a whole number, got '{value}'.")
        return process(context, value)

    return process_value
