"""The parameters of a task, resolved and checked: of source, card and variant, and those that are asked for."""

import inspect
from collections.abc import Callable
from typing import Any

from stablebench.data.batch import Sizes
from stablebench.data.lengths import RANGES, checked_range
from stablebench.data.source import source_module
from stablebench.errors import UserError, did_you_mean
from stablebench.schema.card import TaskCard
from stablebench.schema.strict import check_arguments

SEQUENCES = "train_sequences"
"""Parameter of every generated task: the size of a fixed training set, in place of new examples for every update."""


def resolve_params(
    card: TaskCard, *, variant: str | None = None, T: int | None = None, settings: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return all parameters of a task: the source's defaults, the card's, the variant's, `settings`, `T`.

    Args:
        card: The card.
        variant: One of the card's named variants.
        T: The task's length, under whatever name the card gives it.
        settings: Parameters by name.

    Raises:
        UserError: The variant or a parameter is unknown, a value is out of range, or `T` does not fit.
    """
    if variant is not None and variant not in card.variants:
        raise card.unknown_variant(variant)
    values = card.data.params | (card.variants[variant] if variant else {}) | (settings or {})
    split = _checked_split(card, values.pop("split", None))
    split |= _checked_count(card, values.pop(SEQUENCES, None))
    drawn = {name: values.pop(name, None) for name in RANGES}
    if card.length is not None and card.length in (settings or {}):  # of one length, unless ranges are asked for, too
        drawn = {name: (settings or {}).get(name) for name in RANGES}
    ranges = _checked_ranges(card, drawn)
    if T is not None:
        if card.length is None:
            raise UserError(f"--T: the task {card.task} has a fixed length; leave --T out.")
        fixed = card.variants[variant].get(card.length, T) if variant else T
        if fixed != T:
            where = f"{card.task}/{variant}"
            raise UserError(f"--T {T}: the variant {where} has {card.length} {fixed}; give one of the two.")
        values[card.length], ranges = T, {}  # of one length, all of them
    elif "train_lengths" in ranges and card.length is not None:
        longest = ranges["train_lengths"][1]
        if (given := (settings or {}).get(card.length, longest)) != longest:
            raise UserError(f"`{card.length}` {given}: `train_lengths` says {longest}; leave one of the two out.")
        values[card.length] = longest
    function = getattr(source_module(card), card.data.function)
    params = _set_ones(function, check_params(function, values, f"task {card.task}")) | ranges | split
    for name, ends in ranges.items():
        _check_lengths(card, {n: value for n, value in params.items() if n not in RANGES}, name, ends)
    return params


def arguments_of(params: dict[str, Any]) -> dict[str, Any]:
    """Return those parameters of a task that its source of examples takes."""
    return {name: value for name, value in params.items() if name not in ("split", SEQUENCES, *RANGES)}


def check_params(function: Callable[..., Any], values: dict[str, Any], name: str) -> dict[str, Any]:
    """Return all parameters of a source's function: `values`, completed by its defaults.

    Raises:
        UserError: One is unknown, missing, of a wrong type or out of range; the message begins with `name`.
    """
    function = getattr(function, "__func__", function)  # what is kept of its arguments keeps no data
    return check_arguments(function, values, name, ("rng", "seed", "data_dir", "part"))


def _set_ones(function: Callable[..., Any], params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters without those that are None by default and by value."""
    defaults = inspect.signature(function).parameters
    return {name: v for name, v in params.items() if v is not None or defaults[name].default is not None}


def _checked_ranges(card: TaskCard, values: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that say ranges of lengths, those that are given."""
    ranges = {name: checked_range(name, value) for name, value in values.items() if value is not None}
    if ranges and (card.length is None or card.data.generator is None):
        raise UserError(
            f"`{next(iter(ranges))}`: the examples of task {card.task} have their own lengths; leave it out."
        )
    return ranges


def _checked_count(card: TaskCard, count: Any) -> dict[str, Any]:
    """Return the parameter that says the size of a fixed training set; nothing for new examples."""
    if count is None:
        return {}
    if card.data.generator is None:
        raise UserError(f"`{SEQUENCES}`: the task {card.task} has its own training examples; leave it out.")
    if type(count) is not int or count < 1:
        raise UserError(f"`{SEQUENCES}` must be a whole number >= 1, got {count!r}.")
    return {SEQUENCES: count}


def _check_lengths(card: TaskCard, params: dict[str, Any], name: str, ends: list[int]) -> None:
    """Raise `UserError` if the task has no examples of some length in a range."""
    function = getattr(source_module(card), card.data.function)
    params = arguments_of(params)
    for length in range(ends[0], ends[1] + 1):
        try:
            sizes_of(card, check_params(function, params | {card.length or "": length}, f"length {length}"))
        except UserError as error:
            raise UserError(f"`{name}` {ends}: {error}") from None


def _checked_split(card: TaskCard, split: Any) -> dict[str, Any]:
    """Return the parameter that names one of a card's splits; nothing for the protocol's own."""
    if split is None:
        return {}
    if split not in card.splits:
        known = ", ".join(card.splits) or "none but the card's own; leave `split` out"
        raise UserError(
            f"Task {card.task} has no split '{split}'.{did_you_mean(str(split), card.splits)} Its splits: {known}."
        )
    return {"split": split}


def sizes_of(card: TaskCard, params: dict[str, Any]) -> Sizes:
    """Return the sizes that resolved parameters imply.

    Raises:
        UserError: One that they depend on is missing.
    """
    function = source_module(card).sizes
    taken = inspect.signature(function).parameters
    missing = {name for name, one in taken.items() if one.default is one.empty} - params.keys()
    if missing:
        raise UserError(f"task {card.task}: its parameters must have {', '.join(sorted(missing))}.")
    return function(**{name: params[name] for name in taken if name in params})
