r"""`watch`: what becomes of a module's gradients in someone else's training loop, without changing a number of it.

Every `every` passes, a pass being a forward call in training mode with autograd on and what follows it up to the next
(a cell that is called in a loop has one pass a derivation: a call whose state has a graph belongs to the pass before);
where that pass has no gradient, as one that only validates, or the first of two before one derivation, the next one
that has one:

    gradient.NAME        norm of the loss's gradient in a parameter; in those of a child; `gradient.whole` in all
    norm.NAME            Euclidean norm of a parameter
    orthogonality.NAME   ||M^T M - I||, spectral norm, of a square matrix
    isometry.NAME        root mean square of ln sigma over its singular values that are not 0; 0 where it is orthogonal
    flow.LAYER.NAME      of a recurrent layer: log10 of ||dL/dh_t|| at both ends of its chain, and the growth rate

Gradients are those that autograd has accumulated: before clipping, and scaled where a loss scaler is used. ||dL/dh_t||
is computed afterwards, in float64, from a copy of the layer and the gradient that came into its outputs and last state.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stablebench.api.asked import count_of
from stablebench.api.frames import frame
from stablebench.api.watched_layers import LayerCall, call_of, draws_of, given_to, is_layer
from stablebench.errors import StablebenchError, UserError
from stablebench.models.claims.claim import DECADE
from stablebench.probes.gradient_flow import GradientFlow
from stablebench.training.monitor import deviation, undisturbed

if TYPE_CHECKING:
    from stablebench.report.figures.style import Figure

_CALLS = 8
"""Calls of one recurrent layer in a pass that are followed over time; with more it runs step by step."""


@dataclass(frozen=True)
class WatchRecord:
    """One measurement.

    Args:
        step: Passes before it.
        numbers: By name.
        flows: ||dL/dh_t|| for every t, by recurrent layer.
    """

    step: int
    numbers: dict[str, float]
    flows: dict[str, GradientFlow]


@dataclass
class _MeasuredPass:
    """A pass that is being measured."""

    step: int
    numbers: dict[str, float] = field(default_factory=dict)
    gradients: dict[str, float] = field(default_factory=dict)
    calls: dict[str, LayerCall] = field(default_factory=dict)
    draws: dict[str, list[Tensor]] = field(default_factory=dict)
    stepped: set[str] = field(default_factory=set)


class Watch:
    """Hooks on a module; `watch` makes it.

    Args:
        model: The module.
        every: Passes between two measurements.
        samples: Sequences of a batch for ||dL/dh_t||.
    """

    def __init__(self, model: nn.Module, every: int, samples: int) -> None:
        self.records: list[WatchRecord] = []
        """The measurements so far."""
        self.skipped: dict[str, str] = {}
        """Why nothing was measured along the time of a recurrent layer, by its name."""
        self._model, self._every, self._samples = model, every, samples
        self._passes = 0
        self._derived = self._due = False
        self._now: _MeasuredPass | None = None
        self._handles: list[Any] = []
        self._layers: set[nn.Module] = set()
        self._hooked: set[Tensor] = set()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Watch":
        """Return itself: a copy of the module has its hooks, and is not watched."""
        return self

    def start(self) -> None:
        """Put the hooks on."""
        self._handles.append(self._model.register_forward_pre_hook(_reading(self._begin), with_kwargs=True))
        self._handles.append(self._model.register_forward_hook(_reading(self._follow_parameters)))
        self._follow_parameters()
        self._follow_layers()

    def stop(self) -> None:
        """Take the hooks off; the last measurement is completed."""
        self._complete()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._hooked.clear()

    def _follow_layers(self) -> None:
        """Put hooks on the recurrent layers that have none yet."""
        for name, module in self._model.named_modules():
            if is_layer(module) and module not in self._layers:
                self._layers.add(module)
                name = name or type(module).__name__
                before, after = _reading(self._calling, name), _reading(self._called, name)
                self._handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
                self._handles.append(module.register_forward_hook(after, with_kwargs=True))

    def _follow_parameters(self, *called: Any) -> None:
        """Put hooks on the parameters that are trained and have none yet: some may be unfrozen, or made, later."""
        if called and (called[0] is not self._model or (self._now is None and self._hooked)):
            return
        for name, parameter in self._model.named_parameters():
            if parameter.requires_grad and parameter not in self._hooked and not nn.parameter.is_lazy(parameter):
                self._hooked.add(parameter)
                hook = partial(self._accumulated, name)
                self._handles.append(parameter.register_post_accumulate_grad_hook(hook))

    def _begin(self, module: nn.Module, inputs: Any, named: dict[str, Any]) -> None:
        if module is not self._model or not (module.training and torch.is_grad_enabled()):
            return
        if self._passes and not self._derived and _has_graph(given_to(module, inputs, named)[1:]):
            return
        self._complete()
        self._derived = False
        self._due = self._due or self._passes % self._every == 0
        if self._due:
            self._now = _MeasuredPass(self._passes)
            self._follow_layers()
        self._passes += 1

    def _accumulated(self, name: str, parameter: Tensor) -> None:
        self._derived = True
        if self._now is not None and parameter.grad is not None:
            if not self._now.numbers:  # as they were in the forward call; none of a pass that is not derived
                with torch.no_grad():
                    self._now.numbers = _of_parameters(self._model)
            self._now.gradients[name] = parameter.grad.detach().double().norm().item()

    def _follows(self, name: str, module: nn.Module) -> bool:
        """Whether a call of a layer is followed, unless it is one of too many."""
        if self._now is None or not torch.is_grad_enabled() or module not in self._layers:
            return False
        return name not in self._now.stepped

    def _calling(self, name: str, module: nn.Module, inputs: Any, named: dict[str, Any]) -> None:
        if self._now is not None and self._follows(name, module):
            self._now.draws[name] = draws_of(module)

    def _called(self, name: str, module: nn.Module, inputs: Any, named: dict[str, Any], output: Any) -> Any:
        if self._now is None or not self._follows(name, module):
            return output
        before = self._now.draws.pop(name, None)
        calls = [known for known in self._now.calls if known.partition("#")[0] == name]
        earlier = len(calls)
        if earlier == _CALLS:
            self._now.stepped.add(name)
            self.skipped[name] = (
                f"it was called more than {_CALLS} times in a pass: step by step, each a chain of its own"
            )
            for known in calls:
                del self._now.calls[known]
            return output
        try:
            with undisturbed():
                given = given_to(module, inputs, named)
                call, output = call_of(module, given, output, self._samples, before)
        except UserError as error:
            self.skipped[name] = str(error)
            return output
        self._now.calls[f"{name}#{earlier + 1}" if earlier else name] = call
        return output

    def _complete(self) -> None:
        """Keep what the last pass gave, if its loss has been derived."""
        now, self._now = self._now, None
        if now is None or not now.gradients:
            return
        self._due = False
        numbers, flows = now.numbers | _grouped(now.gradients), {}
        for name, call in now.calls.items():
            try:
                with undisturbed(), torch.no_grad(), _one_thread():
                    flow = call.flow()
            except StablebenchError as error:
                self.skipped[name] = str(error)
                continue
            if flow is not None:
                flows[name] = flow
                numbers |= _ends(name, flow)
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        self.records.append(WatchRecord(now.step, finite, flows))

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a row a number: `step`, `name`, `value`.

        Raises:
            UserError: pandas is not installed.
        """
        rows = [(record.step, name, value) for record in self.records for name, value in record.numbers.items()]
        return frame({name: [row[i] for row in rows] for i, name in enumerate(("step", "name", "value"))})

    def plot(self) -> "Figure":
        """Return a figure with a panel for each kind of number over the passes.

        Raises:
            UserError: Nothing was measured yet.
        """
        from stablebench.report.figures.monitor import ProbedRuns, draw

        if not self.records:
            raise UserError("Nothing was measured: no pass through the module had a gradient.")
        label = type(self._model).__name__
        return draw(ProbedRuns([(label, 0, r.step, name, v) for r in self.records for name, v in r.numbers.items()]))

    def __repr__(self) -> str:
        last = self.records[-1].numbers.get("gradient.whole", 0.0) if self.records else 0.0
        return f"<Watch of {type(self._model).__name__}: {len(self.records)} records, last gradient norm {last:.4g}>"


