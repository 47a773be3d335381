"""`compile_cell`: a cell as a layer over time, run by the fused engine as one compiled call, forward and backward."""

import warnings
from collections.abc import Callable
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stablebench import engines
from stablebench.api.bare_network import BareNetwork, name_of
from stablebench.engines.self_check import difference
from stablebench.errors import UserError, first_line, unknown_name
from stablebench.models import recurrent_model
from stablebench.models.base import RecurrentModel, State, layer_outputs
from stablebench.models.own_cell import OwnCell, outside_inference, own_cell
from stablebench.models.restore import restored
from stablebench.models.torch_layers import TorchCell, own_call, torch_layers
from stablebench.schema.run_spec import Engine


def compile_cell(cell: Callable[..., Any], *, engine: Engine = "auto", self_check: bool = True) -> "CompiledCell":
    """Return a layer that runs a cell over all time steps, as one compiled call where the cell can be traced.

    Its parameters, buffers and `state_dict` are the cell's own, under the cell's names; it is trained like any module.
    The compiled call has first derivatives only. What it computes is held against the loop over the cell at the first
    call.

    Args:
        cell: A module `(x_t, h) -> h` or `-> (out, h)`, an `nn.RNNCell`, `nn.LSTMCell` or `nn.GRUCell`, a model of
            stablebench, a method of a module or a function.
        engine: `auto`: the fastest that runs it. `fused`, `scan`, `chunkwise`: this one, or an
            error. `reference`: the loop.
        self_check: Whether to check the engine at the first call.

    Raises:
        UserError: It is a layer already, or there is no such engine.
    """
    if engine not in get_args(Engine):
        raise unknown_name("engine", engine, get_args(Engine))
    if isinstance(cell, nn.RNNBase):
        raise UserError(f"compile_cell takes a cell; {type(cell).__name__} is a layer over time already.")
    if isinstance(cell, type):
        raise UserError(f"compile_cell takes a cell, {cell.__name__}(...), not its class.")
    if not callable(cell):
        raise UserError(f"compile_cell takes a cell, (x_t, h) -> h or (out, h), got {type(cell).__name__}.")
    return CompiledCell(cell, engine, self_check)


