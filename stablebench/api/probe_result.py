"""What `probe` returns: numbers as arrays, the verdict in words, tables and figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy
from jaxtyping import Float
from numpy.typing import NDArray

from stablebench.api.frames import frame
from stablebench.probes.measurements import ClaimVerdict
from stablebench.probes.probe import ProbeResult
from stablebench.report.probe_tables import LOSS, meanings, tables_of, verdict, verdict_line
from stablebench.tables import render

if TYPE_CHECKING:
    from stablebench.report.figures.style import Figure

Array = NDArray[numpy.float64]
"""Numbers, (n,) where nothing else is said."""


@dataclass(frozen=True, repr=False)
class Probe:
    """The gradients of one model; `print` shows what `stablebench probe-gradients` does.

    Logarithms are natural ones. A property of a measure that was not requested is None.

    Args:
        measured: Every measure in full.
        name: The model's name.
        title: The model and where it was probed, in one line.
        unit: What its chain runs over: steps or layers.
        readout: Which steps the loss reads: `last` or `every`.
    """

    measured: ProbeResult
    name: str
    title: str
    unit: str
    readout: str

    @property
    def verdict(self) -> str | None:
        """VANISHES, SURVIVES or EXPLODES, by the largest singular value of dh_T/dh_1: the word of the command line."""
        jacobian = self.measured.jacobian
        return None if jacobian is None or not jacobian.steps else verdict(jacobian)

    @property
    def log_gradient_norms(self) -> Float[numpy.ndarray, "samples time"] | None:
        """Ln ||dL/dh_t|| of each sample, t = 0 ... E, the last step that the loss reads; -inf for exactly 0.

        Of a network without states ln ||dL/dx_t||, t = 1 ... E, here and in `gradient_norms` and `growth_rate`.
        """
        return None if self.measured.flow is None else self.measured.flow.log_norms.numpy()

    @property
    def gradient_norms(self) -> Array | None:
        """||dL/dh_t||, the median over the samples, t = 0 ... E; 0 or inf beyond float64."""
        return _medians(self.log_gradient_norms)

    @property
    def input_gradient_norms(self) -> Array | None:
        """||dL/dx_t||, the median over the samples, t = 1 ... E; None also where the input is the first state."""
        flow = self.measured.flow
        if flow is not None and flow.of_inputs:
            return self.gradient_norms
        return None if flow is None or flow.log_input_norms is None else _medians(flow.log_input_norms.numpy())

    @property
    def growth_rate(self) -> float | None:
        """D ln||dL/dh_t|| per step back in time: below 0 the gradient vanishes, above 0 it explodes."""
        return None if self.measured.flow is None else self.measured.flow.growth_rate().mean

    @property
    def log_singular_values(self) -> Float[numpy.ndarray, "samples state"] | None:
        """Ln of the singular values of dh_T/dh_1 of each sample, the largest first; -inf for exactly 0."""
        return None if self.measured.jacobian is None else self.measured.jacobian.logs.numpy()

    @property
    def isometry_distance(self) -> float | None:
        """Root mean square of ln sigma over directions that are not dead, the median over samples; 0 is isometry."""
        jacobian = self.measured.jacobian
        return None if jacobian is None else jacobian.isometry_distance.median().item()

    @property
    def lyapunov_exponents(self) -> Array | None:
        """Finite-time Lyapunov exponents, ln per step, the mean over samples, the largest first."""
        lyapunov = self.measured.lyapunov
        return None if lyapunov is None else lyapunov.exponents.mean(0).numpy()

    @property
    def lag_shares(self) -> Array | None:
        """Share of the parameters' gradient by lag, 0 ... E - 1, the median; None where none is trained."""
        lags = self.measured.lag_share
        return None if lags is None else lags.shares.nanmedian(0).values.numpy()

    @property
    def sensitivities(self) -> Array | None:
        """||dh_t/dtheta||, the root mean square over samples, t = 1 ... T; inf beyond float64."""
        taken = self.measured.sensitivity
        return None if taken is None else taken.curve.numpy()

    @property
    def sequences_needed(self) -> dict[int, float] | None:
        """By lag, how many sequences it takes for the mean gradient to be as large as its noise.

        NaN where the samples show no signal.
        """
        taken = self.measured.learnability
        return None if taken is None else dict(zip(taken.lags, taken.needed.tolist(), strict=True))

    @property
    def sharpness(self) -> float | None:
        """The largest eigenvalue of the loss's Hessian."""
        return None if self.measured.curvature is None else self.measured.curvature.hessian

    @property
    def gradient_noise_scale(self) -> float | None:
        """Tr Sigma / |g|^2, in samples; None also where noise hides the mean gradient."""
        return None if self.measured.curvature is None else self.measured.curvature.noise_scale

    @property
    def participation_ratio(self) -> float | None:
        """Dimension of the states, 1 ... their number; None also where they never change."""
        return None if self.measured.dimension is None else self.measured.dimension.participation_ratio

    @property
    def metric_entropy(self) -> float | None:
        """Sum of the positive Lyapunov exponents, nats per step."""
        return None if self.measured.lyapunov is None else self.measured.lyapunov.metric_entropy

    @property
    def claims(self) -> Sequence[ClaimVerdict]:
        """Verdicts on the claims of the model's paper."""
        return self.measured.claims

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict, the one of `probe-gradients --json` but for what was asked."""
        return self.measured.document()

    def figures(self) -> "dict[str, Figure]":
        """Return a figure of each measure, by name: gradient-norm, lag-share, singular-values, lyapunov and others."""
        from stablebench.report.figures.probe import pictures

        drawn = pictures({self.name: self.measured}, self.title, self._loss)
        return {picture.name: picture.figure() for picture in drawn}

    def plot(self) -> "Figure":
        """Return the figure of the gradient norms over time, or of the first measure that there is.

        Raises:
            UserError: Nothing was measured that can be drawn.
        """
        from stablebench.errors import UserError
        from stablebench.report.figures.probe import pictures

        drawn = pictures({self.name: self.measured}, self.title, self._loss)
        if not drawn:
            raise UserError("Nothing to draw: no measure was requested.")
        return drawn[0].figure()

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a row for each t: log10 of the norms' median, 5 and 95 % over the samples.

        Raises:
            UserError: pandas is not installed, or the gradient flow was not measured.
        """
        from stablebench.errors import UserError

        flow = self.measured.flow
        if flow is None:
            raise UserError("The frame has the gradient norms: add flow to what.")
        inputs = flow.input_quantiles()
        columns: dict[str, list[Any]] = {"t": list(range(flow.first, flow.first + flow.log_norms.shape[1]))}
        columns |= {f"log10_norm_{name}": values for name, values in flow.quantiles().items()}
        if inputs is not None:
            columns |= {f"log10_input_norm_{name}": [None, *values] for name, values in inputs.items()}
        return frame(columns)

    @property
    def _loss(self) -> str:
        which = LOSS[self.measured.which]
        return which

    def _lines(self) -> list[str]:
        jacobian = self.measured.jacobian
        if jacobian is None or not jacobian.steps:
            return []
        return [verdict_line(jacobian, self.unit), *meanings([jacobian]), ""]

    def __repr__(self) -> str:
        tables = tables_of(self.measured, self.title, self.readout)
        return "\n".join([*self._lines(), render(tables).rstrip("\n")]).rstrip("\n")

    def _repr_html_(self) -> str:
        from html import escape

        tables = tables_of(self.measured, self.title, self.readout)
        return "".join(f"<p>{escape(line)}</p>" for line in self._lines() if line) + render(tables, "html")


def _medians(logs: Array | None) -> Array | None:
    """Return the median over samples of what has these logarithms."""
    if logs is None:
        return None
    with numpy.errstate(over="ignore", invalid="ignore"):
        return numpy.exp(numpy.median(logs, axis=0))
