"""Show one model, task, recipe, suite, sweep or run in full."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stablebench.cli.ui.output import Table, echo, print_json, say
from stablebench.errors import UserError, unknown_name
from stablebench.schema.strict import LARGEST
from stablebench.tables import render, terminal_width, wrapped

if TYPE_CHECKING:
    from stablebench.schema.card import TaskCard
    from stablebench.schema.published import Published
    from stablebench.schema.recipe import Recipe, RecipeVariant
    from stablebench.schema.sweep import Dimension

_WIDTH = 120
"""Characters of a line where stdout is no terminal."""
_WORDS = frozenset({"why", "differs", "source", "where", "note", "what", "result", "search", "values", "origin"})
Shown = tuple[dict[str, Any], str, list[Table]]
"""What is shown: a document for `--json`; for readers a text and tables."""


def show(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="model, task, recipe, suite, sweep or run.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name; of a run, its folder.")],
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="The run store.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show one model, task, recipe, suite, sweep or run in full."""
    shown: dict[str, Callable[[], Shown]] = {
        "model": lambda: model(name),
        "task": lambda: task(name),
        "recipe": lambda: recipe(name),
        "suite": lambda: suite(name),
        "sweep": lambda: sweep(name),
        "run": lambda: run(name, runs_dir),
    }
    if kind not in shown:
        raise unknown_name("kind", kind, shown)
    document, text, tables = shown[kind]()
    if as_json:
        print_json(document)
        return
    width = terminal_width() or _WIDTH
    if kind != "model":  # equations stay as they are
        text = "\n".join(line for long in text.split("\n") for line in wrapped(long, width, "  "))
    say(text)
    for table in tables:
        if table.rows:
            echo("\n" + render([table], width=width))


def model(name: str) -> Shown:
    """Show a model's equation, claim and reference, and its hyper-parameters."""
    import inspect

    from stablebench.models import registry as model_registry

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
    rows = [[a["name"], a["takes"], "required" if a["required"] else _said(a["default"]), a["what"]] for a in arguments]
    title = "Hyper-parameters, set by a recipe's `params` or by --set model.NAME=VALUE"
    return document, text, [Table(["name", "takes", "default", "what"], rows, title=title, wrap=_WORDS)]


def _example_size(formulas: dict[str, str], defaults: dict[str, Any], *, deep: bool) -> str:
    """Return a model's formulas at an example of sizes, in words."""
    from stablebench.schema.expression import evaluate

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
    found: dict[str, str] = {}
    inside, last = False, ""
    for line in docstring.splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip() == "Args:":
            inside = True
        elif inside and line.strip() and not indent:
            break
        elif inside and indent == 4 and ":" in line:
            last, _, meaning = line.strip().partition(":")
            found[last] = meaning.strip()
        elif inside and last and line.strip():
            found[last] += " " + line.strip()
    return found


def task(name: str) -> Shown:
    """Show a task's card, the protocols and baselines of its variants, and what has been published on it."""
    from stablebench import registry
    from stablebench.data.task import resolve_params

    name, _, variant = name.partition("/")
    card = registry.task_card(name)
    if variant and variant not in card.variants:
        raise unknown_name(f"{name} variant", variant, card.variants)
    scores = [_scores(card, v) for v in ([variant] if variant else [None, *card.variants])]
    published = [
        _published(card, entry, resolve_params(card, variant=variant or entry.variant))
        for entry in card.published
        if not variant or entry.variant in (None, variant)
    ]
    document = {**card.model_dump(mode="json"), "name": card.task, "by_variant": scores, "published": published}
    tables = [_variants_table(scores), *_scores_tables(card, scores), _published_table(published)]
    return document, _task_text(card, variant or None), tables


