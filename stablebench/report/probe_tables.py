"""What a probe measured in words and tables: one model in full, or several side by side."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from torch import Tensor

from stablebench.models.claims.claim import DECADE
from stablebench.probes.gradient_flow import GradientFlow
from stablebench.probes.jacobian import SingularValues
from stablebench.probes.probe import ProbeResult
from stablebench.report.probe_numbers import Numbers, more_numbers, power
from stablebench.tables import Table

_ROWS = 20
"""Rows of the table of norms, the last step not counted."""
LOSS = {"task": "task's loss", "last": "loss at the last scored step"}
_MANY_LOSSES = (
    "The task's loss has a term at every step, so ||dL/dh_t|| need not fall where gradients vanish; "
    "--loss last follows one term back through all of them."
)


def tables_of(result: ProbeResult, title: str, readout: str) -> list[Table]:
    """Return the norms at some t, the numbers, and the verdicts.

    Args:
        result: What was measured.
        title: The model and where it was probed.
        readout: Which steps the task reads.
    """
    tables = []
    if result.flow is not None:
        tables.append(_norms(result, result.flow, title, readout))
    if rows := [list(row) for row in _numbers(result).values()]:
        tables.append(Table(["measure", "value", "what it is"], rows, title="" if tables else title))
    return [*tables, *claims_table(result)]


def verdict_line(jacobian: SingularValues, unit: str, name: str = "") -> str:
    """Return the line that says whether a gradient survives.

    Args:
        jacobian: The singular values of dh_T/dh_1, over one step at least.
        unit: What the chain runs over, steps or layers.
        name: The model's name, where there are several.
    """
    word = verdict(jacobian)
    return f"{name} {word}: {_left(jacobian, word)} after {jacobian.steps} {unit}{_directions(jacobian)}".lstrip()


def meanings(jacobians: Iterable[SingularValues]) -> list[str]:
    """Return a line for each word of verdict that stands above, which says what it means."""
    words = {verdict(jacobian) for jacobian in jacobians}
    return [f"{word} means: {_VERDICTS[word]}." for word in _VERDICTS if word in words]


_VANISHED, _EXPLODED = math.log(1e-3), math.log(1e3)
"""Natural logarithms of the largest singular value of dh_T/dh_1 below and above which a gradient is taken as lost."""
_VERDICTS = {
    "VANISHES": "even the direction that dh_T/dh_1 keeps best is down to less than 1e-3",
    "SURVIVES": "its largest singular value is between 1e-3 and 1e3; the range is from the smallest to the largest",
    "EXPLODES": "some direction grows more than 1e3 times",
}


def verdict(jacobian: SingularValues) -> Literal["VANISHES", "SURVIVES", "EXPLODES"]:
    """Return whether a gradient survives, by the median of the samples' largest singular value of dh_T/dh_1."""
    largest = jacobian.log_largest.median().item()
    return "VANISHES" if largest < _VANISHED else "EXPLODES" if largest > _EXPLODED else "SURVIVES"


def _left(jacobian: SingularValues, word: str) -> str:
    least, most = jacobian.log_smallest.min().item(), jacobian.log_largest.max().item()
    low, high = (power(v / DECADE if math.isfinite(v) else None, 2) for v in (least, most))
    if word == "SURVIVES":
        return f"{low} to {high} of the gradient is left"
    return f"{high} of the gradient is left" if word == "VANISHES" else f"the gradient is up to {high} times as large"


def _directions(jacobian: SingularValues) -> str:
    """Return how many directions of a gradient are not lost, where some are and some are not; of the median sample."""
    kept = int((jacobian.logs >= _VANISHED).sum(1).median())
    return f", in {kept} of {jacobian.size} directions 1e-3 or more" if 0 < kept < jacobian.size else ""