class CompiledCell(nn.Module):
    """A cell as a layer; `compile_cell` makes it.

    Args:
        cell: The cell.
        engine: The engine that is asked for.
        self_check: Whether the engine is checked at the first call.
    """

    cell: Callable[..., Any]
    _owner: nn.Module | None
    _layer: RecurrentModel | None
    _code: list[Any]
    _start_known: bool

    def __init__(self, cell: Callable[..., Any], engine: Engine, self_check: bool) -> None:
        super().__init__()
        owner = cell if isinstance(cell, nn.Module) else getattr(cell, "__self__", None)
        self.__dict__["cell"] = cell  # no submodule: what the cell has is this module's own, under the same names
        self.__dict__["_owner"] = owner if isinstance(owner, nn.Module) else None
        if isinstance(owner, nn.Module):
            self._parameters, self._buffers, self._modules = owner._parameters, owner._buffers, owner._modules
            self._non_persistent_buffers_set = owner._non_persistent_buffers_set
        self._asked: Engine = engine
        self._self_check = self_check
        self.__dict__["_layer"] = None
        self._code, self._start_known = [], False
        self._choices: dict[Any, tuple[Callable[..., Any], str, str | None]] = {}
        self.engine: str | None = None
        """The engine of the last call: `fused`, `scan`, `chunkwise` or `reference`; None before the first."""
        self.reason: str | None = None
        """Why the last call was not one of the fused engine, or None."""

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle has: what was found out about the cell is found out again."""
        return self.__dict__ | {"_layer": None, "_code": [], "_choices": {}}

    def train(self, mode: bool = True) -> "CompiledCell":
        """Set the cell's mode, too."""
        super().train(mode)
        if self._owner is not None:
            self._owner.train(mode)
        return self

    def forward(self, x: Float[Tensor, "batch time in"], h0: Any = None) -> tuple[Float[Tensor, "batch time out"], Any]:
        """Run the cell over all steps.

        Args:
            x: Inputs (batch, time, in), time >= 1, in the parameters' dtype and on their device.
            h0: The state before the first step, as the cell takes it; None for zeros, or a model's own start.

        Returns:
            The outputs (batch, time, out), and the state after the last step, as the cell returns it.

        Raises:
            UserError: The cell is none, x or h0 has a wrong shape, or the engine that was asked for cannot run it.
        """
        if x.dim() != 3 or 0 in x.shape[:2]:
            raise UserError(f"x: must be (batch, time, in), each >= 1, got {tuple(x.shape)}.")
        layer = self._chain(x, h0)
        state = self._begun(layer, x, h0)
        key = (
            *(self.training, x.dtype, x.device, x.requires_grad, torch.is_grad_enabled()),
            torch.is_autocast_enabled(x.device.type),
        )
        if key not in self._choices:
            with outside_inference(self.cell):  # where nothing can be traced
                self._choices[key] = self._chosen(layer, x.clone() if x.is_inference() else x)
        run, self.engine, self.reason = self._choices[key]
        outputs, after = run(layer, x, state)
        outputs = layer_outputs(layer, outputs, x)
        if isinstance(layer, OwnCell):
            return outputs, layer.own_state(after)
        return outputs, after if isinstance(self.cell, RecurrentModel) or len(after) > 1 else after[0]

    def _chain(self, x: Tensor, h0: Any) -> RecurrentModel:
        """Return the cell as a chain, made at the first call; again where code is replaced, or torch's given hooks."""
        parts = () if self._owner is None else self._owner.modules()
        code = [(type(part), type(part).forward, vars(part).get("forward")) for part in parts]
        hooked = isinstance(self._layer, TorchCell) and own_call(self._layer.module) is not None
        if self._layer is None or hooked or code != self._code:
            self._code, self._choices, self._start_known = code, {}, h0 is None
            layers = [self.cell] if isinstance(self.cell, RecurrentModel) else None
            if layers is None and isinstance(self.cell, nn.Module):
                layers = torch_layers(self.cell)
            self.__dict__["_layer"] = layers[0] if layers else self._understood(x, h0)
        layer = self._layer
        assert layer is not None
        if x.shape[2] != layer.in_features:
            raise UserError(f"x: the cell takes {layer.in_features} features, got {x.shape[2]} (batch, time, in).")
        return layer

    def _understood(self, x: Tensor, h0: Any) -> OwnCell:
        steps = x.detach().expand(-1, 2, -1) if x.shape[1] == 1 else x.detach()
        start = pytree.tree_map(lambda t: t.detach() if isinstance(t, Tensor) else t, h0)
        with restored(self._owner or nn.Module()):
            return own_cell(self.cell, steps[:, :2], start, to_run=True)

    def _begun(self, layer: RecurrentModel, x: Tensor, h0: Any) -> State:
        """Return the states before the first step."""
        if h0 is None:
            if isinstance(layer, OwnCell) and not self._start_known:  # the first call had h0
                with restored(self._owner or nn.Module()):
                    layer.find_start(x.detach())
                self._start_known = True
            if isinstance(self.cell, RecurrentModel) or (isinstance(layer, OwnCell) and layer.begins_from_its_own):
                return layer.initial_state(len(x))
            return tuple(x.new_zeros(len(x), size) for size in layer.state_sizes)
        try:
            parts = layer.begin(h0, len(x)) if isinstance(layer, OwnCell) else tuple(pytree.tree_leaves(h0))
        except ValueError:  # another number of tensors
            parts = ()
        wanted, got = [(len(x), size) for size in layer.state_sizes], [tuple(part.shape) for part in parts]
        if wanted != got:
            raise UserError(f"h0: its parts must be {', '.join(map(str, wanted))}, got {got or 'another structure'}.")
        return parts

    def _chosen(self, layer: RecurrentModel, x: Tensor) -> tuple[Callable[..., Any], str, str | None]:
        """Return the engine for calls like this one, its name, and why it is not the fused one; one warning."""
        network = BareNetwork([layer], "every")
        choice = engines.choose(self._asked, network, x.device)
        reason = None if choice.name == "fused" or self._asked == "reference" else _plain(choice.note, layer)
        run, name = choice.run, choice.name
        if name != "reference" and self._self_check:
            network.engine = choice.run
            wrong = _differs(network, x.detach())
            if wrong is not None and self._asked != "auto":
                raise UserError(f"engine={self._asked}: it does not compute what the cell does: {wrong}.")
            if wrong is not None:
                run, name, reason = recurrent_model.run_steps, "reference", f"self-check: {wrong}"
        if name == "reference" and reason is not None and all(known != name for _, known, _ in self._choices.values()):
            warnings.warn(
                f"compile_cell: {name_of(self.cell)} runs as a loop over its steps: {reason}",
                RuntimeWarning,
                stacklevel=5,
            )
        return run, name, reason


def _plain(note: str | None, layer: RecurrentModel) -> str | None:
    """Return why an engine was not taken, without the words of a network of several layers."""
    return note and (note.partition(f"layer 1 ({type(layer).__name__}): ")[2] or note)


def _differs(network: BareNetwork, x: Tensor) -> str | None:
    """Return in one line what an engine computes otherwise than the loop, or None."""
    try:
        return difference(network, x)
    except Exception as error:  # an engine that fails is not taken
        return f"it fails with {type(error).__name__}: {first_line(error)}"
