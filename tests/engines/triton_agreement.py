"""What the tests of the Triton kernels share, under the interpreter and on a GPU."""

from collections.abc import Callable
from typing import Any, Literal
from unittest.mock import patch

import torch
from torch import Tensor

from stablebench.engines.fused import engine as fused
from stablebench.engines.fused.autograd_function import Layout
from stablebench.engines.fused.program import NEW, Program, Slice
from stablebench.engines.fused.triton.backend import TritonBackend
from stablebench.engines.fused.triton.kernel_text import Precision
from stablebench.models import recurrent_model
from stablebench.models import registry as model_registry
from stablebench.models.base import RecurrentModel

IN = 3
Outputs = Literal["every", "last"]
Where = Literal["native", "triton"]
"""Whether the drive is part of the program, as for `native`, or comes from outside, as for `triton`."""


def build(name: "str | type[Odd]", hidden: int, steps: int) -> RecurrentModel:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(3)
    if not isinstance(name, str):
        return name(IN, hidden)
    entry = model_registry.model_entry(name)
    return entry.build(IN, hidden, entry.resolve({}), horizon=steps)


def kernels(where: Where, precision: Precision = "float32") -> Callable[..., Any]:
    def backend(program: Program, layout: Layout, *_: object) -> TritonBackend:
        output = Slice(NEW, sum(layout.widths[: layout.output]), layout.widths[layout.output])
        return TritonBackend(program, output, precision)

    def run(model: RecurrentModel, x: Tensor, state: tuple[Tensor, ...], outputs: Outputs) -> Any:
        with patch.object(fused, "_new_backend", backend):
            return fused.run(model, x, state, outputs, backend=where)

    return run


def everything(
    run: Callable[..., Any],
    model: RecurrentModel,
    size: tuple[int, int, int],
    outputs: Outputs,
    dtype: torch.dtype,
    device: str = "cpu",
) -> list[Tensor]:
    """Return outputs, last states, and the gradients of inputs, first states and parameters, in float64."""
    batch, _, steps = size
    model = model.to(device, dtype)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, steps, IN, generator=generator, dtype=torch.float64).to(device, dtype).requires_grad_()
    state = tuple(
        (s + 0.3 * torch.randn(s.shape, generator=generator, dtype=torch.float64).to(device))
        .to(device, dtype)
        .requires_grad_()
        for s in model.initial_state(batch)
    )
    for s in state:
        s.retain_grad()  # where the model learns its first state, these are no leaves
    model.zero_grad()
    y, after = run(model, x, state, outputs)
    weights = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(device, dtype)
    (torch.sum(y * weights) + torch.stack([(s**2).sum() for s in after]).sum()).backward()
    found = [y, *after, x.grad, *(s.grad for s in state), *(p.grad for p in model.parameters())]
    return [torch.zeros(()) if t is None else t.detach().cpu().double() for t in found]


def assert_as_exact_as_the_reference(
    name: "str | type[Odd]", size: tuple[int, int, int], outputs: Outputs, where: Where, device: str = "cpu"
) -> None:
    model = build(name, size[1], size[2])
    exact = everything(recurrent_model.run_steps, model, size, outputs, torch.float64, device)
    theirs = everything(recurrent_model.run_steps, model, size, outputs, torch.float32, device)
    ours = everything(kernels(where), model, size, outputs, torch.float32, device)
    for a, b, truth in zip(ours, theirs, exact, strict=True):
        scale = 1 + truth.abs().max()
        # both round; of a sum of thousands of terms that cancel, the order decides, and differs between processors
        assert (a - truth).abs().max() / scale <= 10 * (b - truth).abs().max() / scale + 1e-6


class Odd(RecurrentModel):
    """Two states h, y of `hidden` units each, and parameters that a step may use."""

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)

        def parameter(*shape: int) -> torch.nn.Parameter:
            return torch.nn.Parameter(torch.randn(shape) / 3)

        self.up, self.down = parameter(hidden, 2 * hidden), parameter(2 * hidden, hidden)
        self.input, self.one = parameter(in_features, hidden), parameter(1)
        self.vector = torch.nn.Parameter(0.5 + torch.rand(hidden))

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (self.hidden, self.hidden)


class Shifted(Odd):
    """Slices that overlap and no two of which are the same: all goes through memory."""

    output_state = 1

    def step(self, projected: Tensor, state: tuple[Tensor, ...], recurrent_weights: None) -> tuple[Tensor, ...]:
        h, y = state
        moved = torch.cat([h[:, 1:], h[:, :1]], 1)
        return torch.tanh(moved * self.vector + projected @ self.input), torch.cat(
            [y[:, 3:], moved[:, :3] * self.one], 1
        )


class Stages(Odd):
    """Products of products, of concatenations and of slices, two into one sum, and a state that is handed over."""

    def step(self, projected: Tensor, state: tuple[Tensor, ...], recurrent_weights: None) -> tuple[Tensor, ...]:
        h, y = state
        wide = torch.sigmoid(torch.tanh(h @ self.up) * self.one + 0.5)
        inner = torch.cat([h, y], 1) @ self.down + projected @ self.input
        mixed = wide @ self.down + (torch.abs(inner) * y) @ self.up[:, : self.hidden]
        return h - mixed * self.vector, h


class Forgetful(Odd):
    """A state that no step reads, of which a part alone is an operand, and one that does not change at all."""

    def step(self, projected: Tensor, state: tuple[Tensor, ...], recurrent_weights: None) -> tuple[Tensor, ...]:
        _, y = state
        return torch.exp(-torch.relu((y * self.one)[:, 2:5] @ self.input) / (1.5 + self.vector * self.vector)), y


class Pointwise(Odd):
    """No product at all."""

    def step(self, projected: Tensor, state: tuple[Tensor, ...], recurrent_weights: None) -> tuple[Tensor, ...]:
        h, y = state
        return torch.nn.functional.leaky_relu(y * self.vector, 0.1), torch.cat([projected * self.one, h[:, 3:]], 1)


class Swapped(Odd):
    """Nothing but states that change places."""

    def step(self, projected: Tensor, state: tuple[Tensor, ...], recurrent_weights: None) -> tuple[Tensor, ...]:
        h, y = state
        return y, h


class Elementary(Odd):
    """Operations that the other steps leave out."""

    def step(self, projected: Tensor, state: tuple[Tensor, ...], recurrent_weights: None) -> tuple[Tensor, ...]:
        h, y = state
        gate = torch.sigmoid(h) + (torch.round(2 * h) - h).detach()
        low = torch.minimum(y, torch.nn.functional.logsigmoid(projected @ self.input))
        high = torch.maximum(torch.maximum(h, y), torch.sqrt(self.vector + h * h))
        return torch.nn.functional.softplus(gate + low), torch.log(1 + y * y) + torch.tanh(high)


class Divided(Odd):
    """Divisions that give NaN behind the end of the units (by the vector) and of the rows (by the state)."""

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        return tuple(1 + state for state in super().initial_state(batch))

    def step(self, projected: Tensor, state: tuple[Tensor, ...], recurrent_weights: None) -> tuple[Tensor, ...]:
        h, y = state
        ratio = self.vector * h / (y * y)
        return torch.tanh((torch.tanh(ratio) / self.vector) @ self.up[:, : self.hidden]), torch.sigmoid(h) + 0.5
