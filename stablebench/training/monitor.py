r"""Measure a network while it is trained: numbers along the run, next to its loss.

    diagnostics     what the model's own paper speaks of (`ChainModel.diagnostics`): coRNN's condition (8), the mean of
                    nnRNN's gamma and the energy of its T, roaRNN's sigma = ||W||
    orthogonality   ||M^T M - I||, spectral norm, of every matrix that the model keeps orthogonal
    parameters      the Euclidean norm of every parameter
    gradients       the norm of the loss's gradient, whole and for every parameter, and log10 of ||dL/dh_t|| at both
                    ends of the chain, L read from the last scored step only; of ||dL/dx_t|| where there are no states
    energy          ||h_t||^2 of the states: mean and largest over t, and the last one's
    jacobian        log10 of the extreme singular values of dh_T/dh_1, and the largest Lyapunov exponent

All is computed in float64 on a copy, for the first validation examples, from zero states. The network, torch's global
generators and its default type are as before afterwards, so that a run is the same with and without.
"""

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median

import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.data.metrics import LOSS_SUMS
from stablebench.data.task import Task, first, joined
from stablebench.errors import StablebenchError, UserError, did_you_mean
from stablebench.models import attention_model, deep_model, recurrent_model
from stablebench.models.attention_network import AttentionNetwork
from stablebench.models.claims.claim import DECADE
from stablebench.models.deep_network import DeepNetwork
from stablebench.models.network import AnyNetwork
from stablebench.probes.input_flow import has_no_states, input_flow, no_states_message
from stablebench.probes.lyapunov import lyapunov_spectrum
from stablebench.probes.measurements import ChainMeasurements
from stablebench.process import python_random

_OF_STATES = ("energy", "jacobian")
"""Measures of states, which an attention model has none of."""
_EARLIER_NAMES = {"watched": "diagnostics"}
"""What measures were called in version 0.1: in its records and, for one version more, in `--probe`."""


@dataclass(frozen=True)
class MonitorConfig:
    """What is measured while training, and when.

    Args:
        every: Updates between two measurements, >= 1; there is one before the first update too.
        what: Names of `MEASURES`.
        batch: Validation examples, >= 1.
        samples: How many of them for the Jacobian, 1 ... batch.
    """

    every: int
    what: tuple[str, ...]
    batch: int = 8
    samples: int = 2

    @classmethod
    def parse(cls, text: str) -> "MonitorConfig":
        """Return what `every=50,what=gradients,energy,batch=4` says; names may also stand between `|`.

        `what` is by default all but the Jacobian, and `what=all` is everything.

        Raises:
            UserError: A key or a name is unknown, a number is out of range, or `every` is missing.
        """
        values: dict[str, str] = {}
        for item in filter(None, (part.strip() for part in re.split(r"[,|]", text))):
            key, equals, value = item.partition("=")
            if not equals and "what" in values:
                values["what"] += f",{item}"
            elif key in values or not equals or key not in ("every", "what", "batch", "samples"):
                raise UserError(
                    f"--probe {text}: '{item}' must be every=N, what=NAME,NAME..., batch=N or samples=N, each once."
                )
            else:
                values[key] = value
        what = _names(values.pop("what", None), text)
        numbers = {key: _count(key, value, text) for key, value in values.items()}
        if "every" not in numbers:
            raise UserError(f"--probe {text}: every=N is missing, the updates between two measurements.")
        config = cls(what=what, **{"samples": min(2, numbers.get("batch", 8)), **numbers})
        if config.samples > config.batch:
            raise UserError(f"--probe {text}: `samples` must be <= {config.batch}, the value of `batch`.")
        return config

    def for_network(self, network: AnyNetwork, note: Callable[[str], None]) -> "MonitorConfig":
        """Return what can be measured of a network: of one without states nothing that is of states.

        Args:
            network: The network.
            note: Takes a line that says what is left out.

        Raises:
            UserError: Nothing is left.
        """
        lost = [name for name in self.what if name in _OF_STATES] if has_no_states(network) else []
        if not lost:
            return self
        if len(lost) == len(self.what):
            raise no_states_message(network, " and ".join(lost))
        note(f"--probe: the model has no recurrent state, so {' and '.join(lost)} cannot be measured and is left out")
        return replace(self, what=tuple(name for name in self.what if name not in lost))

    def __str__(self) -> str:
        """Return what `parse` reads."""
        return f"every={self.every},what={','.join(self.what)},batch={self.batch},samples={self.samples}"


