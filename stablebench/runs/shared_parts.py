"""Thousands of records in little memory: what they say alike is held once."""

from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, overload

from pydantic import BaseModel

from stablebench.schema.run_record import Evaluation, RunRecord

_HELD = 64
"""Different values of a part that are held to compare with."""


class PackedEvaluations(Sequence[Evaluation]):
    """Evaluations that measured the same metrics, as arrays of numbers; each is made when it is asked for.

    Args:
        evaluations: At least one, all with metrics of the same names.
    """

    def __init__(self, evaluations: Sequence[Evaluation]) -> None:
        self._names = tuple(evaluations[0].metrics)
        self._steps = array("q", [e.step for e in evaluations])
        self._train_s = array("d", [e.train_s for e in evaluations])
        self._values = array("d", [e.metrics[name] for e in evaluations for name in self._names])

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._steps)

    @overload
    def __getitem__(self, index: int) -> Evaluation: ...
    @overload
    def __getitem__(self, index: slice) -> list[Evaluation]: ...
    def __getitem__(self, index: int | slice) -> Evaluation | list[Evaluation]:
        """Return one, or several."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]
        values = self._values[i * len(self._names) : (i + 1) * len(self._names)]
        metrics = dict(zip(self._names, values, strict=True))
        return Evaluation.model_construct(step=self._steps[i], train_s=self._train_s[i], metrics=metrics)

    def __iter__(self) -> Iterator[Evaluation]:
        """Yield each of them."""
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence has the same evaluations."""
        return (
            isinstance(other, Sequence)
            and len(self) == len(other)
            and all(a == b for a, b in zip(self, other, strict=True))
        )


def packed(evaluations: Sequence[Evaluation]) -> Sequence[Evaluation]:
    """Return the same evaluations in little memory, where their metrics have the same names."""
    if not evaluations or any(e.metrics.keys() != evaluations[0].metrics.keys() for e in evaluations):
        return evaluations
    return PackedEvaluations(evaluations)


class SharedParts:
    """Gives records that are read one after another the same objects for equal parts: spec, environment, origins.

    Their evaluations are packed, so that they are for reading and not for writing.
    """

    def __init__(self) -> None:
        self._held: dict[str, OrderedDict[str, Any]] = {}

    def of(self, record: RunRecord) -> RunRecord:
        """Return an equal record that shares what it can with those before."""
        spec = record.spec
        parts = {name: self._shared(name, getattr(spec, name)) for name in ("task", "model", "optim", "train")}
        shared: dict[str, Any] = {"spec": spec.model_copy(update=parts)}
        shared["environment"] = self._shared("environment", record.environment)
        shared["origin"] = self._shared("origin", record.origin)
        shared["evaluations"] = packed(record.evaluations)
        for name in ("selection", "card_sha256", "spec_hash", "metric"):
            shared[name] = self._shared(name, getattr(record, name))
        sharing = record.model_copy(update=shared)
        for part in (sharing, sharing.spec, sharing.result):
            fields = self._shared("fields", part.__pydantic_fields_set__)
            object.__setattr__(part, "__pydantic_fields_set__", fields)  # two kB, the same in all of them
        return sharing

    def _shared(self, name: str, value: Any) -> Any:
        held = self._held.setdefault(name, OrderedDict())
        if held and _equal(value, last := next(reversed(held.values()))):  # runs of one spec follow each other
            return last
        key = _key(value)
        known = held.get(key)
        if known is not None and known == value:
            held.move_to_end(key)
            return known
        held[key] = value
        if len(held) > _HELD:
            held.popitem(last=False)
        return value


def _equal(value: Any, other: Any) -> bool:
    """Whether two values of one part are equal; of models their values are compared at once."""
    return value.__dict__ == other.__dict__ if isinstance(value, BaseModel) else value == other


def _key(value: Any) -> str:
    """Return what tells most values of a part apart, without writing all of it."""
    if isinstance(value, BaseModel):
        return "|".join(str(part)[:40] for part in value.__dict__.values() if not isinstance(part, list))
    return str(sorted(value) if isinstance(value, set) else value)[:200]
