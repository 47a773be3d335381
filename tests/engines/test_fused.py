"""The fused engine beyond the registered models: every operation, every shape of a step, and what it refuses."""

import math
import os
import random
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import torch_oracle
from stepped import Stepped
from torch import Tensor, nn
from torch.nn import functional

from stablebench.engines import choose
from stablebench.engines.fused import engine as fused
from stablebench.engines.fused.operations import OPERATIONS
from stablebench.engines.fused.step_graph import UnsupportedStep
from stablebench.errors import UserError
from stablebench.models import recurrent_model
from stablebench.models.base import RecurrentModel, State
from stablebench.models.network import Network
from stablebench.process import c_library as library


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)


UPDATES: dict[str, Callable[..., Any]] = {
    "add": lambda p, d, h, v: p + d,
    "sub": lambda p, d, h, v: p - d * 2,
    "number on the left": lambda p, d, h, v: 1 - 0.5 * p - d,
    "mul": lambda p, d, h, v: p * d,
    "div": lambda p, d, h, v: p / (2 + d * d) + 1 / v,
    "neg": lambda p, d, h, v: -p + d,
    "abs": lambda p, d, h, v: torch.abs(p + d),
    "sign": lambda p, d, h, v: torch.sign(p) * d + h,
    "relu": lambda p, d, h, v: torch.relu(p + d),
    "leaky_relu": lambda p, d, h, v: functional.leaky_relu(p + d, 0.3),
    "leaky_relu of negative slope": lambda p, d, h, v: functional.leaky_relu(p + d, -0.3),
    "tanh": lambda p, d, h, v: torch.tanh(p + d),
    "sigmoid": lambda p, d, h, v: torch.sigmoid(p + d),
    "exp": lambda p, d, h, v: torch.exp(-((p + d) ** 2)),
    "log": lambda p, d, h, v: torch.log(1 + (p + d) ** 2),
    "sqrt": lambda p, d, h, v: torch.sqrt(1 + (p + d) ** 2),
    "softplus": lambda p, d, h, v: functional.softplus(p + d),
    "log_sigmoid": lambda p, d, h, v: functional.logsigmoid(p) * d,
    "maximum": lambda p, d, h, v: torch.maximum(p, d) + torch.maximum(h, v),
    "minimum": lambda p, d, h, v: torch.minimum(p, d * h),
    "round": lambda p, d, h, v: torch.round(3 * p) * d,
    "vector": lambda p, d, h, v: v * torch.tanh(p) + d,
    "one number of a vector": lambda p, d, h, v: v[:1] * torch.tanh(p) + d * v[2],
    "leak": lambda p, d, h, v: h + 0.1 * (torch.tanh(p + d) - h),
    "cube": lambda p, d, h, v: torch.tanh(p + d).pow(3),
    "slices": lambda p, d, h, v: torch.cat([p[:, 3:], torch.tanh(d[:, :3])], dim=-1) + h,
    "product of the new state": lambda p, d, h, v: torch.tanh(p) * d,
}


