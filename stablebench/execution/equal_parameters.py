"""The width at which a model has a given number of parameters, for comparisons at equal size."""

import math
from collections.abc import Callable
from functools import cache

from stablebench.data.task import sizes_of
from stablebench.errors import UserError
from stablebench.models.base import count_parameters
from stablebench.models.build import build_network
from stablebench.specs.limits import check_spec
from stablebench.specs.request import Resolved

_ROUNDS = 30
"""Of the search; about four are needed, because parameters grow about as a square."""


def width_for(resolved: Resolved, params: int) -> int:
    """Return the hidden width whose number of trainable parameters is nearest to `params`, the smaller of two.

    Args:
        resolved: A run of the model on its task; the search begins at its own width.
        params: The parameters wanted, readout and trained embedding included.

    Raises:
        UserError: The model has more parameters at every width, or it cannot be built at a width of the search.
    """

    @cache
    def count(hidden: int) -> int:
        return parameters_at(resolved, hidden)

    below = _last_below(count, params, start=resolved.spec.model.hidden)
    if below < 1:
        raise UserError(
            f"{resolved.spec.model.label}: has {count(1):,} parameters at width 1 already, more than {params:,}."
        )
    return min(below, below + 1, key=lambda hidden: abs(count(hidden) - params))


def parameters_at(resolved: Resolved, hidden: int) -> int:
    """Return how many trainable parameters a run has at another width, readout and trained embedding included.

    Args:
        resolved: The run.
        hidden: The width, >= 1.

    Raises:
        UserError: The model cannot be built at that width.
    """
    spec = resolved.spec
    spec = spec.model_copy(update={"model": spec.model.model_copy(update={"hidden": hidden})})
    check_spec(spec, resolved.card)
    network = build_network(spec, resolved.card, sizes_of(resolved.card, spec.task.params))
    return count_parameters(network.parameters())


def _last_below(count: Callable[[int], int], params: int, start: int) -> int:
    """Return the largest width with at most `params` parameters, 0 if there is none; `count` rises with the width."""
    low, high, hidden = 0, math.inf, start
    for _ in range(_ROUNDS):
        parameters = count(hidden)
        if parameters <= params:
            low = max(low, hidden)
        else:
            high = min(high, hidden)
        if high - low <= 1:
            return low
        guess = round(hidden * math.sqrt(params / parameters))
        hidden = int(min(max(guess, low + 1), high - 1))
    raise UserError(f"there is no width with {params:,} parameters; name one with `set` model.hidden.")
