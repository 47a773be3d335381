"""A task: a card with its parameters resolved, as a source of batches.

Every training batch is decided by (seed, stream, index), so the number of the step is the whole data state.
Validation and test examples are fixed by the card: all runs are scored on the same ones.

What a module of `stablebench.data.tasks` may have next to its source of examples is a protocol of `sources`: a data
set may be stored otherwise than a network sees it (`TransformsExamples`), choose the order in which validation examples
are held out of the training examples (`OrdersValidation`), or bring vectors for its tokens (`EmbedsTokens`).

The parameters `train_lengths` and `test_lengths` of a task with a length say that each example's length is drawn from
a range, for training, and for validation and test; the length itself is then the longest that is trained on.

A parameter whose default is None is no part of a task's parameters where nothing sets it: a task that gets one later
keeps the spec hashes of its runs. A source that draws its test examples otherwise than those it is trained on takes
`part`: `train`, `validation` or `test`.

`train_sequences` fixes a training set of so many examples, drawn by the run's seed, that batches are taken from in a
new order each epoch; all else of the task stays.

The parameter `split` names one of the card's `splits`, which changes how many examples train, validate and test, and
which weights are tested; without it the card's protocol holds. It is no argument of the module.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from stablebench.data.batch import Batch
from stablebench.data.lengths import cut, draw_lengths
from stablebench.data.params import SEQUENCES
from stablebench.data.params import arguments_of as arguments_of
from stablebench.data.params import check_params as check_params
from stablebench.data.params import resolve_params as resolve_params
from stablebench.data.params import sizes_of as sizes_of
from stablebench.data.source import source_module
from stablebench.data.sources import ComputesFromDraws, EmbedsTokens, OrdersValidation, TransformsExamples
from stablebench.errors import UserError
from stablebench.schema.card import TaskCard

Split = Literal["validation", "test"]
_BLOCK = 100
"""Validation or test examples that are transformed at once: what is drawn for them depends on it."""


def generator_for(*key: Any) -> torch.Generator:
    """Return a CPU generator whose state depends only on `key` (anything JSON can write)."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


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
        self.protocol = card.protocol_at(params)
        self._arguments = arguments_of(params)
        self.data_dir = data_dir
        self.sizes = sizes_of(card, params)
        self._token_parts: dict[str, torch.Tensor] = {}
        self._last_set: tuple[int, Batch] | None = None
        self._last_order: tuple[tuple[int, int] | None, torch.Tensor] = (None, torch.empty(0))

    def train_batch(self, seed: int, index: int, size: int) -> Batch:
        """Return the training batch of update `index` (from 0), decided by the arguments.

        A data set is shuffled in a new order each epoch; its last batch of an epoch may be smaller. A stream is cut
        into `size` parallel ones, of which a batch is the next window; the rest at their ends is left out.
        """
        if self.carries_states:
            streams = self._streams("train", size)
            return _tbptt_window(streams, index % _tbptt_windows(streams, self.sizes.steps), self.sizes.steps)
        if (count := self.params.get(SEQUENCES)) is not None:
            place, rest = divmod(index, -(-count // size))
            chosen = self._order(count, seed, place)[rest * size : (rest + 1) * size]
            return take(self._fixed_set(seed, count), chosen)
        if self.card.data.generator:
            return self._draw("train", size, self.params.get("train_lengths"), "train", seed, index)
        data, count = self._train, len(self._train.inputs)
        per_epoch = -(-count // size)
        epoch, position = divmod(index, per_epoch)
        order = self._order(count, seed, epoch)
        return self._transformed(take(data, order[position * size : (position + 1) * size]), "train", seed, index)

    def _fixed_set(self, seed: int, count: int) -> Batch:
        """Return the examples of a fixed training set; they are kept for the next batch."""
        if self._last_set is None or self._last_set[0] != seed:
            self._last_set = (seed, self._draw("train", count, self.params.get("train_lengths"), "train set", seed))
        return self._last_set[1]

    def _order(self, count: int, seed: int, epoch: int) -> torch.Tensor:
        """Return the order of the training examples in an epoch; it is kept for the epoch's other batches."""
        if self._last_order[0] != (seed, epoch):
            order = torch.randperm(count, generator=generator_for(self.card.task, "order", seed, epoch))
            self._last_order = ((seed, epoch), order)
        return self._last_order[1]

    @property
    def carries_states(self) -> bool:
        """Whether batches follow each other in time, so that the states after one are those before the next."""
        return self.card.data.stream is not None

    def starts_from_initial_states(self, index: int, size: int) -> bool:
        """Return whether the training batch of update `index` starts from the initial states."""
        return not self.carries_states or index % _tbptt_windows(self._streams("train", size), self.sizes.steps) == 0

    def split(self, name: Split) -> Batch:
        """Return all examples of a split; the same for every run at these parameters."""
        return joined(list(self.pieces(name)), dim=1 if self.carries_states else 0)

    def pieces(self, name: Split) -> Iterator[Batch]:
        """Yield the examples of a split in pieces: of a data set 100 at a time, so that few are in memory at once.

        The pieces of a stream follow each other in time.
        """
        if self.card.data.generator:
            count = self.protocol.validation if name == "validation" else self.protocol.test
            lengths = self.params.get("test_lengths", self.params.get("train_lengths"))
            yield self._draw(name, count, lengths, name, self.params)
            return
        if self.carries_states:
            streams = self._streams(name, self.protocol.evaluation_streams)
            for start in range(0, streams.shape[1] - 1, self.sizes.steps):
                part = streams[:, start : start + self.sizes.steps + 1].long()
                yield Batch(part[:, :-1], part[:, 1:])
            return
        stored = self._stored(name)
        for start in range(0, len(stored.inputs), _BLOCK):
            block = stored.map(lambda part, start=start: part[start : start + _BLOCK])
            yield self._transformed(block, name, start)

    def _stored(self, name: Split) -> Batch:
        """Return the examples of a data set's split as they are stored."""
        protocol = self.protocol
        if name == "test":
            return first(self._loaded("test"), protocol.test)
        if protocol.validation_from == "test":
            return first(self._loaded("test"), protocol.validation)
        if protocol.validation_from == "own":
            return first(self._loaded("validation"), protocol.validation)
        return take(self._loaded("train"), self._validation_order[: protocol.validation])

    def steps_per_epoch(self, batch_size: int) -> int | None:
        """Return the updates of one epoch, None where examples are drawn on the fly."""
        count = self.protocol.train
        if count is None:
            return None
        if self.carries_states:
            return max((count // batch_size - 1) // self.sizes.steps, 1)
        return -(-count // batch_size)

    def embedding(self) -> torch.Tensor | None:
        """Return the vectors that the tokens' embedding starts from, (alphabet, width), where the task has its own."""
        if not isinstance(self._module, EmbedsTokens):
            return None
        return self._module.initial_embedding(data_dir=self.data_dir, **self._arguments)

    def _streams(self, name: Literal["train", "validation", "test"], count: int) -> torch.Tensor:
        """Return the tokens of a part as parallel streams, (count, time), each a part of the text without a gap."""
        tokens = self._tokens(name)
        length = len(tokens) // count
        if length < 2:
            raise UserError(f"task {self.card.task}: {len(tokens)} tokens cannot be read in {count} parallel streams.")
        return tokens[: count * length].view(count, length)

    def _tokens(self, name: Literal["train", "validation", "test"]) -> torch.Tensor:
        if name not in self._token_parts:
            self._token_parts[name] = self._module.stream(name, data_dir=self.data_dir, **self._arguments)
        return self._token_parts[name]

    def _transformed(self, batch: Batch, *key: Any) -> Batch:
        """Return stored examples of a data set as the network sees them."""
        if self._transform is None:
            return batch
        rng = generator_for(self.card.task, self.card.version, "shown", *key)  # the word decides the noise of all runs
        return self._transform(batch, **_taken(self._transform, {**self.params, "rng": rng}))

    def _draw(
        self, part: Literal["train", "validation", "test"], n: int, lengths: list[int] | None, *key: Any
    ) -> Batch:
        rng = generator_for(self.card.task, self.card.version, *key)
        arguments = self._arguments
        if "part" in inspect.signature(self._module.generate).parameters:
            arguments = arguments | {"part": part}

        if lengths is None:
            return self._module.generate(n, rng=rng, **arguments)
        at_once = isinstance(self._module, ComputesFromDraws)
        drawn = self._module.draw if at_once else self._module.generate

        def of_length(count: int, length: int) -> Batch:
            return drawn(count, rng=rng, **(arguments | {self.card.length or "": length}))

        batch = draw_lengths(of_length, n, lengths, rng)
        if not at_once:
            return batch
        return cut(self._module.from_draws(batch, **_taken(self._module.from_draws, arguments)), batch)

    def _loaded(self, name: Literal["train", "validation", "test"]) -> Batch:
        return self._module.load(name, data_dir=self.data_dir, **self._arguments)

    @cached_property
    def _module(self) -> Any:
        return source_module(self.card)

    @cached_property
    def _transform(self) -> Callable[..., Batch] | None:
        return self._module.transform if isinstance(self._module, TransformsExamples) else None

    @cached_property
    def _validation_order(self) -> torch.Tensor:
        """The order in which training examples are held out: validation first, then training."""
        if isinstance(self._module, OrdersValidation):
            order = self._module.validation_order
            return order(data_dir=self.data_dir, **_taken(order, self.params))
        count = len(self._loaded("train").inputs)
        return torch.randperm(count, generator=generator_for(self.card.task, "held out"))

    @cached_property
    def _train(self) -> Batch:
        data, protocol = self._loaded("train"), self.protocol
        order = self._validation_order[protocol.validation :] if protocol.validation_from == "train" else None
        count = len(data.inputs) if order is None else len(order)
        wanted = protocol.train if protocol.train is not None else count
        if count < wanted or (count > wanted and order is None):
            raise UserError(f"task {self.card.task}: the card says {wanted} training examples, the data have {count}.")
        return data if order is None else take(data, order[count - wanted :])  # a variant may have more than is taken


def _tbptt_windows(streams: torch.Tensor, steps: int) -> int:
    """Return how many whole windows of `steps` tokens streams (count, time) have; the last token is only a target."""
    return max((streams.shape[1] - 1) // steps, 1)


def _tbptt_window(streams: torch.Tensor, position: int, steps: int) -> Batch:
    """Return a window of parallel streams: tokens (count, steps) and the ones after them."""
    part = streams[:, position * steps : (position + 1) * steps + 1].long()
    return Batch(part[:, :-1], part[:, 1:])


def _taken(function: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return those of `values` that a function has an argument for."""
    return {name: value for name, value in values.items() if name in inspect.signature(function).parameters}


def take(batch: Batch, index: torch.Tensor) -> Batch:
    """Return the examples at `index`."""
    return batch.map(lambda part: part.index_select(0, index))


def first(batch: Batch, n: int) -> Batch:
    """Return the first `n` examples."""
    return batch.map(lambda part: part[:n])


def joined(batches: list[Batch], dim: int = 0) -> Batch:
    """Return several batches as one: examples after each other, or with `dim` 1 windows of time."""
    if len(batches) == 1:
        return batches[0]
    return Batch(*(None if parts[0] is None else torch.cat(parts, dim) for parts in zip(*batches, strict=True)))  # pyright: ignore