def _task_text(card: "TaskCard", variant: str | None) -> str:
    from stablebench.data.task import resolve_params

    params = resolve_params(card, variant=variant)
    lines = [
        f"{card.task}{f'/{variant}' if variant else ''}, version {card.version}: {card.summary}",
        "",
        f"From: {card.reference}",
        *([f"Variant: {card.variant.strip()}"] if card.variant else []),
        f"Input {card.input}, readout {card.readout}, loss {card.loss}, metric {card.metric}"
        + (f" (also {', '.join(card.extra_metrics)})" if card.extra_metrics else ""),
        f"--T sets {card.length}: {card.length_description}" if card.length else "Fixed length; --T is refused.",
        f"Examples: {_examples(card, params)}",
        *[f"Split {key}: {split.why}" for key, split in card.splits.items()],
        *([f"Beside the parameters: {_settings(card.conditions)}"] if card.conditions else []),
        f"Run without a recipe: {_defaults(card)}",
        *[f"Version {change}" for change in card.changelog],
    ]
    return "\n".join(lines)


def _examples(card: "TaskCard", params: dict[str, Any]) -> str:
    p = card.protocol_at(params)
    train = "drawn anew for each update" if p.train is None else f"{p.train:,}"
    return f"train {train}, validation {p.validation:,}, test {p.test:,}; {card.selection(params)}"


def _defaults(card: "TaskCard") -> str:
    """Return a card's optimiser, budget, width and seeds in words."""
    p = card.protocol
    optim = p.optim.model_dump(exclude_defaults=True, exclude={"name"})
    return (
        f"{p.optim.name} {_settings({'lr': p.optim.lr} | optim)}; {p.steps:,} updates of {p.batch_size}, evaluated "
        f"every {p.eval_every}; width {p.hidden}, {p.layers} layer{'s' * (p.layers > 1)}; "
        f"{p.seeds} seeds in a full protocol"
    )


def _scores(card: "TaskCard", variant: str | None) -> dict[str, Any]:
    """Return a variant's parameters and protocol, its baseline in each metric, and its target."""
    from stablebench.data.task import resolve_params

    params = resolve_params(card, variant=variant)
    scores = {metric: card.baseline(metric, params) for metric in [card.metric, *card.extra_metrics]}
    named = {"variant": variant or "(default)", "params": params, "examples": _examples(card, params)}
    return named | scores | {"target": card.target_value(params)}


def _variants_table(scores: list[dict[str, Any]]) -> Table:
    names = [key for key in scores[0] if key not in ("variant", "params", "examples")]
    same = len({s["examples"] for s in scores}) == 1
    columns = ["variant", "parameters", *names] + ([] if same else ["examples"])
    rows = [[s["variant"], _settings(s["params"]), *(s[n] for n in names), s["examples"]] for s in scores]
    title = "Variants, what they score without learning, and the target"
    return Table(
        columns, [row[: len(columns)] for row in rows], title=title, wrap=frozenset({"parameters", "examples"})
    )


def _scores_tables(card: "TaskCard", scores: list[dict[str, Any]]) -> list[Table]:
    rows = [["baseline", b.name, b.metric, _number(b.value), b.derivation] for b in card.baselines]
    if card.target is not None:
        rows.append(["target", "solved", card.target.metric, _number(card.target.value), card.target.why])
    columns = ["", "name", "metric", "value", "why"]
    return [Table(columns, rows, title="Baselines and target", wrap=_WORDS | {"value", "name"})]


def _number(value: Any) -> str:
    return _settings(value) if isinstance(value, dict) else str(value)


def _published(card: "TaskCard", entry: "Published", params: dict[str, Any]) -> dict[str, Any]:
    compared = card.compare(entry, params)
    found = {"protocol": compared.flag, "differs": compared.differs, "unstated": compared.unstated}
    return {**entry.model_dump(mode="json"), **found}


def _published_table(published: list[dict[str, Any]]) -> Table:
    columns = ("key", "model", "variant", "what", "statistic", "value", "units", "params", "protocol", "differs")
    columns += ("source", "where", "reported_protocol", "note")
    return Table(
        columns,
        [[cells[column] for column in columns] for cells in map(_published_cells, published)],
        title="Published",
        wrap=_WORDS | {"key", "model", "reported_protocol", "what"},
    )


