"""The recipe, `configs/recipes/<task>/<model>.yaml`: hyper-parameters of one model on one task, with their source."""

import math
from typing import Any, Literal

from pydantic import model_validator

from stablebench.schema.dotted import laid_over
from stablebench.schema.strict import Count, NonNegativeInt, Strict
from stablebench.schema.sweep import Dimension


class TrainChoices(Strict):
    """The budget: updates or epochs, batch size and evaluation interval; what is left out is the card's."""

    steps: Count | None = None
    epochs: Count | None = None
    batch_size: Count | None = None
    eval_every: Count | None = None

    @model_validator(mode="after")
    def _one_budget(self) -> "TrainChoices":
        if self.steps is not None and self.epochs is not None:
            raise ValueError("`steps` and `epochs` must not both be given.")
        return self


class When(Strict):
    """What a recipe's variant was made for: the task's length, a named variant of the card, a depth, a width."""

    length: Count | None = None
    variant: str | None = None
    layers: Count | None = None
    hidden: Count | None = None

    def in_words(self) -> str:
        """Return it as the origin of a value names it: `length 200, hidden 128`."""
        return ", ".join(f"{key} {value}" for key, value in self.model_dump(exclude_none=True).items())


Outcome = Literal["target", "baseline", "failed", "diverged"]
"""What a recipe's recorded result reached: the target, the trivial baseline alone, neither, or no finite loss."""


class RecipeVariant(Strict):
    """Values that replace the recipe's own for one length, task variant or width; keys as in `Recipe`.

    Args:
        when: What it is made for.
        result: What came out when it was run, with steps and seeds; None where it has not been run yet.
    """

    when: When
    hidden: Count | None = None
    layers: Count | None = None
    params: dict[str, Any] = {}
    optim: dict[str, Any] = {}
    train: TrainChoices = TrainChoices()
    source: str | None = None
    tuned_by: Literal["paper", "us"] | None = None
    trials: NonNegativeInt | None = None
    search: str | None = None
    reproduces: str | None = None
    outcome: Outcome | None = None
    result: str | None = None


class Recipe(Strict):
    """Hyper-parameters of one model on one task.

    Args:
        task: The task's name.
        model: The model's name.
        source: The paper and place, or how they were tuned.
        tuned_by: `paper`, or `us` by a search.
        trials: Settings that were tried, the chosen one included; 0 for none of ours, None where it is not known.
        search: The space that was searched and how many trials it took, where `us`.
        space: The space that `sweep` searches by default, by dotted key of the run spec.
        reproduces: Key of the published number that it aims at.
        outcome: What the recorded result reached; None where it does not say, or covers the first updates only.
        result: What came out when it was run, with steps and seeds; None where it has not been run yet.
        when: What the recipe itself was made for; its variants say what theirs are.
        hidden: Width.
        layers: Stacked layers; of a deep model all its layers, input and output counted.
        params: Arguments of the model.
        optim: The optimiser (`stablebench.schema.optim`).
        train: The budget.
        variants: Values that differ by length, variant, depth or width.
    """

    task: str
    model: str
    source: str
    tuned_by: Literal["paper", "us"]
    trials: NonNegativeInt | None = None
    search: str | None = None
    space: dict[str, Dimension] = {}
    reproduces: str | None = None
    outcome: Outcome | None = None
    result: str | None = None
    when: When = When()
    hidden: Count | None = None
    layers: Count | None = None
    params: dict[str, Any] = {}
    optim: dict[str, Any] = {}
    train: TrainChoices = TrainChoices()
    variants: list[RecipeVariant] = []

    @model_validator(mode="after")
    def _search_is_stated(self) -> "Recipe":
        for part in (self, *self.variants):
            if part.tuned_by == "us" and not part.search:
                raise ValueError("`search` must say what was searched where `tuned_by` is us.")
        return self

    def optim_of(self, part: "Recipe | RecipeVariant", below: dict[str, Any]) -> dict[str, Any]:
        """Return the optimiser of the recipe or of one of its variants, laid over `below`; a name starts afresh."""
        for stated in (self.optim, part.optim):
            below = dict(stated) if "name" in stated else laid_over(below, stated)
        return below

    def nearest(
        self, *, length: int | None, variant: str | None, hidden: int | None, layers: int | None = None
    ) -> "Recipe | RecipeVariant":
        """Return what was made for the nearest length, then depth, then width: the recipe itself or a variant.

        Parts made for another named variant of the task are left out; with equal distance, one made for this named
        variant comes first, then the recipe itself.
        """

        def distance(part: "Recipe | RecipeVariant") -> tuple[float, float, float, bool]:
            when, width = part.when, part.when.hidden or part.hidden or self.hidden
            depth = part.when.layers or part.layers or self.layers
            apart = _log_ratio(when.length, length), _log_ratio(depth, layers), _log_ratio(width, hidden)
            return (*apart, when.variant is None)

        fitting = [v for v in self.variants if v.when.variant in (None, variant)]
        return min([self, *fitting], key=distance)


class OwnRecipe(Recipe):
    """A recipe of the user's own, in a file that says by its place, or on the command line, what it is for."""

    task: str | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    model: str | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    source: str = "your own"
    tuned_by: Literal["paper", "us"] = "us"
    search: str | None = "not said"


def _log_ratio(a: int | None, b: int | None) -> float:
    return 0.0 if a is None or b is None else abs(math.log(a / b))
