"""Models with state in places where a checkpoint could miss it; `named(name)` is what `--model` takes."""

import random
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel, State


def named(name: str) -> str:
    """Return what `--model` takes."""
    return f"{Path(__file__).resolve()}:{name}"


class Plain(RecurrentModel):
    """h_t = tanh(W h_{t-1} + V x_t + b)."""

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.V = nn.Linear(in_features, hidden)
        self.W = nn.Parameter(nn.init.orthogonal_(torch.empty(hidden, hidden)))

    def input_projection(self, x: Tensor) -> Tensor:
        return self.V(x)

    def recurrent_weights(self) -> Any:
        return self.W.T

    def step(self, projected: Any, state: State, recurrent_weights: Any) -> State:
        (h,) = state
        return (torch.tanh(projected + h @ recurrent_weights),)


class TiedLinear(Plain):
    """One module under two names."""

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.up = nn.Linear(hidden, hidden)
        self.down = self.up

    def step(self, projected: Any, state: State, recurrent_weights: Any) -> State:
        (h,) = state
        return (torch.tanh(projected + self.up(torch.tanh(self.down(h)))),)


class TwoNames(Plain):
    """One parameter under two names, and buffers: two views of one tensor, an expanded one, a conjugated one."""

    first: Tensor
    second: Tensor
    wide: Tensor
    F: Tensor
    negative: Tensor

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.U = self.W
        both = torch.zeros(2, hidden)
        self.register_buffer("first", both[0])
        self.register_buffer("second", both[1])
        self.register_buffer("wide", torch.zeros(1, hidden).expand(3, hidden))
        self.register_buffer("F", torch.fft.fft(torch.eye(hidden)).conj())
        self.register_buffer("negative", torch.zeros(hidden, dtype=torch.complex64).conj().imag)

    def recurrent_weights(self) -> Any:
        if self.training:
            with torch.no_grad():
                self.first += 0.01
                self.wide[0] += 0.01
                self.F.mul_(0.99)
                self.negative.add_(0.01)
        return 0.5 * (self.W.T + self.U.T) + self.first + self.wide[1] + (self.F @ self.F.mH).real / 9 + self.negative


class Counter(Plain):
    """A number that grows while it is trained, by which the recurrence is scaled."""

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.calls = 0

    def recurrent_weights(self) -> Any:
        self.calls += self.training
        return self.W.T * min(1.0, 0.1 + self.calls / 20)


class Collected(Plain):
    """Lists, dictionaries, tensors, arrays, an object and a buffer that is not persistent, all changed by an update."""

    passing: Tensor
    late: Tensor | None
    growing: Tensor

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.history: list[float] = []
        self.shared = {"calls": 0, 3: (1, None)}
        self.same = self.shared
        self.mean = torch.zeros(hidden)
        self.array = numpy.zeros(3)
        self.drop = nn.Dropout(0.1)
        self.register_buffer("passing", torch.zeros(hidden), persistent=False)
        self.register_buffer("late", None)
        self.register_buffer("growing", torch.zeros(0))
        self.stats = Stats()
        self.everything = [self.W, self.V]

    def recurrent_weights(self) -> Any:
        scale = 1.0 + self.same["calls"] / 50 + self.array.sum() + self.stats.total / 100 + sum(self.history)
        late = 0.0 if self.late is None else self.late
        return self.everything[0].T * scale + self.mean + self.passing + late + self.growing.sum()

    def step(self, projected: Any, state: State, recurrent_weights: Any) -> State:
        (h,) = state
        return (torch.tanh(projected + self.drop(h) @ recurrent_weights),)

    @torch.no_grad()
    def after_update(self) -> None:
        self.history.append(0.001)
        self.shared["calls"] += 1
        self.mean += 0.001
        self.array[1] += 0.001
        self.drop.p = min(0.5, self.drop.p + 0.01)
        self.passing += 0.002
        self.late = self.mean.clone() if self.late is None else self.late * 1.01
        self.growing = torch.cat([self.growing, torch.full((1,), 0.001)])
        self.stats.total += 1


class Stats:
    """An object of a class of the user's own."""

    def __init__(self) -> None:
        self.total = 0


class Noise(Plain):
    """Draws from Python's `random`, from numpy, and from generators of its own that have seeds."""

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.start = float(numpy.random.rand()) + random.random()  # noqa: NPY002
        self.own = [random.Random(1), numpy.random.default_rng(2), torch.Generator().manual_seed(3)]
        self.older = numpy.random.RandomState(4)

    def step(self, projected: Any, state: State, recurrent_weights: Any) -> State:
        (h,) = state
        noise = 0.1 * random.gauss(0, 1) + 0.1 * torch.as_tensor(numpy.random.randn(h.shape[1]), dtype=h.dtype)  # noqa: NPY002
        noise = noise + 0.1 * self.own[0].random() + 0.1 * self.own[1].standard_normal() + 0.1 * self.older.rand()
        return (
            torch.tanh(projected + self.start * h @ recurrent_weights + noise + torch.rand(1, generator=self.own[2])),
        )


class ExtraState(Plain):
    """Says with `get_extra_state` what it wants to be kept."""

    hidden_number: list[float]

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        object.__setattr__(self, "hidden_number", [1.0])

    def get_extra_state(self) -> Any:
        return {"number": self.hidden_number[0], "tensor": torch.full((2,), self.hidden_number[0])}

    def set_extra_state(self, state: Any) -> None:
        self.hidden_number[0] = state["number"]

    def recurrent_weights(self) -> Any:
        self.hidden_number[0] += 0.01 * self.training
        return self.W.T * self.hidden_number[0]


class Unfreezes(Plain):
    """Begins to train a parameter in mid-training."""

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.W.requires_grad_(False)
        self.calls = 0

    def after_update(self) -> None:
        self.calls += 1
        self.W.requires_grad_(self.calls >= 5)


class Unseeded(Plain):
    """Draws from a generator that is made anew each time."""

    def step(self, projected: Any, state: State, recurrent_weights: Any) -> State:
        (h,) = state
        return (torch.tanh(projected + h @ recurrent_weights + 0.1 * numpy.random.default_rng().standard_normal()),)


class BuiltUnseeded(Plain):
    """Starts from numbers that no seed decides."""

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.scale = float(numpy.random.default_rng().random())

    def recurrent_weights(self) -> Any:
        return self.scale * self.W.T


class Iterates(Plain):
    """Has an iterator, whose place no checkpoint can hold."""

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.numbers = (i / 100 for i in range(10**9))

    def after_update(self) -> None:
        next(self.numbers)


class Sparse(Plain):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.register_buffer("adjacency", torch.eye(hidden).to_sparse())


class Meta(Plain):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.register_buffer("mask", torch.empty(hidden, device="meta"))


class Quantised(Plain):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.register_buffer("codes", torch.quantize_per_tensor(torch.zeros(hidden), 0.1, 0, torch.qint8))


class OneWay(Plain):
    def get_extra_state(self) -> Any:
        return 1


class ExtraFunction(Plain):
    def get_extra_state(self) -> Any:
        return print

    def set_extra_state(self, state: Any) -> None:
        pass


class Replaces(Plain):
    """Puts another parameter in the place of its own."""

    def after_update(self) -> None:
        self.W = nn.Parameter(self.W.detach().clone())


class Steep(Plain):
    """Its gradient is finite, and the square of its gradient is not, in float32."""

    def penalty(self) -> Tensor:
        return 1e20 * (self.W - self.W.detach()).sum()
