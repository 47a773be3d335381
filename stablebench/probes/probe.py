"""The whole probe of one network: what is measured of its gradients, and the verdicts on its claims."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import torch

from stablebench.data.batch import Batch
from stablebench.data.task import first
from stablebench.errors import UserError, did_you_mean
from stablebench.models.network import AnyNetwork
from stablebench.probes.chain import chain_of
from stablebench.probes.curvature import Curvature, curvature
from stablebench.probes.differentiable import check_differentiable
from stablebench.probes.dimension import StateDimension, state_dimension
from stablebench.probes.gradient_flow import GradientFlow, Loss, LossOf
from stablebench.probes.input_flow import has_no_states, input_flow, no_states_message
from stablebench.probes.jacobian import SingularValues
from stablebench.probes.lag_share import LagShare, lag_share
from stablebench.probes.learnability import Learnability, learnability
from stablebench.probes.linear_memory import LinearMemory, linear_memory
from stablebench.probes.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from stablebench.probes.measurements import ChainMeasurements, ClaimVerdict, check_claims
from stablebench.probes.schur_ablation import SchurAblation, schur_ablation
from stablebench.probes.sensitivity import Sensitivity, sensitivity
from stablebench.probes.spectra import Spectra, spectra

Measure = Literal[
    "flow",
    "lags",
    "jacobian",
    "lyapunov",
    "spectra",
    "memory",
    "sensitivity",
    "learnability",
    "curvature",
    "dimension",
    "schur",
]
MEASURES: tuple[Measure, ...] = get_args(Measure)
QUICK: tuple[Measure, ...] = ("flow", "jacobian", "lyapunov")
"""What is measured unless more is asked for; the others take several times as long."""
WITHOUT_STATES: tuple[Measure, ...] = ("flow",)
"""What can be measured of a network without states: the gradient in its inputs."""
_PARTS: tuple[Measure, ...] = MEASURES[MEASURES.index("jacobian") :]
"""Those whose documents stand by their names."""
_LOSSES: tuple[Loss, ...] = ("task", "last")


@dataclass(frozen=True)
class ProbeResult:
    """What a probe measured; None for a part that was not requested.

    Args:
        which: The loss that was requested.
        claims: Verdicts, in the model's order.
        flows: Gradient norms, of the loss that was requested and perhaps of the other one.
        lags: Shares of the parameters' gradient by lag, likewise; None where nothing in the chain is trained.
        jacobian: Singular values.
        lyapunov: Lyapunov exponents.
        spectra: Eigenvalues.
        memory: Memory of the linearised network.
        sensitivity: Of the states to the parameters; None also where there are none below the readout.
        learnability: Signal and noise of the gradient by lag, of the loss that was requested; None also where nothing
            is trained or there is one sample.
        curvature: Sharpness and gradient noise.
        dimension: Dimension of the states.
        schur: The network without the non-normal part of its matrices; None also where it has none.
    """

    which: Loss
    claims: list[ClaimVerdict]
    flows: dict[Loss, GradientFlow] | None = None
    lags: dict[Loss, LagShare | None] | None = None
    jacobian: SingularValues | None = None
    lyapunov: LyapunovSpectrum | None = None
    spectra: Spectra | None = None
    memory: LinearMemory | None = None
    sensitivity: Sensitivity | None = None
    learnability: Learnability | None = None
    curvature: Curvature | None = None
    dimension: StateDimension | None = None
    schur: SchurAblation | None = None

    @property
    def flow(self) -> GradientFlow | None:
        """Gradient norms of the loss that was requested."""
        return None if self.flows is None else self.flows[self.which]

    @property
    def lag_share(self) -> LagShare | None:
        """Shares by lag, of the loss that was requested."""
        return None if self.lags is None else self.lags.get(self.which)

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict: `measures` and `claims`.

        `gradient_flow` and `lag_share` are those of the loss that was requested, `by_loss` has those of each measured.
        """
        by_loss: dict[Loss, dict[str, Any]] = {which: {} for which in (self.flows or self.lags or {})}
        for which, part in by_loss.items():
            if self.flows is not None:
                part["gradient_flow"] = self.flows[which].document()
            if self.lags is not None:
                part["lag_share"] = _document(self.lags[which])
        measures: dict[str, Any] = by_loss[self.which] | {"by_loss": by_loss} if by_loss else {}
        for name in _PARTS:
            if (part := getattr(self, name)) is not None:
                measures[name] = part.document()
        return {"measures": measures, "claims": [asdict(verdict) for verdict in self.claims]}


