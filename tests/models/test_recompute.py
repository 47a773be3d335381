"""Computed again for the gradient, a pass repeats its random draws, and leaves nothing behind twice."""

# ruff: noqa: NPY002 -- the global generator is what a user's model may draw from

import collections
import random
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models import registry as model_registry
from stablebench.models.base import RecurrentModel, State
from stablebench.models.network import Network
from stablebench.models.recompute_check import check_recomputing

RECURRENT = model_registry.model_names("recurrent")


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


class Plain(RecurrentModel):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.V, self.W = nn.Linear(in_features, hidden), nn.Linear(hidden, hidden)

    def input_projection(self, x: Tensor) -> Tensor:
        return self.V(x)

    def step(self, projected: Tensor, state: State, recurrent_weights: Any) -> State:
        return (torch.tanh(projected + self.W(state[0])),)


class DropStep(Plain):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.drop = nn.Dropout(0.5)

    def step(self, projected: Tensor, state: State, recurrent_weights: Any) -> State:
        return (torch.tanh(projected + self.drop(self.W(state[0]))),)


class DropDrive(DropStep):
    def input_projection(self, x: Tensor) -> Tensor:
        return self.drop(self.V(x))

    def step(self, projected: Tensor, state: State, recurrent_weights: Any) -> State:
        return Plain.step(self, projected, state, recurrent_weights)


class DropEmit(Plain):
    def layer_output(self, output: Tensor, x: Tensor) -> Tensor:
        return nn.functional.dropout(output, 0.5, self.training)


class NumpyStep(Plain):
    def step(self, projected: Tensor, state: State, recurrent_weights: Any) -> State:
        noise = torch.as_tensor(numpy.random.randn(*state[0].shape))
        return (torch.tanh(projected + self.W(state[0]) * (1 + noise + random.random())),)


class OwnGenerators(Plain):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.rng, self.torch_rng = numpy.random.default_rng(3), torch.Generator().manual_seed(3)

    def step(self, projected: Tensor, state: State, recurrent_weights: Any) -> State:
        scale = self.rng.random() + torch.rand(state[0].shape, generator=self.torch_rng)
        return (torch.tanh(projected + self.W(state[0]) * scale),)


