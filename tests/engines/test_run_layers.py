"""Chains of layers under the fused engine: their own parameters at every step."""

import time

import pytest
import torch
import torch_oracle
from torch import Tensor, nn

from stablebench.engines.fused import engine as fused
from stablebench.engines.fused.c import backend as native
from stablebench.engines.fused.plan import StepPlan
from stablebench.models import deep_model
from stablebench.models.base import DeepModel, LayerGroup, State
from stablebench.models.blocks.random_orthogonal import random_orthogonal


class Filtered(DeepModel):
    """x_{l+1} = alpha tanh(W_l x_l + b_l) s_l v + (1 - alpha) O_l x_l, with O_l shared or each layer's own."""

    def __init__(self, layers: int, width: int, *, shared: bool) -> None:
        super().__init__(width, width)
        self.W = nn.Parameter(torch.randn(layers, width, width))
        self.b = nn.Parameter(torch.randn(layers, width))
        self.s = nn.Parameter(torch.rand(layers) + 0.5)
        self.v = nn.Parameter(torch.rand(width) + 0.5)
        self.alpha = 2 / layers
        self.shared = shared
        filters = torch.stack([random_orthogonal(width, torch.Generator().manual_seed(k)) for k in range(layers)])
        self.register_buffer("O", filters[0] if shared else filters)

    def layer_groups(self) -> list[LayerGroup]:
        own, filters = (self.W, self.b, self.s), self.get_buffer("O")
        return [LayerGroup(own, (self.v, filters)) if self.shared else LayerGroup((*own, filters), (self.v,))]

    def step(self, layer: tuple[Tensor, ...], state: State, shared: tuple[Tensor, ...]) -> State:
        (x,) = state
        W, b, s, *own = layer
        v, *common = shared
        (filter,) = own or common
        update = torch.tanh(nn.functional.linear(x, W, b)) * v * s
        return (self.alpha * update + (1 - self.alpha) * (x @ filter.t()),)


def everything(run: object, model: DeepModel, outputs: str, backend: str | None = None) -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    (group,) = model.layer_groups()
    width = model.hidden
    x = torch.randn(37, width, generator=generator, requires_grad=True)
    model.zero_grad()
    extra = {} if backend is None else {"backend": backend}
    y, (last,) = run(model, group, (x,), outputs, **extra)  # pyright: ignore[reportCallIssue]
    weights = torch.randn(y.shape, generator=generator)
    ((y * weights).sum() + last.square().sum()).backward()
    assert x.grad is not None
    return [y.detach(), last.detach(), x.grad, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("backend", torch_oracle.BACKENDS)
@pytest.mark.parametrize("outputs", ["every", "last"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("layers", "width"), [(1, 3), (7, 2), (9, 17)])
def test_values_and_gradients_agree(
    layers: int,
    width: int,
    shared: bool,
    outputs: str,
    backend: str,
    threads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(native, "_MIN_OPERATIONS_PER_THREAD", 1.0)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    model = Filtered(layers, width, shared=shared)
    assert isinstance(fused.plan_layers(model, model.layer_groups()[0], (torch.zeros(2, width),)), StepPlan)
    torch.set_num_threads(threads)
    expected = everything(deep_model.run_layers, model, outputs)
    found = everything(torch_oracle.run_layers, model, outputs, backend)
    torch.set_num_threads(1)
    assert len(found) == len(expected) == 3 + 4
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_evaluation_without_gradients_gives_the_same() -> None:
    torch.manual_seed(0)
    model, x = Filtered(150, 3, shared=False), torch.randn(5, 3)
    y, _ = fused.run_layers(model, model.layer_groups()[0], (x,))
    with torch.no_grad():
        torch.testing.assert_close(fused.run_layers(model, model.layer_groups()[0], (x,))[0], y)


def test_gradcheck_of_a_chain() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    model, x = Filtered(4, 3, shared=False), torch.randn(2, 3, requires_grad=True)

    def chain(x: Tensor, *_: Tensor) -> Tensor:
        return fused.run_layers(model, model.layer_groups()[0], (x,))[0]

    assert torch.autograd.gradcheck(chain, (x, *model.parameters()))


def test_fifty_thousand_layers_take_a_fraction_of_a_second() -> None:
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    model, x = Filtered(50_000, 2, shared=True), torch.randn(100, 2)
    fused.run_layers(model, model.layer_groups()[0], (x,))  # planned and compiled

    def seconds() -> float:
        began = time.perf_counter()
        fused.run_layers(model, model.layer_groups()[0], (x,))[0].square().sum().backward()
        return time.perf_counter() - began

    assert min(seconds() for _ in range(5)) < 0.5  # 0.08 s on a quiet core; the loop over torch calls takes 20 s
    assert model.W.grad is not None and model.W.grad.isfinite().all()
