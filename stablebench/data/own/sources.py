"""A user's data file or generator as what a task takes its examples from."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from stablebench.data.batch import Batch, Sizes
from stablebench.data.own.arrays import arrays_of
from stablebench.data.own.examples import (
    ExampleKind,
    alphabet_of,
    as_array,
    batch_of,
    kind_of,
    labels_of,
    missing_class,
    sizes_of_batch,
)
from stablebench.data.own.parts import PARTS, Parts, part_numbers, parts_of
from stablebench.data.task import take
from stablebench.errors import StablebenchError, UserError, described, users_line
from stablebench.schema.own_data import Fractions, Hints, OwnData
from stablebench.schema.strict import signature_model

_FILLED_IN = ("rng", "seed", "data_dir")
"""Arguments of a generator that are no parameters of the task."""


class OwnFile:
    """The examples of a data file.

    Args:
        path: The file, as messages name it.
        content: What it holds.
        data: What the card says of it.
        hints: What the card says of its examples.

    Raises:
        UserError: It is no such file, or a value in it cannot be used.
    """

    def __init__(self, path: str, content: bytes, data: OwnData, hints: Hints) -> None:
        parts = parts_of(arrays_of(path, content), data)
        self.kind = kind_of(parts, hints)
        labels = labels_of(parts, self.kind, data.classes)
        batch = batch_of(parts, self.kind, labels, data.alphabet)
        if labels is not None and len(labels) < 2:
            raise parts.wrong(parts.names[1], None, f"must have at least two classes, got {labels.tolist()}.")
        if hints.loss == "binary_cross_entropy" and labels is not None and len(labels) != 2:
            raise parts.wrong(parts.names[1], None, f"binary_cross_entropy needs two classes, got {len(labels)}.")
        alphabet = data.alphabet or alphabet_of(parts, self.kind, batch, hints)
        classes = None if labels is None else len(labels)
        self._sizes = sizes_of_batch(batch, self.kind, hints.loss or "", classes, alphabet)
        self.rows = _rows_of_parts(parts, data)
        """The rows of each part."""
        self._batches = {name: take(batch, rows) for name, rows in self.rows.items()}
        train = self._batches["train"]
        if labels is not None and data.classes is None:
            gone = missing_class(labels, train.targets, train.mask)
            if gone is not None:
                raise parts.wrong(parts.names[1], None, f"no training example has the class {gone}, which others have.")

    def load(self, name: Literal["train", "validation", "test"], *, data_dir: Path | None = None) -> Batch:
        """Return all examples of a part."""
        return self._batches[name]

    def sizes(self) -> Sizes:
        """Return the sizes that the examples show."""
        return self._sizes

    @property
    def counts(self) -> dict[str, int]:
        """How many examples each part has."""
        return {name: len(rows) for name, rows in self.rows.items()}


def _rows_of_parts(parts: Parts, data: OwnData) -> dict[str, torch.Tensor]:
    """Return the rows of each part: as the file says, else drawn at random; validation is held out of the rest.

    Raises:
        UserError: A part would be empty.
    """
    shares = data.shares or Fractions()
    numbers = part_numbers(parts)
    total = len(parts.inputs)
    drawn = torch.randperm(total, generator=torch.Generator().manual_seed(shares.seed))
    if numbers is None:
        counts = {"validation": round(shares.validation * total), "test": round(shares.test * total)}
        rows = {"test": drawn[: counts["test"]], "validation": drawn[counts["test"] : sum(counts.values())]}
        rows |= {"train": drawn[sum(counts.values()) :]}
    else:
        said = torch.from_numpy(numbers)
        rows = {name: (said == number).nonzero().flatten() for name, number in PARTS.items()}
        if not len(rows["validation"]):
            rest = drawn[said[drawn] == PARTS["train"]]
            held = round(shares.validation * len(rest))
            rows |= {"validation": rest[:held], "train": rest[held:]}
    for name, own in rows.items():
        if not len(own):
            why = f"of {total} sequences" if numbers is None else f"`{parts.names[3]}` gives it none"
            raise UserError(f"{parts.where}: the {name} part is empty ({why}).")
    return {name: rows[name].sort().values for name in PARTS}


class OwnGenerator:
    """A user's function that draws examples: `generate(n, *, rng, ...)`, or with an int `seed` in place of `rng`.

    Args:
        where: What it is called: my_task.py:generate.
        function: It returns a `Batch`, or (inputs, targets) or (inputs, targets, lengths), tensors or arrays.
        sizes: The module's function `sizes`; None where a first batch shows the sizes.
        data: What the card says of it.
        hints: What the card says of its examples.

    Raises:
        UserError: Its arguments cannot be passed, or the examples that it draws at its defaults cannot be used.
    """

    counts: dict[str, int] | None = None

    def __init__(
        self, where: str, function: Callable[..., Any], sizes: Callable[..., Any] | None, data: OwnData, hints: Hints
    ) -> None:
        self._where, self._function, self._hints = where, function, hints
        self._classes, self._alphabet, self._own_sizes = data.classes, data.alphabet, sizes
        parameters = list(inspect.signature(function).parameters.values())
        if len(parameters) < 2 or not {"rng", "seed"} & {p.name for p in parameters[1:]}:
            raise UserError(
                f"{where}: must be called as {where.rpartition(':')[2]}(n, *, rng), got {_called(function)}."
            )
        self._random = "rng" if any(p.name == "rng" for p in parameters[1:]) else "seed"
        own = [p.replace(kind=p.KEYWORD_ONLY) for p in parameters[1:] if p.kind is not p.VAR_KEYWORD]
        first = parameters[0].replace(kind=inspect.Parameter.POSITIONAL_ONLY)
        self.parameters = [p for p in own if p.name not in _FILLED_IN]
        self.generate = functools.wraps(function)(functools.partial(self._draw))
        _with_signature(self.generate, [first, *own])
        try:
            signature_model(self.generate, _FILLED_IN)
        except TypeError as error:
            raise UserError(f"{where}: {error}") from None
        self.kind: ExampleKind | None = None
        self.sizes = functools.partial(self._sizes)
        names = inspect.signature(sizes).parameters.values() if sizes is not None else self.parameters
        _with_signature(self.sizes, [p.replace(kind=p.KEYWORD_ONLY) for p in names])

    def _draw(self, n: int, *, rng: torch.Generator, **params: Any) -> Batch:
        """Return drawn examples, checked."""
        drawn = self._call(n, rng, params)
        parts = self._parts(drawn, n)
        if self.kind is None:
            self.kind = kind_of(parts, self._hints)
        hints = Hints(input=self.kind.input, readout=self.kind.readout, loss=self._hints.loss)
        if kind_of(parts, hints).classes != self.kind.classes:
            raise parts.wrong("targets", None, "must be of one type in every batch.")
        sizes = self._said(params)
        alphabet, classes = self._alphabet, self._classes
        if sizes is not None:
            alphabet = sizes.inputs if self.kind.input == "tokens" else None
            classes = max(sizes.outputs, 2) if self.kind.classes else None
        if self.kind.classes and classes is None:
            raise self._missing("classes", "classes the targets have, 0 ... classes - 1")
        if self.kind.input == "tokens" and alphabet is None:
            raise self._missing("alphabet", "tokens there are, 0 ... alphabet - 1")
        labels = None if not self.kind.classes else torch.arange(classes or 0).numpy()
        batch = batch_of(parts, self.kind, labels, alphabet)
        if isinstance(drawn, Batch):
            mask = batch.mask if drawn.mask is None else drawn.mask
            batch = batch._replace(mask=mask, scored=drawn.scored)
        return batch

    def _missing(self, key: str, what: str) -> UserError:
        file = self._where.rpartition(":")[0]
        return UserError(
            f"{self._where}: say in the card how many {what}: `data: {{generator: {self._where}, {key}: N}}`, or "
            f"`{key}: N` below `generator:`; or define `sizes` in {file}."
        )

    def _call(self, n: int, rng: torch.Generator, params: dict[str, Any]) -> Any:
        seeded = {"rng": rng}
        if self._random == "seed":
            seeded = {"seed": int(torch.randint(2**31 - 1, (), generator=rng))}
        try:
            return self._function(n, **seeded, **params)
        except StablebenchError:
            raise
        except Exception as error:  # code of the user's
            raise UserError(f"{self._where}: failed with {described(error)}{users_line(error)}") from error

    def _parts(self, drawn: Any, n: int) -> Parts:
        if not isinstance(drawn, tuple) or len(drawn) < 2 or (len(drawn) > 3 and not isinstance(drawn, Batch)):
            raise UserError(
                f"{self._where}: must return (inputs, targets), (inputs, targets, lengths) or a Batch, got "
                f"{type(drawn).__name__}{f' of {len(drawn)}' if isinstance(drawn, tuple) else ''}."
            )
        lengths = drawn.lengths if isinstance(drawn, Batch) else drawn[2] if len(drawn) == 3 else None
        arrays = [None if part is None else as_array(part) for part in (drawn[0], drawn[1], lengths)]
        for name, array in zip(("inputs", "targets", "lengths"), arrays, strict=True):
            if array is not None and (array.ndim == 0 or len(array) != n):
                raise UserError(
                    f"{self._where}: `{name}` must have a row for each of n = {n} examples, got shape {array.shape}."
                )
        return Parts(self._where, *arrays)  # pyright: ignore[reportArgumentType]

    def _said(self, params: dict[str, Any]) -> Sizes | None:
        """Return what the module's own `sizes` says at these parameters."""
        if self._own_sizes is None:
            return None
        wanted = inspect.signature(self._own_sizes).parameters
        sizes = self._own_sizes(**{name: value for name, value in params.items() if name in wanted})
        if not isinstance(sizes, Sizes):
            raise UserError(
                f"{self._where}: `sizes` must return stablebench.data.batch.Sizes, got {type(sizes).__name__}."
            )
        return sizes

    def _sizes(self, **params: Any) -> Sizes:
        """Return the sizes at parameters: what the module says, else what two examples show."""
        if (said := self._said(params)) is not None:
            return said
        batch = self._draw(2, rng=torch.Generator().manual_seed(0), **params)
        assert self.kind is not None  # a batch was drawn
        classes = self._classes if self.kind.classes else None
        return sizes_of_batch(batch, self.kind, self._hints.loss or "", classes, self._alphabet)


def _called(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__name__', 'it')}{inspect.signature(function)}"


def _with_signature(function: Any, parameters: list[inspect.Parameter]) -> None:
    """Let a function show these parameters: those of the user's own, which it is called with."""
    function.__signature__ = inspect.Signature(parameters)
