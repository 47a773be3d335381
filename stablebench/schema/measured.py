"""What is measured of a run once it has ended, `measured.json` next to its record: no part of the record itself."""

from typing import Literal

from stablebench.schema.strict import NonNegativeInt, Strict

Moment = Literal["trained", "initial"]
"""Whether the weights are those that were tested, or those at initialisation."""


class Gradients(Strict):
    """How a gradient changes along the chain.

    Args:
        length: The task's length at which it was measured.
        growth: d ln ||dL/ds_t|| per step back in time, of the loss at the last scored step, mean over examples; None
            where every norm is 0.
        isometry: ln of the largest over the smallest singular value of ds_T/ds_1, per step: 0 is an isometry. None
            where the smallest is 0.
    """

    length: NonNegativeInt
    growth: float | None
    isometry: float | None


class Measurements(Strict):
    """What was measured of a run.

    Args:
        spec_hash: Of the run.
        step: Updates that the tested weights had; of a run that has others by now nothing of this holds.
        lengths: Test metrics by the length of the examples; under `40-256`, of lengths drawn from that range.
        gradients: By the moment of the weights.
    """

    spec_hash: str
    step: NonNegativeInt
    lengths: dict[str, dict[str, float]] = {}
    gradients: dict[Moment, Gradients] = {}
