"""What `data` says in a task card of the user's own: a generator in a file of theirs, or a file of examples."""

from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from stablebench.schema.card import DataSpec, LossName
from stablebench.schema.strict import Count, NonNegativeInt, Strict

DATA_ENDINGS = (".npz", ".csv", ".parquet")
_Share = Annotated[float, Field(gt=0, lt=1)]


class Fractions(Strict):
    """The shares of a file's sequences that are held out, drawn at random, and the seed of that draw."""

    validation: _Share = 0.15
    test: _Share = 0.15
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _some_train(self) -> "Fractions":
        if self.validation + self.test >= 1:
            raise ValueError(
                f"`validation` and `test` must leave examples to train on, got {self.validation} and {self.test}."
            )
        return self


class OwnData(DataSpec):
    """Where the examples of a user's own task come from: `generator`, or `file`.

    Args:
        file: A .npz, .csv or .parquet file, relative to the card.
        inputs: The array of the sequences, or the columns; by default what is called so.
        targets: The array of the targets, or the columns; by default what is called so.
        lengths: The array of the sequences' real lengths.
        split: The array that says of each sequence `train`, `validation` or `test`.
        shares: The shares to hold out in its place.
        sequence: Of a table: the column that says which sequence a row is a step of.
        classes: How many classes the targets have, 0 ... classes - 1.
        alphabet: How many tokens there are, 0 ... alphabet - 1.
    """

    file: str | None = None
    inputs: str | list[str] | None = None
    targets: str | list[str] | None = None
    lengths: str | None = None
    split: str | None = None
    shares: Fractions | None = None
    sequence: str | None = None
    classes: Count | None = None
    alphabet: Count | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "OwnData":
        if (self.generator is None) == (self.file is None) or self.dataset or self.stream:
            raise ValueError("one of `generator` (my_task.py:generate) and `file` (data.npz) must be given.")
        if self.generator is not None:
            path, colon, function = self.generator.rpartition(":")
            if not path.endswith(".py") or not colon or not function.isidentifier():
                raise ValueError(f"`generator` must be FILE.py:FUNCTION, got '{self.generator}'.")
            given = [
                n
                for n in ("inputs", "targets", "lengths", "split", "shares", "sequence")
                if getattr(self, n) is not None
            ]
            if given:
                raise ValueError(f"`{given[0]}` is about a `file`; a generator draws its examples.")
        elif PurePath(self.file or "").suffix.lower() not in DATA_ENDINGS:
            raise ValueError(f"`file` must end in {', '.join(DATA_ENDINGS)}, got '{self.file}'.")
        elif self.params:
            raise ValueError("`params` are a generator's; a file has none.")
        return self

    @property
    def module(self) -> str:
        """What the examples come from."""
        return self.generator or self.file or ""

    @property
    def function(self) -> str:
        """What the source of examples is called."""
        return "generate" if self.generator else "load"


class Hints(Strict):
    """What a card says of its examples; None for what they show themselves."""

    input: Literal["tokens", "values", "static"] | None = None
    readout: Literal["last", "every"] | None = None
    loss: LossName | None = None


def as_data(value: Any) -> Any:
    """Return what stands under `data`, a file's name alone as the mapping that it is short for."""
    return {"file": value} if isinstance(value, str) else value
