"""How parameters are updated: the optimiser, its groups and its schedule, as recipes and run specs say it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stablebench.schema.strict import Count, NonNegative, NonNegativeInt, Positive, Probability, Strict

OptimiserName = Literal["adam", "rmsprop", "adagrad", "sgd"]


class GroupSpec(Strict):
    """What a parameter group has of its own; what is left out is the optimiser's."""

    lr: Positive | None = None
    weight_decay: NonNegative | None = None
    betas: Annotated[list[Probability], Field(min_length=2, max_length=2)] | None = None


class ScheduleSpec(Strict):
    """How learning rates change: multiplied by `factor` at each of `at`, and where validation stalls.

    Args:
        at: Where the rate drops, in `unit`s.
        unit: `steps` (updates) or `epochs`.
        on_stall: Whether it also drops after every evaluation whose validation metric is not the best so far.
        factor: What every group's rate is multiplied by at each drop.
    """

    at: list[Count] = []
    unit: Literal["steps", "epochs"] = "steps"
    on_stall: bool = False
    factor: Positive

    @model_validator(mode="after")
    def _drops_somewhere(self) -> "ScheduleSpec":
        if not self.at and not self.on_stall:
            raise ValueError("`at` must say where the rate drops, or `on_stall` must be true.")
        return self


class OptimSpec(Strict):
    """An optimiser of torch's, with torch's defaults where nothing else is given.

    Args:
        name: The optimiser.
        lr: Learning rate of all groups that have none of their own.
        betas: Adam's decay rates.
        alpha: RMSprop's smoothing constant.
        eps: The term added to denominators.
        momentum: SGD's or RMSprop's momentum.
        nesterov: SGD with Nesterov's momentum.
        weight_decay: L2 penalty of all groups that have none of their own.
        clip_norm: Largest norm of the whole gradient; None for no clipping.
        warmup: Updates over which every rate rises linearly to its value.
        groups: What single parameter groups of the model have of their own, by name.
        schedule: Drops of the learning rate; None for a constant one.
    """

    name: OptimiserName = "adam"
    lr: Positive = 1.0e-3
    betas: Annotated[list[Probability], Field(min_length=2, max_length=2)] | None = None
    alpha: Probability | None = None
    eps: Positive | None = None
    momentum: NonNegative | None = None
    nesterov: bool = False
    weight_decay: NonNegative = 0.0
    clip_norm: Positive | None = None
    warmup: NonNegativeInt = 0
    groups: dict[str, GroupSpec] = {}
    schedule: ScheduleSpec | None = None
