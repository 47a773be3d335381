"""The scan computes what the loop over a linear step defines, with all gradients, at any length."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from passes import Outputs, assert_as_exact, assert_the_same, everything
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.engines import choose, scan
from stablebench.engines.fused import engine as fused
from stablebench.errors import UserError
from stablebench.models import recurrent_model
from stablebench.models import registry as model_registry
from stablebench.models.base import RecurrentModel
from stablebench.models.blocks.linear import LinearRecurrence
from stablebench.models.network import Network
from stablebench.models.recurrent.rnn import Rnn

IN = 3
LENGTHS = [1, 2, 3, 7, 64, 100]
LINEAR = [
    name for name in model_registry.model_names() if issubclass(model_registry.model_entry(name).cls, LinearRecurrence)
]


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


class Plain(LinearRecurrence):
    """a from the input or a parameter, real or complex; some of its a are exactly 0."""

    def __init__(self, *, complex_state: bool, constant: bool, hidden: int = 5) -> None:
        super().__init__(IN, hidden)
        self.complex_state, self.constant = complex_state, constant
        self.width = hidden * (1 + complex_state)
        self.B = nn.Parameter(torch.randn(self.width, IN))
        self.A = nn.Parameter(torch.randn(self.width, IN))
        # moduli up to about 1: nothing overflows over 100 steps
        self.a = nn.Parameter(0.7 * (2 * torch.rand(self.width) - 1))
        with torch.no_grad():
            self.a[::hidden] = 0  # of a complex unit both halves

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (self.width,)

    def input_projection(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x @ self.A.T, x @ self.B.T

    def recurrent_weights(self) -> Tensor:
        return self.a

    def terms(self, projected: tuple[Tensor, Tensor], recurrent_weights: Tensor) -> tuple[Tensor, Tensor]:
        gate, b = projected
        return (recurrent_weights, b) if self.constant else (recurrent_weights * torch.relu(gate).tanh(), b)


@pytest.mark.parametrize("outputs", ["every", "last"])
@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("constant", [False, True], ids=["varying", "constant"])
@pytest.mark.parametrize("complex_state", [False, True], ids=["real", "complex"])
def test_it_is_the_loop_at_every_length(complex_state: bool, constant: bool, steps: int, outputs: Outputs) -> None:
    model = Plain(complex_state=complex_state, constant=constant)
    found = everything(scan.run, model, steps, outputs, torch.float64)
    assert_the_same(found, everything(recurrent_model.run_steps, model, steps, outputs, torch.float64))


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("constant", [False, True], ids=["varying", "constant"])
@pytest.mark.parametrize("complex_state", [False, True], ids=["real", "complex"])
def test_float32_is_as_exact_as_the_loop(complex_state: bool, constant: bool, steps: int) -> None:
    assert_as_exact(scan.run, Plain(complex_state=complex_state, constant=constant), steps)


@pytest.mark.parametrize("complex_state", [False, True], ids=["real", "complex"])
def test_complex_numbers_are_multiplied_as_such(complex_state: bool) -> None:
    model = Plain(complex_state=complex_state, constant=True)
    x, (h,) = torch.randn(1, 6, IN), (torch.randn(1, model.width),)
    outputs, _ = scan.run(model, x, (h,))
    n = model.hidden if complex_state else model.width
    a, state = (torch.complex(v[..., :n], v[..., n:]) if complex_state else v for v in (model.a, h[0]))
    for t in range(6):
        b = model.B @ x[0, t]
        state = a * state + (torch.complex(b[:n], b[n:]) if complex_state else b)
        here = torch.cat([state.real, state.imag]) if complex_state else state
        torch.testing.assert_close(outputs[0, t], here, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("steps", [1, 4, 5])
@pytest.mark.parametrize("constant", [False, True], ids=["varying", "constant"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=["real", "complex"])
def test_first_and_second_derivatives_pass_gradcheck(dtype: torch.dtype, constant: bool, steps: int) -> None:
    a = torch.randn(*([2] if constant else [2, steps, 2]), dtype=dtype)
    a[..., 0] = 0
    arguments = (a, torch.randn(2, steps, 2, dtype=dtype), torch.randn(2, 2, dtype=dtype))
    arguments = tuple(t.requires_grad_() for t in arguments)
    assert torch.autograd.gradcheck(scan.states, arguments)
    assert torch.autograd.gradgradcheck(scan.states, arguments)


def test_zero_factors_forget_exactly() -> None:
    a, b = torch.rand(1, 50, 2), torch.randn(1, 50, 2)
    a[:, 20] = 0
    one, other = (scan.states(a, b, torch.randn(1, 2)) for _ in range(2))
    assert not torch.equal(one[:, 20], other[:, 20]) and torch.equal(one[:, 21:], other[:, 21:])
    assert torch.equal(one[:, 21], b[:, 20]) and one.isfinite().all()


def test_the_arguments_are_not_written_to() -> None:
    arguments = torch.rand(2, 9, 3), torch.randn(2, 9, 3), torch.randn(2, 3)
    before = [t.clone() for t in arguments]
    scan.states(*arguments)
    assert all(torch.equal(t, b) for t, b in zip(arguments, before, strict=True))


def test_a_carried_state_equals_one_run() -> None:
    model = Plain(complex_state=True, constant=False)
    x = torch.randn(2, 11, IN)
    whole, end = scan.run(model, x)
    first, state = scan.run(model, x[:, :4])
    second, after = scan.run(model, x[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(after, end, rtol=1e-13, atol=1e-13)


class _Calls(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten.addcmul_.default
        return func(*args, **(kwargs or {}))


def test_number_of_operations_grows_with_logarithm_of_steps() -> None:
    """The number of operations grows with the logarithm of the steps."""
    model = Plain(complex_state=False, constant=False)
    for halvings in (3, 6, 9):
        with _Calls() as calls, torch.no_grad():
            scan.run(model, torch.randn(1, 2**halvings - 1, IN))
        assert calls.count == 2 * halvings  # one to join pairs and one to fill in


@pytest.mark.parametrize("outputs", ["every", "last"])
@pytest.mark.parametrize("steps", [1, 2, 50])
@pytest.mark.parametrize("name", LINEAR)
def test_every_linear_recurrence_agrees_in_all_engines(name: str, steps: int, outputs: Outputs) -> None:
    entry = model_registry.model_entry(name)
    model = entry.build(IN, 12, entry.resolve({}), horizon=steps)
    expected = everything(recurrent_model.run_steps, model, steps, outputs, torch.float64)
    assert isinstance(fused.plan_model(model, torch.zeros(4, steps, IN)), fused.StepPlan)
    for engine in (scan, fused):
        assert_the_same(everything(engine.run, model, steps, outputs, torch.float64), expected)


@pytest.mark.parametrize("name", LINEAR)
def test_every_linear_recurrence_is_as_exact_in_float32(name: str) -> None:
    entry = model_registry.model_entry(name)
    assert_as_exact(scan.run, entry.build(IN, 12, entry.resolve({}), horizon=50), 50)


def network(*layers: RecurrentModel, **how: Any) -> Network:
    return Network(list(layers), 2, readout="last", input="values", **how)


def test_stretches_that_are_computed_again_give_same_gradients() -> None:
    """Stretches that are computed again give the same gradients."""
    gradients = []
    for recompute_every in (None, 4):
        torch.manual_seed(0)
        plain = network(Plain(complex_state=True, constant=False), engine=scan.run, recompute_every=recompute_every)
        plain(torch.randn(3, 10, IN))[0].square().sum().backward()
        gradients.append([p.grad.clone() for p in plain.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_auto_takes_scan_on_cuda_and_where_there_is_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    linear, other = network(Plain(complex_state=False, constant=True)), network(Rnn(IN, 4))
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert choose("auto", linear, cpu).name == "fused" and choose("auto", linear, cuda).name == "scan"
    assert choose("scan", linear, cpu).run is scan.run
    monkeypatch.setattr(fused, "unavailable_reason", lambda device, dtype: "there is no compiler")
    for subject, engine in ((linear, "scan"), (other, "reference")):
        choice = choose("auto", subject, cpu)
        assert choice.name == engine and choice.note == f"the {engine} engine runs this model: there is no compiler"


def test_what_is_not_linear_is_refused_in_one_message(tmp_path: Path) -> None:
    message = (
        r"--engine scan cannot run this model: layer 1 \(Rnn\): its recurrence is not declared linear in the state"
    )
    with pytest.raises(UserError, match=message):
        choose("scan", network(Rnn(IN, 4)), torch.device("cpu"))
    with pytest.raises(TypeError, match="not declared linear"):
        scan.run(Rnn(IN, 4), torch.zeros(1, 1, IN))
    arguments = ["train", "--model", "rnn", "--task", "copy", "--T", "5", "--steps", "1", "--engine", "scan"]
    result = CliRunner().invoke(app, [*arguments, "--runs-dir", str(tmp_path)])
    assert result.exit_code == 2 and "--engine scan cannot run this model" in result.stderr
    assert "Traceback" not in result.output


def test_users_linear_recurrence_trains_and_is_timed_with_scan(tmp_path: Path) -> None:
    """A users linear recurrence trains and is timed with the scan."""
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch\nfrom torch import nn\nfrom stablebench.models.blocks.linear import LinearRecurrence\n"
        "class Mine(LinearRecurrence):\n    def __init__(self, in_features: int, hidden: int) -> None:\n"
        "        super().__init__(in_features, hidden)\n        self.U = nn.Linear(in_features, hidden)\n"
        "    def input_projection(self, x):\n        return self.U(x)\n"
        "    def terms(self, projected, recurrent_weights):\n        return torch.sigmoid(projected), projected\n"
    )
    arguments = ["train", "--model", f"{path}:Mine", "--task", "copy", "--T", "5", "--hidden", "4", "--steps", "2"]
    result = CliRunner().invoke(app, [*arguments, "--engine", "scan", "--runs-dir", str(tmp_path / "runs"), "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout)["environment"]["engine"] == "scan"
    timed = ["speed", "--models", f"{path}:Mine", "--size", "2,4,5", "--repeats", "3", "--device", "cpu"]
    row = json.loads(CliRunner().invoke(app, [*timed, "--json", "--no-memory"]).stdout)["sizes"][0]["models"][0]
    assert len(row["contenders"]["scan"]["seconds"]) == 3 and row["ratios"]["scan / fused"]["median"] > 0
    assert "scan ms" in CliRunner().invoke(app, [*timed, "--no-memory"]).stdout
