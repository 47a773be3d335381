"""Derivatives of all states along a direction of the parameters in forward mode, by torch's rules, loaded once."""

import warnings
from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from stablebench.models.network import AnyNetwork
from stablebench.probes.chain import chain_of


@cache
def load_forward_rules() -> None:
    """Load the rules; they are scripted, and that is deprecated in torch itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is ")  # its category differs by version of torch
        with forward_ad.dual_level():
            forward_ad.make_dual(torch.zeros(1), torch.zeros(1))


class _Within(nn.Module):
    """A network whose parameters are replaced while a function of it runs."""

    def __init__(self, network: AnyNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, function: Callable[[AnyNetwork], Tensor]) -> Tensor:
        return function(self.network)


def forward_squares(network: AnyNetwork, inputs: Tensor, direction: Mapping[str, Tensor]) -> Tensor:
    """Return ||(ds_t/dtheta) u||^2 for t = 1 ... T, (samples, T).

    Args:
        network: As `frozen` returns it.
        inputs: What it takes, (samples, ...).
        direction: u, by the names of the parameters that move.

    Raises:
        NotImplementedError: An operation of the model has no forward derivative.
    """

    def swept(network: AnyNetwork) -> Tensor:
        chain = chain_of(network, inputs)
        state, squares = chain.initial(), []
        for t in range(1, chain.steps + 1):
            state = chain.step(t, state)
            moved = forward_ad.unpack_dual(state).tangent
            squares.append(state.new_zeros(len(state)) if moved is None else moved.square().sum(1))
        return torch.stack([forward_ad.unpack_dual(part).primal for part in squares], dim=1)

    load_forward_rules()
    parameters = dict(network.named_parameters())
    with torch.no_grad(), forward_ad.dual_level():
        duals = {f"network.{name}": forward_ad.make_dual(parameters[name], u) for name, u in direction.items()}
        return torch.func.functional_call(_Within(network), duals, (swept,))
