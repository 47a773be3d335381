"""Names of models with arguments in brackets, `dizzy[activation=relu,eta=0.1]`: variants of a model in one word."""

from typing import Any

from stablebench.errors import UserError

_UNMATCHED = "--model {}: the brackets must match, as in dizzy[activation=relu]."


def split_names(text: str) -> list[str]:
    """Return the parts between commas; a comma inside brackets parts nothing. Spaces around a part go."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def base_of(name: str) -> str:
    """Return a model's name without its arguments."""
    return name[: name.index("[")].rstrip() if _has_arguments(name) else name


def label_of(name: str) -> str:
    """Return what tables call a model: `Cell[leak=0.1]` for `my.py:Cell[leak=0.1]`."""
    base = base_of(name)
    return base.rpartition(":")[2] + name[len(base) :]


def arguments_of(name: str) -> dict[str, Any]:
    """Return the arguments in the brackets of a name, by key of the run spec, `model.leak`; none without brackets.

    Raises:
        UserError: They are not `[KEY=VALUE,...]`, a key stands twice, or a value is not YAML.
    """
    if not _has_arguments(name):
        if "[" in name.rpartition(":")[2]:
            raise UserError(_UNMATCHED.format(name))
        return {}
    from stablebench.schema.yaml_file import parse

    arguments: dict[str, Any] = {}
    inside = name[name.index("[") + 1 : -1]
    if inside.count("[") != inside.count("]"):
        raise UserError(_UNMATCHED.format(name))
    for part in split_names(inside):
        key, equals, text = (word.strip() for word in part.partition("="))
        if not equals or not key.isidentifier():
            raise UserError(f"--model {name}: must have NAME=VALUE in the brackets, as dizzy[activation=relu].")
        if f"model.{key}" in arguments:
            raise UserError(f"--model {name}: {key} stands twice; give it once.")
        arguments[f"model.{key}"] = parse(text, f"--model {base_of(name)}, {key}").data
    return arguments


def _has_arguments(name: str) -> bool:
    return name.endswith("]") and name.find("[") > 0