@contextmanager
def watch(model: nn.Module, every: int = 100, *, samples: int = 2) -> Iterator[Watch]:
    """Context in which a module's gradients and matrices are measured while it is trained; no number of it changes.

    Args:
        model: The module whose calls are counted: the one that the loop calls.
        every: Passes between two measurements, >= 1; the first pass is measured, too. A measurement that is due waits
            for a pass with a gradient, which is the record's `step`.
        samples: Sequences of a batch that ||dL/dh_t|| is computed for, >= 1; L is what autograd derives.

    Yields:
        The measurements: `records`, `plot()`, `to_frame()`, and in `skipped` the recurrent layers that are not followed
        over time: bidirectional and packed ones, those with hooks or dropout, and those that are called step by step.

    Raises:
        UserError: A number is out of range, or it is no module.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"watch takes a module, got {type(model).__name__}.")
    watched = Watch(model, count_of("every", every), count_of("samples", samples))
    watched.start()
    try:
        yield watched
    finally:
        watched.stop()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Context with one thread of torch: many small steps wait for each other with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _reading(hook: Callable[..., Any], *given: Any) -> Any:
    """Return a hook that is known to change nothing: `has_hooks`."""
    known: Any = partial(hook, *given)
    known.only_reads = True
    return known


def _has_graph(state: Any) -> bool:
    """Whether a tensor of a state comes from an earlier call and has not been detached from it."""
    return any(isinstance(leaf, Tensor) and leaf.grad_fn is not None for leaf in pytree.tree_leaves(state))


def _of_parameters(module: nn.Module) -> dict[str, float]:
    numbers = {}
    for name, parameter in module.named_parameters():
        if nn.parameter.is_lazy(parameter):
            continue
        value = parameter.detach().cpu()
        numbers[f"norm.{name}"] = value.double().norm().item()
        if value.dim() == 2 and value.shape[0] == value.shape[1] > 1 and value.isfinite().all():
            wide = value.to(torch.complex128 if value.is_complex() else torch.float64)
            numbers[f"orthogonality.{name}"] = deviation(wide)
            logs = torch.linalg.svdvals(wide).log()
            alive = logs[logs.isfinite()]
            numbers[f"isometry.{name}"] = alive.square().mean().sqrt().item() if len(alive) else math.inf
    return numbers


def _grouped(gradients: dict[str, float]) -> dict[str, float]:
    """Return the norms of the parameters, of the children of the module, and the whole one."""
    groups: dict[str, list[float]] = {"whole": list(gradients.values())}
    for name, norm in gradients.items():
        child, dot, _ = name.partition(".")
        if dot:
            groups.setdefault(child, []).append(norm)
    return {f"gradient.{name}": math.hypot(*norms) for name, norms in groups.items()} | {
        f"gradient.{name}": norm for name, norm in gradients.items()
    }


def _ends(name: str, flow: GradientFlow) -> dict[str, float]:
    ends: dict[str, Callable[[], float | None]] = {
        "log10_first": lambda: median(flow.log_norms[:, 0].tolist()) / DECADE,
        "log10_last": lambda: median(flow.log_norms[:, -1].tolist()) / DECADE,
        "growth_rate": lambda: flow.growth_rate().mean,
    }
    values = {f"flow.{name}.{end}": value() for end, value in ends.items()}
    return {key: value for key, value in values.items() if value is not None}