def _published_cells(entry: dict[str, Any]) -> dict[str, Any]:
    sign = {"at_least": ">= ", "at_most": "<= "}.get(entry["bound"] or "", "")
    value = entry["value"]
    said = value if value is None else f"{sign}{_said(value)}"
    for name, word in (("std", "std"), ("stderr", "stderr")):
        if entry[name] is not None:
            said = f"{said} ({word} {_said(entry[name])})"
    unstated = [f"not stated: {', '.join(entry['unstated'])}"] if entry["unstated"] else []
    return {
        **entry,
        "what": (entry["metric"] or entry["event"] or entry["quantity"])
        + ("" if entry["part"] == "test" else f" ({entry['part']})"),
        "statistic": entry["statistic"] + (f" of {entry['runs']}" if entry["runs"] else ""),
        "value": said,
        "differs": "; ".join([*entry["differs"], *unstated]),
        "source": f"{entry['source']}, quoting {entry['quoted']}" if entry["quoted"] else entry["source"],
        "reported_protocol": _settings(entry["reported_protocol"]),
    }


def recipe(name: str) -> Shown:
    """Show what a recipe says for each of its variants, who tuned it and whether it has been run."""
    from stablebench import registry

    if name not in registry.recipe_names():
        raise unknown_name("recipe", name, registry.recipe_names())
    task_name, _, model_name = name.partition("/")
    found = registry.recipe(task_name, model_name)
    assert found is not None  # its file is there
    parts = [_resolved_part(found, part) for part in (found, *found.variants)]
    text = f"{name}: tuned by {'the paper' if found.tuned_by == 'paper' else 'us'}\n{found.source}"
    if found.search:
        text += f"\nSearch: {found.search}"
    rows = [
        [p["when"] or "(default)", p["hidden"], p["layers"], _settings(p["values"]), p["tuned_by"], p["result"]]
        for p in parts
    ]
    rows = [[*row[:-1], row[-1] or "not run yet"] for row in rows]
    table = Table(["made for", "hidden", "layers", "values", "tuned by", "result"], rows, wrap=_WORDS)
    return {"name": name, **found.model_dump(mode="json"), "resolved": parts}, text, [table]


def _resolved_part(whole: "Recipe", part: "Recipe | RecipeVariant") -> dict[str, Any]:
    optim = part.optim if "name" in part.optim else whole.optim | part.optim
    budget = whole.train.model_dump(exclude_none=True)
    own = part.train.model_dump(exclude_none=True)
    if {"steps", "epochs"} & set(own):
        budget = {k: v for k, v in budget.items() if k not in ("steps", "epochs")}
    values = {
        **{f"model.{k}": v for k, v in (whole.params | part.params).items()},
        **{f"optim.{k}": v for k, v in optim.items()},
        **{f"train.{k}": v for k, v in (budget | own).items()},
    }
    return {
        "when": ", ".join(f"{k} {v}" for k, v in part.when.model_dump(exclude_none=True).items()),
        "hidden": part.hidden or whole.hidden,
        "layers": part.layers or whole.layers,
        "values": values,
        "tuned_by": part.tuned_by or whole.tuned_by,
        "reproduces": part.reproduces or whole.reproduces,
        "source": part.source or whole.source,
        "result": part.result,
    }


def suite(name: str) -> Shown:
    """Show what a suite runs."""
    from stablebench import registry

    found = registry.suite(name)
    cells = sum(len(t.models or found.models) for t in found.tasks) * len(found.seeds)
    text = (
        f"{name}: {found.summary}\n"
        f"Seeds {', '.join(map(str, found.seeds))}; {cells} cells of {found.threads} thread"
        + ("s" if found.threads > 1 else "")
        + (f"\nEvery cell: {_settings(found.overrides)}" if found.overrides else "")
        + "".join(f"\nBudget {b}: {h:g} hour{'s' * (h != 1)} of a core" for b, h in found.core_hours.items())
    )
    rows = [
        [t.task + (f" --T {t.T}" if t.T else ""), ", ".join(t.models or found.models), _settings(t.overrides)]
        for t in found.tasks
    ]
    tables = [Table(["task", "models", "values"], rows, wrap=frozenset({"models", "values"}))]
    own = [[m, _settings(values)] for m, values in found.model_overrides.items()]
    tables.append(Table(["model", "values"], own, title="Single models", wrap=_WORDS))
    return {"name": name, **found.model_dump(mode="json"), "cells": cells}, text, tables


