"""The delta rule in three models: the equations, and the eigenvalues that its steps can have."""

from typing import Any

import pytest
import torch
from literal import assert_is, scrambled
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.blocks.delta_rule import DeltaRule
from stablebench.models.recurrent.deltanet import DeltaNet
from stablebench.models.recurrent.deltaproduct import DeltaProduct
from stablebench.models.recurrent.gated_deltanet import GatedDeltaNet

MODELS = [
    (DeltaNet, {}),
    (DeltaNet, {"heads": 3, "key_size": 2}),
    (DeltaNet, {"negative_eigenvalues": True, "heads": 2, "key_size": 5}),
    (GatedDeltaNet, {"heads": 2, "key_size": 3}),
    (GatedDeltaNet, {"negative_eigenvalues": True, "key_size": 1}),
    (DeltaProduct, {"heads": 2, "key_size": 3}),
    (DeltaProduct, {"householders": 3, "negative_eigenvalues": False, "decay": True, "key_size": 4}),
]


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def literal(model: DeltaRule, b: float, x: Tensor) -> Tensor:
    """Return the outputs (time, hidden): matrices (d_v, d_k), one head after the other, I - beta k k^T built."""
    heads, d_k = model.heads, model.key_size
    d_v, n_h = model.hidden // heads, model.householders
    S = [torch.zeros(d_v, d_k) for _ in range(heads)]
    outputs = []
    for x_t in x:
        keys, values = silu(model.key(x_t)).view(n_h, heads, d_k), silu(model.value(x_t)).view(n_h, heads, d_v)
        betas = b / (1 + torch.exp(-model.beta(x_t))).view(n_h, heads)
        queries = silu(model.query(x_t)).view(heads, d_k)
        y = []
        for h in range(heads):
            if model.decay is not None:
                softplus = torch.log(1 + torch.exp(model.decay.step_size(x_t)[h]))
                S[h] = torch.exp(-torch.exp(model.decay.A_log[h]) * softplus) * S[h]
            for i in range(n_h):
                k = keys[i, h] / keys[i, h].norm()
                S[h] = S[h] @ (torch.eye(d_k) - betas[i, h] * torch.outer(k, k))
                S[h] = S[h] + betas[i, h] * torch.outer(values[i, h], k)
            read = S[h] @ (queries[h] / queries[h].norm())
            y.append(read / torch.sqrt(read.square().mean() + 1e-5) * model.readout.norm.weight)
        whole = torch.cat(y)
        gate = model.readout.gate
        outputs.append(model.readout.out.weight @ (whole if gate is None else whole * silu(gate(x_t))))
    return torch.stack(outputs)


@pytest.mark.parametrize(("cls", "arguments"), MODELS)
def test_it_is_the_equation(cls: type[Any], arguments: dict[str, Any]) -> None:
    model = cls(2, 6, **arguments)
    scrambled(model)
    negative = arguments.get("negative_eigenvalues", cls is DeltaProduct)
    assert_is(model, lambda x: literal(model, 2.0 if negative else 1.0, x))


def transition(model: DeltaRule, x: Tensor) -> Tensor:
    """Return dS_t/dS_{t-1} for one input (in,)."""
    (projected,) = zip(*(part.unbind(1) for part in model.input_projection(x[None, None])), strict=True)
    jacobian = torch.autograd.functional.jacobian(
        lambda S: model.step(projected, (S,), model.recurrent_weights())[0], torch.randn(1, model.state_sizes[0])
    )
    assert isinstance(jacobian, Tensor)
    return jacobian[0, :, 0]


def wide_open(model: DeltaRule) -> None:
    """Give every beta its largest value."""
    with torch.no_grad():
        model.beta.weight.zero_()
        model.beta.bias.fill_(60.0)


@pytest.mark.parametrize("negative", [False, True])
def test_eigenvalues_reach_minus_one_where_asked_for(negative: bool) -> None:
    model = DeltaNet(3, 4, key_size=3, negative_eigenvalues=negative)
    wide_open(model)
    found = torch.linalg.eigvalsh(transition(model, torch.randn(3)))  # symmetric
    expected = torch.tensor([-1.0 if negative else 0.0] * 4 + [1.0] * 8)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_memory_can_count_modulo_two() -> None:
    """With beta = 2 and v = 0 a step turns what lies under k around, and nothing else does."""
    model = DeltaNet(1, 1, key_size=1, negative_eigenvalues=True)
    wide_open(model)
    with torch.no_grad():
        for linear in (model.value, model.key):
            linear.weight.zero_()
            linear.bias.fill_(0.0 if linear is model.value else 1.0)
    states = [torch.ones(1, 1)]
    for _ in range(5):
        states.append(model(torch.zeros(1, 1, 1), (states[-1],))[1][0])
    torch.testing.assert_close(torch.cat(states).flatten(), torch.tensor([1.0, -1, 1, -1, 1, -1]), rtol=0, atol=1e-12)


def test_two_reflections_make_a_rotation() -> None:
    model = DeltaProduct(2, 1, key_size=2)
    wide_open(model)
    angle = 0.3
    with torch.no_grad():
        model.key.weight.zero_()
        k = torch.tensor([1.0, 0.0, torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))])
        wanted = 4 + k  # silu of them is what is normalised, so they are found by inversion
        for _ in range(100):
            wanted = wanted - (silu(wanted) - 4 - k) / 1.05
        model.key.bias.copy_(wanted)
    first, second = (part / part.norm() for part in (4 + k).chunk(2))
    between = torch.arccos(first @ second)
    found = torch.linalg.eigvals(transition(model, torch.randn(2)))
    torch.testing.assert_close(found.abs(), torch.ones(2), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.angle().abs(), (2 * between).expand(2), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("cls", "arguments"), MODELS)
def test_no_direction_grows(cls: type[Any], arguments: dict[str, Any]) -> None:
    model = cls(3, 6, **arguments)
    product = torch.eye(model.state_sizes[0])
    for _ in range(10):
        product = transition(model, 3 * torch.randn(3)) @ product
        assert torch.linalg.matrix_norm(product, 2) <= 1 + 1e-12


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(UserError, match="`heads` must divide `hidden`, got 4 and 6"):
        DeltaNet(1, 6, heads=4)