def _document(share: LagShare | None) -> dict[str, Any] | None:
    return None if share is None else share.document()


def probe(
    network: AnyNetwork,
    batch: Batch,
    *,
    loss: LossOf,
    which: Loss = "task",
    samples: int = 4,
    what: tuple[Measure, ...] = MEASURES,
    both: bool = True,
    lr: float | None = None,
) -> ProbeResult:
    """Probe a network in float64; the network is left as it is.

    Args:
        network: The network.
        batch: The samples of the gradient flow.
        loss: The task's loss, of `stablebench.data.metrics`.
        which: `task`: gradients of the task's own loss; `last`: of the loss at the last scored step only.
        samples: How many of them the Jacobian is computed for.
        what: What is measured; claims are checked whatever it is.
        both: Whether the gradient of the loss that was not requested is measured, too.
        lr: Learning rate that sharpness is held against; None for none.

    Raises:
        UserError: Autograd gives no derivative of the model.
        StablebenchError: A state or a derivative is not finite.
    """
    return Probing(network, batch, loss=loss, samples=samples, lr=lr).result(which, what, both)


class Probing:
    """A probe in two parts: the singular values, which the verdict needs, and everything that was requested.

    Args:
        network: The network; it is left as it is.
        batch: The samples of the gradient flow.
        loss: The task's loss, of `stablebench.data.metrics`.
        samples: How many of them the Jacobian is computed for.
        moved: Called with (step, steps) as a sweep goes back along the chain, from its end to 1.
        lr: Learning rate that sharpness is held against; None for none.

    Raises:
        UserError: Autograd gives no derivative of the model.
        StablebenchError: A state is not finite.
    """

    def __init__(
        self,
        network: AnyNetwork,
        batch: Batch,
        *,
        loss: LossOf,
        samples: int,
        moved: Callable[[int, int], None] | None = None,
        lr: float | None = None,
    ) -> None:
        check_differentiable(network)
        self._network, self._batch, self._loss = network, batch, loss
        self._lr = lr
        self._measured: ChainMeasurements | None = None
        if not has_no_states(network):
            with torch.no_grad():
                self._measured = ChainMeasurements(network, batch, loss, samples, moved)

    @property
    def _chain(self) -> ChainMeasurements:
        if self._measured is None:
            raise no_states_message(self._network, "Jacobian of it")
        return self._measured

    @property
    def jacobian(self) -> SingularValues:
        """Singular values of dh_T/dh_1 for the first samples, computed once."""
        with torch.no_grad():
            return self._chain.jacobian

    @property
    def state_size(self) -> int | None:
        """The width of the states s_1 ... s_T; None of a network without states."""
        return None if self._measured is None else self._measured.chain.own_size

    def measured(self, name: Measure, which: Loss) -> Any:
        """Return one measure by itself, of one loss, without the claims; None where the network does not have it.

        Args:
            name: `flow`, `jacobian`, `lyapunov`, or one of those that follow `memory` in `MEASURES`.
            which: Of which loss.
        """
        if self._measured is None:
            return self._input_flow(which) if name == "flow" else None
        with torch.no_grad():
            if name == "flow":
                return self._chain.flow(which)
            if name == "jacobian":
                return self._chain.jacobian
            if name == "lyapunov":
                return lyapunov_spectrum(self._chain.jacobian) if self._chain.jacobian.steps else None
            return self._more(which, (name,))[name]

    def result(self, which: Loss, what: tuple[Measure, ...], both: bool) -> ProbeResult:
        """Return what is measured; arguments as those of `probe`.

        Raises:
            UserError: The network has no states, and none of the measures can do without.
        """
        if self._measured is None:
            wanted = _LOSSES if both else (which,)
            measured = measurable(self._network, what)
            return ProbeResult(which, [], {loss: self._input_flow(loss) for loss in wanted} if measured else None)
        chain = self._measured
        with torch.no_grad():
            verdicts = check_claims(chain)
            flows = _flows(chain, which, both) if "flow" in what else None
            lags = self._lags(which, both) if "lags" in what else None
            one, states = chain_of(chain.network, first(self._batch, 1).inputs), chain.states[:, :1]
            return ProbeResult(
                which,
                verdicts,
                flows,
                lags,
                chain.jacobian if "jacobian" in what else None,
                lyapunov_spectrum(chain.jacobian) if "lyapunov" in what else None,
                spectra(chain.network, one, states) if "spectra" in what else None,
                linear_memory(one, states) if "memory" in what else None,
                **self._more(which, what),
            )

    def _input_flow(self, which: Loss) -> GradientFlow:
        return input_flow(self._network, self._batch, loss=self._loss, which=which)

    def _more(self, which: Loss, what: tuple[Measure, ...]) -> dict[str, Any]:
        """Return what is measured of the samples of the gradient flow, by name."""
        chain, batch = self._chain, self._batch
        of_loss = partial(_of_loss, chain, batch, self._loss)
        makers: dict[Measure, Callable[[], Any]] = {
            "sensitivity": lambda: sensitivity(chain.network, batch.inputs),
            "learnability": lambda: of_loss(learnability, which=which),
            "curvature": lambda: curvature(chain.network, batch, loss=self._loss, lr=self._lr),
            "dimension": lambda: state_dimension(chain.chain, chain.states),
            "schur": lambda: of_loss(schur_ablation, flow=chain.flow(which)),
        }
        return {name: maker() for name, maker in makers.items() if name in what}

    def _lags(self, which: Loss, both: bool) -> dict[Loss, LagShare | None]:
        chain = self._chain

        def share(which: Loss) -> LagShare | None:
            return lag_share(chain.network, chain.chain, chain.states, self._batch, loss=self._loss, which=which)

        if not both:
            return {which: share(which)}
        task = share("task")
        if chain.network.readout == "last":  # one loss
            return {"task": task, "last": None if task is None else replace(task, loss="last")}
        return {"task": task, "last": share("last")}


