"""Every problem of a card, a paper's numbers, a recipe, a suite or a sweep, by line."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from stablebench import resources
from stablebench.errors import UserError
from stablebench.execution.file_checks import (
    Report,
    check_card,
    check_paper,
    check_recipe,
    check_suite,
    check_sweep,
    look_up_model,
    look_up_models,
    look_up_params,
    look_up_setting,
    look_up_task,
    look_up_variant,
)
from stablebench.execution.own_card_checks import is_own_card, problems_of_own_card
from stablebench.schema.card import TaskCard
from stablebench.schema.published import Paper
from stablebench.schema.recipe import OwnRecipe, Recipe
from stablebench.schema.strict import MAX_PROBLEMS, Strict, explained, problems, rename_earlier_keys
from stablebench.schema.suite import Suite
from stablebench.schema.sweep import OwnSpace, SweepSpace
from stablebench.schema.yaml_file import read

Kind = Literal["card", "published", "recipe", "suite", "sweep"]
_ENDINGS = {".yaml", ".yml"}
_LookUps = dict[str, Callable[[Report, tuple[str | int, ...], Any], None]]
_SUITE_SETTINGS = ("overrides", "short_overrides", "model_overrides.*", "tasks.*.overrides", "expected.*.where")
_KINDS: dict[Kind, tuple[type[Strict], _LookUps, Callable[[Report, Any], None]]] = {
    "card": (TaskCard, {}, check_card),
    "published": (Paper, {"tables.*.task": look_up_task}, check_paper),
    "recipe": (
        Recipe,
        {
            "task": look_up_task,
            "model": look_up_model,
            "params": look_up_params,
            "variants.*.params": look_up_params,
        },
        check_recipe,
    ),
    "suite": (
        Suite,
        {
            "models": look_up_models,
            "tasks.*.models": look_up_models,
            "tasks.*.task": look_up_variant,
            **{f"{settings}.*": look_up_setting for settings in _SUITE_SETTINGS},
        },
        check_suite,
    ),
    "sweep": (SweepSpace, {"task": look_up_task, "model": look_up_model}, check_sweep),
}
"""Of each kind of file: its schema, which values are looked up, and what checks those that belong together."""


def files_in(paths: Sequence[Path]) -> list[Path]:
    """Return the YAML files among and under `paths`.

    Raises:
        UserError: A path does not exist, or a folder has no such file.
    """
    files: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in _ENDINGS and p.is_file())
            if not inside:
                raise UserError(f"{path}: there is no .yaml file in this folder.")
            files |= dict.fromkeys(inside)
        elif path.exists():
            files[path] = None
        else:
            raise UserError(f"{path}: there is no such file or folder.")
    return list(files)


def kind_of(path: Path, data: Any) -> Kind | None:
    """Return what a file is, by the folder it lies in, else by its keys; None if neither says."""
    folders = path.resolve().parent.parts
    if "recipes" in folders:
        return "recipe"
    if "suites" in folders:
        return "suite"
    keys = set(data) if isinstance(data, dict) else set()
    if "sweeps" in folders and "tuned_by" not in keys:  # a sweep also writes its recipe into such a folder
        return "sweep"
    if {"data", "metric", "readout", "protocol", "generator"} & keys:
        return "card"
    if "space" in keys and not {"params", "tuned_by"} & keys:
        return "sweep"
    if {"paper", "tables"} & keys:
        return "published"
    if {"tasks", "models"} & keys:
        return "suite"
    if {"model", "params", "optim"} & keys:
        return "recipe"
    return "card" if folders and folders[-1] == "tasks" else None


def check_file(path: Path, *, named: bool = False) -> list[str]:
    """Return one line per problem of a file: `path:line: key: what must hold, what arrived, the way out`.

    Many problems are cut short: the last line counts the rest.

    Args:
        path: The file.
        named: Whether the user named it, and not a folder that it lies in: then code of a card of their own is run.
    """
    lines = _problems_of(path, named)
    if len(lines) <= MAX_PROBLEMS + 1:
        return lines
    return [*lines[:MAX_PROBLEMS], f"{path}: and {len(lines) - MAX_PROBLEMS} more."]


def _problems_of(path: Path, named: bool) -> list[str]:
    if path.suffix and path.suffix.lower() not in _ENDINGS:
        kinds = "a card, a paper's numbers, a recipe, a suite or a sweep"
        check = f" `stablebench check {path}:CLASS` checks a model." if path.suffix == ".py" else ""
        return [f"{path}: must be a YAML file ({', '.join(sorted(_ENDINGS))}): {kinds}.{check}"]
    try:
        document = read(path)
    except UserError as error:
        return str(error).splitlines()
    kind = kind_of(path, document.data)
    if kind is None:
        return [
            f"{path}:1: must be a task card (`data`, `metric` ...), published numbers (`paper`, `tables`), "
            "a recipe (`model`, `params` ...), a suite (`tasks`, `models`) or a sweep's `space`."
        ]
    if not isinstance(document.data, dict):
        return [f"{path}:1: must be a mapping of keys to values."]
    if kind == "card" and is_own_card(document.data):
        return problems_of_own_card(path, document, run=named)
    schema, look_ups, check = _KINDS[kind]
    schema = _own_schema(schema, path)
    rename_earlier_keys(document, schema, str(path))
    report = Report(path, document)
    _check_names(report, kind)
    try:
        content = schema.model_validate(document.data)
    except ValidationError as error:
        if len(refused := problems(error, schema, str(path), document)) > MAX_PROBLEMS:
            return refused
        for key, text in explained(error, schema, document.data):
            report.add(key, text)
        content = _without_unknown_keys(document.data, schema, error)
    for pattern, look_up in look_ups.items():
        for key, value in document.values(pattern):
            look_up(report, key, value)
    if content is not None:
        check(report, content)
    return report.lines()


def _own_schema(schema: type[Strict], path: Path) -> type[Strict]:
    """Return the schema of a file: those of a user's own need not say where they come from."""
    shipped = resources.recipes_dir().parent.resolve() in path.resolve().parents
    return schema if shipped else {Recipe: OwnRecipe, SweepSpace: OwnSpace}.get(schema, schema)


def _without_unknown_keys(data: dict[str, Any], schema: type[Strict], error: ValidationError) -> Strict | None:
    """Return a file's content without the keys that its schema does not know; None if it refuses more than those."""
    known = copy.deepcopy(data)
    try:
        for item in error.errors(include_url=False):
            if item["type"] != "extra_forbidden" or "when" in item["loc"]:  # without it, variants may look the same
                return None
            *parents, last = item["loc"]
            around: Any = known
            for part in parents:
                around = around[part]
            del around[last]
        return schema.model_validate(known)
    except (ValidationError, LookupError, TypeError):  # a path may name the branch of a union
        return None


def _check_names(report: Report, kind: Kind) -> None:
    """Check that a file has the name that it states inside: files are looked up by it."""
    path, data = report.path.resolve(), report.document.data
    names = {"card": {"task": path.stem}, "published": {"paper": path.stem}}.get(kind, {})
    if kind == "recipe" and path.parent.parent.name == "recipes":
        names = {"model": path.stem, "task": path.parent.name}
    for key, name in names.items():
        if isinstance(data.get(key), str) and data[key] != name:
            where = "folder" if kind == "recipe" and key == "task" else "file"
            report.add((key,), f"must be the {where}'s name, '{name}', got '{data[key]}'.")
