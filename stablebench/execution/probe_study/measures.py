"""What is measured of a run's network: scalars that may tell early how the run will end."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy
import torch

from stablebench.data.batch import Batch
from stablebench.models.claims.claim import DECADE
from stablebench.models.network import AnyNetwork
from stablebench.probes.curvature import Curvature
from stablebench.probes.dimension import StateDimension
from stablebench.probes.gradient_flow import GradientFlow, LossOf
from stablebench.probes.jacobian import SingularValues
from stablebench.probes.learnability import Learnability
from stablebench.probes.lyapunov import LyapunovSpectrum
from stablebench.probes.probe import Measure, Probing
from stablebench.probes.schur_ablation import SchurAblation
from stablebench.probes.sensitivity import Sensitivity
from stablebench.schema.optim import OptimSpec

Values = Mapping[str, float | None]


class Scalar(NamedTuple):
    """A number that a probe gives.

    Args:
        name: Its key.
        meaning: What it is, with its unit.
        measure: Which measure of `probe-gradients` it is from.
    """

    name: str
    meaning: str
    measure: Measure


SCALARS = (
    Scalar("gradient_left", "log10 of ||dL/dh_0|| / ||dL/dh_E||, median over examples", "flow"),
    Scalar("gradient_off_1", "its absolute value: decades by which the gradient vanishes or explodes", "flow"),
    Scalar("growth_rate", "d ln||dL/dh_t|| per step back in time", "flow"),
    Scalar("jacobian_median", "log10 of the median singular value of dh_T/dh_1", "jacobian"),
    Scalar("jacobian_largest", "log10 of the largest", "jacobian"),
    Scalar(
        "isometry_distance",
        "root mean square of ln sigma over the directions that are not dead; 0 for isometry",
        "jacobian",
    ),
    Scalar("directions_kept", "share of the singular values within a decade of 1", "jacobian"),
    Scalar("dead_directions", "share of the singular values that are 0", "jacobian"),
    Scalar("lyapunov_largest", "largest finite-time Lyapunov exponent, per step", "lyapunov"),
    Scalar("lyapunov_off_0", "its absolute value", "lyapunov"),
    Scalar("lyapunov_spread", "largest minus median Lyapunov exponent, per step", "lyapunov"),
    Scalar("metric_entropy", "sum of the positive Lyapunov exponents, nats per step", "lyapunov"),
    Scalar("kaplan_yorke", "Kaplan-Yorke dimension of the attractor; chaotic networks only", "lyapunov"),
    Scalar("sensitivity_last", "log10 of (E ||dh_T/dtheta||^2)^(1/2), states against parameters", "sensitivity"),
    Scalar(
        "sensitivity_power", "power of t with which that grows from T/2 to T; 0 where it is saturated", "sensitivity"
    ),
    Scalar(
        "gradient_signal",
        "share of the gradient's square that examples have in common, signal / (signal + noise), mean over lags",
        "learnability",
    ),
    Scalar(
        "learnable_window",
        "lags up to the longest one at which 10,000 sequences outweigh the noise, as share of all; 0 for none",
        "learnability",
    ),
    Scalar("hessian_largest", "log10 of the largest eigenvalue of the loss's Hessian", "curvature"),
    Scalar("gauss_newton_largest", "log10 of the largest eigenvalue of its Gauss-Newton matrix", "curvature"),
    Scalar(
        "edge_of_stability",
        "log10 of the largest Hessian eigenvalue over 2/lr, 2 (1 + beta)/lr with momentum; SGD only",
        "curvature",
    ),
    Scalar("noise_scale", "log10 of the gradient noise scale tr Sigma / |g|^2, in sequences", "curvature"),
    Scalar("participation_ratio", "participation ratio of the states, dimensions", "dimension"),
    Scalar("effective_rank", "effective rank of the states, dimensions", "dimension"),
    Scalar("non_normal_share", "||U|| / ||A|| of the recurrent matrices' Schur forms; 0 for normal ones", "schur"),
    Scalar("schur_gradient", "decades by which U raises ||dL/dh_0|| / ||dL/dh_E||", "schur"),
)
"""In the order of the tables, those of one measure together."""
WITH_SINGULAR_VALUES: tuple[Measure, ...] = ("jacobian", "lyapunov")
"""Measures of the whole Jacobian, whose cost grows with the cube of the state's width."""
_KEPT = DECADE
_SEQUENCES = 10_000


@dataclass(frozen=True)
class ScalarValues:
    """What was measured of a network.

    Args:
        values: Each scalar; None for one that it does not have, that is no number, or that was not measured.
        wide: The width of its states where singular values were left out for it; else None.
        failed: Why a measure failed, by its name.
    """

    values: dict[str, float | None]
    wide: int | None
    failed: dict[str, str]