@pytest.mark.parametrize("backend", torch_oracle.BACKENDS)
@pytest.mark.parametrize("name", UPDATES)
def test_derivatives_pass_gradcheck(name: str, backend: str) -> None:
    model = Stepped(UPDATES[name])
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(3, 4, 5, generator=generator, requires_grad=True)
    h = torch.randn(3, 5, generator=generator, requires_grad=True)
    assert isinstance(torch_oracle.plan_model(model, x, (h,), backend=backend), fused.StepPlan)

    def chain(x: Tensor, h: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        outputs, state = torch_oracle.run(model, x, (h,), backend=backend)
        return (outputs, *state)

    expected, _ = recurrent_model.run_steps(model, x, (h,))
    torch.testing.assert_close(chain(x, h)[0], expected)
    assert torch.autograd.gradcheck(chain, (x, h, *model.parameters()))


def test_every_operation_has_its_gradcheck() -> None:
    by_hand = {"detach"}  # its derivative is none: test_more_operations
    assert {name for name in OPERATIONS if not name.endswith("_backward")} == by_hand | (set(UPDATES) & set(OPERATIONS))


class TwoProducts(RecurrentModel):
    """Two products one after the other, states of two widths, two drives, and parameters read inside the step."""

    def __init__(self) -> None:
        super().__init__(2, 3)
        self.A, self.B = nn.Linear(3, 4), nn.Linear(4 + 3, 3)
        self.U, self.V = nn.Linear(2, 4), nn.Linear(2, 3, bias=False)
        self.scale = nn.Parameter(torch.tensor(0.7))

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (3, 4)

    def input_projection(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.U(x), self.V(x)

    def step(self, projected: tuple[Tensor, Tensor], state: State, recurrent_weights: None) -> State:
        h, c = state
        c = torch.tanh(projected[0] + self.A(h)) + 0.5 * c
        return self.scale * torch.sigmoid(self.B(torch.cat([c, h], dim=1)) + projected[1]), c


@pytest.mark.parametrize("backend", torch_oracle.BACKENDS)
def test_two_products_in_a_row_pass_gradcheck(backend: str) -> None:
    torch.manual_seed(0)
    model = TwoProducts()
    x = torch.randn(2, 3, 2, requires_grad=True)
    assert isinstance(torch_oracle.plan_model(model, x, backend=backend), fused.StepPlan)

    def chain(x: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        outputs, state = torch_oracle.run(model, x, backend=backend)
        return (outputs, *state)

    torch.testing.assert_close(chain(x)[0], recurrent_model.run_steps(model, x)[0])
    assert torch.autograd.gradcheck(chain, (x, *model.parameters()))


@pytest.mark.parametrize("layout", ["time first", "every second", "expanded"])
@pytest.mark.parametrize("backend", torch_oracle.BACKENDS)
def test_inputs_need_not_be_contiguous(layout: str, backend: str) -> None:
    model = Stepped(UPDATES["tanh"])
    x = {
        "time first": torch.randn(7, 3, 5).transpose(0, 1),
        "every second": torch.randn(3, 7, 10)[:, :, ::2],
        "expanded": torch.randn(1, 7, 5).expand(3, -1, -1),
    }[layout]
    torch.testing.assert_close(torch_oracle.run(model, x, backend=backend)[0], recurrent_model.run_steps(model, x)[0])


@pytest.mark.parametrize("backend", torch_oracle.BACKENDS)
def test_the_state_carries_on(backend: str) -> None:
    model, x = Stepped(UPDATES["tanh"]), torch.randn(2, 6, 5)
    whole, _ = torch_oracle.run(model, x, backend=backend)
    first, state = torch_oracle.run(model, x[:, :4], backend=backend)
    second, _ = torch_oracle.run(model, x[:, 4:], tuple(s.detach() for s in state), backend=backend)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("update", ["tanh", "sigmoid", "relu", "leaky_relu", "abs", "exp", "leak"])
def test_nan_and_infinity_are_as_in_the_reference(update: str, value: float) -> None:
    model, x = Stepped(UPDATES[update]), torch.zeros(2, 3, 5)
    x[0, 1, 2] = value
    expected, found = recurrent_model.run_steps(model, x)[0], fused.run(model, x)[0]
    assert not expected[0].isfinite().all() or update in ("tanh", "sigmoid", "exp", "leak")
    torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("backend", torch_oracle.BACKENDS)
@pytest.mark.parametrize("frozen", ["W", "v", "both"])
def test_frozen_parameters_get_no_gradient(frozen: str, backend: str) -> None:
    model, x = Stepped(UPDATES["vector"]), torch.randn(2, 3, 5)
    for name in ("W", "v") if frozen == "both" else (frozen,):
        getattr(model, name).requires_grad_(False)
    x.requires_grad_()
    torch_oracle.run(model, x, backend=backend)[0].sum().backward()
    for name in ("W", "v"):
        assert (getattr(model, name).grad is None) == (frozen in (name, "both"))


def test_without_gradients_nothing_is_kept() -> None:
    model, x = Stepped(UPDATES["tanh"]), torch.randn(2, 3, 5)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    outputs, _ = fused.run(model, x)
    assert outputs.grad_fn is None


def test_a_second_derivative_is_refused_not_wrong() -> None:
    model, x = Stepped(UPDATES["tanh"]), torch.randn(2, 3, 5, requires_grad=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(fused.run(model, x)[0].sum(), x, create_graph=True)


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (lambda p, d, h, v: torch.dropout(p, 0.5, True), "draws random numbers (`dropout`)"),
        (lambda p, d, h, v: torch.softmax(p, dim=-1), "`softmax` is not known"),
        (lambda p, d, h, v: p if p.sum() > 0 else d, "TraceError"),
        (lambda p, d, h, v: p + torch.ones(5), "no argument, parameter or buffer"),
        (lambda p, d, h, v: p.add_(d), "in place"),
        (lambda p, d, h, v: p @ (h.t() @ h), "`t` is not known"),
        (lambda p, d, h, v: p + d.sum(-1, keepdim=True), "`sum` is not known"),
        (lambda p, d, h, v: torch.tanh(p + math.inf), "inf is an operand"),
        (lambda p, d, h, v: (p, d), "returns 2 states for 1"),
        (lambda p, d, h, v: torch.floor(p), "`floor` is not known"),
    ],
)
def test_what_cannot_be_fused_says_why_and_runs_all_the_same(update: Callable[..., Any], reason: str) -> None:
    model, x = Stepped(update), torch.randn(2, 3, 5)
    planned = fused.plan_model(model, x)
    assert isinstance(planned, UnsupportedStep) and reason in planned.reason
    if "2 states" in reason:
        return  # there is nothing to run
    torch.manual_seed(0)
    expected = recurrent_model.run_steps(model, x)[0]
    torch.manual_seed(0)
    assert torch.equal(fused.run(model, x)[0], expected)


def test_mixed_precision_is_refused() -> None:
    model = Stepped(UPDATES["tanh"])
    model.v.data = model.v.data.float()
    planned = fused.plan_model(model, torch.randn(2, 3, 5))
    assert isinstance(planned, UnsupportedStep) and "one type" in planned.reason


def test_parameters_read_inside_the_step_must_have_its_precision() -> None:
    model = TwoProducts()
    model.A.float()
    planned = fused.plan_model(model, torch.randn(2, 3, 2))
    assert isinstance(planned, UnsupportedStep)


class Counting(Stepped):
    """Its step depends on how often it was called."""

    def __init__(self) -> None:
        super().__init__(UPDATES["tanh"])
        self.calls = 0

    def step(self, projected: Tensor, state: State, recurrent_weights: tuple[Tensor, Tensor]) -> State:
        self.calls += 1
        return super().step(projected, state, recurrent_weights)


def test_a_step_with_a_memory_of_its_own_is_refused() -> None:
    planned = fused.plan_model(Counting(), torch.randn(2, 3, 5))
    assert isinstance(planned, UnsupportedStep) and "changes the attribute `calls`" in planned.reason


class Scaled(Stepped):
    def __init__(self) -> None:
        super().__init__(lambda p, d, h, v: torch.tanh(p + d) * self.scale)
        self.scale = 1.0


def test_a_changed_setting_makes_a_new_plan() -> None:
    model, x = Scaled(), torch.randn(2, 3, 5)
    before = fused.run(model, x)[0]
    model.scale = 0.5
    torch.testing.assert_close(fused.run(model, x)[0], recurrent_model.run_steps(model, x)[0])
    assert not torch.equal(fused.run(model, x)[0], before)


def test_planning_draws_no_random_number() -> None:
    model = Stepped(UPDATES["tanh"])
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fused.plan_model(model, torch.zeros(2, 3, 5))
    assert torch.equal(torch.rand(3), expected)


# -- the compiler ----------------------------------------------------------------------------------------------------


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    library.compiler.cache_clear()
    yield
    library.compiler.cache_clear()


def network(model: RecurrentModel) -> Network:
    return Network([model], 2, readout="last", input="values")


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_auto_takes_the_reference() -> None:
    chosen = choose("auto", network(Stepped(UPDATES["tanh"])), torch.device("cpu"))
    assert chosen.run is recurrent_model.run_steps and chosen.name == "reference"
    assert chosen.note is not None and "there is no C compiler" in chosen.note
    with pytest.raises(UserError, match="--engine fused cannot run this model: there is no C compiler .*, or auto"):
        choose("fused", network(Stepped(UPDATES["tanh"])), torch.device("cpu"))
    with pytest.raises(library.CompilerError, match="no C compiler"):
        fused.run(Stepped(UPDATES["tanh"]), torch.zeros(2, 3, 5))


def test_auto_takes_the_fused_engine() -> None:
    chosen = choose("auto", network(Stepped(UPDATES["tanh"])), torch.device("cpu"))
    assert (chosen.run, chosen.name, chosen.note) == (fused.run, "fused", None)


def test_asking_for_fused_where_it_cannot_be_is_an_error() -> None:
    model = Stepped(lambda p, d, h, v: torch.softmax(p, dim=-1))
    with pytest.raises(UserError, match=r"layer 1 \(Stepped\): the operation `softmax` is not known.*, or auto"):
        choose("fused", network(model), torch.device("cpu"))
    assert choose("auto", network(model), torch.device("cpu")).name == "reference"


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (lambda p, d, h, v: torch.tanh(p) * torch.rand(h.shape), r"draws random numbers \(`rand`\)"),
        (lambda p, d, h, v: torch.tanh(p) * (torch.rand_like(h) > 0.1), r"draws random numbers \(`rand_like`\)"),
        (lambda p, d, h, v: torch.tanh(p) * random.choice([0.1, 0.5, 0.9, 0.95]), "that are not torch's$"),
        (lambda p, d, h, v: torch.tanh(p) * float(numpy.random.rand()), "that are not torch's$"),  # noqa: NPY002
        (lambda p, d, h, v: torch.tanh(p) * h.sum().item(), r"needs a value while it is traced \(`item`\)$"),
    ],
)
def test_a_draw_of_random_numbers_is_never_frozen(update: Callable[..., Any], reason: str) -> None:
    before = random.getstate()
    numpy.random.seed(3)  # noqa: NPY002 - steps may draw from it
    planned = fused.plan_model(Stepped(update), torch.zeros(2, 3, 5))
    assert isinstance(planned, UnsupportedStep) and re.search(reason, planned.reason), planned
    assert random.getstate() == before
    assert numpy.random.rand() == numpy.random.RandomState(3).rand()  # noqa: NPY002


def test_a_compiler_that_refuses_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path))
    library.cache_folder.cache_clear()
    with pytest.raises(library.CompilerError, match="failed"):
        library.load("this is no C")
    library.cache_folder.cache_clear()


def test_loading_a_step_does_not_flush_subnormals() -> None:
    fused.run(Stepped(UPDATES["tanh"]), torch.randn(2, 3, 5))
    assert (torch.tensor([1e-300]) * 1e-15).item() > 0


def _compile(folder: str) -> float:
    os.environ["STABLEBENCH_CACHE"] = folder
    library.cache_folder.cache_clear()
    return library.load("double answer(void) { return 42; }").answer() is not None


def test_many_processes_may_compile_the_same_step(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        assert all(pool.map(_compile, [str(tmp_path)] * 6))
    assert sorted(path.suffix for path in (tmp_path / "engines").iterdir()) == [".sha256", ".so"]
    assert (tmp_path / "engines").stat().st_mode & 0o077 == 0


def test_a_cache_that_cannot_be_written_to_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "file"))
    library.cache_folder.cache_clear()
    try:
        assert library.load("int nothing;") is not None
    finally:
        library.cache_folder.cache_clear()
