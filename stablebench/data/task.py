"""A task: a card with its parameters resolved, as a source of batches.

Every training batch is drawn from (seed, stream, index) alone, so the number of the step is the whole data state.
Validation and test examples are fixed by the card: all runs are scored on the same ones.

A data set may be stored otherwise than a network sees it, as bytes, or without noise that is drawn anew each time. Its
module then has `shown(batch, *, rng, ...) -> Batch`, which turns examples that `load` gave into what is seen; `rng` and
parameters of `load` by name are passed where it takes them. It is called for each training batch with a generator that
depends on (seed, index), and for validation and test examples in blocks, with one that depends on split and block.
"""

import hashlib
import importlib
import inspect
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch

from stablebench.data.batch import Batch, Sizes
from stablebench.errors import UserError, did_you_mean
from stablebench.schema.card import TaskCard
from stablebench.schema.strict import check_arguments

Split = Literal["validation", "test"]
_BLOCK = 100
"""Validation or test examples that are shown at once: what is drawn for them depends on it."""


def generator_for(*key: Any) -> torch.Generator:
    """Return a CPU generator whose state depends on `key` alone (anything JSON can write)."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def source_module(card: TaskCard) -> ModuleType:
    """Return the module of `stablebench.data` that a card's `data` names.

    Raises:
        UserError: There is no such module, or it is no such source.
    """
    try:
        module = importlib.import_module(f"stablebench.data.{card.data.module}")
    except ModuleNotFoundError as error:
        raise UserError(f"task {card.task}: `data` must name a module of stablebench.data ({error}).") from None
    needed = ("generate" if card.data.generator else "load", "sizes")
    missing = [name for name in needed if not hasattr(module, name)]
    if missing:
        raise UserError(f"task {card.task}: stablebench.data.{card.data.module} must have `{'`, `'.join(missing)}`.")
    return module


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
        raise UserError(
            f"Task {card.task} has no variant '{variant}'.{did_you_mean(variant, card.variants)} "
            f"Its variants: {', '.join(card.variants) or 'none'}."
        )
    values = card.data.params | (card.variants[variant] if variant else {}) | (settings or {})
    if T is not None:
        if card.length is None:
            raise UserError(f"--T: the task {card.task} has a fixed length; leave --T out.")
        fixed = card.variants[variant].get(card.length, T) if variant else T
        if fixed != T:
            where = f"{card.task}/{variant}"
            raise UserError(f"--T {T}: the variant {where} has {card.length} {fixed}; give one of the two.")
        values[card.length] = T
    return check_arguments(_function(card), values, f"task {card.task}", ("rng", "data_dir"))


def _function(card: TaskCard) -> Any:
    return getattr(source_module(card), "generate" if card.data.generator else "load")


def sizes_of(card: TaskCard, params: dict[str, Any]) -> Sizes:
    """Return the sizes that resolved parameters imply."""
    function = source_module(card).sizes
    return function(**{name: params[name] for name in inspect.signature(function).parameters})


class Task:
    """Batches of a task.

    Args:
        card: The card.
        params: All parameters, as `resolve_params` returns them.
        data_dir: Folder of the real data sets; None for the cache folder.
    """

    def __init__(self, card: TaskCard, params: dict[str, Any], data_dir: Path | None = None) -> None:
        self.card = card
        self.params = params
        self.data_dir = data_dir
        self.sizes = sizes_of(card, params)

    def train_batch(self, seed: int, index: int, size: int) -> Batch:
        """Return the training batch of update `index` (from 0), decided by the arguments alone.

        A data set is shuffled anew each epoch; its last batch of an epoch may be smaller.
        """
        if self.card.data.generator:
            return self._draw(size, "train", seed, index)
        data, count = self._train, len(self._train.inputs)
        per_epoch = -(-count // size)
        epoch, position = divmod(index, per_epoch)
        order = torch.randperm(count, generator=generator_for(self.card.task, "order", seed, epoch))
        return self._shown(take(data, order[position * size : (position + 1) * size]), "train", seed, index)

    def split(self, name: Split) -> Batch:
        """Return all examples of a split; the same for every run at these parameters."""
        return joined(list(self.pieces(name)))

    def pieces(self, name: Split) -> Iterator[Batch]:
        """Yield the examples of a split in pieces: of a data set 100 at a time, so that few are in memory at once."""
        if self.card.data.generator:
            protocol = self.card.protocol
            yield self._draw(protocol.validation if name == "validation" else protocol.test, name, self.params)
            return
        stored = self._stored(name)
        for start in range(0, len(stored.inputs), _BLOCK):
            block = Batch(*(None if part is None else part[start : start + _BLOCK] for part in stored))  # pyright: ignore[reportArgumentType]
            yield self._shown(block, name, start)

    def _stored(self, name: Split) -> Batch:
        """Return the examples of a data set's split as they are stored."""
        protocol = self.card.protocol
        if name == "test":
            return first(self._loaded("test"), protocol.test)
        if protocol.validation_from == "test":
            return first(self._loaded("test"), protocol.validation)
        return take(self._loaded("train"), self._held_out[: protocol.validation])

    def steps_per_epoch(self, batch_size: int) -> int | None:
        """Return the updates of one epoch, None where examples are drawn on the fly."""
        return None if self.card.protocol.train is None else -(-self.card.protocol.train // batch_size)

    def _shown(self, batch: Batch, *key: Any) -> Batch:
        """Return stored examples of a data set as the network sees them."""
        function = getattr(source_module(self.card), "shown", None)
        if function is None:
            return batch
        wanted = inspect.signature(function).parameters
        arguments = {name: value for name, value in self.params.items() if name in wanted}
        if "rng" in wanted:
            arguments["rng"] = generator_for(self.card.task, self.card.version, "shown", *key)
        return function(batch, **arguments)

    def _draw(self, n: int, *key: Any) -> Batch:
        rng = generator_for(self.card.task, self.card.version, *key)
        return source_module(self.card).generate(n, rng=rng, **self.params)

    def _loaded(self, name: Literal["train", "test"]) -> Batch:
        return source_module(self.card).load(name, data_dir=self.data_dir, **self.params)

    @cached_property
    def _held_out(self) -> torch.Tensor:
        """The order in which training examples are held out: validation first, then training."""
        count = len(self._loaded("train").inputs)
        return torch.randperm(count, generator=generator_for(self.card.task, "held out"))

    @cached_property
    def _train(self) -> Batch:
        data, protocol = self._loaded("train"), self.card.protocol
        order = self._held_out[protocol.validation :] if protocol.validation_from == "train" else None
        count = len(data.inputs) if order is None else len(order)
        wanted = protocol.train if protocol.train is not None else count
        if count < wanted or (count > wanted and order is None):
            raise UserError(f"task {self.card.task}: the card says {wanted} training examples, the data have {count}.")
        return data if order is None else take(data, order[:wanted])  # variants may have more than the card takes


def take(batch: Batch, index: torch.Tensor) -> Batch:
    """Return the examples at `index`."""
    return Batch(*(None if part is None else part[index] for part in batch))  # pyright: ignore[reportArgumentType]


def first(batch: Batch, n: int) -> Batch:
    """Return the first `n` examples."""
    return Batch(*(None if part is None else part[:n] for part in batch))  # pyright: ignore[reportArgumentType]


def joined(batches: list[Batch]) -> Batch:
    """Return the examples of several batches as one."""
    if len(batches) == 1:
        return batches[0]
    return Batch(*(None if parts[0] is None else torch.cat(parts) for parts in zip(*batches, strict=True)))  # pyright: ignore
