r"""torch's own recurrent layers as chains: `nn.RNN`, `nn.LSTM`, `nn.GRU` layer by layer, and their cells.

Equations (those of torch, with its names; V = weight_ih, W = weight_hh):

    RNN     h_t = tanh(V x_t + b_ih + W h_{t-1} + b_hh), or relu of it
    LSTM    i, f, g, o as four blocks of V x_t + b_ih + W h_{t-1} + b_hh
            c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g),   h_t = P (sigmoid(o) tanh(c_t)), P only where proj_size > 0
    GRU     r, z = sigmoid of two blocks of V x_t + b_ih + W h_{t-1} + b_hh
            n = tanh(V_n x_t + b_in + r (W_n h_{t-1} + b_hn)),   h_t = (1 - z) n + z h_{t-1}

The parameters are read from the module whenever they are used, so they are the user's own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import RecurrentModel, State

Direction = Literal["forward", "backward"]


class TorchCell(RecurrentModel):
    """One layer of a module of torch.

    Args:
        module: An `nn.RNNBase` or an `nn.RNNCellBase`.
        suffix: What its parameters' names end in: `_l0`, `_l0_reverse`; empty for a cell.
    """

    def __init__(self, module: nn.RNNBase | nn.RNNCellBase, suffix: str = "") -> None:
        super().__init__(getattr(module, f"weight_ih{suffix}").shape[1], module.hidden_size)
        self.module = module
        self.suffix = suffix

    def weight(self, name: str) -> Tensor | None:
        """Return a parameter of the layer by torch's name without the suffix; None where it has none."""
        return getattr(self.module, name + self.suffix, None)

    def _required(self, name: str) -> Tensor:
        weight = self.weight(name)
        assert weight is not None
        return weight

    def input_projection(self, x: Tensor) -> Tensor:
        """Return V x_t + b_ih + b_hh."""
        projected = x @ self._required("weight_ih").T
        for bias in (self.weight("bias_ih"), self._recurrent_bias()):
            projected = projected if bias is None else projected + bias
        return projected

    def _recurrent_bias(self) -> Tensor | None:
        return self.weight("bias_hh")

    def recurrent_weights(self) -> Any:
        """Return W, transposed for states in rows."""
        return self._required("weight_hh").T


class TorchElman(TorchCell):
    """A layer of `nn.RNN`, or an `nn.RNNCell`."""

    def step(self, projected: Tensor, state: State, recurrent_weights: Tensor) -> State:
        """Return (h_t,)."""
        (h,) = state
        total = projected + h @ recurrent_weights
        relu = getattr(self.module, "nonlinearity", "tanh") == "relu"
        return (torch.relu(total) if relu else torch.tanh(total),)

    def recurrent_matrix(self) -> Tensor:
        """Return W."""
        return self._required("weight_hh")