def claims_table(result: ProbeResult, heading: str = "Claims") -> list[Table]:
    """Return the verdicts, if there are any."""
    if not result.claims:
        return []
    columns = ["claim", "verdict", "measured", "bound", "hypothesis"]
    rows = [[f.claim, f.verdict, _value(f.measured), _value(f.bound), f.hypothesis] for f in result.claims]
    verdicts = {f.verdict for f in result.claims}
    notes = [f"{word}: {meaning}." for word, meaning in _CLAIM_VERDICTS.items() if word in verdicts]
    return [Table(columns, rows, title=heading, notes=notes, wrap=frozenset({"claim", "hypothesis"}))]


_CLAIM_VERDICTS = {
    "vacuous": "the bound holds and is so wide that it says nothing here",
    "not applicable": "what the claim presupposes is not the case here",
}


def side_by_side(results: Mapping[str, ProbeResult], title: str, readout: str) -> Table:
    """Return one row a model.

    Args:
        results: By model.
        title: Where they were probed.
        readout: Which steps the task reads.
    """
    numbers = {name: _numbers(result) for name, result in results.items()}
    keys = [key for key in _COLUMNS if any(key in row for row in numbers.values())]
    rows = [
        [name, *(row[key][1] if key in row else "" for key in keys), _verdicts(results[name])]
        for name, row in numbers.items()
    ]
    notes = [f"{name}: {meaning}." for name, meaning in (_COLUMNS[key] for key in keys) if meaning]
    if readout == "every" and any(r.flow is not None and r.flow.loss == "task" for r in results.values()):
        notes.insert(0, _MANY_LOSSES)
    minor = [_COLUMNS[key][0] for key in _MINOR if key in keys]
    return Table(["model", *(_COLUMNS[key][0] for key in keys), "claims"], rows, title=title, notes=notes, minor=minor)


_COLUMNS = {
    "growth": ("growth", "d ln||dL/dh_t|| per step back in time; below 0 it shrinks on the way back, above 0 it grows"),
    "half": ("half within lag", "half of the parameters' gradient comes from lags up to this"),
    "sigma_max": ("sigma_max", "ends of the singular values of dh_T/dh_1"),
    "sigma_min": ("sigma_min", ""),
    "isometry": ("isometry", "root mean square of ln sigma over directions that are not dead; 0 is dynamical isometry"),
    "exponent": ("exponent", "the largest Lyapunov exponent, ln per step"),
    "dynamics": ("dynamics", ""),
    "radius": ("radius", "spectral radius of the recurrent matrix, or of one-step Jacobians where there is none"),
    "henrici": ("non-normal", "departure from normality of the same, over its Frobenius norm"),
    "area": (
        "Fisher area",
        "of the Fisher memory curve of the linearised network, with noise of as many steps as the chain",
    ),
    "sensitivity": ("||dh_T/dtheta||", "sensitivity of the last state to the parameters, root mean square"),
    "sensitive": ("with T it", ""),
    "window": ("window", "the longest lag whose gradient 10,000 sequences lift out of its noise, as far as seen"),
    "sharpness": ("sharpness", "the largest eigenvalue of the loss's Hessian"),
    "noise_scale": ("noise scale", "examples in a batch up to which a larger one saves updates"),
    "participation": ("dimension", "participation ratio of the states"),
    "schur": (
        "non-normal part",
        "what the strictly upper Schur triangles do to the gradient at h_0, by a factor of 10",
    ),
    "capacity": ("capacity (rank)", "past inputs that float64 tells apart in the linearised network, however faint"),
}
"""Columns of the table of several models, and what they mean, by the short keys of `_numbers`."""
_MINOR = (
    "sharpness",
    "noise_scale",
    "schur",
    "participation",
    "sensitive",
    "sensitivity",
    "window",
    "capacity",
    "isometry",
    "henrici",
    "radius",
    "half",
    "area",
)
"""Those that a narrow terminal goes without, the first one first."""