def sweep(name: str) -> Shown:
    """Show what a search space searches, and how."""
    from stablebench import registry

    found = registry.sweep(name)
    made_for = f"Made for {found.model or 'any model'} on {found.task or 'any task'}"
    text = "\n".join(
        [
            f"{name}: {found.summary}",
            f"From: {found.source}",
            made_for + (f"; sampler {found.sampler}" if found.sampler else ""),
            *([f"Every trial: {_settings(found.overrides)}"] if found.overrides else []),
        ]
    )
    rows = [[key, _searched(dimension)] for key, dimension in found.space.items()]
    table = Table(["key", "searched"], rows, wrap=frozenset({"searched"}))
    return {"name": name, **found.model_dump(mode="json")}, text, [table]


def _searched(dimension: "Dimension") -> str:
    if dimension.choices is not None:
        return ", ".join(map(_said, dimension.choices))
    how = ["logarithmic"] * dimension.log + ["whole numbers"] * dimension.integer
    how += [f"{dimension.points} points of a grid"] if dimension.points else []
    return ", ".join([f"{dimension.low:g} to {dimension.high:g}", *how])


def run(name: str, runs_dir: Path) -> Shown:
    """Show a run's result, its spec with the origin of each value, and its evaluations.

    The installed packages are in the document alone.
    """
    from stablebench.cli.train import summary_lines
    from stablebench.runs.store import RunFolder

    folder = RunFolder(_run_path(name, runs_dir))
    record = folder.read_record()
    document = record.model_dump(mode="json")
    spec = dict(_leaves(document["spec"]))
    rows = [[k, _said(v), record.origin.get(k.replace("model.params.", "model."), "")] for k, v in spec.items()]
    metrics = sorted({m for e in record.evaluations for m in e.metrics})
    text = "\n".join([str(folder.path), *summary_lines(record)])
    evaluations = [[e.step, e.train_s, *(e.metrics.get(m) for m in metrics)] for e in record.evaluations]
    packages = len(record.environment.packages)
    long = ("packages", "torch_config")
    environment = [[k, _said(v)] for k, v in _leaves(document["environment"]) if k not in long]
    environment += (
        [["packages", f"{packages} installed; --json lists them, and how torch was built"]] if packages else []
    )
    tables = [
        Table(["value", "is", "origin"], rows, title="Run spec", wrap=_WORDS | {"is"}),
        Table(["step", "s", *metrics], evaluations, title="Evaluations on validation examples"),
        Table(["environment", "is"], environment, wrap=frozenset({"is"})),
    ]
    return document, text, tables


def _run_path(name: str, runs_dir: Path) -> Path:
    """Return the folder of a run: a path, a name as `list runs` gives it, or the last part of one."""
    for path in (Path(name), runs_dir / name):
        if (path / "record.json").is_file():
            return path
    found = [] if "/" in name else sorted(p.parent for p in runs_dir.glob(f"*/*/{_literal(name)}/record.json"))
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"There are {len(found)} runs '{name}': {', '.join(map(str, found))}.")
    raise UserError(f"No run '{name}': it is neither a folder with record.json nor a run in {runs_dir}.")


def _literal(name: str) -> str:
    import glob

    return glob.escape(name)


def _leaves(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {_said(value)}" for key, value in values.items())


def _said(value: Any) -> str:
    """Return a value as a YAML file would have it."""
    import json

    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)
