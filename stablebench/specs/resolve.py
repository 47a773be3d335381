"""From what a user asks for to a run spec in which nothing is left open, and where each value came from.

Lowest first: the card's defaults, the recipe (its part for the nearest length, depth and width), `--recipe FILE`,
`--set`, named options, arguments that came with the model's name.
"""

from collections.abc import Collection
from typing import Any

from pydantic import ValidationError

from stablebench import registry
from stablebench.data.task import Task, resolve_params, sizes_of
from stablebench.errors import UserError, did_you_mean
from stablebench.models import registry as model_registry
from stablebench.models.blocks.residual import NAMES as block_names
from stablebench.models.revisions import model_revision
from stablebench.schema.card import TaskCard
from stablebench.schema.dotted import dotted
from stablebench.schema.floss import FlossSpec
from stablebench.schema.optim import OptimSpec
from stablebench.schema.recipe import OwnRecipe, Recipe, RecipeVariant
from stablebench.schema.run_spec import RunSpec, TrainSpec
from stablebench.schema.seeds import MAX_SEED, WHY
from stablebench.schema.strict import InvalidValues, load
from stablebench.specs.limits import check_spec
from stablebench.specs.own_card import OwnCard
from stablebench.specs.own_task import card_named, own_recipes
from stablebench.specs.request import Resolved, RunRequest
from stablebench.specs.tuned_values import departures_from, searched_task, with_departures

_RUN_KEYS = ("seed", "engine", "device", "precision", "threads", "deterministic")
_OPTIONS = {"T": "--T", "hidden": "--hidden", "layers": "--layers", "steps": "--steps", "epochs": "--epochs"}
_OPTIONS |= {"batch_size": "--batch-size", "lr": "--lr", "recompute_every": "--recompute-every", "recipe": "--recipe"}
_OPTIONS |= {key: f"--{key}" for key in _RUN_KEYS}
"""Options by the name of what they set."""
_OF_ONE_OPTIMISER = ("betas", "alpha", "eps", "momentum", "nesterov")
"""Options of `optim` that mean something to one optimiser, or something else to each."""


