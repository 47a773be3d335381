"""What can be wrong with a card, a paper's numbers, a recipe, a suite or a sweep, beyond what its schema sees.

Names are looked up one by one, in files of any content. What depends on several values is checked in files of
the form that their schema wants: parameters are compared with real signatures, a suite's runs are resolved.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stablebench import registry
from stablebench.data.task import resolve_params, sizes_of
from stablebench.errors import UserError, did_you_mean, unknown_name
from stablebench.execution.suites import settings_of
from stablebench.models import registry as model_registry
from stablebench.schema.card import TaskCard, measured_metrics
from stablebench.schema.model_name import base_of
from stablebench.schema.optim import OptimSpec
from stablebench.schema.published import RUN_FIELDS, Paper, Published
from stablebench.schema.recipe import Recipe, RecipeVariant
from stablebench.schema.strict import InvalidValues, lines_of
from stablebench.schema.suite import SETTINGS, Suite, SuiteTask
from stablebench.schema.sweep import SweepSpace
from stablebench.schema.yaml_file import Document, Path_
from stablebench.specs.resolve import RunRequest, resolve
from stablebench.specs.search_space import resolved_with, space_problems

_SETTABLE = ("task", "model", "optim", "train")


@dataclass
class Report:
    """Problems of one file, in the order of its lines."""

    path: Path
    document: Document
    problems: list[tuple[int, str]] = field(default_factory=list)

    def add(self, key: Path_, text: str) -> None:
        """Note a problem of the value at `key`."""
        line = self.document.line(key)
        name = ".".join(str(part) for part in key)
        self.problems.append((line, f"{self.path}:{line}: {name + ': ' if name else ''}{text}"))

    def attempt(self, key: Path_, action: Callable[[], Any]) -> Any:
        """Return what `action` does with the value at `key`, or None after noting why it could not."""
        try:
            return action()
        except InvalidValues as error:
            for inner, text in error.problems:
                self.add((*key, *inner), text)
        except (UserError, ValueError) as error:
            for text in str(error).splitlines():
                self.add(key, text)
        return None

    def lines(self) -> list[str]:
        """Return one line per problem."""
        return list(dict.fromkeys(text for _, text in sorted(self.problems, key=lambda item: item[0])))


# -- names


def look_up_model(report: Report, key: Path_, model: Any) -> None:
    """Note an unknown registered model; a user's own file is not looked for."""
    if isinstance(model, str) and ":" not in model and not _is_model(base_of(model)):
        report.add(key, str(unknown_name("model", base_of(model), model_registry.model_names())))


def look_up_models(report: Report, key: Path_, models: Any) -> None:
    """Note unknown and repeated models of a suite, or none for one of its tasks."""
    if models == [] and key != ("models",):
        report.add(key, "must name a model; leave the key out for the suite's models.")
    for i, model in enumerate(models if isinstance(models, list) else ()):
        look_up_model(report, (*key, i), model)
        if isinstance(model, str) and model in models[:i]:
            report.add((*key, i), f"{model} stands twice.")


def look_up_task(report: Report, key: Path_, name: Any) -> None:
    """Note an unknown task, or one whose card has problems."""
    if not isinstance(name, str):
        return
    path, _, is_file = registry.task_parts(name)
    if is_file:
        if not Path(registry.near(report.path, path)).is_file():
            report.add(key, f"there is no file {path}, from the suite's folder or from here.")
    elif name not in registry.task_names():
        if not any((folder / f"{name}.yaml").is_file() for folder in report.path.resolve().parents[1:3]):
            report.add(key, str(unknown_name("task", name, registry.task_names())))
    elif _card(name) is None:
        report.add(key, f"the card of the task {name} has problems; validate it first.")


def look_up_variant(report: Report, key: Path_, task: Any) -> None:
    """Note an unknown `task` or `task/variant`."""
    name, variant, _ = registry.task_parts(task) if isinstance(task, str) else (None, "", False)
    look_up_task(report, key, name)
    card = _card(name) if name else None
    if card is not None and variant and variant not in card.variants:
        report.add(key, _unknown_variant(card, variant))


def look_up_setting(report: Report, key: Path_, _: Any) -> None:
    """Note a key of a run spec that a suite cannot set."""
    head, _, rest = str(key[-1]).partition(".")
    if head not in _SETTABLE or not rest:
        expected = ", ".join(f"{group}.NAME" for group in _SETTABLE)
        meant = f" Did you mean {SETTINGS[head]}?" if head in SETTINGS else did_you_mean(head, _SETTABLE)
        report.add(key, f"must be one of {expected}.{meant}")


