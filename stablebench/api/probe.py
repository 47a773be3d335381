"""`probe`: what becomes of the gradient in any recurrent module, in a model of stablebench, or in a trained run."""

import copy
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stablebench.api.asked import count_of, names_of, request_of, split_off
from stablebench.api.bare_network import BareNetwork, name_of
from stablebench.api.probe_result import Probe
from stablebench.api.run import Run, load_code, settings_kept
from stablebench.api.subjects import Subject, trained, untrained
from stablebench.data.batch import Batch
from stablebench.errors import UserError, first_line
from stablebench.models.base import RecurrentModel, State, real_like
from stablebench.models.chain_checks import check_repeatable, gives_out_a_state, is_users, left_as_it_is
from stablebench.models.own_cell import OwnCell, own_cell
from stablebench.models.torch_layers import Direction, TorchCell, has_hooks, own_call, plain_copy, torch_layers
from stablebench.probes import probe as probes
from stablebench.probes.gradient_flow import Loss
from stablebench.probes.probe import QUICK, Measure, measures_of

Probed = str | Run | Path | Callable[..., Any]
_OWN = ("batch", "data_dir")
OwnLoss = Callable[[Float[Tensor, "1 time out"]], Float[Tensor, ""]]
"""The loss of one sample, from its outputs in the order of time."""


def probe(
    model: Probed,
    x: Float[Tensor, "batch time in"] | None = None,
    h0: Any = None,
    *,
    loss: Literal["last", "task"] | OwnLoss = "last",
    what: str | Iterable[Measure] = QUICK,
    samples: int = 1,
    direction: Direction | None = None,
    threads: int = 1,
    **options: Any,
) -> Probe:
    """Measure whether gradients vanish or explode along a recurrence, in float64 on the CPU.

    What is given is left as it is: a copy is probed, in evaluation mode, and no random number is drawn.

    Args:
        model: What is probed. With `x`: an `nn.RNN`, `nn.LSTM` or `nn.GRU` (all layers), a module with their call
            `(x, h0) -> (outputs, h)`, a cell `(x_t, h) -> h` or `-> (out, h)`, a function like one, or a model of
            stablebench. Without: the name of a model, `FILE.py:CLASS` or a class, with `task`; or a run.
        x: Inputs (batch, time, in), time >= 2; always with the samples first.
        h0: The state before the first step, as the module takes it; None for zeros.
        loss: Of which loss the gradients are. `last`: that of the last scored step, and with `x` the sum over the units
            of the last output. `task`: the task's own. Or a function that is called with the outputs of one sample,
            (1, time, out), in the order of time; of several samples their mean is taken where a measure has one loss,
            as the curvature has. Where a module's output is none of its states, its first state is read in its place.
        what: Measures, as a list or with commas: `flow`, `jacobian`, `lyapunov`, and what takes longer, `lags`,
            `spectra`, `memory`, `sensitivity`, `learnability`, `curvature`, `dimension`, `schur`; or `all`.
        samples: How many samples the Jacobian is computed for, >= 1.
        direction: `forward` or `backward`, of a bidirectional layer of torch. A backward chain begins at the last
            step of x: its t counts from there, and its last output is the one at the first step.
        threads: CPU threads of torch meanwhile, >= 1; 2 may be faster for more than 200 units.
        options: Without `x`: `task`, and what `stablebench probe-gradients` takes, with `_` for `-`; `set` is a dict:
            `T`, `hidden`, `layers`, `recipe`, `seed`, `precision`, `batch` (validation examples, 16), `data_dir`.

    Raises:
        UserError: The module is no recurrence that can be probed, or an option is wrong.
        StablebenchError: A state or a derivative is not finite.
    """
    measures = measures_of("what", names_of("what", what))
    count_of("samples", samples)
    if direction not in (None, *get_args(Direction)):
        raise UserError(f"direction: must be forward or backward, got {direction!r}.")
    with settings_kept():
        torch.set_num_threads(count_of("threads", threads))
        torch.set_default_dtype(torch.float64)
        torch.set_flush_denormal(True)
        if x is not None:
            if options or isinstance(model, (str, Path, Run)):
                given = ", ".join(options) or f"the name {model}"
                raise UserError(
                    f"x: the inputs of a module; with a task its examples are the inputs. Given too: {given}."
                )
            return _of_module(model, x, h0, loss, measures, samples, direction)
        named = isinstance(model, (str, Path, Run, type)) or "task" in options
        if isinstance(model, nn.Module) or not named:
            raise UserError("x is missing: the inputs of the module, (batch, time, in).")
        if h0 is not None or direction is not None or not isinstance(loss, str):
            raise UserError("h0, direction and a loss of your own: only with x.")
        if loss not in ("last", "task"):
            raise UserError(f"loss: must be last or task, got '{loss}'.")
        subject = _subject(model, options)
        few = min(samples, len(subject.examples.inputs))
        result = probes.probe(
            subject.network,
            subject.examples,
            loss=subject.card.loss,
            which=loss,
            samples=few,
            what=measures,
            both=False,
            lr=subject.spec.optim.lr,
        )
        return Probe(result, subject.label, subject.title, subject.unit, subject.card.readout)


