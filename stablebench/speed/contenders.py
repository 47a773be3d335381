"""The ways to run a sequence forward and backward that are timed side by side.

In each, parameters get their gradients from the gradient of every output, and the inputs get none.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stablebench.engines import scan
from stablebench.engines.fused import engine as fused
from stablebench.engines.fused.plan import StepPlan, plan_model
from stablebench.engines.fused.step_graph import UnsupportedStep
from stablebench.engines.trial import not_compiled_reason
from stablebench.models.base import RecurrentModel
from stablebench.speed.floor import BareProduct, Floor, bare_products
from stablebench.speed.workload import Sequences


@dataclass(frozen=True)
class Contender:
    """Something that is timed.

    Args:
        name: What it is called.
        run: One pass.
        clear: Removes what a pass leaves behind; not timed.
    """

    name: str
    run: Callable[[], None]
    clear: Callable[[], None] = lambda: None


def literal_outputs(model: RecurrentModel, x: Tensor) -> Tensor:
    """Return all outputs, (batch, time, out), from the equation as papers' codes write it: every step for itself.

    Args:
        model: The recurrence.
        x: Inputs (batch, time, in).
    """
    state, recurrent_weights = model.initial_state(len(x)), model.recurrent_weights()
    outputs = []
    for t in range(x.shape[1]):
        projected = model.input_projection(x[:, t : t + 1])
        projected = projected[:, 0] if isinstance(projected, Tensor) else tuple(part[:, 0] for part in projected)
        state = model.step(projected, state, recurrent_weights)
        outputs.append(model.layer_output(state[model.output_state], x[:, t]))
    return torch.stack(outputs, dim=1)


def sequence_contender(name: str, work: Sequences) -> Contender | UnsupportedStep:
    """Return a contender, or why it cannot take part.

    Args:
        name: One of `contender_names`.
        work: What to run.
    """
    return _MAKERS[name](work)


def transition_contender(model: RecurrentModel) -> Contender:
    """Return only `recurrent_weights()`, forward and backward."""

    def leaves() -> list[Tensor]:
        tensors = [leaf for leaf in pytree.tree_leaves(model.recurrent_weights()) if isinstance(leaf, Tensor)]
        return [leaf for leaf in tensors if leaf.requires_grad]

    gradients = [torch.randn_like(leaf) for leaf in leaves()]

    def run() -> None:
        roots = leaves()
        if roots:
            torch.autograd.backward(roots, gradients)

    return Contender("transition", run, _clear(model))


def _clear(module: nn.Module) -> Callable[[], None]:
    return lambda: module.zero_grad(set_to_none=True)


def _passes(name: str, module: nn.Module, outputs: Callable[[], Tensor], d_outputs: Tensor) -> Contender:
    return Contender(name, lambda: outputs().backward(d_outputs), _clear(module))


def _fused(work: Sequences) -> Contender | UnsupportedStep:
    reason = fused.unsupported_reason(work.model, work.x.device, inputs_need_gradient=False)
    reason = reason or fused.unavailable_reason(work.x.device, work.x.dtype)
    reason = reason or not_compiled_reason(work.model, work.x.device, inputs_need_gradient=False)
    if reason is not None:
        return UnsupportedStep(reason)

    def outputs() -> Tensor:
        return work.model.layer_output(fused.run(work.model, work.x)[0], work.x)

    return _passes("fused", work.model, outputs, work.d_outputs)


def _scan(work: Sequences) -> Contender | UnsupportedStep:
    reason = scan.unsupported_reason(work.model)
    if reason is not None:
        return UnsupportedStep(reason)
    return _passes(
        "scan", work.model, lambda: work.model.layer_output(scan.run(work.model, work.x)[0], work.x), work.d_outputs
    )


def _reference(work: Sequences) -> Contender:
    return _passes("reference", work.model, lambda: work.model(work.x)[0], work.d_outputs)


def _literal(work: Sequences) -> Contender:
    return _passes("literal", work.model, lambda: literal_outputs(work.model, work.x), work.d_outputs)


def _torch(name: str, cls: Callable[..., nn.Module]) -> Callable[[Sequences], Contender]:
    def make(work: Sequences) -> Contender:
        hidden = work.model.hidden
        module = cls(work.x.shape[2], hidden, batch_first=True, device=work.x.device, dtype=work.x.dtype)
        d_outputs = work.d_outputs
        if d_outputs.shape[2] != hidden:
            d_outputs = torch.randn(*work.x.shape[:2], hidden, device=work.x.device, dtype=work.x.dtype)
        return _passes(name, module, lambda: module(work.x)[0], d_outputs)

    return make


def _floor(work: Sequences) -> Contender | UnsupportedStep:
    planned = _products_known(work)
    if isinstance(planned, UnsupportedStep):
        return planned
    return Contender("floor", Floor(planned, _matrices(work, planned), *work.x.shape[:2]).run)


def floor_products(work: Sequences) -> list[BareProduct]:
    """Return the products of a model's floor; none if it has no floor."""
    planned = _products_known(work)
    if isinstance(planned, UnsupportedStep):
        return []
    return bare_products(planned, _matrices(work, planned), *work.x.shape[:2])


def _products_known(work: Sequences) -> StepPlan | UnsupportedStep:
    planned = plan_model(work.model, work.x)
    if isinstance(planned, UnsupportedStep) or planned.with_projection:
        return planned
    return UnsupportedStep(
        "the products of its `input_projection` are not known, which cannot be traced together with `step`"
    )


def _matrices(work: Sequences, planned: StepPlan) -> tuple[Tensor, ...]:
    return planned.traced.evaluate(work.model.step, work.model.recurrent_weights())[0]


_MAKERS: dict[str, Callable[[Sequences], Contender | UnsupportedStep]] = {
    "fused": _fused,
    "reference": _reference,
    "literal": _literal,
    "nn.LSTM": _torch("nn.LSTM", nn.LSTM),
    "nn.RNN": _torch("nn.RNN", nn.RNN),
    "floor": _floor,
    "scan": _scan,
}
SEQUENCE_CONTENDERS = tuple(name for name in _MAKERS if name != "scan")
"""`fused` and `reference`: the engines. `literal`: a loop over `input_projection` and `step`. nn.*: torch's own."""


def contender_names(model: RecurrentModel) -> tuple[str, ...]:
    """Return `SEQUENCE_CONTENDERS`, and the engine `scan` where the model's recurrence is linear."""
    return SEQUENCE_CONTENDERS if scan.unsupported_reason(model) else (*SEQUENCE_CONTENDERS, "scan")
