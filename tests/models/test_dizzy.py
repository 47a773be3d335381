import math

import pytest
import torch

from stablebench.errors import UserError
from stablebench.models.blocks.pairing import round_robin
from stablebench.models.recurrent.dizzy import DizzyRNN
from stablebench.models.registry import model_entry


@pytest.fixture(autouse=True)
def _float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # small matrices: on a busy machine threads wait for each other a hundred times longer
    yield
    torch.set_default_dtype(torch.float32)


def turned(vector: list[float], angles: torch.Tensor) -> list[float]:
    """P_1 ... P_r vector, one Givens rotation of two numbers after the other, P_r first."""
    y = list(vector)
    for packed, thetas in reversed(list(zip(round_robin(len(y), len(angles)).tolist(), angles.tolist(), strict=True))):
        for (a, b), t in zip(packed, thetas, strict=True):
            y[a], y[b] = math.cos(t) * y[a] + math.sin(t) * y[b], -math.sin(t) * y[a] + math.cos(t) * y[b]
    return y


@pytest.mark.parametrize("input_map", ["dense", "rotations"])
@pytest.mark.parametrize("hidden", [2, 5, 6])
def test_the_chain_is_the_equation(input_map, hidden):
    inputs = hidden if input_map == "rotations" else 3
    model = DizzyRNN(inputs, hidden, input_map=input_map)
    model.b.data.normal_()
    x = torch.randn(2, 8, inputs)
    outputs, _ = model(x)
    for n in range(2):
        h = [0.0] * hidden
        for t in range(8):
            if model.input_map is None:
                driven = [sum(w * u for w, u in zip(row, x[n, t].tolist(), strict=True)) for row in model.W_x.tolist()]
            else:
                driven = turned(x[n, t].tolist(), model.input_map.U.angles)
            rotated = turned(h, model.recurrent_map.U.angles)
            h = [abs(r + d + b) for r, d, b in zip(rotated, driven, model.b.tolist(), strict=True)]
            assert outputs[n, t].tolist() == pytest.approx(h, abs=1e-12)