class _Layers:
    """Nested values laid one over the other, with the origin of each leaf."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origin: dict[str, str] = {}

    def lay(self, values: dict[str, Any], origin: str) -> None:
        """Lay nested or dotted `values` over what is there."""
        for key, value in dotted(values).items():
            if value == {}:
                continue
            here = self.values
            *parents, last = key.split(".")
            for parent in parents:
                here = here.setdefault(parent, {})
                if not isinstance(here, dict):
                    raise UserError(f"--set {key}: `{parent}` is a single value, not a group of them.")
            if isinstance(here.get(last), dict) and not isinstance(value, dict):
                raise UserError(f"--set {key}: this is a group; set one of {', '.join(here[last])} in it.")
            here[last] = value
            self.origin[key] = origin

    def drop(self, *keys: str) -> None:
        """Forget leaves, because one that was laid later excludes them."""
        for key in keys:
            *parents, last = key.split(".")
            here = self.values
            for parent in parents:
                here = here.get(parent, {})
            here.pop(last, None)
            self.origin.pop(key, None)


def resolve(request: RunRequest) -> Resolved:
    """Return the run spec of a request.

    Raises:
        UserError: A name or key is unknown, a value has a wrong type or is out of range, or two of them contradict.
    """
    card, variant = card_named(request.task)
    entry = model_registry.model_entry(request.model)
    _refuse_unknown_keys(request.settings, card, entry)
    model_registry.refuse_misfit(entry, card)

    layers = _Layers()
    _lay_card(layers, card)
    task_settings = {k.removeprefix("task."): v for k, v in request.settings.items() if k.startswith("task.")}
    params = resolve_params(card, variant=variant, T=request.T, settings=task_settings)
    length = params.get(card.length) if card.length else None
    sizes_asked = {key: _asked(request, f"model.{key}") for key in ("hidden", "layers")}
    for recipe, origin in _recipes(card, request):
        part = recipe.nearest(length=length, variant=variant, **sizes_asked)
        _lay_recipe(layers, recipe, origin)
        if isinstance(part, RecipeVariant):
            _lay_recipe(layers, part, f"{origin}, its variant {part.when.in_words()}")
    for values, origin in ((request.settings, "--set"), (request.options, "option"), (request.arguments, "--model")):
        own = {k: v for k, v in values.items() if not k.startswith("task.")}
        _budget_replaces(layers, own)
        _optimiser_replaces(layers, own)
        layers.lay(own, origin)

    values = layers.values
    model = values.pop("model", {})
    train = values.pop("train", {})
    epochs = train.pop("epochs", None)
    if epochs is not None:
        if card.protocol.train is None:
            raise UserError(
                f"--epochs: the task {card.task} draws new examples for every update and has no epochs; give --steps."
            )
        train["steps"] = _updates(epochs, Task(card, params), train["batch_size"])
        layers.origin["train.steps"] = f"{layers.origin['train.epochs']}, {epochs} epochs"
    depth = model.pop("layers")
    document = {
        "task": _task(card, variant, params),
        "model": {
            "name": request.model,
            "source": entry.source,
            "hidden": model.pop("hidden"),
            "layers": depth,
            "params": entry.cls.spec_arguments(entry.resolve(model)),
            "revision": model_revision(entry, depth),
        },
        "horizon": depth if entry.family == "deep" else sizes_of(card, params).steps,
        "readout": card.readout,
        "train": train,
        **values,
    }
    try:
        spec = RunSpec.model_validate(document)
    except ValidationError as error:
        raise InvalidValues.of(error, RunSpec, "run spec", document) from None
    if spec.seed > MAX_SEED:
        raise UserError(f"seed: must be <= {MAX_SEED} ({WHY}), got {spec.seed}.")
    schedule = spec.optim.schedule
    if schedule is not None and schedule.unit == "epochs" and card.protocol.train is None:
        raise UserError(f"optim.schedule: the task {card.task} has no epochs; give `unit: steps`.")
    check_spec(spec, card)
    if entry.family == "deep" and spec.train.recompute_every is not None:
        raise UserError("--recompute-every: it divides a sequence's time steps; a deep model has none. Leave it out.")
    if entry.family == "attention" and spec.train.recompute_every is not None:
        raise UserError(
            f"--recompute-every: it keeps states of every K-th step, and {spec.model.label} has none; leave it out."
        )
    if entry.family != "recurrent" and spec.floss is not None:
        raise UserError(f"--floss moves exponents of a recurrence, and {spec.model.label} has none; leave it out.")
    if request.recipe is not None and not request.registered:
        task = searched_task(request.recipe, spec.task.params, card.length)
        departures = departures_from(load(request.recipe, OwnRecipe), spec, entry, length, task)
        layers.origin = with_departures(layers.origin, departures)
    origin = layers.origin | _task_origin(card, params, variant, request.T, task_settings)
    origin |= {"task.name": "option", "model.name": "option", "task.version": "card", "readout": "card"}
    origin["horizon"] = "model.layers" if entry.family == "deep" else "the task's parameters"
    for key in entry.resolve({}):
        origin.setdefault(f"model.{key}", "model")
    return Resolved(spec, card, origin, entry.code, request.called)


def _task(card: TaskCard, variant: str | None, params: dict[str, Any]) -> dict[str, Any]:
    task = {"name": card.task, "version": card.version, "variant": variant, "params": params}
    return task | ({"source": card.source, "file": card.files.path} if isinstance(card, OwnCard) else {})


def _updates(epochs: Any, task: Task, batch_size: Any) -> int:
    """Return the updates of so many epochs; a batch size that can be none is refused when the spec is checked."""
    if type(epochs) is not int or epochs < 1:
        raise UserError(f"train.epochs: must be a whole number >= 1, got {epochs!r}.")
    valid = type(batch_size) is int and batch_size > 0
    return epochs * (task.steps_per_epoch(batch_size) or 1) if valid else epochs


def _task_origin(
    card: TaskCard, params: dict[str, Any], variant: str | None, T: int | None, settings: dict[str, Any]
) -> dict[str, str]:
    """Return where each of a task's parameters came from."""
    origin = dict.fromkeys(params, "task")
    origin |= dict.fromkeys(card.data.params, "card")
    origin |= dict.fromkeys(card.variants.get(variant or "", {}), f"variant {variant}")
    origin |= dict.fromkeys(settings, "--set")
    if T is not None and card.length is not None:
        origin[card.length] = "option"
    return {f"task.{key}": value for key, value in origin.items()}


def _lay_card(layers: _Layers, card: TaskCard) -> None:
    protocol = card.protocol
    values = {
        "model": {"hidden": protocol.hidden, "layers": protocol.layers},
        "optim": protocol.optim.model_dump(exclude_defaults=True) | {"name": protocol.optim.name},
        "train": {key: getattr(protocol, key) for key in ("steps", "batch_size", "eval_every")},
    }
    layers.lay(values, "card")


