"""Numbers of the measures that are taken of parameters and states, as rows of a table."""

import math

from stablebench.models.claims.claim import DECADE
from stablebench.probes.learnability import SEQUENCES
from stablebench.probes.probe import ProbeResult

Numbers = dict[str, tuple[str, str, str]]
"""Name, value and explanation of each number by a short key."""


def more_numbers(result: ProbeResult) -> Numbers:
    """Return the numbers of sensitivity, learnability, curvature, dimension and the Schur ablation."""
    return (
        _of_sensitivity(result)
        | _of_learnability(result)
        | _of_curvature(result)
        | _of_dimension(result)
        | _of_schur(result)
    )


def _of_sensitivity(result: ProbeResult) -> Numbers:
    taken = result.sensitivity
    if taken is None:
        return {}
    last = taken.curve[-1].log().item() / DECADE
    error = "" if not taken.relative_error else f" +- {100 * taken.relative_error:.2g} %"
    value = "beyond float64" if last == math.inf or math.isnan(last) else power(last if last > -math.inf else None)
    growth = "" if taken.power is None else f"as t^{taken.power:.2g} between T/2 and T"
    return {
        "sensitivity": (
            "||dh_T/dtheta||",
            value,
            f"root mean square over samples, {taken.parameters:,} parameters{error}",
        ),
        "sensitive": ("sensitivity, longer T", taken.growth, growth or "how it changes with the number of steps"),
    }


def _of_learnability(result: ProbeResult) -> Numbers:
    taken = result.learnability
    if taken is None:
        return {}
    windows = {n: taken.window(n) for n in SEQUENCES}
    shown = ", ".join(f"{lag} ({n:,})" for n, lag in windows.items() if lag is not None)
    note = (
        f"longest lag whose mean gradient is above its noise with (N) sequences, as far as {taken.samples} samples show"
    )
    numbers = {"window_all": ("learnability window", shown or "no lag", note)}
    middle = windows[SEQUENCES[1]]
    numbers["window"] = (f"window, {SEQUENCES[1]:,} sequences", "none" if middle is None else str(middle), "its lag")
    rate = taken.effective_rate[-1].log().item() / DECADE
    what = f"of the parameters at lag {taken.lags[-1]}, as a share of that at lag 0"
    if not math.isnan(rate):
        numbers["rate"] = ("effective learning rate", power(rate if rate > -math.inf else None), what)
    return numbers


def _of_curvature(result: ProbeResult) -> Numbers:
    taken = result.curvature
    if taken is None:
        return {}
    against = "" if taken.lr is None else f"; 2/lr = {2 / taken.lr:.4g}, so plain gradient descent is {taken.stability}"
    numbers = {
        "sharpness": ("sharpness", f"{taken.hessian:.4g}", f"largest eigenvalue of the loss's Hessian{against}"),
        "gauss_newton": ("Gauss-Newton", f"{taken.gauss_newton:.4g}", "largest eigenvalue of J^T (d^2 L/dy^2) J"),
    }
    scale = "none" if taken.noise_scale is None else f"{taken.noise_scale:.4g}"
    note = f"tr Sigma / |g|^2 of {taken.samples} samples: batch size up to which a larger one saves updates"
    if taken.noise_scale is None:
        note = f"the noise of {taken.samples} samples hides their mean gradient"
    return numbers | {"noise_scale": ("gradient noise scale", scale, note)}


def _of_dimension(result: ProbeResult) -> Numbers:
    taken = result.dimension
    if taken is None or taken.participation_ratio is None:
        return {}
    of = f"of the states, 1 ... {taken.size}"
    return {
        "participation": ("participation ratio", f"{taken.participation_ratio:.4g}", f"dimension {of}, by variance"),
        "rank": ("effective rank", f"{taken.effective_rank:.4g}", f"dimension {of}, by the entropy of singular values"),
    }


def _of_schur(result: ProbeResult) -> Numbers:
    taken = result.schur
    if taken is None:
        return {}
    rates = [flow.growth_rate().mean for flow in (taken.flow, taken.flow_without)]
    with_, without = ("none" if rate is None else f"{rate:.4g}" for rate in rates)
    note = f"{100 * taken.share:.3g} % of ||A||_F; growth rate of the gradient with it {with_}, without {without}"
    losses = f"{taken.loss:.4g} with the non-normal part"
    return {
        "schur": ("non-normal part", taken.meaning, note),
        "schur_loss": ("loss without it", f"{taken.loss_without:.4g}", losses),
    }


def power(log10: float | None, digits: int = 4) -> str:
    """Return 10^log10 in so many digits, also where no float can hold it; None is 0."""
    if log10 is None:
        return "0"
    if -4 <= log10 < 5:
        return f"{10**log10:.{digits}g}"
    whole = math.floor(log10)
    mantissa = f"{10 ** (log10 - whole):.{digits - 1}f}"
    if mantissa.startswith("10"):
        mantissa, whole = f"{1:.{digits - 1}f}", whole + 1
    return f"{mantissa}e{whole:+03d}"
