"""Gradient flossing as a run spec says it."""

from pydantic import model_validator

from stablebench.schema.strict import Count, NonNegativeInt, Positive, Strict


class FlossSpec(Strict):
    """Updates that drive the largest Lyapunov exponents to 0, before and during training.

    Args:
        exponents: How many of the largest ones, 1 ... the state's size.
        before: Such updates before training, >= 0.
        every: Training updates between two such updates, the first one before the first of them; 0: none while
            training.
        steps: Time steps of the chain, >= 2; None for all of them.
        batch: Training examples, >= 1; no more than the batch has.
        lr: Learning rate of Adam, which makes these updates.
    """

    exponents: Count
    before: NonNegativeInt = 100
    every: NonNegativeInt = 100
    steps: Count | None = None
    batch: Count = 8
    lr: Positive = 1.0e-3

    @model_validator(mode="after")
    def _flosses(self) -> "FlossSpec":
        if not self.before and not self.every:
            raise ValueError("`before` or `every` must be at least 1, or nothing is flossed.")
        if self.steps == 1:
            raise ValueError("`steps` must be at least 2: an exponent is the growth from one state to the next.")
        return self


class FlossRecord(Strict):
    """What flossing did and what it took.

    Args:
        before: Updates before training.
        during: Updates during it.
        seconds: Of all of them; part of the seconds of training.
        first: The exponents that are flossed, the largest first, ln per step, mean over samples, before the first
            update.
        last: The same before the last update.
    """

    before: NonNegativeInt = 0
    during: NonNegativeInt = 0
    seconds: float = 0.0
    first: list[float] = []
    last: list[float] = []