def scalars(network: AnyNetwork, batch: Batch, *, loss: LossOf, optim: OptimSpec, max_state: int) -> ScalarValues:
    """Return the scalars of a network, in float64; logarithms of what is 0 are -inf.

    A measure that fails takes no other one with it.

    Args:
        network: It is left as it is.
        batch: The examples; the Jacobian is of the first one.
        loss: The task's loss.
        optim: The run's optimiser.
        max_state: Width of the states beyond which singular values are left out.

    Raises:
        UserError: Autograd gives no derivative of the model.
        StablebenchError: A state is not finite.
    """
    probing = Probing(network, batch, loss=loss, samples=1)
    size = probing.state_size
    wide = size if size is not None and size > max_state else None
    values: dict[str, float | None] = dict.fromkeys(one.name for one in SCALARS)
    failed: dict[str, str] = {}
    for measure, read in READERS.items():
        if wide is not None and measure in WITH_SINGULAR_VALUES:
            continue
        if measure == "lyapunov" and "jacobian" in failed:  # it is from the same product
            failed[measure] = failed["jacobian"]
            continue
        try:
            result = probing.measured(measure, "last")
            if result is not None:
                values |= {name: _number(value) for name, value in read(result, optim).items()}
        except Exception as error:  # of any kind: a library's own, an operation without a derivative, no memory
            failed[measure] = str(error).split("\n")[0] or type(error).__name__
    return ScalarValues(values, wide, failed)


def _flow(flow: GradientFlow, _: OptimSpec) -> Values:
    if flow.of_inputs:  # norms of inputs are another quantity
        return {}
    left = _left(flow)
    return {"gradient_left": left, "gradient_off_1": abs(left), "growth_rate": flow.growth_rate().mean}


def _left(flow: GradientFlow) -> float:
    norms = flow.log_norms
    return float(numpy.median((norms[:, 0] - norms[:, -1]).numpy())) / DECADE


def _jacobian(jacobian: SingularValues, _: OptimSpec) -> Values:
    if not jacobian.steps:
        return {}
    logs = jacobian.logs[0]
    return {
        "jacobian_median": (logs.median() / DECADE).item(),
        "jacobian_largest": (logs[0] / DECADE).item(),
        "isometry_distance": jacobian.isometry_distance[0].item(),
        "directions_kept": (logs.abs() <= _KEPT).to(torch.float64).mean().item(),
        "dead_directions": jacobian.dead[0].item() / len(logs),
    }


def _lyapunov(spectrum: LyapunovSpectrum, _: OptimSpec) -> Values:
    exponents = spectrum.exponents[0]
    return {
        "lyapunov_largest": exponents[0].item(),
        "lyapunov_off_0": abs(exponents[0].item()),
        "lyapunov_spread": (exponents[0] - exponents.median()).item(),
        "metric_entropy": spectrum.metric_entropy,
        "kaplan_yorke": spectrum.kaplan_yorke_dimension,
    }


def _sensitivity(sensitivity: Sensitivity, _: OptimSpec) -> Values:
    return {"sensitivity_last": _log10(sensitivity.curve[-1].item()), "sensitivity_power": sensitivity.power}


def _learnability(learnability: Learnability, _: OptimSpec) -> Values:
    window = learnability.window(_SEQUENCES)
    return {
        "gradient_signal": learnability.signal.nan_to_num(0.0).mean().item(),  # no gradient, no signal
        "learnable_window": 0.0 if window is None else (window + 1) / (learnability.lags[-1] + 1),
    }


def _curvature(curvature: Curvature, optim: OptimSpec) -> Values:
    edge = stability_edge(optim)
    return {
        "hessian_largest": _log10(curvature.hessian),
        "gauss_newton_largest": _log10(curvature.gauss_newton),
        "edge_of_stability": None if edge is None else _log10((curvature.hessian + optim.weight_decay) / edge),
        "noise_scale": None if curvature.noise_scale is None else _log10(curvature.noise_scale),
    }


def stability_edge(optim: OptimSpec) -> float | None:
    """Return the largest eigenvalue of the Hessian up to which an optimiser is stable; None where that is not it.

    2/lr of gradient descent; 2 (1 + beta)/lr with momentum beta, over 1 + 2 beta for Nesterov's (Cohen et al. 2021,
    equation 1). Adam, RMSprop and Adagrad are bound by the Hessian that their own scaling of the gradient changes,
    which no probe of the network knows; nor is there one bound for groups with rates of their own.

    Args:
        optim: The optimiser.
    """
    if optim.name != "sgd" or any(group.lr is not None for group in optim.groups.values()):
        return None
    beta = optim.momentum or 0.0
    return 2 * (1 + beta) / optim.lr / (1 + 2 * beta if optim.nesterov else 1.0)


def _dimension(dimension: StateDimension, _: OptimSpec) -> Values:
    return {"participation_ratio": dimension.participation_ratio, "effective_rank": dimension.effective_rank}


def _schur(schur: SchurAblation, _: OptimSpec) -> Values:
    return {"non_normal_share": schur.share, "schur_gradient": _left(schur.flow) - _left(schur.flow_without)}


READERS: dict[Measure, Callable[[Any, OptimSpec], Values]] = {
    "flow": _flow,
    "jacobian": _jacobian,
    "lyapunov": _lyapunov,
    "sensitivity": _sensitivity,
    "learnability": _learnability,
    "curvature": _curvature,
    "dimension": _dimension,
    "schur": _schur,
}
"""What reads the scalars of a measure from what it gives, and from the run's optimiser."""


def _log10(value: float) -> float:
    """Return log10, -inf of what is not above 0."""
    return math.log10(value) if value > 0 else -math.inf if value <= 0 else math.nan


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
