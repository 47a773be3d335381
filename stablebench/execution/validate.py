"""Everything that can be wrong with a card, a recipe or a suite, beyond what its schema sees.

Names are looked up, parameters are held against real signatures, and a suite's cells are resolved as `compare` would.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from stablebench import registry
from stablebench.data.task import resolve_params, sizes_of
from stablebench.errors import UserError, did_you_mean, unknown_name
from stablebench.execution.suites import settings_of
from stablebench.models import registry as model_registry
from stablebench.schema.card import TaskCard
from stablebench.schema.optim import OptimSpec
from stablebench.schema.published import RUN_FIELDS, Paper, Published
from stablebench.schema.recipe import Recipe, RecipeVariant
from stablebench.schema.strict import MAX_PROBLEMS, Strict, problems, rename_earlier_keys
from stablebench.schema.suite import Suite, SuiteTask
from stablebench.schema.sweep import SweepSpace
from stablebench.schema.yaml_file import Document, Path_, read
from stablebench.specs.resolve import Resolved, RunRequest, resolve
from stablebench.specs.search_space import check_space, with_values

Kind = Literal["card", "published", "recipe", "suite", "sweep"]
_SCHEMAS: dict[Kind, type[Strict]] = {
    "card": TaskCard,
    "published": Paper,
    "recipe": Recipe,
    "suite": Suite,
    "sweep": SweepSpace,
}
V = TypeVar("V")
_SETTABLE = ("task", "model", "optim", "train")
_ENDINGS = {".yaml", ".yml"}
_SUITE_SETTINGS = ("overrides", "short_overrides", "model_overrides.*", "tasks.*.overrides", "expected.*.where")


@dataclass
class _Report:
    """Problems of one file, in the order of its lines."""

    path: Path
    document: Document

    def __post_init__(self) -> None:
        self._found: list[tuple[int, str]] = []

    def add(self, key: Path_, text: str) -> None:
        """Note a problem of the value at `key`; `text` may have several lines, each a problem."""
        line = self.document.line(key)
        name = ".".join(str(part) for part in key)
        for part in text.splitlines():
            self._found.append((line, f"{self.path}:{line}: {name + ': ' if name else ''}{part}"))

    def take(self, lines: Iterable[str]) -> None:
        """Note problems that are in words already, each with its line."""
        for text in lines:
            self._found.append((int(text.removeprefix(f"{self.path}:").partition(":")[0]), text))

    def attempt(self, key: Path_, action: Callable[[], Any], prefix: str = "") -> Any:
        """Return what `action` does, or None after noting why it could not; `prefix` is taken off its lines."""
        try:
            return action()
        except (UserError, ValueError) as error:
            lines = (line.removeprefix(prefix).removeprefix(": ") for line in str(error).splitlines())
            self.add(key, "\n".join(lines))
        return None

    def lines(self) -> list[str]:
        """Return one line per problem."""
        return list(dict.fromkeys(text for _, text in sorted(self._found, key=lambda item: item[0])))


def files_in(paths: Sequence[Path]) -> list[Path]:
    """Return the YAML files among and under `paths`.

    Raises:
        UserError: A path does not exist, or a folder has no such file.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in _ENDINGS and p.is_file())
            if not inside:
                raise UserError(f"{path}: there is no .yaml file in this folder.")
            found |= dict.fromkeys(inside)
        elif path.exists():
            found[path] = None
        else:
            raise UserError(f"{path}: there is no such file or folder.")
    return list(found)


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
    if {"data", "metric", "readout", "protocol"} & keys:
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


def check_file(path: Path) -> list[str]:
    """Return one line per problem of a file: `path:line: key: what must hold, what arrived, the way out`.

    Many problems are cut short: the last line counts the rest.
    """
    found = _problems_of(path)
    if len(found) <= MAX_PROBLEMS + 1:
        return found
    return [*found[:MAX_PROBLEMS], f"{path}: and {len(found) - MAX_PROBLEMS} more."]