class TorchLSTM(TorchCell):
    """A layer of `nn.LSTM`, or an `nn.LSTMCell`; the states are (h, c)."""

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of h and c."""
        return (getattr(self.module, "proj_size", 0) or self.hidden, self.hidden)

    def recurrent_weights(self) -> Any:
        """Return W, and P where there is one, transposed for states in rows."""
        W, P = self._required("weight_hh").T, self.weight("weight_hr")
        return (W,) if P is None else (W, P.T)

    def step(self, projected: Tensor, state: State, recurrent_weights: tuple[Tensor, ...]) -> State:
        """Return (h_t, c_t)."""
        h, c = state
        i, f, g, o = (projected + h @ recurrent_weights[0]).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return (h if len(recurrent_weights) == 1 else h @ recurrent_weights[1]), c


class TorchGRU(TorchCell):
    """A layer of `nn.GRU`, or an `nn.GRUCell`."""

    def _recurrent_bias(self) -> None:
        """The reset gate multiplies b_hn, so b_hh stays with W h."""

    def recurrent_weights(self) -> Any:
        """Return W, transposed for states in rows, and b_hh."""
        W, b = self._required("weight_hh"), self.weight("bias_hh")
        return (W.T,) if b is None else (W.T, b)

    def step(self, projected: Tensor, state: State, recurrent_weights: tuple[Tensor, ...]) -> State:
        """Return (h_t,)."""
        (h,) = state
        recurrent = h @ recurrent_weights[0]
        if len(recurrent_weights) > 1:
            recurrent = recurrent + recurrent_weights[1]
        x_r, x_z, x_n = projected.chunk(3, dim=-1)
        h_r, h_z, h_n = recurrent.chunk(3, dim=-1)
        z = torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n)
        return ((1 - z) * n + z * h,)


_KINDS: list[tuple[tuple[type[nn.Module], ...], type[TorchCell]]] = [
    ((nn.RNN, nn.RNNCell), TorchElman),
    ((nn.LSTM, nn.LSTMCell), TorchLSTM),
    ((nn.GRU, nn.GRUCell), TorchGRU),
]


def own_call(module: nn.Module) -> str | None:
    """Return what makes a module of torch compute something else than torch's code for it does, or None.

    Args:
        module: An `nn.RNNBase` or an `nn.RNNCellBase`.
    """
    bases = [base for kinds, _ in _KINDS for base in kinds if isinstance(module, base)]
    if not bases or "forward" in vars(module) or type(module).forward is not bases[0].forward:
        return "a `forward` of its own"
    if type(module).__call__ is not nn.Module.__call__:
        return "a `__call__` of its own"
    return "hooks" if has_hooks(module) else None


def has_hooks(module: nn.Module, kinds: tuple[str, ...] = ("_forward", "_backward")) -> bool:
    """Whether a module has hooks, but for those that say of themselves that they only read.

    Args:
        module: The module.
        kinds: Whether those of the forward pass, and of the backward pass.
    """
    hooks = [getattr(module, f"{kind}{when}_hooks") for kind in kinds for when in ("", "_pre")]
    return any(not getattr(hook, "only_reads", False) for some in hooks for hook in some.values())


def plain_copy(module: nn.Module) -> nn.Module:
    """Return a copy of a module of torch with its weights as they are now, parametrised ones too; any other as it is.

    Args:
        module: The module.
    """
    bases = [base for kinds, _ in _KINDS for base in kinds if isinstance(module, base)]
    if not bases or own_call(module) is not None:
        return module
    sizes = ("input_size", "hidden_size", "num_layers", "bias", "proj_size", "bidirectional", "nonlinearity")
    known = {name: getattr(module, name) for name in sizes if hasattr(module, name)}
    if "num_layers" in known and bases[0] is not nn.LSTM:
        known.pop("proj_size")
    weight = next(module.parameters())
    make: Any = bases[0]
    with torch.random.fork_rng(devices=[]), torch.no_grad(), _evaluated(module):
        copied = make(**known, dtype=weight.dtype)
        for name, parameter in copied.named_parameters():
            parameter.copy_(getattr(module, name))
    return copied


@contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    """Context in which reading a parametrised weight changes nothing; in training it may move an estimate."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def torch_layers(module: nn.Module, direction: Direction | None = None) -> list[RecurrentModel] | None:
    """Return the layers of a module of torch as chains, from bottom to top; None for any other module.

    One that has hooks, or a `forward` or `__call__` of its own, is another module.

    Args:
        module: The module.
        direction: Of a bidirectional one; a backward chain takes the inputs from the last to the first.

    Raises:
        UserError: The module is bidirectional, and no direction is given or it has several layers; or a direction is
            given for one that is not.
    """
    kind = next((kind for bases, kind in _KINDS if isinstance(module, bases)), None)
    own = None if kind is None else own_call(module)
    if kind is None or own is not None:
        if direction is not None:
            but = "" if own is None else f" This {type(module).__name__} has {own}, and is run by its own call."
            raise UserError(f"direction: only of a bidirectional nn.RNN, nn.LSTM or nn.GRU.{but}")
        return None
    both = getattr(module, "bidirectional", False)
    if direction is not None and not both:
        raise UserError(f"direction: this {type(module).__name__} has one direction; leave it out.")
    if isinstance(module, nn.RNNCellBase):
        return [kind(module)]
    assert isinstance(module, nn.RNNBase)
    if both and module.num_layers > 1:
        raise UserError(
            f"A bidirectional {type(module).__name__} of {module.num_layers} layers is no chain of states over time: "
            "its upper layers read both ends of the sequence. Probe one with one layer, or one direction."
        )
    if both and direction is None:
        raise UserError(
            f"A bidirectional {type(module).__name__} is two chains: give direction='forward' or direction='backward'."
        )
    reverse = "_reverse" if direction == "backward" else ""
    return [kind(module, f"_l{layer}{reverse}") for layer in range(module.num_layers)]