def _verdicts(result: ProbeResult) -> str:
    counts = Counter(f.verdict for f in result.claims)
    shown = {"holds": "hold", "violated": "violated", "vacuous": "vacuous", "not applicable": "n/a"}
    return ", ".join(f"{counts[verdict]} {word}" for verdict, word in shown.items() if counts[verdict])


def _norms(result: ProbeResult, flow: GradientFlow, title: str, readout: str) -> Table:
    lags = result.lag_share
    rows, zeros, inputs = flow.quantiles(), flow.zeros(), flow.input_quantiles()
    end = len(zeros) - 1  # of the rows; t begins at `flow.first`
    shares = None if lags is None else lags.shares.cumsum(1).nanmedian(0).values.tolist()
    table = []
    for t in sorted({round(end * i / _ROWS) for i in range(_ROWS + 1)}):
        row = [t + flow.first, power(rows["median"][t]), power(rows["p5"][t]), power(rows["p95"][t]), zeros[t]]
        if inputs is not None:
            row.append(power(inputs["median"][t - 1]) if t else None)
        if shares is not None:
            row.append(_percent(shares[end - t]) if t else None)
        table.append(row)
    columns = ["t", "median", "5 %", "95 %", "exactly 0"]
    columns += [] if inputs is None else ["||dL/dx_t||"]
    columns += [] if shares is None else ["of dL/dtheta, steps >= t"]
    heading = f"{title}: {flow.symbol} of the {LOSS[flow.loss]}, {len(flow.log_norms)} samples"
    notes = [_MANY_LOSSES] if readout == "every" and flow.loss == "task" else []
    if result.lags is not None and lags is None:  # they were asked for
        notes.append("Nothing in the chain is trained, so its gradient has no shares of lags.")
    return Table(columns, table, title=heading, notes=notes)


def _numbers(result: ProbeResult) -> Numbers:
    return _of_flow(result) | _of_jacobian(result) | _of_spectra(result) | _of_memory(result) | more_numbers(result)


def _of_flow(result: ProbeResult) -> Numbers:
    flow = result.flow
    if flow is None:
        return {}
    numbers = {}
    rate, ratio = flow.growth_rate(), flow.log10_first_over_last()
    if rate.mean is None:
        numbers["growth"] = ("growth rate", "none", "the gradients are exactly 0")
    else:
        interval = "" if rate.interval_95 is None else ", 95 % [{:.3g}, {:.3g}]".format(*rate.interval_95)
        numbers["growth"] = ("growth rate", f"{rate.mean:.4g}", f"of {flow.symbol}, ln per step back in time{interval}")
    at_zero = "not defined" if ratio is None else power(ratio)
    ends = (flow.symbol.replace("t||", f"{t}||") for t in (flow.first, flow.first + flow.log_norms.shape[1] - 1))
    numbers["ratio"] = (" / ".join(ends), at_zero, "median over the samples")
    into = flow.input_growth_rate()
    if into is not None and into.mean is not None:
        numbers["inputs"] = ("growth rate, inputs", f"{into.mean:.4g}", "the same of ||dL/dx_t||")
    lags = result.lag_share
    if lags is not None and (half := lags.within(0.5)) is not None:
        most = lags.within(0.95)
        note = f"half of the parameters' gradient comes from lags up to this, 95 % from lags up to {most}"
        numbers["half"] = ("half within lag", str(half), note)
    return numbers