def _problems_of(path: Path) -> list[str]:
    if path.suffix and path.suffix.lower() not in _ENDINGS:
        kinds = "a card, a paper's numbers, a recipe, a suite or a sweep"
        return [f"{path}: must be a YAML file ({', '.join(sorted(_ENDINGS))}): {kinds}."]
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
    rename_earlier_keys(document, _SCHEMAS[kind], str(path))
    report = _Report(path, document)
    _check_names(report, kind)
    try:
        content = _SCHEMAS[kind].model_validate(document.data)
    except ValidationError as error:
        of_form = problems(error, _SCHEMAS[kind], str(path), document)
        if len(of_form) > MAX_PROBLEMS:
            return of_form
        report.take(of_form)
        content = _without_unknown_keys(document.data, _SCHEMAS[kind], error)
    if content is None:
        _look_up(report, kind)
    else:
        checks = {
            "card": _check_card,
            "published": _check_paper,
            "recipe": _check_recipe,
            "suite": _check_suite,
            "sweep": _check_sweep,
        }
        checks[kind](report, content)
    return report.lines()


def _without_unknown_keys(data: dict[str, Any], schema: type[Strict], error: ValidationError) -> BaseModel | None:
    """Return what a file says beside the keys that its schema does not know; None if it refuses more than those."""
    kept = copy.deepcopy(data)
    try:
        for item in error.errors(include_url=False):
            if item["type"] != "extra_forbidden" or "when" in item["loc"]:  # without it, variants may look the same
                return None
            *parents, last = item["loc"]
            around: Any = kept
            for part in parents:
                around = around[part]
            del around[last]
        return schema.model_validate(kept)
    except (ValidationError, LookupError, TypeError):  # a path may name the branch of a union
        return None


def _check_names(report: _Report, kind: Kind) -> None:
    """A file is found by its name, so its name must be what it says inside."""
    path, data = report.path.resolve(), report.document.data
    if kind in ("card", "published"):
        key = "task" if kind == "card" else "paper"
        if isinstance(data.get(key), str) and data[key] != path.stem:
            report.add((key,), f"must be the file's name, '{path.stem}', got '{data[key]}'.")
    if kind == "recipe" and path.parent.parent.name == "recipes":
        for key, name in (("model", path.stem), ("task", path.parent.name)):
            if isinstance(data.get(key), str) and data[key] != name:
                where = "file" if key == "model" else "folder"
                report.add((key,), f"must be the {where}'s name, '{name}', got '{data[key]}'.")


def _look_up(report: _Report, kind: Kind) -> None:
    """Look up the names in a file that its schema refuses; what depends on several values is not checked."""
    data = report.document.data
    if kind == "suite":
        for key, models in _values(data, list, "models", "tasks.*.models"):
            _check_models(report, key, models)
        for key, task in _values(data, str, "tasks.*.task"):
            _check_task(report, key, task)
        for key, settings in _values(data, dict, *_SUITE_SETTINGS):
            _check_settings(report, key, settings)
    elif kind in ("recipe", "sweep"):
        for key, task in _values(data, str, "task"):
            _card(report, key, task)
        for key, model in _values(data, str, "model"):
            if _check_model(report, key, model):
                _look_up_params(report, model)


def _look_up_params(report: _Report, model: str) -> None:
    entry = report.attempt(("model",), lambda: model_registry.model_entry(model))
    for key, params in _values(report.document.data, dict, "params", "variants.*.params"):
        if entry is not None:
            report.attempt(key, lambda p=params: entry.resolve(p), f"model {model}")


def _values(data: Any, kind: type[V], *patterns: str) -> Iterator[tuple[Path_, V]]:
    """Yield every value of a type at dotted paths, `*` standing for each item of a list or mapping."""
    for pattern in patterns:
        found: list[tuple[Path_, Any]] = [((), data)]
        for part in pattern.split("."):
            found = [((*path, key), item) for path, value in found for key, item in _items(value) if part in ("*", key)]
        yield from ((path, value) for path, value in found if isinstance(value, kind))


def _items(value: Any) -> list[tuple[str | int, Any]]:
    if isinstance(value, list):
        return list(enumerate(value))
    return list(value.items()) if isinstance(value, dict) else []