def gradient_norms(model: DizzyRNN, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """||dL/dh_t|| for t = 0 ... T and ||dL/dx_t|| for t = 1 ... T, L a random linear function of h_T; batch 1."""
    x = x.clone().requires_grad_()
    recurrent_weights = model.recurrent_weights()
    states = [torch.rand(1, model.hidden).requires_grad_()]
    for projected in model.input_projection(x).unbind(1):
        states.append(model.step(projected, (states[-1],), recurrent_weights)[0])
    loss = (states[-1] * torch.randn(model.hidden)).sum()
    *by_state, by_input = torch.autograd.grad(loss, [*states, x])
    return torch.stack([g.norm() for g in by_state]), by_input[0].norm(dim=1)


@pytest.mark.parametrize(("hidden", "rotations"), [(2, None), (5, 3), (17, None), (128, 10)])
def test_theorem_3_norm_of_gradient_is_same_at_all_times(hidden, rotations):
    """Theorem 3 the norm of the gradient is the same at all times."""
    model = DizzyRNN(3, hidden, rotations=rotations)
    norms, _ = gradient_norms(model, torch.randn(1, 200, 3))
    assert torch.allclose(norms, norms[-1].expand(201), rtol=1e-12, atol=0)


def test_theorem_3_fails_with_relu():
    norms, _ = gradient_norms(DizzyRNN(3, 16, activation="relu"), torch.randn(1, 20, 3))
    assert norms[0] < 0.1 * norms[-1]


def test_theorem_4_the_gradient_at_the_input_has_that_norm_too():
    model = DizzyRNN(9, 9, rotations=4, input_map="rotations")
    by_state, by_input = gradient_norms(model, torch.randn(1, 100, 9))
    assert torch.allclose(by_input, by_state[:-1], rtol=1e-12, atol=0)
    dense = DizzyRNN(9, 9, rotations=4)
    by_state, by_input = gradient_norms(dense, torch.randn(1, 100, 9))
    assert not torch.allclose(by_input, by_state[:-1], rtol=0.01, atol=0)


@pytest.mark.parametrize("hidden", [2, 7, 16])
def test_the_singular_values_are_sigma(hidden):
    model = DizzyRNN(3, hidden, singular_values=True)
    recurrent = model.recurrent_map
    assert recurrent.sigma is not None and recurrent.V is not None
    W = model.recurrent_weights().T
    assert (W.T @ W - torch.eye(hidden)).abs().max() < 1e-12, "sigma starts at 1: orthogonal"
    assert torch.allclose(W, recurrent.U() @ recurrent.V().T, rtol=0, atol=1e-13)
    sigma = torch.rand(hidden) + 0.5
    recurrent.sigma.data = sigma
    W = model.recurrent_weights().T
    assert torch.allclose(torch.linalg.svdvals(W), sigma.sort(descending=True).values, rtol=0, atol=1e-12)
    assert torch.allclose(W, recurrent.U() @ torch.diag(sigma) @ recurrent.V().T, rtol=0, atol=1e-13)


def test_penalty_is_that_of_singular_values_off_1():
    """The penalty is half lambda times the distance of all singular values from 1."""
    model = DizzyRNN(4, 4, input_map="rotations", singular_values=True, sigma_penalty=3.0)
    assert model.input_map is not None and model.input_map.sigma is not None and model.recurrent_map.sigma is not None
    model.recurrent_map.sigma.data = torch.tensor([1.0, 2.0, 1.0, 1.0])
    model.input_map.sigma.data = torch.tensor([1.0, 1.0, 0.5, 1.0])
    penalty = model.penalty()
    assert penalty is not None and penalty.item() == pytest.approx(3 / 2 * (1 + 0.25))
    assert DizzyRNN(4, 4).penalty() is None
    assert DizzyRNN(4, 4, singular_values=True, sigma_penalty=0.0).penalty() is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {"main": 5 * 5, "bias": 5, "orthogonal": 10}),
        ({"input_map": "rotations"}, {"main": 0, "bias": 5, "orthogonal": 20}),
        (
            {"input_map": "rotations", "singular_values": True},
            {"main": 0, "bias": 5, "orthogonal": 40, "singular_values": 10},
        ),
    ],
)
def test_parameters_are_in_their_groups(arguments, expected):
    groups = DizzyRNN(5, 5, **arguments).parameter_groups()
    assert {g.name: sum(p.numel() for p in g.parameters) for g in groups} == expected


def test_the_start_is_that_of_the_docstring():
    model = DizzyRNN(300, 100)
    assert model.W_x.std().item() == pytest.approx(0.1, rel=0.02)
    assert not model.b.any()
    assert 3.0 < model.recurrent_map.U.angles.abs().max() <= math.pi
    assert DizzyRNN(300, 100, input_std=0.5).W_x.std().item() == pytest.approx(0.5, rel=0.02)


def test_rotations_need_inputs_as_wide_as_the_state():
    with pytest.raises(UserError, match="got in_features 3 and hidden 5; take `hidden` 3 or `input_map` dense"):
        DizzyRNN(3, 5, input_map="rotations")


def test_arguments_are_checked_by_their_annotations():
    entry = model_entry("dizzy")
    assert entry.resolve({"rotations": 10})["rotations"] == 10
    with pytest.raises(UserError, match=">= 1"):
        entry.resolve({"rotations": 0})


def test_a_blank_input_moves_a_ringed_state_on_unchanged() -> None:
    torch.manual_seed(0)
    model = DizzyRNN(3, 8, rotations=4, angle_start="ring", angle_range=0.0, silent=[2])
    blank, h = torch.eye(3)[2].expand(1, 8, 3), torch.rand(1, 8)
    outputs, (end,) = model(blank, (h,))
    torch.testing.assert_close(end, h, rtol=0, atol=1e-5)  # eight moves round a ring of eight
    assert not torch.allclose(outputs[:, 0], h)
    torch.testing.assert_close(outputs[:, 0].sort().values, h.sort().values, rtol=0, atol=1e-6)


def test_silent_features_must_exist() -> None:
    with pytest.raises(UserError, match=r"`silent` names features 0 \.\.\. 2"):
        DizzyRNN(3, 8, silent=[3])
