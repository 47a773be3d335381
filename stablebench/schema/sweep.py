"""The space of a sweep, `configs/sweeps/<path>.yaml` or `space` in a recipe: which values are searched, and where."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from stablebench.schema.strict import Strict

Sampler = Literal["random", "tpe", "grid"]
Scalar = bool | int | float | str | None


class Dimension(Strict):
    """The values that one key is searched over: `choices`, or all between `low` and `high`.

    Args:
        choices: Single values.
        low: Smallest value.
        high: Largest value.
        log: Whether the logarithm is drawn uniformly instead of the value.
        integer: Whether only whole numbers are drawn.
        points: How many values, evenly apart on that scale, a grid takes; None where it is not for a grid.
    """

    choices: Annotated[list[Scalar], Field(min_length=1)] | None = None
    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False
    points: Annotated[int, Field(ge=2)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Dimension":
        if self.choices is not None:
            if (self.low, self.high, self.points) != (None, None, None) or self.log or self.integer:
                raise ValueError("`choices` excludes the others: leave out `low`, `high`, `log`, `integer`, `points`.")
            if len({(type(choice), choice) for choice in self.choices}) < len(self.choices):
                raise ValueError("`choices`: a value stands twice.")
            return self
        if self.low is None or self.high is None:
            raise ValueError("must have `choices`, or `low` and `high`.")
        if not self.low < self.high:
            raise ValueError(f"`low` must be < `high`, got {self.low:g} and {self.high:g}.")
        if self.log and self.low <= 0:
            raise ValueError(f"`low` must be > 0 on a logarithmic scale, got {self.low:g}.")
        if self.integer and (self.low % 1 or self.high % 1):
            raise ValueError(
                f"`low` and `high` must be whole numbers where `integer` is true, got {self.low:g} and {self.high:g}."
            )
        return self

    def corners(self) -> list[Scalar]:
        """Return the choices, or the two ends."""
        if self.choices is not None:
            return self.choices
        ends = (self.low, self.high)
        return [int(end) if self.integer else end for end in ends if end is not None]


class SweepSpace(Strict):
    """What a sweep searches.

    Args:
        summary: What is searched, in one sentence.
        source: The paper and place it comes from, or ours.
        model: The model it is made for; None for any that has the keys.
        task: The task it is made for; None for any.
        sampler: How values are drawn unless `--sampler` says otherwise.
        overrides: Values that all trials have, as `--set` takes them.
        space: What is searched, by dotted key of the run spec: `model.rho`, `optim.lr`, `train.batch_size`.
    """

    earlier_keys: ClassVar[dict[str, str]] = {"set": "overrides"}

    summary: str
    source: str
    model: str | None = None
    task: str | None = None
    sampler: Sampler | None = None
    overrides: dict[str, Any] = {}
    space: Annotated[dict[str, Dimension], Field(min_length=1)]

    @model_validator(mode="after")
    def _searched_or_set(self) -> "SweepSpace":
        both = sorted(self.space.keys() & self.overrides.keys())
        if both:
            raise ValueError(f"`overrides` and `space` must not share keys, got {', '.join(both)}.")
        return self


class OwnSpace(SweepSpace):
    """A space of the user's own, which need not say where it comes from."""

    summary: str = "a space of your own"
    source: str = "your own"
