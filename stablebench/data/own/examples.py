"""From a user's arrays to a checked batch: what they are, what each value must be, and where one is not."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from stablebench.data.batch import Batch, Sizes
from stablebench.data.own.parts import Parts
from stablebench.schema.own_data import Hints

_LARGEST_ALPHABET = 1000
"""Tokens of an alphabet that nobody said are tokens, at most."""


@dataclass(frozen=True)
class ExampleKind:
    """What examples are.

    Args:
        input: `tokens`, `values` or `static`.
        readout: `last` or `every`.
        classes: Whether the targets are classes, and not values.
    """

    input: Literal["tokens", "values", "static"]
    readout: Literal["last", "every"]
    classes: bool


def kind_of(parts: Parts, hints: Hints) -> ExampleKind:
    """Return what arrays are: as the card says, else as their types and shapes show.

    Whole numbers (rows, time) are tokens; other numbers (rows, time) sequences of one feature. Targets with the steps
    of the inputs are read at every step. Whole numbers as targets are classes.

    Raises:
        UserError: Shapes or types fit nothing.
    """
    inputs, targets = parts.inputs, parts.targets
    _check_numbers(parts, parts.names[0], inputs)
    whole = inputs.dtype.kind in "iub"
    kind = hints.input or ("tokens" if whole and inputs.ndim == 2 else "values")
    wanted = {"tokens": (2,), "static": (2,), "values": (2, 3)}[kind]
    if inputs.ndim not in wanted:
        shapes = {"tokens": "(rows, time)", "static": "(rows, features)", "values": "(rows, time, features)"}[kind]
        raise parts.wrong(parts.names[0], None, f"must be {shapes}, got shape {inputs.shape}.")
    if kind == "tokens" and not whole:
        raise parts.wrong(parts.names[0], None, f"tokens must be whole numbers, got {inputs.dtype}.")
    if 0 in inputs.shape[1:]:
        raise parts.wrong(parts.names[0], None, f"must have steps and features, got shape {inputs.shape}.")
    classes = targets.dtype.kind in "iubUS" if hints.loss is None else hints.loss != "mse"
    if targets.ndim not in (1, 2, 3):
        raise parts.wrong(parts.names[1], None, f"must be (rows,) or (rows, time), got shape {targets.shape}.")
    every = targets.ndim == 3 or (targets.ndim == 2 and targets.shape[1] == inputs.shape[1] and targets.shape[1] > 1)
    readout = hints.readout or ("every" if every and kind != "static" else "last")
    fits = targets.ndim == 1 or (targets.ndim == 2 and (not classes or targets.shape[1] == 1))
    if readout == "every":
        fits = targets.ndim > 1 and targets.shape[1] == inputs.shape[1] and not (classes and targets.ndim == 3)
    if not fits:
        steps = f"(rows, {inputs.shape[1]})"
        shape = steps if readout == "every" else f"(rows,), or {steps} for one a step" if classes else "(rows, out)"
        raise parts.wrong(parts.names[1], None, f"must be {shape}, got shape {targets.shape}.")
    return ExampleKind(kind, readout, classes)


def _check_numbers(parts: Parts, name: str, array: np.ndarray) -> None:
    if array.dtype == object:
        raise parts.wrong(
            name, None, "is an array of Python objects, not of numbers; pad sequences to one length and give `lengths`."
        )
    if array.dtype.kind not in "iufb":
        raise parts.wrong(name, None, f"must be numbers, got the type {array.dtype}.")


def labels_of(parts: Parts, kind: ExampleKind, classes: int | None) -> np.ndarray | None:
    """Return the labels of the classes 0, 1, ... in a file: its own, sorted, or 0 ... classes - 1; None of values."""
    if not kind.classes:
        return None
    if classes is not None:
        return np.arange(classes)
    if parts.targets.dtype.kind in "US":
        return np.unique(parts.targets)
    return np.unique(_whole(parts, parts.names[1], parts.targets)[_real(parts, kind)])


def _whole(parts: Parts, name: str, array: np.ndarray) -> np.ndarray:
    """Return an array as whole numbers, having checked that it has no other ones."""
    _check_numbers(parts, name, array)
    with np.errstate(invalid="ignore"):
        whole = array.astype(np.int64)
    if array.dtype.kind == "f" and (bad := _first(whole != array)) is not None:
        raise parts.wrong(name, bad[0], f"must be whole numbers, got {array[bad]:g}{_at(bad)}.")
    return whole


def _real(parts: Parts, kind: ExampleKind) -> Any:
    """Return which targets count, as an index: those of real steps, where they are read at every step."""
    if kind.readout == "last" or parts.lengths is None:
        return slice(None)
    return np.arange(parts.inputs.shape[1]) < _lengths(parts)[:, None]


def _lengths(parts: Parts) -> np.ndarray:
    assert parts.lengths is not None
    steps = parts.inputs.shape[1]
    lengths = _whole(parts, parts.names[2], parts.lengths)
    if lengths.ndim != 1:
        raise parts.wrong(parts.names[2], None, f"must be (rows,), got shape {lengths.shape}.")
    if (bad := _first((lengths < 1) | (lengths > steps))) is not None:
        raise parts.wrong(
            parts.names[2], bad[0], f"must be 1 ... {steps}, the steps of the inputs, got {lengths[bad]}."
        )
    return lengths


def _first(wrong: np.ndarray) -> tuple[int, ...] | None:
    """Return the place of the first value that is true."""
    return tuple(map(int, np.unravel_index(int(wrong.argmax()), wrong.shape))) if wrong.any() else None


def _at(place: tuple[int, ...]) -> str:
    """Return where in its row a value lies."""
    names = ("step", "feature")
    return "".join(
        f"{', ' if i else ' at '}{name} {at}" for i, (name, at) in enumerate(zip(names, place[1:], strict=False))
    )


def batch_of(parts: Parts, kind: ExampleKind, labels: np.ndarray | None, alphabet: int | None = None) -> Batch:
    """Return arrays as a batch, having checked every value that counts; padding becomes zeros.

    Args:
        parts: The arrays.
        kind: What they are.
        labels: The labels of the classes 0, 1, ...; None of values.
        alphabet: How many tokens there are; None for as many as there are.

    Raises:
        UserError: A value cannot be what it must be; the message names file, array and row.
    """
    inputs = parts.inputs[:, :, None] if kind.input == "values" and parts.inputs.ndim == 2 else parts.inputs
    lengths = None if parts.lengths is None or kind.input == "static" else _lengths(parts)
    real = None if lengths is None else np.arange(inputs.shape[1]) < lengths[:, None]
    if kind.input == "tokens":
        inputs = _padding_is_zero(_whole(parts, parts.names[0], inputs), real)
        if (bad := _first((inputs < 0) | (inputs >= (alphabet or np.inf)))) is not None:
            top = "" if alphabet is None else f" and < {alphabet}, the alphabet"
            raise parts.wrong(
                parts.names[0], bad[0], f"tokens must be >= 0{top}, got {inputs[bad]}{_at(bad)}; numbers that are no "
                "tokens are `input: values`."
            )  # fmt: skip
    else:
        inputs = _finite(parts, parts.names[0], inputs, real)
    every = kind.readout == "every"
    counted = real if every else None
    targets = parts.targets if kind.classes or parts.targets.ndim > (2 if every else 1) else parts.targets[..., None]
    if labels is None:
        targets = _finite(parts, parts.names[1], targets, counted)
    else:
        targets = _classes(parts, targets if every or targets.ndim == 1 else targets[:, 0], labels, counted)
    return Batch(
        torch.from_numpy(np.ascontiguousarray(inputs)),
        torch.from_numpy(np.ascontiguousarray(targets)),
        mask=None if counted is None else torch.from_numpy(counted),
        lengths=None if lengths is None else torch.from_numpy(lengths),
    )


def _padding_is_zero(values: np.ndarray, real: np.ndarray | None) -> np.ndarray:
    if real is None:
        return values
    return np.where(real.reshape(*real.shape, *[1] * (values.ndim - 2)), values, np.zeros((), values.dtype))


def _finite(parts: Parts, name: str, values: np.ndarray, real: np.ndarray | None) -> np.ndarray:
    """Return values as float32, having checked that each is finite."""
    _check_numbers(parts, name, values)
    with np.errstate(over="ignore"):
        numbers = _padding_is_zero(values.astype(np.float32), real)
    if (bad := _first(~np.isfinite(numbers))) is not None:
        limit = ", and at most 3.4e38 in size" if np.isfinite(values[bad]) else ""
        raise parts.wrong(name, bad[0], f"must be finite numbers{limit}, got {values[bad]:g}{_at(bad)}.")
    return numbers


def _classes(parts: Parts, targets: np.ndarray, labels: np.ndarray, counted: np.ndarray | None) -> np.ndarray:
    """Return targets as numbers of classes."""
    if targets.dtype.kind not in "US":
        targets = _whole(parts, parts.names[1], targets)
    places = np.minimum(np.searchsorted(labels, targets), len(labels) - 1)
    wrong = labels[places] != targets
    if (bad := _first(wrong if counted is None else wrong & counted)) is not None:
        raise parts.wrong(
            parts.names[1], bad[0], f"must be a class 0 ... {len(labels) - 1}, got {targets[bad]}{_at(bad)}."
        )
    return _padding_is_zero(places.astype(np.int64), counted)


def sizes_of_batch(batch: Batch, kind: ExampleKind, loss: str, classes: int | None, alphabet: int | None) -> Sizes:
    """Return the sizes that a batch of examples shows.

    Args:
        batch: The examples.
        kind: What they are.
        loss: The task's loss.
        classes: How many classes there are; None of values.
        alphabet: How many tokens there are; None of values.
    """
    inputs = alphabet if kind.input == "tokens" else batch.inputs.shape[-1]
    outputs = batch.targets.shape[-1] if classes is None else 1 if loss == "binary_cross_entropy" else classes
    assert inputs is not None
    return Sizes(int(inputs), int(outputs), 1 if kind.input == "static" else batch.inputs.shape[1])


def alphabet_of(parts: Parts, kind: ExampleKind, batch: Batch, hints: Hints) -> int | None:
    """Return how many tokens a file has; None of values.

    Raises:
        UserError: They are more than tokens usually are, and nobody said that they are tokens.
    """
    if kind.input != "tokens":
        return None
    alphabet = int(batch.inputs.max()) + 1
    if alphabet > _LARGEST_ALPHABET and hints.input is None:
        raise parts.wrong(
            parts.names[0], None, f"has whole numbers up to {alphabet - 1:,}: say in the card whether they are `input: "
            "tokens` or `input: values`."
        )  # fmt: skip
    return alphabet


def best_constant(metric: str, batch: Batch) -> float | None:
    """Return the best score that one answer for all examples has; None where there is none to compute.

    Args:
        metric: `accuracy`, `mse`, `nrmse`, or a metric of the mean cross-entropy of classes.
        batch: The examples that are scored.
    """
    mask = batch.mask if batch.scored is None or metric != "accuracy" else batch.scored
    targets = batch.targets if mask is None else batch.targets[mask]
    if targets.dtype == torch.int64:
        shares = torch.bincount(targets.flatten()).double() / targets.numel()
        nats = float(-(shares[shares > 0] * shares[shares > 0].log()).sum())
        scores = {"accuracy": float(shares.max()), "loss": nats, "bpc": nats / float(np.log(2))}
        return (scores | {"perplexity": float(np.exp(nats))}).get(metric)
    values = targets.double().flatten(0, -2)
    variance = float((values - values.mean(0)).square().mean())
    power = float(values.square().mean())
    nrmse = {"nrmse": (variance / power) ** 0.5} if power else {}
    return ({"mse": variance, "loss": variance} | nrmse).get(metric)


def as_array(part: Any) -> np.ndarray:
    """Return a tensor or an array of the user's as an array."""
    return part.detach().cpu().numpy() if isinstance(part, Tensor) else np.asarray(part)


def missing_class(labels: np.ndarray, targets: Tensor, mask: Tensor | None) -> Any:
    """Return the label of a class that no target is of, or None."""
    there = torch.unique(targets if mask is None else targets[mask])
    gone = set(range(len(labels))) - set(there.tolist())
    return labels[min(gone)] if gone else None
