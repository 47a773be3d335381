"""The ways to run a sequence forward and backward that are timed side by side.

In each, parameters get their gradients from the gradient of every output, and the inputs get none.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stablebench.engines import chunkwise, scan
from stablebench.engines.fused import engine as fused
from stablebench.engines.fused.plan import StepPlan, plan_model
from stablebench.engines.fused.step_graph import UnsupportedStep
from stablebench.engines.trial import not_compiled_reason
from stablebench.models.attention_model import AttentionModel
from stablebench.models.base import RecurrentModel, layer_outputs
from stablebench.models.network import EngineRun
from stablebench.models.recurrent.gru import GRU
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
    if isinstance(work.model, AttentionModel):
        if name == "reference":
            return _passes(name, work.model, lambda: work.model(work.x), work.d_outputs)
        if not name.startswith("nn."):
            return UnsupportedStep("an attention model has no chain over time: torch's own calls run it")
    return _MAKERS[name](work)


def transition_contender(model: RecurrentModel | AttentionModel) -> Contender:
    """Return only `recurrent_weights()`, forward and backward; of an attention model, which has none, nothing."""

    def leaves() -> list[Tensor]:
        if isinstance(model, AttentionModel):
            return []
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


def _of_model(
    name: str, outputs: Callable[[Sequences], Tensor], reason: Callable[[Sequences], str | None] = lambda work: None
) -> Callable[[Sequences], Contender | UnsupportedStep]:
    """Return what makes a contender that runs the model itself, unless there is a reason against it."""

    def make(work: Sequences) -> Contender | UnsupportedStep:
        if (against := reason(work)) is not None:
            return UnsupportedStep(against)
        return _passes(name, work.model, lambda: outputs(work), work.d_outputs)

    return make


def _engine_outputs(run: EngineRun) -> Callable[[Sequences], Tensor]:
    return lambda work: layer_outputs(work.model, run(work.model, work.x)[0], work.x)


def _fused_reason(work: Sequences) -> str | None:
    return (
        fused.unsupported_reason(work.model, work.x.device, inputs_need_gradient=False)
        or fused.unavailable_reason(work.x.device, work.x.dtype)
        or not_compiled_reason(work.model, work.x.device, inputs_need_gradient=False)
    )


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
    parts = _floor_parts(work)
    return parts if isinstance(parts, UnsupportedStep) else Contender("floor", Floor(*parts).run)


def floor_products(work: Sequences) -> list[BareProduct]:
    """Return the products of a model's floor; none if it has no floor."""
    parts = _floor_parts(work)
    return [] if isinstance(parts, UnsupportedStep) else bare_products(*parts)


def _floor_parts(work: Sequences) -> tuple[StepPlan, tuple[Tensor, ...], int, int] | UnsupportedStep:
    """Return plan, matrices, rows and steps, or why the products of a model are not known."""
    if isinstance(work.model, AttentionModel):
        return UnsupportedStep("an attention model has no products of a step")
    planned = plan_model(work.model, work.x)
    if isinstance(planned, UnsupportedStep):
        return planned
    if not planned.with_projection:
        return UnsupportedStep(
            "the products of its `input_projection` are not known, which cannot be traced together with `step`"
        )
    matrices, _ = planned.traced.evaluate(work.model.step, work.model.recurrent_weights())
    return planned, matrices, work.x.shape[0], work.x.shape[1]


_MAKERS: dict[str, Callable[[Sequences], Contender | UnsupportedStep]] = {
    "fused": _of_model("fused", _engine_outputs(fused.run), _fused_reason),
    "reference": _of_model("reference", lambda work: work.model(work.x)[0]),
    "literal": _of_model("literal", lambda work: literal_outputs(work.model, work.x)),
    "nn.LSTM": _torch("nn.LSTM", nn.LSTM),
    "nn.RNN": _torch("nn.RNN", nn.RNN),
    "floor": _floor,
    "scan": _of_model("scan", _engine_outputs(scan.run), lambda work: scan.unsupported_reason(work.model)),
    "chunkwise": _of_model(
        "chunkwise", _engine_outputs(chunkwise.run), lambda work: chunkwise.unsupported_reason(work.model)
    ),
    "nn.GRU": _torch("nn.GRU", nn.GRU),
}
SEQUENCE_CONTENDERS = tuple(name for name in _MAKERS if name not in ("scan", "chunkwise", "nn.GRU"))
"""`fused` and `reference`: the engines. `literal`: a loop over `input_projection` and `step`. nn.*: torch's own."""


def contender_names(model: RecurrentModel | AttentionModel) -> tuple[str, ...]:
    """Return `SEQUENCE_CONTENDERS`, the engines `scan` and `chunkwise` where they run it, and nn.GRU for a GRU."""
    if isinstance(model, AttentionModel):
        return SEQUENCE_CONTENDERS
    engines = {"scan": scan, "chunkwise": chunkwise}
    named = [name for name, engine in engines.items() if engine.unsupported_reason(model) is None]
    return (*SEQUENCE_CONTENDERS, *named, *["nn.GRU"] * isinstance(model, GRU))