def _recipes(card: TaskCard, request: RunRequest) -> list[tuple[Recipe, str]]:
    recipes = []
    known = request.registered and ":" not in request.model
    if isinstance(card, OwnCard):
        recipes += own_recipes(card, request.model) if request.registered else []
    elif known and (registered := registry.recipe(card.task, request.model)) is not None:
        recipes.append((registered, f"recipe {card.task}/{request.model}"))
    if request.recipe is not None:
        own = load(request.recipe, OwnRecipe)
        if own.task not in (None, card.task):
            raise UserError(f"{request.recipe}: this recipe is for the task {own.task}, not {card.task}.")
        origin = f"--recipe {request.recipe}"
        recipes.append((own, origin if request.registered else f"{origin}, {own.trials or 0} trials"))
    return recipes


def _lay_recipe(layers: _Layers, part: Recipe | RecipeVariant, origin: str) -> None:
    sizes = {k: v for k, v in (("hidden", part.hidden), ("layers", part.layers)) if v is not None}
    train = part.train.model_dump(exclude_none=True)
    if "name" in part.optim:  # another optimiser's rate means nothing to this one
        layers.values.pop("optim", None)
        layers.origin = {k: v for k, v in layers.origin.items() if not k.startswith("optim.")}
    values = {"model": sizes | part.params, "optim": part.optim, "train": train}
    _budget_replaces(layers, {f"train.{k}": v for k, v in train.items()})
    layers.lay(values, origin)


def _asked(request: RunRequest, key: str) -> int | None:
    """Return a size that the user gives, if it can be one; the check of the spec reports what is wrong with it."""
    value = (request.settings | request.options | request.arguments).get(key)
    return value if isinstance(value, int) and value > 0 else None


def _budget_replaces(layers: _Layers, values: dict[str, Any]) -> None:
    """A budget in epochs replaces one in steps of a lower layer, and the other way round."""
    if "train.steps" in values and "train.epochs" in values:
        raise UserError("--steps and --epochs: give one of the two.")
    if "train.steps" in values:
        layers.drop("train.epochs")
    if "train.epochs" in values:
        layers.drop("train.steps")


def _optimiser_replaces(layers: _Layers, values: dict[str, Any]) -> None:
    """Another optimiser than that of a lower layer does without what is that one's own; rates and clipping stay."""
    optim = layers.values.get("optim", {})
    if values.get("optim.name", optim.get("name")) == optim.get("name"):
        return
    layers.drop(*(f"optim.{key}" for key in _OF_ONE_OPTIMISER))
    layers.drop(*(f"optim.groups.{group}.betas" for group in optim.get("groups", {})))


def _refuse_unknown_keys(settings: dict[str, Any], card: TaskCard, entry: model_registry.ModelEntry) -> None:
    """Refuse keys of no group, and those that an option of its own sets, with the key or the option that does it."""
    groups = ("task", "model", "optim", "train", "floss")
    for key, value in settings.items():
        head, dot, name = key.partition(".")
        if (head in groups and name not in (*_OPTIONS, "name", "variant")) if dot else head in _RUN_KEYS:
            continue
        names = {
            "task": resolve_params(card).keys(),
            "model": {"hidden", "layers", *entry.arguments().model_fields, *block_names},
            "optim": OptimSpec.model_fields,
            "train": {"epochs", *TrainSpec.model_fields},
            "floss": FlossSpec.model_fields,
        }
        if dot and name in names.get(head, ()):
            continue
        raise UserError(f"--set {key}: unknown key.{_way_out(key, value, card, names)}")


def _way_out(key: str, value: Any, card: TaskCard, names: dict[str, Collection[str]]) -> str:
    """Return what to give in place of a key of `--set` that there is none of: an option, or another key."""
    head, _, name = key.partition(".")
    whole = {"task": f"--task {value}", "task.name": f"--task {value}", "task.variant": f"--task {card.task}/{value}"}
    whole |= {"model": f"--model {value}", "model.name": f"--model {value}"}
    if key == "task.T" and card.length is None:
        return f" The task {card.task} has a fixed length."
    if key in whole:
        return f" Give {whole[key]} instead."
    if full := [f"{group}.{key}" for group in names if key in names[group]]:
        return f" Did you mean {full[0]}?"
    if key not in names and (head in names or not name) and (name or head) in _OPTIONS:
        return f" Give {_OPTIONS[name or head]} {value} instead."
    meant = "" if key in names else did_you_mean(head, (*names, *_RUN_KEYS))
    return f"{meant} Keys: {', '.join([*(f'{group}.NAME' for group in names), *_RUN_KEYS])}."
