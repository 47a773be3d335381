"""Values of options: what the option library need not convert, and whole numbers, which it reads too leniently."""

import re
from typing import Any

from stablebench.errors import UserError

_SEVERAL = re.compile(r"\s*[0-9]+(\s*[-,]\s*[0-9]+)+\s*")
_WHOLE = re.compile(r"\s*[-+]?[0-9][0-9_]*\s*")


class CheckedValues:
    """A command or group whose whole numbers are written as such: 5, not 5.0, as in files.

    A text that is to stay one, and a default, skip the library's conversion: importing it takes longer than to list all
    models.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, `--help` among them."""
        parameters = super().get_params(ctx)  # pyright: ignore[reportAttributeAccessIssue]
        for parameter in parameters:
            if "process_value" not in vars(parameter):
                parameter.process_value = _checked(parameter, parameter.process_value)
        return parameters


def _checked(parameter: Any, process: Any) -> Any:
    wanted = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    may_be_none = not parameter.required and parameter.nargs == 1

    def process_value(context: Any, value: Any) -> Any:
        if wanted is int and isinstance(value, str) and _SEVERAL.fullmatch(value):
            name = next((name for name in parameter.opts if name.startswith("-")), parameter.name.upper())
            more = f" `stablebench compare --seeds {value}` runs several." if parameter.name == "seed" else ""
            raise UserError(f"`{name}` must be one whole number, got '{value}'.{more}")
        if wanted is int and isinstance(value, str) and _is_fraction(value):
            name = next((name for name in parameter.opts if name.startswith("-")), parameter.name.upper())
            raise UserError(f"`{name}` must be a whole number, got '{value}'.")
        is_text = wanted is str and isinstance(value, str)
        if is_text or (may_be_none if value is None else value is parameter.default):
            return value if parameter.callback is None else parameter.callback(context, parameter, value)
        return process(context, value)

    return process_value


def _is_fraction(value: str) -> bool:
    return bool(re.fullmatch(r"\s*[-+]?[0-9_.]*\s*", value)) and not _WHOLE.fullmatch(value)