def _check_card(report: _Report, card: TaskCard) -> None:
    prefix = f"task {card.task}"
    params = report.attempt(("data",), lambda: resolve_params(card), prefix)
    if params is None:
        return
    if card.length is not None and card.length not in params:
        report.add(
            ("length",),
            f"must be a parameter of {card.data.module}, got '{card.length}'.{did_you_mean(card.length, params)} "
            f"It has {', '.join(params)}.",
        )
        return
    for name in (None, *card.variants):
        key: Path_ = ("variants", name) if name else ("data",)
        if name is not None:
            params = report.attempt(key, lambda name=name: resolve_params(card, variant=name), prefix)
        if params is not None:
            report.attempt(key, lambda params=params: sizes_of(card, params))
            _check_scores(report, card, params)
    for i, entry in enumerate(card.published):
        _check_published(report, ("published", i), entry, card)


def _check_scores(report: _Report, card: TaskCard, params: dict[str, Any]) -> None:
    for i, baseline in enumerate(card.baselines):
        report.attempt(("baselines", i, "value"), lambda b=baseline: card.value_at(b.value, params))
    if card.target is not None:
        report.attempt(("target", "value"), lambda: card.target_value(params))


def _check_published(report: _Report, key: Path_, entry: Published, card: TaskCard) -> None:
    """What an entry reports must be a field of the card or of a run."""
    params = report.attempt(key, lambda: resolve_params(card, variant=entry.variant))
    if params is None:
        return
    if entry.metric not in (None, card.metric, *card.extra_metrics):
        report.add((*key, "metric"), f"the task {card.task} does not measure {entry.metric}.")
    known = [*card.fields(params), *RUN_FIELDS]
    for name in entry.reported_protocol:
        if name not in known:
            report.add((*key, "reported_protocol"), f"unknown field '{name}'.{did_you_mean(name, known)}")


def _check_paper(report: _Report, paper: Paper) -> None:
    seen: set[tuple[str, str]] = set()
    for i, table in enumerate(paper.tables):
        card = _card(report, ("tables", i, "task"), table.task)
        for j, entry in enumerate(table.entries):
            key: Path_ = ("tables", i, "entries", j)
            if (table.task, entry.key) in seen:
                report.add((*key, "key"), f"the key {entry.key} stands twice for the task {table.task}.")
            seen.add((table.task, entry.key))
            if card is not None:
                _check_published(report, key, entry, card)


def _check_recipe(report: _Report, recipe: Recipe) -> None:
    card = _card(report, ("task",), recipe.task)
    own = ":" in recipe.model  # a user's own model: its code is not run to check a file
    entry = None if own else report.attempt(("model",), lambda: model_registry.model_entry(recipe.model))
    for key, part in _parts(recipe):
        variant = part if isinstance(part, RecipeVariant) else None
        if entry is not None:
            params = recipe.params | part.params
            report.attempt((*key, "params"), lambda p=params: entry.resolve(p), f"model {recipe.model}")
        if card is not None:
            _check_when(report, (*key, "when"), part, card)
            _check_reproduces(report, (*key, "reproduces"), part.reproduces, card)
            if part.train.epochs is not None and card.protocol.train is None:
                report.add(
                    (*key, "train", "epochs"),
                    f"the task {card.task} draws its examples anew and has no epochs; give `steps`.",
                )
            _check_optim(report, (*key, "optim"), recipe, variant, card)
    _check_apart(report, recipe)
    if recipe.space and card is not None and entry is not None:
        stated = SweepSpace(summary="", source="", model=recipe.model, task=recipe.task, space=recipe.space)
        _check_searched(report, stated, recipe.model, recipe.task)


def _parts(recipe: Recipe) -> Iterator[tuple[Path_, Recipe | RecipeVariant]]:
    yield (), recipe
    for i, variant in enumerate(recipe.variants):
        yield ("variants", i), variant


def _card(report: _Report, key: Path_, name: str) -> TaskCard | None:
    if name not in registry.task_names():
        report.add(key, str(unknown_name("task", name, registry.task_names())))
        return None
    try:
        return registry.task_card(name)
    except UserError:
        report.add(key, f"the card of the task {name} has problems; validate it first.")
        return None


def _check_when(report: _Report, key: Path_, part: Recipe | RecipeVariant, card: TaskCard) -> None:
    when = part.when
    if when.variant is not None and when.variant not in card.variants:
        report.add((*key, "variant"), _unknown_variant(card, when.variant))
    if when.length is not None and card.length is None:
        report.add((*key, "length"), f"the task {card.task} has a fixed length; name a `variant` instead.")