def _of_jacobian(result: ProbeResult) -> Numbers:
    numbers: Numbers = {}
    jacobian, lyapunov = result.jacobian, result.lyapunov
    if jacobian is not None:
        what = f"dh_{jacobian.steps + 1}/dh_1 ({jacobian.size} x {jacobian.size}, {len(jacobian.log_largest)} samples)"
        numbers["sigma_max"] = ("sigma_max", _range(jacobian.log_largest), f"largest singular value of {what}")
        numbers["sigma_min"] = ("sigma_min", _range(jacobian.log_smallest), "smallest one; 0 where it is singular")
        singular = bool(jacobian.log_smallest.isinf().any())
        condition = "infinite" if singular else _range(jacobian.log_condition)
        numbers["condition"] = ("condition", condition, "sigma_max / sigma_min")
        distance, dead = f"{jacobian.isometry_distance.median():.4g}", int(jacobian.dead.median())
        distance = "all dead" if dead == jacobian.size else f"{distance}, {dead} dead" if dead else distance
        note = f"root mean square of ln sigma over those of {jacobian.size} directions that are not dead; 0 is isometry"
        numbers["isometry"] = ("isometry distance", distance, note)
    if lyapunov is not None:
        error = "" if lyapunov.standard_error is None else f" +- {lyapunov.standard_error:.2g}"
        state = "converged" if lyapunov.converged else "not converged"
        value = f"{lyapunov.largest:.4g}" if math.isfinite(lyapunov.largest) else "none, all directions die"
        numbers["exponent"] = ("Lyapunov exponent", value, f"largest, ln per step over {lyapunov.steps} steps{error}")
        numbers["dynamics"] = ("dynamics", lyapunov.dynamics, f"by that exponent; {state}")
        if (dimension := lyapunov.kaplan_yorke_dimension) is not None:
            numbers["dimension"] = ("Kaplan-Yorke dimension", f"{dimension:.4g}", "of the attractor")
            entropy = f"{lyapunov.metric_entropy:.4g}"
            numbers["entropy"] = ("metric entropy", entropy, "sum of the positive exponents, nats per step")
    return numbers


def _of_spectra(result: ProbeResult) -> Numbers:
    if result.spectra is None:
        return {}
    group = result.spectra.recurrent or result.spectra.steps
    what = "recurrent matrix" if result.spectra.recurrent else "one-step Jacobians"
    numbers = {}
    for key, name, values, note in (
        ("radius", "spectral radius", [s.radius for s in group], f"of the {what}"),
        ("henrici", "non-normality", [s.relative_henrici for s in group], "Henrici's departure over ||A||_F, 0 ... 1"),
        ("orthogonal", "from orthogonal", [s.from_orthogonal for s in group], "||A^T A - I||"),
    ):
        low, high = f"{min(values):.4g}", f"{max(values):.4g}"
        numbers[key] = (name, low if low == high else f"{low} ... {high}", note)
    if result.spectra.recurrent:
        radii = [s.radius for s in result.spectra.steps]
        span = f"{min(radii):.4g} ... {max(radii):.4g}"
        numbers["step_radius"] = ("spectral radius, steps", span, f"of dh_t/dh_t-1 at {len(radii)} steps")
    return numbers


def _of_memory(result: ProbeResult) -> Numbers:
    memory = result.memory
    if memory is None or not memory.steps:
        return {}
    if memory.area is None:
        area, note = "none", memory.steps[0].reason
    else:
        area = f"{memory.area:.4g}"
        noise = f"noise of {memory.steps[0].horizon} steps"
        note = f"of the Fisher memory curve to lag {memory.lags}, linearised at {len(memory.steps)} steps, {noise}"
    numbers = {"area": ("Fisher area", area, note)}
    if memory.capacity is not None:
        capacity = f"{memory.capacity:.4g}"
        what = "a numerical rank: past inputs that float64 tells apart, however faint"
        numbers["capacity"] = ("linear memory capacity", capacity, what)
    return numbers


def _percent(share: float) -> str:
    return f"{100 * min(share, 1.0):.3g} %" if math.isfinite(share) else ""


def _range(logs: Tensor) -> str:
    low, high = (power(v / DECADE if math.isfinite(v) else None) for v in (logs.min().item(), logs.max().item()))
    return low if low == high else f"{low} ... {high}"


def _value(value: float | tuple[float, float]) -> str:
    return f"[{value[0]:.4g}, {value[1]:.4g}]" if isinstance(value, tuple) else f"{value:.4g}"