def _subject(model: str | Path | Run | Callable[..., Any], options: dict[str, Any]) -> Subject:
    own, rest = split_off(options, *_OWN)
    data_dir = None if own.get("data_dir") is None else Path(own["data_dir"])
    count = count_of("batch", own.get("batch", 16))
    if isinstance(model, str) and "task" not in rest and (Path(model) / "record.json").exists():
        model = Path(model)
    if isinstance(model, (Path, Run)):
        path, T = (model.folder if isinstance(model, Run) else model), rest.pop("T", None)
        if rest:
            raise UserError(f"{path}: a run is probed as its own spec says; leave {', '.join(rest)} out.")
        return trained(path, Path("runs"), None, T, data_dir=data_dir, count=count, load_code=load_code)
    with torch.random.fork_rng(devices=[]):
        return untrained([request_of(model, rest.pop("task", None), rest, _OWN)], data_dir=data_dir, count=count)[0]


def _of_module(
    called: Any,
    x: Tensor,
    h0: Any,
    loss: str | OwnLoss,
    what: tuple[Measure, ...],
    samples: int,
    direction: Direction | None,
) -> Probe:
    x = _inputs(x)
    if isinstance(called, type):
        raise UserError(f"x: is run through a module; give one, {called.__name__}(...), not its class.")
    if isinstance(loss, str) and loss != "last":
        raise UserError(f"loss: must be 'last' or a function of the outputs, got '{loss}': x comes with no task.")
    layers = chain_layers(called, x, h0, direction)
    x = x.flip(1) if direction == "backward" else x
    network = BareNetwork(layers, "last" if isinstance(loss, str) else "every")
    which: Loss = "last" if isinstance(loss, str) else "task"
    batch = Batch(x, torch.zeros(x.shape[:2] if which == "task" else len(x)))
    loss_sum = _summed if isinstance(loss, str) else partial(_own_summed, loss, direction == "backward")
    try:
        result = probes.probe(
            network, batch, loss=loss_sum, which=which, samples=min(samples, len(x)), what=what, both=False
        )
    except RuntimeError as error:  # code of the user's that meets float64, or derivatives of derivatives
        raise UserError(f"{name_of(called)}: {first_line(error)}") from error
    name = name_of(called)
    return Probe(result, name, f"{name}, {x.shape[1]} steps", "steps", "last")


def _summed(outputs: Tensor, batch: Batch) -> tuple[Tensor, int]:
    """Return the sum of the last outputs, (samples, out), and the number of samples: what the probe averages over."""
    return outputs.sum(), len(outputs)


def _own_summed(own: OwnLoss, backward: bool, outputs: Tensor, batch: Batch) -> tuple[Tensor, int]:
    """Return the sum of the samples' losses, each of its own outputs in the order of time, and how many there are."""
    outputs, values = outputs.flip(1) if backward else outputs, []
    for of_sample in outputs.split(1):
        value = own(of_sample)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise UserError("loss: must return one number, a tensor, from the outputs (1, time, out) of one sample.")
        values.append(value.reshape(()))
    return torch.stack(values).sum(), len(values)


def _inputs(x: Any) -> Tensor:
    if not isinstance(x, Tensor) or x.dim() != 3 or not x.is_floating_point():
        got = f"{tuple(x.shape)}, {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise UserError(f"x: must be a tensor of real numbers, (batch, time, in), got {got}.")
    if not len(x) or x.shape[1] < 2:
        raise UserError(f"x: must have at least one sample and two steps, got {tuple(x.shape)} (batch, time, in).")
    if not x.isfinite().all():
        raise UserError("x: has numbers that are not finite.")
    return x.detach().cpu().double()


@torch.no_grad()
def chain_layers(
    called: Any, x: Tensor, h0: Any, direction: Direction | None = None, *, to_run: bool = False
) -> list[RecurrentModel]:
    """Return a copy of a module, or a function, as layers of a chain that begin at h0.

    Args:
        called: The module or function.
        x: Inputs (batch, time, in), float64.
        h0: As the module takes it; None for zeros.
        direction: Of a bidirectional layer of torch.
        to_run: As in `own_cell`.

    Raises:
        UserError: It is no recurrence.
    """
    module = plain_copy(called) if isinstance(called, nn.Module) else called
    if module is called and isinstance(called, nn.Module):
        module = _copied(called)
    start = pytree.tree_map(lambda t: t.detach().cpu().double() if isinstance(t, Tensor) else t, h0)
    layers = [module] if isinstance(module, RecurrentModel) else None
    if layers is None and isinstance(module, nn.Module):
        layers = torch_layers(module, direction)
    if layers is None:
        cell = _own_cell(_in_float64(module), x, start, to_run)
        if start is not None:
            _begin([cell], [cell.begin(start, len(x))])
        check_repeatable(cell, x, "cell" if cell.one.how == "cell" else "layer")
        changed = isinstance(module, (nn.RNNBase, nn.RNNCellBase)) and type(module).forward.__module__.startswith(
            "torch."
        )
        if changed and not gives_out_a_state(cell, x):
            raise UserError(
                f"This {type(module).__name__} has {own_call(module)}, and what it returns as outputs is none of its "
                "states, as it would be without: its gradient is not that of the outputs. Probe it without, or a cell."
            )
        return [cell]
    if x.shape[2] != layers[0].in_features:
        raise UserError(f"x: the module takes {layers[0].in_features} features, got {x.shape[2]} (batch, time, in).")
    if start is not None:
        _begin(layers, _by_layer(layers, start, called, len(x)))
    if isinstance(module, RecurrentModel) and is_users(module):
        check_repeatable(module, x.to(real_like(module)), "model")
    return list(layers)


