"""Operations of the fused engine: values and derivatives against torch's own, and that compiled code is vectorised."""

import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch_oracle
from stepped import Stepped
from torch import Tensor
from torch.nn import functional

from stablebench.engines.fused import engine as fused
from stablebench.engines.fused.c.codegen import text_of
from stablebench.engines.fused.operations import OPERATIONS
from stablebench.engines.fused.step_graph import UnsupportedStep
from stablebench.models import recurrent_model
from stablebench.process import c_library as library

ONE: dict[str, Callable[[Tensor], Tensor]] = {
    "log": torch.log,
    "sqrt": torch.sqrt,
    "softplus": functional.softplus,
    "log_sigmoid": functional.logsigmoid,
    "round": lambda x: torch.round(x) + 0 * x,
    "detach": lambda x: x.detach() + 0 * x,
    "straight through": lambda x: x + (torch.round(x) - x).detach(),
}
TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"maximum": torch.maximum, "minimum": torch.minimum}
SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 0.5, 1.5, 2.5, -0.5, -1.5, 20.0, 20.000001, 1e-310, -1e-310, 1e30]


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)


def values(positive: bool) -> Tensor:
    """Return numbers of every magnitude and the special ones, (any, 5)."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.exp(30 * torch.randn(200, generator=generator))
    near = torch.cat([torch.linspace(0.4, 3, 101), 1 + 1e-9 * torch.randn(20, generator=generator)])
    both = torch.cat([wide, near])
    signed = torch.cat([both, -both, 4 * torch.randn(100, generator=generator)])
    found = torch.cat([both if positive else signed, torch.tensor(SPECIAL)])
    return torch.nn.functional.pad(found, (0, -len(found) % 5), value=1.0).view(-1, 5)


def gradients(run: Callable[..., object], update: Callable[..., Tensor], *rows: Tensor) -> list[Tensor]:
    """Return update(drive, state) after one step, and its derivatives in drive and state with ones as the adjoint."""
    model = Stepped(lambda product, projected, state, vector: update(projected, state) + 0 * vector)
    dtype = rows[0].dtype
    model = model.to(dtype)
    x, h = (row.detach().clone().requires_grad_() for row in (rows[0], rows[-1]))
    outputs, _ = run(model, x[:, None], (h,))  # pyright: ignore
    outputs.sum().backward()
    return [outputs[:, 0].detach(), *(torch.zeros_like(x) if t.grad is None else t.grad for t in (x, h))]


def assert_same(update: Callable[..., Tensor], backend: str, tolerance: float, *rows: Tensor) -> None:
    def run(*args: object) -> object:
        assert isinstance(torch_oracle.plan_model(*args, backend=backend), fused.StepPlan)
        return torch_oracle.run(*args, backend=backend)

    ours, theirs = gradients(run, update, *rows), gradients(recurrent_model.run_steps, update, *rows)
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 3e-6)])
@pytest.mark.parametrize("backend", torch_oracle.BACKENDS)
@pytest.mark.parametrize("name", ONE)
def test_values_and_derivatives_are_torchs(name: str, backend: str, dtype: torch.dtype, tolerance: float) -> None:
    x = values(name in ("log", "sqrt")).to(dtype)
    assert_same(lambda projected, state: ONE[name](projected), backend, tolerance, x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("backend", torch_oracle.BACKENDS)
@pytest.mark.parametrize("name", TWO)
def test_equal_arguments_share_the_adjoint_and_nan_wins(name: str, backend: str, dtype: torch.dtype) -> None:
    single = torch.tensor([0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 2.5, -0.0], dtype=dtype)
    pairs = torch.cartesian_prod(single, single)
    x, y = (torch.nn.functional.pad(part, (0, 1)).view(-1, 5) for part in pairs.unbind(1))
    assert_same(TWO[name], backend, 0.0, x, y)
    assert_same(lambda projected, state: TWO[name](projected * state, state), backend, 0.0, x, y)


@pytest.mark.parametrize("backend", torch_oracle.BACKENDS)
def test_straight_through_has_rounded_value_and_derivative_one(backend: str) -> None:
    """Straight through has the rounded value and the derivative one."""

    def run(*args: object) -> object:
        return torch_oracle.run(*args, backend=backend)

    x = torch.tensor([[0.4, 0.5, 0.6, 1.5, -0.7]])
    value, derivative, _ = gradients(run, lambda projected, state: ONE["straight through"](projected), x)
    assert torch.equal(value, torch.tensor([[0.0, 0.0, 1.0, 2.0, -1.0]]))  # half way: the even one, as torch.round
    assert torch.equal(derivative, torch.ones(1, 5))


def test_the_logarithm_is_within_an_ulp_or_two_of_the_exact_one() -> None:
    for dtype in (torch.float64, torch.float32):
        x = values(True).to(dtype)
        x = x[(x > 0).all(1) & x.isfinite().all(1)]
        found = fused.run(Stepped(lambda p, d, h, v: torch.log(d) + 0 * v).to(dtype), x[:, None])[0][:, 0].detach()
        exact = torch.tensor([[math.log(v) for v in row] for row in x.tolist()], dtype=torch.float64)
        error = (found.double() - exact).abs() / exact.abs().clamp(min=1e-30)
        assert error[exact != 0].max() <= 2 * torch.finfo(dtype).eps


def test_another_softplus_is_left_to_torch() -> None:
    planned = fused.plan_model(Stepped(lambda p, d, h, v: functional.softplus(p, 2.0)), torch.zeros(1, 1, 5))
    assert isinstance(planned, UnsupportedStep) and "softplus" in planned.reason


@pytest.mark.parametrize("name", ["logarithm", "softplus", "log_sigmoid", "rounded", "square_root", "maximum"])
@pytest.mark.parametrize("double", [True, False])
def test_loops_are_vectorised(name: str, double: bool, tmp_path: Path) -> None:
    compiler, version = library.compiler()
    if "gcc" not in version.lower() and "Free Software Foundation" not in version:
        pytest.skip("the report of vectorised loops is GCC's")
    call = OPERATIONS["maximum"].c.format("x[i]", "y[i]") if name == "maximum" else f"{name}(x[i])"
    text = f"{'#define DOUBLE' if double else ''}\n{text_of('functions.c')}\n"
    text += "void apply(int64_t n, const real *restrict x, const real *restrict y, real *restrict out)\n{\n"
    text += f"#pragma omp simd\n    for (int64_t i = 0; i < n; i++) out[i] = {call};\n    (void)y;\n}}\n"
    (tmp_path / "apply.c").write_text(text)
    line = next(i for i, content in enumerate(text.splitlines(), 1) if "out[i] =" in content)
    command = [compiler, *library.flags(), "-fopt-info-vec-optimized", "-c", "apply.c", "-o", "apply.o"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"apply.c:{line}:" in done.stderr and "loop vectorized" in done.stderr, done.stderr