def _unknown_variant(card: TaskCard, variant: str) -> str:
    return (
        f"the task {card.task} has no variant '{variant}'.{did_you_mean(variant, card.variants)} "
        f"Its variants: {', '.join(card.variants) or 'none'}."
    )


def _check_reproduces(report: _Report, key: Path_, published: str | None, card: TaskCard) -> None:
    keys = [entry.key for entry in card.published]
    if published is not None and published not in keys:
        report.add(
            key,
            f"must be the key of a published number of the task {card.task}, got '{published}'."
            f"{did_you_mean(published, keys)}",
        )


def _check_optim(report: _Report, key: Path_, recipe: Recipe, variant: RecipeVariant | None, card: TaskCard) -> None:
    """Hold the optimiser as it comes out of card, recipe and variant against `OptimSpec`."""
    merged = card.protocol.optim.model_dump(exclude_defaults=True)
    for part in (recipe, variant):
        if part is not None:  # a recipe that names an optimiser starts afresh
            merged = dict(part.optim) if "name" in part.optim else _laid_over(merged, part.optim)
    try:
        optim = OptimSpec.model_validate(merged)
    except ValidationError as error:
        for line in problems(error, OptimSpec, "optim"):
            text = line.removeprefix("optim: ")
            first = text.partition(":")[0]
            inner = tuple(first.split(".")) if (*key, first.split(".")[0]) in report.document.lines else ()
            report.add((*key, *inner), text.removeprefix(f"{first}: ") if inner else text)
        return
    if optim.schedule is not None and optim.schedule.unit == "epochs" and card.protocol.train is None:
        report.add((*key, "schedule"), f"the task {card.task} has no epochs; give `unit: steps`.")


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return `below` with the leaves of `above` replaced, as a run spec is resolved."""
    merged = dict(below)
    for key, value in above.items():
        here = merged.get(key)
        merged[key] = _laid_over(here, value) if isinstance(here, dict) and isinstance(value, dict) else value
    return merged


def _check_apart(report: _Report, recipe: Recipe) -> None:
    """Two variants made for the same can never both be taken."""
    seen: dict[str, int] = {}
    for i, variant in enumerate(recipe.variants):
        when = variant.when.model_dump_json()
        if when in seen:
            report.add(("variants", i, "when"), f"is the same as that of variants.{seen[when]}, which comes first.")
        seen.setdefault(when, i)


def _check_suite(report: _Report, suite: Suite) -> None:
    known = _check_models(report, ("models",), suite.models)
    shortened: set[str] = set()
    _check_settings(report, ("overrides",), suite.overrides)
    _check_settings(report, ("short_overrides",), suite.short_overrides)
    for model, settings in suite.model_overrides.items():
        _check_settings(report, ("model_overrides", model), settings)
    for i, task in enumerate(suite.tasks):
        key: Path_ = ("tasks", i)
        _check_settings(report, (*key, "overrides"), task.overrides)
        known_here = task.models is None or _check_models(report, (*key, "models"), task.models)
        if _check_task(report, (*key, "task"), task.task) and known and known_here:
            for model in task.models or suite.models:
                sound = report.attempt(key, lambda t=task, m=model: _resolve(suite, t, m, short=False))
                if sound and suite.short_overrides:
                    _check_short(report, suite, task, model, shortened)
    if len(set(suite.seeds)) < len(suite.seeds):
        report.add(("seeds",), "a seed stands twice.")
    for name, wanted in suite.published.items():
        card = _card(report, ("published", name), name)
        published = [entry.key for entry in card.published] if card else wanted
        for entry in wanted:
            if entry not in published:
                text = f"no published number has the key '{entry}'.{did_you_mean(entry, published)}"
                report.add(("published", name), text)
    for i, expectation in enumerate(suite.expected):
        _check_settings(report, ("expected", i, "where"), expectation.where)
        for model in (expectation.model, *expectation.better_than):
            _check_run(report, ("expected", i), suite, model, expectation.task)


def _check_run(report: _Report, key: Path_, suite: Suite, model: str, task: str) -> None:
    """Note a model that the suite does not run on a task, with what it runs in its place."""
    run: dict[str, list[str]] = {}
    for entry in suite.tasks:
        run.setdefault(entry.task, []).extend(entry.models or suite.models)
    if task not in run:
        way_out = f"{did_you_mean(task, run)} Its tasks: {', '.join(run)}."
    elif model not in run[task]:
        way_out = f"{did_you_mean(model, run[task])} Its models there: {', '.join(dict.fromkeys(run[task]))}."
    else:
        return
    report.add(key, f"the suite does not run {model} on {task}.{way_out}")


def _resolve(suite: Suite, task: SuiteTask, model: str, *, short: bool) -> Resolved:
    """Return a cell, or raise with one line per problem: `model on task: what is wrong`."""
    try:
        return resolve(RunRequest(model, task.task, T=task.T, settings=settings_of(suite, task, model, short)))
    except UserError as error:
        lines = (line.removeprefix("run spec: ").removeprefix("--set ") for line in str(error).splitlines())
        raise UserError("\n".join(f"{model} on {task.task}: {line}" for line in lines)) from None


def _check_short(report: _Report, suite: Suite, task: SuiteTask, model: str, said: set[str]) -> None:
    """Note what is wrong with the short budget of a cell that is sound in full, each key once for all cells."""
    try:
        _resolve(suite, task, model, short=True)
    except UserError as error:
        for line in str(error).splitlines():
            problem = line.removeprefix(f"{model} on {task.task}: ").removeprefix(f"model {model}: ")
            name = problem.partition(": ")[0]
            if name not in said:
                report.add(("short_overrides",), line)
            said.add(name)


def _check_models(report: _Report, key: Path_, models: Sequence[Any]) -> bool:
    """Note unknown and repeated models of a suite; return whether all are registered ones."""
    if not models and key != ("models",):
        report.add(key, "must name a model; leave the key out for the suite's models.")
    known = True
    for i, model in enumerate(models):
        if isinstance(model, str):
            known &= _check_model(report, (*key, i), model)
            if model in models[:i]:
                report.add((*key, i), f"{model} stands twice.")
    return known


def _check_model(report: _Report, key: Path_, model: str) -> bool:
    """Note an unknown registered model; a user's own file is not looked for."""
    if ":" in model or model in model_registry.model_names():
        return ":" not in model
    report.add(key, str(unknown_name("model", model, model_registry.model_names())))
    return False