def _of_loss(chain: ChainMeasurements, batch: Batch, loss: LossOf, measure: Callable[..., Any], **more: Any) -> Any:
    return measure(chain.network, chain.chain, chain.states, batch, loss=loss, **more)


def _flows(chain: ChainMeasurements, which: Loss, both: bool) -> dict[Loss, GradientFlow]:
    losses = _LOSSES if both else (which,)
    return {loss: chain.flow(loss) for loss in losses}


def measures_of(option: str, names: Iterable[str]) -> tuple[Measure, ...]:
    """Return measures by their names, in their own order; `all` is all of them.

    Args:
        option: What a message calls the names.
        names: Of `MEASURES`, or `all`.

    Raises:
        UserError: A name is unknown.
    """
    names = set(names)
    for name in sorted(names - {"all", *MEASURES}):
        near = did_you_mean(name, [*MEASURES, "all"])
        raise UserError(f"{option}: there is no measure '{name}'.{near} Measures: {', '.join(MEASURES)}, all.")
    return tuple(name for name in MEASURES if name in names or "all" in names)


def listed(names: Sequence[str]) -> str:
    """Return names as `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def measurable(network: AnyNetwork, what: tuple[Measure, ...]) -> tuple[Measure, ...]:
    """Return those of the measures that a network has.

    Raises:
        UserError: It has none of them.
    """
    if not has_no_states(network):
        return what
    kept: tuple[Measure, ...] = tuple(name for name in what if name in WITHOUT_STATES)
    if not kept:
        raise no_states_message(network, listed(what))
    return kept