def renamed_measures(text: str) -> str | None:
    """Return a line that names the present word for each earlier one in a request, or None where there is none."""
    earlier = [name for name in re.split(r"[,|=]", text) if name.strip() in _EARLIER_NAMES]
    return "; ".join(f"--probe: `{name}` is now called `{_EARLIER_NAMES[name.strip()]}`" for name in earlier) or None


def _count(key: str, value: str, text: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise UserError(f"--probe {text}: `{key}` must be a whole number >= 1, got '{value}'.")
    return int(value)


def _names(given: str | None, text: str) -> tuple[str, ...]:
    if given is None:
        return tuple(name for name in MEASURES if name != "jacobian")
    if given == "all":
        return tuple(MEASURES)
    names = [_EARLIER_NAMES.get(name, name) for name in given.split(",")]
    for name in names:
        if name not in MEASURES:
            raise UserError(
                f"--probe {text}: there is no measure '{name}'.{did_you_mean(name, MEASURES)} "
                f"Measures: {', '.join(MEASURES)}, all."
            )
    return tuple(dict.fromkeys(names))


class TrainingProbe:
    """Measures a network again and again.

    Args:
        config: What is measured, and when.
        task: The task, for its first validation examples.

    Raises:
        UserError: The task has fewer validation examples than wanted, or its data are missing.
    """

    def __init__(self, config: MonitorConfig, task: Task) -> None:
        self.config = config
        self._loss = task.card.loss
        self._examples = validation_examples(task, config.batch)

    def due(self, step: int) -> bool:
        """Whether there is a measurement after `step` updates."""
        return step % self.config.every == 0

    def measure(self, network: AnyNetwork) -> dict[str, float | str]:
        """Return what is measured, by dotted name.

        What is not finite, as the logarithm of a gradient that is exactly 0, is left out. Where something cannot be
        measured, as after a state beyond float64, `error` says why.
        """
        numbers: dict[str, float | str] = {}
        with undisturbed(), torch.no_grad():
            seen = _Seen(network, self._examples, self._loss, self.config.samples)
            for name in self.config.what:
                try:
                    values = MEASURES[name](seen)
                except (StablebenchError, torch.linalg.LinAlgError) as error:  # pyright: ignore[reportPrivateImportUsage]
                    numbers["error"] = f"{name}: {error}"
                else:
                    numbers |= {key: value for key, value in values.items() if math.isfinite(value)}
        return numbers


def validation_examples(task: Task, count: int, asked_by: str = "batch") -> Batch:
    """Return the first validation examples; of a stream the first stretch of each of its parallel parts.

    Args:
        task: The task.
        count: How many.
        asked_by: What a message calls `count`.

    Raises:
        UserError: There are fewer.
    """
    pieces, available = [], 0
    for piece in task.pieces("validation"):
        pieces.append(piece)
        available += len(piece.inputs)
        if available >= count or task.carries_states:
            break
    if count > available:
        raise UserError(f"`{asked_by}` must be <= {available}, the validation examples, got {count}.")
    return first(joined(pieces), count)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Compute in float64, and leave torch's global state, and the global generators of others, as they were."""
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), python_random.kept():
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