def _check_task(report: _Report, key: Path_, task: str) -> bool:
    name, _, variant = task.partition("/")
    card = _card(report, key, name)
    if card is not None and variant and variant not in card.variants:
        report.add(key, _unknown_variant(card, variant))
        return False
    return card is not None


def _check_settings(report: _Report, key: Path_, settings: dict[str, Any]) -> None:
    for name in settings:
        head, dot, rest = name.partition(".")
        if head not in _SETTABLE or not dot or not rest:
            expected = ", ".join(f"{group}.NAME" for group in _SETTABLE)
            report.add((*key, name), f"must be one of {expected}.{did_you_mean(head, _SETTABLE)}")


def _check_sweep(report: _Report, sweep: SweepSpace) -> None:
    """Resolve the ends of the space for its model on its task, or on the first task that the model has a recipe for."""
    known = sweep.model is None or _check_model(report, ("model",), sweep.model)
    task = sweep.task
    if task is not None:
        known &= _card(report, ("task",), task) is not None
    elif sweep.model is not None:
        task = next((n.split("/")[0] for n in registry.recipe_names() if n.split("/")[1] == sweep.model), None)
    if known and sweep.model is not None and task is not None:
        _check_searched(report, sweep, sweep.model, task)


def _check_searched(report: _Report, sweep: SweepSpace, model: str, task: str) -> None:
    request = RunRequest(model, task)
    if sweep.overrides:
        report.attempt(("overrides",), lambda: resolve(with_values(request, sweep, {})))
    for key, dimension in sweep.space.items():
        alone = SweepSpace(summary="", source="", overrides=sweep.overrides, space={key: dimension})
        report.attempt(("space", key), lambda alone=alone: check_space(alone, request), key)