def look_up_params(report: Report, key: Path_, params: Any) -> None:
    """Compare the model arguments of a recipe, or of one of its variants, with what the model takes."""
    data = report.document.data
    if not isinstance(params, dict) or not isinstance(data.get("model"), str) or not _is_model(data["model"]):
        return
    entry = report.attempt(("model",), lambda: model_registry.model_entry(data["model"]))
    shared = data.get("params", {}) if len(key) > 1 else {}
    if entry is not None:
        report.attempt(key, lambda: entry.resolve((shared if isinstance(shared, dict) else {}) | params))


def _is_model(name: str) -> bool:
    return name in model_registry.model_names()


def _card(name: str) -> TaskCard | None:
    """Return a task's card; None where there is none, or one with problems."""
    try:
        return registry.task_card(name)
    except UserError:
        return None


def _unknown_variant(card: TaskCard, variant: str) -> str:
    return (
        f"the task {card.task} has no variant '{variant}'.{did_you_mean(variant, card.variants)} "
        f"Its variants: {', '.join(card.variants) or 'none'}."
    )


# -- what depends on several values ----------------------------------------------------------------------------------


def check_card(report: Report, card: TaskCard) -> None:
    """Resolve the parameters of every variant, and compute its scores."""
    params = report.attempt(("data", "params"), lambda: resolve_params(card))
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
        params = report.attempt(key, lambda name=name: resolve_params(card, variant=name))
        if params is None:
            continue
        report.attempt(key, lambda params=params: sizes_of(card, params))
        for i, baseline in enumerate(card.baselines):
            report.attempt(("baselines", i, "value"), lambda b=baseline, p=params: card.value_at(b.value, p))
        report.attempt(("target", "value"), lambda params=params: card.target_value(params))
    for i, entry in enumerate(card.published):
        _check_published(report, ("published", i), entry, card)


def _check_published(report: Report, key: Path_, entry: Published, card: TaskCard) -> None:
    """What an entry reports must be a field of the card or of a run."""
    params = report.attempt(key, lambda: resolve_params(card, variant=entry.variant))
    if params is None:
        return
    if entry.metric is not None and entry.metric not in measured_metrics(card):
        report.add((*key, "metric"), f"the task {card.task} does not measure {entry.metric}.")
    known = [*card.fields(params), *RUN_FIELDS]
    for name in entry.reported_protocol:
        if name not in known:
            report.add((*key, "reported_protocol"), f"unknown field '{name}'.{did_you_mean(name, known)}")


def check_paper(report: Report, paper: Paper) -> None:
    """Compare every number with the card of its task."""
    seen: set[tuple[str, str]] = set()
    for i, table in enumerate(paper.tables):
        card = _card(table.task)
        for j, entry in enumerate(table.entries):
            key: Path_ = ("tables", i, "entries", j)
            if (table.task, entry.key) in seen:
                report.add((*key, "key"), f"the key {entry.key} stands twice for the task {table.task}.")
            seen.add((table.task, entry.key))
            if card is not None:
                _check_published(report, key, entry, card)


def check_recipe(report: Report, recipe: Recipe) -> None:
    """Check the recipe and its variants against the card of its task."""
    card = _card(recipe.task or "")
    if card is None:
        return
    made_for: dict[str, int] = {}
    _check_part(report, (), recipe, recipe, card)
    for i, variant in enumerate(recipe.variants):
        _check_part(report, ("variants", i), variant, recipe, card)
        first = made_for.setdefault(variant.when.model_dump_json(), i)
        if first != i:  # two variants made for the same can never both be taken
            report.add(("variants", i, "when"), f"is the same as that of variants.{first}, which comes first.")
    if recipe.space and _is_model(recipe.model):
        stated = SweepSpace(summary="", source="", model=recipe.model, task=recipe.task, space=recipe.space)
        _check_space(report, stated, recipe.model, recipe.task)