class _Seen:
    """A network as it is now, and what several measures share."""

    def __init__(self, network: AnyNetwork, examples: Batch, loss: str, samples: int) -> None:
        self.network = copy.deepcopy(network).cpu().double().eval()
        reference = recurrent_model.run_steps
        if isinstance(network, DeepNetwork):
            reference = deep_model.run_layers
        elif isinstance(network, AttentionNetwork):
            reference = attention_model.run_attention
        self.network.engine = reference
        self.examples, self.loss, self.samples = examples, loss, samples

    @cached_property
    def evidence(self) -> ChainMeasurements:
        """The states, and what comes from them."""
        return ChainMeasurements(self.network, self.examples, self.loss, self.samples)

    def of_models(self, ask: Callable[..., Mapping[str, float | Tensor]]) -> Iterator[tuple[str, float | Tensor]]:
        """Yield what every model answers, its own name in the network before that of the answer."""
        names = {id(module): name for name, module in self.network.named_modules()}
        for model in self.network.models:
            for name, value in ask(model).items():
                yield f"{names[id(model)]}.{name}", value


def _diagnostics(seen: _Seen) -> dict[str, float]:
    values = seen.of_models(lambda model: model.diagnostics())
    return {f"diagnostics.{name}": float(value) for name, value in values}


def _orthogonality(seen: _Seen) -> dict[str, float]:
    matrices = seen.of_models(lambda model: model.orthogonal_matrices())
    return {f"orthogonality.{name}": deviation(torch.as_tensor(M)) for name, M in matrices}


def deviation(M: Tensor) -> float:
    """Return the largest spectral norm of M^H M - I, or of M M^H - I where M has more columns.

    Args:
        M: One matrix or several, (..., rows, columns).
    """
    if M.shape[-1] > M.shape[-2]:
        M = M.mH
    return torch.linalg.matrix_norm(M.mH @ M - torch.eye(M.shape[-1], dtype=M.dtype), 2).max().item()


def _parameters(seen: _Seen) -> dict[str, float]:
    return {f"norm.{name}": p.detach().norm().item() for name, p in seen.network.named_parameters()}


def _gradients(seen: _Seen) -> dict[str, float]:
    network, examples = seen.network, seen.examples
    network.zero_grad()
    with torch.enable_grad():
        output, _ = network(examples.inputs, None, examples.lengths)
        total, count = LOSS_SUMS[seen.loss](output, examples)
        (total / count).backward()
    norms = {name: p.grad.norm().item() for name, p in network.named_parameters() if p.grad is not None}
    numbers = {"gradient.whole": math.hypot(*norms.values())} | {f"gradient.{name}": n for name, n in norms.items()}
    if has_no_states(network):
        flow = input_flow(network, examples, loss=seen.loss, which="last")
    else:
        flow = seen.evidence.flow("last")
    for name, t in (("first", 0), ("last", -1)):
        numbers[f"flow.log10_{name}"] = median(flow.log_norms[:, t].tolist()) / DECADE
    rate = flow.growth_rate().mean
    return numbers | ({} if rate is None else {"flow.growth_rate": rate})


def _energy(seen: _Seen) -> dict[str, float]:
    energy = seen.evidence.states[1:].square().sum(2).mean(1)
    numbers = {"mean": energy.mean(), "largest": energy.max(), "last": energy[-1]}
    return {f"energy.{name}": value.item() for name, value in numbers.items()}


def _jacobian(seen: _Seen) -> dict[str, float]:
    jacobian = seen.evidence.jacobian
    return {
        "jacobian.log10_sigma_max": jacobian.log_largest.max().item() / DECADE,
        "jacobian.log10_sigma_min": jacobian.log_smallest.min().item() / DECADE,
        "jacobian.lyapunov": lyapunov_spectrum(jacobian).largest,
    }


MEASURES: dict[str, Callable[[_Seen], dict[str, float]]] = {
    "diagnostics": _diagnostics,
    "orthogonality": _orthogonality,
    "parameters": _parameters,
    "gradients": _gradients,
    "energy": _energy,
    "jacobian": _jacobian,
}
"""What can be measured, by name."""
