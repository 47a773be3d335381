"""A network that moves running means when it is called: once for each pass, whatever engine is chosen and tried."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stablebench.engines import choose, self_check
from stablebench.engines.fallback import FallbackEngine
from stablebench.models import recurrent_model
from stablebench.models.base import DeepModel, LayerGroup, RecurrentModel, State
from stablebench.models.deep_network import DeepNetwork
from stablebench.models.network import Network
from stablebench.process.c_compiler import CompilerError

CPU = torch.device("cpu")
IN, HIDDEN = 3, 4


class Running(RecurrentModel):
    """h' = tanh(U x + h W), with a running mean that its subclasses move, one that depends on the parameters."""

    def __init__(self, in_features: int = IN, hidden: int = HIDDEN) -> None:
        super().__init__(in_features, hidden)
        self.inputs = nn.Linear(in_features, hidden)
        self.weights = nn.Parameter(torch.randn(hidden, hidden) / 2)
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(hidden))

    def moved(self, values: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.mean.lerp_(values.reshape(-1, values.shape[-1]).mean(0), 0.1)
        return values - self.mean

    def input_projection(self, x: Tensor) -> Tensor:
        return self.inputs(x)

    def recurrent_weights(self) -> Tensor:
        return self.weights

    def step(self, projected: Tensor, state: State, recurrent_weights: Tensor) -> State:
        return (torch.tanh(projected + state[0] @ recurrent_weights),)


class OfProjections(Running):
    def input_projection(self, x: Tensor) -> Tensor:
        return self.moved(self.inputs(x))


class NewBuffer(Running):
    def input_projection(self, x: Tensor) -> Tensor:
        projected = self.inputs(x)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * projected.detach().mean((0, 1))
        return projected - self.mean


class OfWeights(Running):
    def recurrent_weights(self) -> Tensor:
        return self.moved(self.weights)


class OfOutputs(Running):
    def layer_output(self, output: Tensor, x: Tensor) -> Tensor:
        return self.moved(output)


class Normalised(Running):
    def __init__(self, in_features: int = IN, hidden: int = HIDDEN) -> None:
        super().__init__(in_features, hidden)
        self.norm = nn.BatchNorm1d(in_features)

    def input_projection(self, x: Tensor) -> Tensor:
        return self.inputs(self.norm(x.transpose(1, 2)).transpose(1, 2))


class Deep(DeepModel):
    """Four layers h' = tanh(h W), which normalises what enters the first one."""

    def __init__(self, in_features: int = IN, hidden: int = HIDDEN, depth: int = 4) -> None:
        super().__init__(in_features, hidden)
        self.inputs = nn.Linear(in_features, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.weights = nn.Parameter(torch.randn(depth, hidden, hidden) / 2)

    def embed_input(self, x: Tensor) -> State:
        return (self.norm(self.inputs(x)),)

    def layer_groups(self) -> list[LayerGroup]:
        return [LayerGroup((self.weights,), None)]

    def step(self, parameters: Any, state: State, shared: Any) -> State:
        return (torch.tanh(state[0] @ parameters[0]),)


RECURRENT = [OfProjections, NewBuffer, OfWeights, OfOutputs, Normalised]


def stacked(model: type[Running]) -> Network:
    torch.manual_seed(0)
    return Network([model(), model(HIDDEN)], 2, readout="every", input="values")


def buffers(network: nn.Module) -> list[Tensor]:
    return [buffer.clone() for buffer in network.buffers()]


@pytest.fixture(autouse=True)
def _float32() -> None:
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("model", [*RECURRENT, Deep])
def test_choosing_an_engine_moves_no_running_mean(model: Any) -> None:
    torch.manual_seed(0)
    network = DeepNetwork(Deep(), 2) if model is Deep else stacked(model)
    before = buffers(network)
    assert choose("auto", network, CPU).name == ("reference" if model is NewBuffer else "fused")
    assert all(map(torch.equal, buffers(network), before))


@pytest.mark.parametrize("model", RECURRENT)
def test_pass_of_fused_engine_moves_them_as_reference_does(model: type[Running]) -> None:
    """A pass of the fused engine moves them as the reference does."""
    x = torch.randn(5, 6, IN, generator=torch.Generator().manual_seed(1))
    results = []
    for engine in ("auto", "reference"):
        network = stacked(model)
        network.engine = choose(engine, network, CPU).run
        network(x)
        outputs, _ = network(x)
        results.append([outputs.detach(), *buffers(network)])
    for fused, reference in zip(*results, strict=True):
        torch.testing.assert_close(fused, reference)


def failing_in_the_second_layer(first: nn.Module) -> Callable[..., Any]:
    def run(model: RecurrentModel, *arguments: Any) -> Any:
        if model is not first:
            raise CompilerError("no space is left for the second layer")
        return recurrent_model.run_steps(model, *arguments)

    return run


def test_a_first_pass_that_fails_moves_them_once() -> None:
    x = torch.randn(5, 6, IN, generator=torch.Generator().manual_seed(1))
    expected, network = stacked(OfProjections), stacked(OfProjections)
    expected(x)
    engine = FallbackEngine("fused", network, CPU)
    network.engine = failing_in_the_second_layer(network.recurrent_layers[0])
    failed: list[str] = []
    engine.attempt(lambda: network(x), lambda: None, lambda name, _: failed.append(name))
    assert failed == ["fused"] and engine.name == "reference"
    assert network.engine is recurrent_model.run_steps
    assert all(map(torch.equal, buffers(network), buffers(expected)))


class DropsInputs(Running):
    def __init__(self, in_features: int = IN, hidden: int = HIDDEN) -> None:
        super().__init__(in_features, hidden)
        self.drop = nn.Dropout(0.5)

    def input_projection(self, x: Tensor) -> Tensor:
        return self.inputs(self.drop(x))


class DropsOutputs(DropsInputs):
    def input_projection(self, x: Tensor) -> Tensor:
        return self.inputs(x)

    def layer_output(self, output: Tensor, x: Tensor) -> Tensor:
        return self.drop(output)


@pytest.mark.parametrize("model", [DropsInputs, DropsOutputs])
def test_dropout_between_chains_draws_the_same_with_every_engine(model: type[Running]) -> None:
    x = torch.randn(5, 6, IN, generator=torch.Generator().manual_seed(1))
    network = stacked(model)
    outputs = []
    for engine in ("fused", "reference"):
        network.engine = choose(engine, network, CPU).run
        torch.manual_seed(2)
        outputs.append(network(x)[0])
    torch.testing.assert_close(*outputs)
    assert outputs[0].std() > 0.01
    network.engine = choose("fused", network, CPU).run
    assert self_check.difference(network, x) is None
