"""A model in full: equation, claim, reference, and hyper-parameters."""

import inspect
from typing import Any

from stablebench.cli.shared.text import format_value
from stablebench.cli.show.description import WRAPPED_COLUMNS, Description
from stablebench.models import registry as model_registry
from stablebench.schema.expression import evaluate
from stablebench.schema.strict import LARGEST
from stablebench.tables import Table


def describe(name: str) -> Description:
    """Return a model's equation, claim and reference, and its hyper-parameters."""
    entry = model_registry.model_entry(name)
    if entry.source is None:
        text = model_registry.model_docstring(name)
    else:
        text = inspect.getdoc(inspect.getmodule(entry.cls)) or inspect.getdoc(entry.cls) or ""
    schema: dict[str, Any] = entry.arguments().model_json_schema()
    meanings = _argument_meanings(inspect.getdoc(entry.cls) or "")
    arguments = []
    for key, field in schema.get("properties", {}).items():
        default = entry.preset.get(key, field.get("default"))
        required = key in schema.get("required", []) and key not in entry.preset
        arguments.append(
            {
                "name": key,
                "takes": _takes(field, schema.get("$defs", {})),
                "default": default,
                "required": required,
                "what": meanings.get(key, ""),
            }
        )
    formulas = model_registry.model_formulas(text)
    document = {"name": name, "docstring": text, "takes_horizon": entry.takes_horizon, "formulas": formulas}
    document |= {"arguments": arguments}
    if formulas:
        defaults = {a["name"]: a["default"] for a in arguments}
        text += "\n\n" + _example_size(formulas, defaults, deep=entry.family == "deep")
    rows = [
        [a["name"], a["takes"], "required" if a["required"] else format_value(a["default"]), a["what"]]
        for a in arguments
    ]
    title = "Hyper-parameters, set by a recipe's `params` or by --set model.NAME=VALUE"
    table = Table(["name", "takes", "default", "what"], rows, title=title, wrap=WRAPPED_COLUMNS)
    return Description(document, text, [table], wraps=False)


def _example_size(formulas: dict[str, str], defaults: dict[str, Any], *, deep: bool) -> str:
    """Return a model's formulas at an example of sizes, in words."""
    names = defaults | {"inputs": 2, "hidden": 128, "horizon": 100, "layers": 50}
    units = {"parameters": "parameters", "cost": f"multiply-adds a {'sample' if deep else 'step and sequence'}"}
    sizes = [f"{evaluate(formula, names):,.0f} {units[key]}" for key, formula in formulas.items()]
    return f"At 2 inputs and 128 units{', 50 layers' * deep}, without the readout: {', '.join(sizes)}."


def _takes(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return a JSON schema's type and range in words."""
    if "$ref" in field:
        return _takes(definitions.get(field["$ref"].rsplit("/", 1)[-1], {}), definitions)
    if "anyOf" in field:
        return " or ".join(_takes(option, definitions) for option in field["anyOf"])
    if "enum" in field or "const" in field:
        return ", ".join(str(v) for v in field.get("enum", [field.get("const")]))
    words = {"integer": "integer", "number": "number", "boolean": "true or false", "null": "null", "string": "text"}
    kind = str(field.get("type", "anything"))
    text = words.get(kind, kind)
    if kind == "array":
        text = f"list of {_takes(field.get('items', {}), definitions)}"
    signs = (("exclusiveMinimum", ">"), ("minimum", ">="), ("exclusiveMaximum", "<"), ("maximum", "<="))
    ranges = [f"{sign} {field[key]:g}" for key, sign in signs if key in field and field[key] != LARGEST]
    return " ".join([text, ", ".join(ranges)]).strip()


def _argument_meanings(docstring: str) -> dict[str, str]:
    """Return the `Args:` of a Google-style docstring."""
    meanings: dict[str, str] = {}
    inside, last = False, ""
    for line in docstring.splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip() == "Args:":
            inside = True
        elif inside and line.strip() and not indent:
            break
        elif inside and indent == 4 and ":" in line:
            last, _, meaning = line.strip().partition(":")
            meanings[last] = meaning.strip()
        elif inside and last and line.strip():
            meanings[last] += " " + line.strip()
    return meanings