@pytest.mark.parametrize("cell", [DropStep, DropDrive, DropEmit, NumpyStep, OwnGenerators])
def test_the_gradient_is_that_of_the_draws_of_the_pass(cell: Callable[..., RecurrentModel]) -> None:
    network = Network([cell(4, 8), cell(8, 8)], 3, readout="every", input="values", recompute_every=5)
    x = torch.randn(6, 10, 4)
    parameters = list(network.parameters())
    directions = [torch.randn_like(p) for p in parameters]
    generators = [(rng, rng.bit_generator.state) for rng in (getattr(m, "rng", None) for m in network.models) if rng]
    torches = [(rng, rng.get_state()) for rng in (getattr(m, "torch_rng", None) for m in network.models) if rng]

    def loss() -> Tensor:
        torch.manual_seed(7)
        numpy.random.seed(7)
        random.seed(7)
        for rng, state in generators:
            rng.bit_generator.state = state
        for rng, state in torches:
            rng.set_state(state)
        return network(x)[0].square().sum()

    slope = sum((g * d).sum() for g, d in zip(torch.autograd.grad(loss(), parameters), directions, strict=True))
    ends = []
    with torch.no_grad():
        for sign in (1, -2):
            for p, d in zip(parameters, directions, strict=True):
                p.add_(d, alpha=sign * 1e-6)
            ends.append(loss())
    torch.testing.assert_close(torch.as_tensor(slope), (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=0)


def test_random_states_afterwards_are_those_of_one_pass() -> None:
    network = Network([NumpyStep(4, 8)], 3, readout="last", input="values", recompute_every=2)
    drawn = []
    for backward in (False, True):
        numpy.random.seed(1)
        random.seed(1)
        output = network(torch.ones(2, 6, 4))[0].sum()
        if backward:
            output.backward()
        drawn.append((numpy.random.rand(), random.random()))
    assert drawn[0] == drawn[1]


class RunningMean(Plain):
    mean: Tensor

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.register_buffer("mean", torch.zeros(hidden))
        self.calls, self.seen = 0, []
        self.recent: collections.deque[int] = collections.deque(maxlen=2)

    def step(self, projected: Tensor, state: State, recurrent_weights: Any) -> State:
        n = projected + self.W(state[0])
        if self.training:
            with torch.no_grad():
                self.mean.mul_(0.9).add_(n.mean(0), alpha=0.1)
                self.calls += 1
                self.seen.append(self.calls)
                self.recent.append(self.calls)
        return (torch.tanh(n - self.mean * (1 + 0.1 * self.calls)),)


class ReplacedMean(RunningMean):
    def step(self, projected: Tensor, state: State, recurrent_weights: Any) -> State:
        n = projected + self.W(state[0])
        self.mean = 0.9 * self.mean + 0.1 * n.detach().mean(0)
        return (torch.tanh(n - self.mean),)


class NormalisedStep(Plain):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.bn = nn.BatchNorm1d(hidden)

    def step(self, projected: Tensor, state: State, recurrent_weights: Any) -> State:
        return (torch.tanh(self.bn(projected + self.W(state[0]))),)


class LargeBuffer(Plain):
    """A row of a large buffer is written at each step, and the one before it is read."""

    rows: Tensor

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.register_buffer("rows", torch.zeros(100, 2000))
        self.at = 0

    def step(self, projected: Tensor, state: State, recurrent_weights: Any) -> State:
        n = projected + self.W(state[0]) + self.rows[self.at, 0].clone()
        with torch.no_grad():
            self.at += 1
            self.rows[self.at] += n.mean()
        return (torch.tanh(n),)


@pytest.mark.parametrize("cell", [RunningMean, ReplacedMean, NormalisedStep, LargeBuffer])
@pytest.mark.parametrize("every", [1, 3, 50])
def test_what_model_remembers_moves_once_and_gradient_is_same(cell: Callable[..., RecurrentModel], every: int) -> None:
    """What a model remembers moves once and the gradient is the same."""
    found = []
    for recompute_every in (None, every):
        torch.manual_seed(0)
        network = Network([cell(4, 8)], 3, readout="every", input="values", recompute_every=recompute_every)
        check_recomputing(network)
        for seed in range(2):
            x = torch.randn(6, 7, 4, generator=torch.Generator().manual_seed(seed))
            network(x)[0].square().sum().backward()
        model = network.models[0]
        kept = {name: getattr(model, name) for name in ("calls", "seen", "at") if hasattr(model, name)}
        found.append(([p.grad for p in network.parameters()], dict(network.named_buffers()), kept))
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


def test_buffers_and_lists_stay_the_objects_that_they_were() -> None:
    model = RunningMean(4, 8)
    mean, seen = model.mean, model.seen
    recent = model.recent
    network = Network([model], 3, readout="last", input="values", recompute_every=2)
    check_recomputing(network)
    assert model.recent is recent and not recent
    network(torch.ones(2, 6, 4))[0].sum().backward()
    assert list(recent) == [5, 6]
    assert model.mean is mean and model.seen is seen == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", RECURRENT)
def test_every_registered_model_may_be_computed_again(name: str) -> None:
    entry = model_registry.model_entry(name)
    bottom = entry.build(3, 6, entry.resolve({}), horizon=7)
    top = entry.build(bottom.out_features, 6, entry.resolve({}), horizon=7, layer=1)
    network = Network([bottom, top], 4, readout="every", input="tokens", recompute_every=3)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    check_recomputing(network)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


class NormalisedDrive(Plain):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.bn = nn.BatchNorm1d(hidden)

    def input_projection(self, x: Tensor) -> Tensor:
        return self.bn(self.V(x).transpose(1, 2)).transpose(1, 2)


class DroppedSum(DropStep):
    def input_projection(self, x: Tensor) -> Tensor:
        return self.drop(self.V(x).cumsum(1))


class Positions(Plain):
    def input_projection(self, x: Tensor) -> Tensor:
        return self.V(x) + torch.arange(x.shape[1])[:, None]


class SummedEmit(Plain):
    def layer_output(self, output: Tensor, x: Tensor) -> Tensor:
        return output if output.dim() == 2 else output.cumsum(1)


class OtherDraws(Plain):
    def step(self, projected: Tensor, state: State, recurrent_weights: Any) -> State:
        noise = random.SystemRandom().random()
        return (torch.tanh(projected + self.W(state[0]) * noise),)


class Count:
    value = 0


class Remembers(Plain):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.count = Count()

    def step(self, projected: Tensor, state: State, recurrent_weights: Any) -> State:
        self.count.value += 1
        return (torch.tanh(projected + self.W(state[0]) * self.count.value),)


class RemembersOutside(Plain):
    def step(self, projected: Tensor, state: State, recurrent_weights: Any) -> State:
        Count.value += 1
        return (torch.tanh(projected + self.W(state[0]) * Count.value),)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (NormalisedDrive, "`input_projection` at one time step depends on the inputs of others in training"),
        (DroppedSum, "`input_projection` at one time step depends on the inputs of others"),
        (Positions, "`input_projection` depends on where a sequence begins or ends"),
        (SummedEmit, "`layer_output` at one time step depends on the inputs of others"),
        (OtherDraws, "draws random numbers that are not"),
        (Remembers, "a second pass does not repeat what the first one did"),
        (RemembersOutside, "or remembers a call"),
    ],
)
def test_what_would_be_another_function_is_refused(cell: Callable[..., RecurrentModel], said: str) -> None:
    network = Network([Plain(4, 8), cell(8, 8)], 3, readout="every", input="values", recompute_every=5)
    with pytest.raises(UserError, match=f"--recompute-every: {cell.__name__}|--recompute-every: Plain") as refused:
        check_recomputing(network)
    assert said in str(refused.value)
