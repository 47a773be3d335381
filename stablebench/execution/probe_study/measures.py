"""What is measured of a run's network: scalars that may tell early how the run will end."""

import math
from typing import NamedTuple

import numpy
import torch

from stablebench.data.batch import Batch
from stablebench.models.claims.claim import DECADE
from stablebench.models.network import AnyNetwork
from stablebench.probes.gradient_flow import LossOf
from stablebench.probes.lyapunov import lyapunov_spectrum
from stablebench.probes.probe import Probing


class Scalar(NamedTuple):
    """A number that a probe gives.

    Args:
        name: Its key.
        meaning: What it is, with its unit.
    """

    name: str
    meaning: str


SCALARS = (
    Scalar("gradient_left", "log10 of ||dL/dh_0|| / ||dL/dh_E||, median over examples"),
    Scalar("gradient_off_1", "its absolute value: decades by which the gradient vanishes or explodes"),
    Scalar("growth_rate", "d ln||dL/dh_t|| per step back in time"),
    Scalar("jacobian_median", "log10 of the median singular value of dh_T/dh_1"),
    Scalar("jacobian_largest", "log10 of the largest"),
    Scalar("isometry_distance", "root mean square of ln sigma over the directions that are not dead; 0 for isometry"),
    Scalar("directions_kept", "share of the singular values within a decade of 1"),
    Scalar("dead_directions", "share of the singular values that are 0"),
    Scalar("lyapunov_largest", "largest finite-time Lyapunov exponent, per step"),
    Scalar("lyapunov_off_0", "its absolute value"),
    Scalar("lyapunov_spread", "largest minus median Lyapunov exponent, per step"),
)
"""In the order of the tables."""
_KEPT = DECADE


def scalars(network: AnyNetwork, batch: Batch, *, loss: LossOf) -> dict[str, float | None]:
    """Return the scalars of a network, in float64; None for one that it does not have or that is no number.

    Logarithms of what is 0 are -inf.

    Args:
        network: It is left as it is.
        batch: The examples; the Jacobian is of the first one.
        loss: The task's loss.

    Raises:
        UserError: Autograd gives no derivative of the model.
        StablebenchError: A state or a derivative is not finite.
    """
    result = Probing(network, batch, loss=loss, samples=1).result("last", ("flow", "jacobian", "lyapunov"), False)
    values: dict[str, float | None] = {}
    if result.flow is not None and not result.flow.of_inputs:  # norms of inputs are another quantity
        norms = result.flow.log_norms
        left = float(numpy.median((norms[:, 0] - norms[:, -1]).numpy())) / DECADE
        values |= {"gradient_left": left, "gradient_off_1": abs(left)}
        values["growth_rate"] = result.flow.growth_rate().mean
    if result.jacobian is not None and result.jacobian.steps:
        logs, exponents = result.jacobian.logs[0], lyapunov_spectrum(result.jacobian).exponents[0]
        values |= {
            "jacobian_median": (logs.median() / DECADE).item(),
            "jacobian_largest": (logs[0] / DECADE).item(),
            "isometry_distance": result.jacobian.isometry_distance[0].item(),
            "directions_kept": (logs.abs() <= _KEPT).to(torch.float64).mean().item(),
            "dead_directions": result.jacobian.dead[0].item() / len(logs),
            "lyapunov_largest": exponents[0].item(),
            "lyapunov_off_0": abs(exponents[0].item()),
            "lyapunov_spread": (exponents[0] - exponents.median()).item(),
        }
    return {one.name: _number(values.get(one.name)) for one in SCALARS}


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