def _own_cell(module: Any, x: Tensor, start: Any, to_run: bool) -> OwnCell:
    """Return a copy of a user's module, or a function, as a chain; it is left as it was before it was tried out."""
    owner = getattr(module, "__self__", module)
    try:
        with left_as_it_is(owner):
            return own_cell(module, x, start, to_run=to_run)
    except UserError as error:
        if "forward" not in getattr(owner, "__dict__", {}) or not str(error).startswith("This is "):
            raise
        raise UserError(
            f"The `forward` that was set on this {name_of(owner)} cannot be run with the copy in float64 that is "
            "probed; it may not read the parameters of another module, or of this one by a name from outside: write a "
            f"subclass. {error}"
        ) from error


def _copied(module: nn.Module) -> nn.Module:
    """Return a copy of a module; tensors that were computed, which have no copy, become new ones.

    Raises:
        UserError: It cannot be copied, or it has hooks that may change gradients.
    """
    for part in module.modules():
        if has_hooks(part, ("_backward",)):
            raise UserError(
                f"{name_of(part)} has backward hooks, which may make its gradient another one than the derivative "
                "that is measured. Remove them first."
            )
    if isinstance(module, RecurrentModel) and has_hooks(module):
        raise UserError(f"{name_of(module)} has hooks, which its steps do not run. Remove them first.")
    layers = [part for part in module.modules() if isinstance(part, nn.RNNBase)]
    memo: dict[int, Any] = {id(part._flat_weights): [] for part in layers}  # parametrised ones are no leaves
    for value in (value for part in module.modules() for value in vars(part).values()):
        if isinstance(value, Tensor) and not value.is_leaf:
            memo[id(value)] = value.detach().clone()
    try:
        copied = copy.deepcopy(module, memo).requires_grad_(False)
    except (RuntimeError, ValueError) as error:  # a lazy parameter is the latter
        raise UserError(f"{name_of(module)} cannot be copied: {first_line(error)}") from error
    for part in copied.modules():
        if isinstance(part, nn.RNNBase):
            part._init_flat_weights()
    return copied


def _in_float64(called: Any) -> Any:
    """Return the copy of a module in float64 on the CPU; a function, or a method of a copy, where it was none."""
    owner = getattr(called, "__self__", None)
    if isinstance(owner, nn.Module):
        return getattr(_in_float64(_copied(owner)), called.__name__)
    return called.cpu().double().eval().requires_grad_(False) if isinstance(called, nn.Module) else called


def _by_layer(layers: list[RecurrentModel], start: Any, called: Any, batch: int) -> list[State]:
    """Return the state of each layer from h0 as torch's modules take it, or as a model of stablebench does."""
    parts = tuple(start) if isinstance(start, (tuple, list)) else (start,)
    if not isinstance(called, nn.RNNBase):
        _check_start(parts, [(batch, size) for size in layers[0].state_sizes], "a layer's states")
        return [parts]
    ways = 2 if called.bidirectional else 1
    wanted = [(ways * called.num_layers, batch, size) for size in layers[0].state_sizes]
    _check_start(parts, wanted, "the states of all layers" + (" and directions" if ways == 2 else ""))
    places = [ways * number + _is_backward(layer) for number, layer in enumerate(layers)]
    return [tuple(part[place] for part in parts) for place in places]


def _check_start(parts: tuple[Any, ...], wanted: list[tuple[int, ...]], what: str) -> None:
    """Raise a UserError unless h0 consists of tensors of these shapes."""
    if [tuple(part.shape) if isinstance(part, Tensor) else part for part in parts] != wanted:
        got = ", ".join(str(tuple(p.shape)) if isinstance(p, Tensor) else type(p).__name__ for p in parts)
        raise UserError(f"h0: {what} must be {', '.join(map(str, wanted))}, got {got or 'nothing'}.")


def _is_backward(layer: RecurrentModel) -> bool:
    return isinstance(layer, TorchCell) and layer.suffix.endswith("_reverse")


def _begin(layers: Iterable[RecurrentModel], states: list[State]) -> None:
    """Make layers begin at these states."""
    for layer, state in zip(layers, states, strict=True):
        layer.initial_state = partial(_first_rows, state)  # pyright: ignore[reportAttributeAccessIssue]


def _first_rows(state: State, batch: int) -> State:
    return tuple(part[:batch] for part in state)