def _check_part(report: Report, key: Path_, part: Recipe | RecipeVariant, recipe: Recipe, card: TaskCard) -> None:
    """Check the recipe itself, or one of its variants, against the task's card."""
    when, keys = part.when, [entry.key for entry in card.published]
    if when.variant is not None and when.variant not in card.variants:
        report.add((*key, "when", "variant"), _unknown_variant(card, when.variant))
    if when.length is not None and card.length is None:
        report.add((*key, "when", "length"), f"the task {card.task} has a fixed length; name a `variant` instead.")
    if part.reproduces is not None and part.reproduces not in keys:
        report.add(
            (*key, "reproduces"),
            f"must be the key of a published number of the task {card.task}, got '{part.reproduces}'."
            f"{did_you_mean(part.reproduces, keys)}",
        )
    optim = report.attempt((*key, "optim"), lambda: _optimiser(card, recipe, part))
    if card.protocol.train is not None:
        return
    if part.train.epochs is not None:
        text = f"the task {card.task} draws new examples for every update and has no epochs; give `steps`."
        report.add((*key, "train", "epochs"), text)
    if optim is not None and optim.schedule is not None and optim.schedule.unit == "epochs":
        report.add((*key, "optim", "schedule"), f"the task {card.task} has no epochs; give `unit: steps`.")


def _optimiser(card: TaskCard, recipe: Recipe, part: Recipe | RecipeVariant) -> OptimSpec:
    """Return the optimiser as it comes out of card, recipe and variant."""
    merged = recipe.optim_of(part, card.protocol.optim.model_dump(exclude_defaults=True))
    try:
        return OptimSpec.model_validate(merged)
    except ValidationError as error:
        raise InvalidValues.of(error, OptimSpec, "optim", merged) from None


def check_suite(report: Report, suite: Suite) -> None:
    """Resolve every run of a suite, and look up what it is compared with."""
    run: dict[str, list[str]] = {}
    short: set[str] = set()
    for i, task in enumerate(suite.tasks):
        models = task.models or suite.models
        run.setdefault(task.task, []).extend(models)
        card = _card(registry.task_parts(task.task)[0])
        if card is None or not all(map(_is_model, map(base_of, models))):
            continue
        for model in models:
            wrong = _problems_of_run(suite, task, model, short=False)
            for line in wrong:
                report.add(("tasks", i), f"{model} on {task.task}: {line}")
            # what is wrong with the short budget only, once for all runs
            lines = _problems_of_run(suite, task, model, short=True) if suite.short_overrides and not wrong else []
            for line in lines:
                if (name := line.partition(": ")[0]) not in short:
                    report.add(("short_overrides",), f"{model} on {task.task}: {line}")
                short.add(name)
    if len(set(suite.seeds)) < len(suite.seeds):
        report.add(("seeds",), "a seed stands twice.")
    for name, keys in suite.published.items():
        card = _card(name)
        published = [entry.key for entry in card.published] if card else keys
        for key in keys:
            if key not in published:
                text = f"no published number has the key '{key}'.{did_you_mean(key, published)}"
                report.add(("published", name), text)
    for i, expectation in enumerate(suite.expected):
        for model in (expectation.model, *expectation.better_than):
            if text := _not_run(run, model, expectation.task):
                report.add(("expected", i), text)


def _problems_of_run(suite: Suite, task: SuiteTask, model: str, *, short: bool) -> list[str]:
    try:
        resolve(RunRequest(model, task.task, T=task.T, settings=settings_of(suite, task, model, short)))
    except UserError as error:
        return lines_of(error)
    return []


def _not_run(run: dict[str, list[str]], model: str, task: str) -> str | None:
    """Return that a suite does not run a model on a task, and what it runs instead; None where it does.

    Args:
        run: The models that it runs, by task.
        model: The model.
        task: The task.
    """
    if task not in run:
        way_out = f"{did_you_mean(task, run)} Its tasks: {', '.join(run)}."
    elif model not in run[task]:
        way_out = f"{did_you_mean(model, run[task])} Its models there: {', '.join(dict.fromkeys(run[task]))}."
    else:
        return None
    return f"the suite does not run {model} on {task}.{way_out}"


def check_sweep(report: Report, sweep: SweepSpace) -> None:
    """Resolve the ends of the space for its model on its task, or on the first task that the model has a recipe for."""
    if sweep.model is None or not _is_model(sweep.model):
        return
    with_recipe = (name.split("/")[0] for name in registry.recipe_names() if name.split("/")[1] == sweep.model)
    task = sweep.task or next(with_recipe, None)
    if task is not None and _card(task) is not None:
        _check_space(report, sweep, sweep.model, task)


def _check_space(report: Report, sweep: SweepSpace, model: str, task: str) -> None:
    request = RunRequest(model, task)
    if sweep.overrides:
        report.attempt(("overrides",), lambda: resolved_with(request, sweep, {}))
    for key, dimension in sweep.space.items():
        single = SweepSpace(summary="", source="", overrides=sweep.overrides, space={key: dimension})
        for _, value, text in space_problems(single, request):
            report.add(("space", key), text if value is None else f"{value}: {text}")
