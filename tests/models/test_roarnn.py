import math

import pytest
import torch
from torch import nn

from stablebench.errors import UserError
from stablebench.models.recurrent.roarnn import RoaRNN


@pytest.fixture(autouse=True)
def _float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # small matrices: on a busy machine threads wait for each other a hundred times longer
    yield
    torch.set_default_dtype(torch.float32)


def input_output_jacobian(model: RoaRNN, x: torch.Tensor) -> torch.Tensor:
    """dh_L/dh_1 for inputs (L, in): the product of L - 1 one-step Jacobians."""
    projected, recurrent_weights = model.input_projection(x[None])[0], model.recurrent_weights()
    (h,) = model.step(projected[:1], model.initial_state(1), recurrent_weights)
    product = torch.eye(model.hidden)
    for d in projected[1:]:
        one_step = torch.autograd.functional.jacobian(
            lambda h, d=d: model.step(d[None], (h[None],), recurrent_weights)[0][0], h[0]
        )
        assert isinstance(one_step, torch.Tensor)
        product = one_step @ product
        (h,) = model.step(d[None], (h.detach(),), recurrent_weights)
    return product.detach()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("orthogonal", ["dense", "permutation", "identity"])
def test_the_chain_is_the_equation(activation, orthogonal):
    model = RoaRNN(3, 7, horizon=11, rho=2.0, activation=activation, orthogonal=orthogonal)
    x = torch.randn(4, 11, 3)
    outputs, _ = model(x)
    phi = {"relu": lambda z: max(z, 0.0), "tanh": math.tanh}[activation]
    W, V, b, O = (p.tolist() for p in (model.W, model.V, model.b, model.O))  # noqa: E741
    a = 2.0 / 11
    for n, sequence in enumerate(x.tolist()):
        h = [0.0] * 7
        for t, u in enumerate(sequence):
            z = [b[i] + sum(W[i][j] * h[j] for j in range(7)) + sum(V[i][j] * u[j] for j in range(3)) for i in range(7)]
            h = [a * phi(z[i]) + (1 - a) * sum(O[i][j] * h[j] for j in range(7)) for i in range(7)]
            assert outputs[n, t].tolist() == pytest.approx(h, abs=1e-12)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("orthogonal", ["dense", "permutation", "identity"])
@pytest.mark.parametrize("rho", [0.1, 0.5, 3.0])
def test_singular_values_lie_in_theorem_3_1s_finite_form(activation, orthogonal, rho):
    """Singular values of the jacobian lie in the finite form of theorem 3 1."""
    L = 60
    model = RoaRNN(2, 12, horizon=L - 1, rho=rho, activation=activation, orthogonal=orthogonal)  # alpha = rho / (L - 1)
    s = torch.linalg.matrix_norm(model.W, 2).item()  # and r = 1 for both activations
    a = rho / (L - 1)
    assert a * (1 + s) < 1, "the theorem's hypothesis"
    values = torch.linalg.svdvals(input_output_jacobian(model, torch.randn(L, 2)))
    assert values.min() >= (1 - a * (1 + s)) ** (L - 1)
    assert values.max() <= (1 + a * (s - 1)) ** (L - 1)
    assert (1 + a * (s - 1)) ** (L - 1) <= math.exp(rho * (s - 1)), "the printed upper end is the wider one"


def test_the_finite_bounds_are_attained():
    """W = O with active ReLU attains the upper end, W = -O the lower one, in every direction."""
    L, rho = 20, 0.7
    for sign, end in ((1, 1.0), (-1, (1 - 2 * rho / (L - 1)) ** (L - 1))):
        model = RoaRNN(1, 5, horizon=L - 1, rho=rho)
        model.W.data = sign * model.O
        model.b.data.fill_(1e3)
        values = torch.linalg.svdvals(input_output_jacobian(model, torch.zeros(L, 1)))
        assert torch.allclose(values, torch.full((5,), end), rtol=1e-12)


def test_the_printed_lower_bound_fails_on_a_finite_chain():
    """N 1, O 1, W -1, ReLU active, rho 1, L 11: the Jacobian is 0.8^10 = 0.107, below exp(-2) = 0.135."""
    model = RoaRNN(1, 1, horizon=10, rho=1.0, orthogonal="identity")
    model.W.data.fill_(-1.0)
    model.V.data.fill_(0.0)
    model.b.data.fill_(2.0)
    value = input_output_jacobian(model, torch.zeros(11, 1)).abs().item()
    assert value == pytest.approx(0.8**10, rel=1e-12)
    assert value < math.exp(-1.0 * (1 + 1 * 1))


def test_at_rho_equal_to_horizon_model_is_elman_network():
    """At rho equal to the horizon the model is the elman network."""
    model = RoaRNN(2, 6, horizon=5, rho=5.0, activation="tanh")
    elman = nn.RNN(2, 6, batch_first=True)
    for name, value in (("weight_ih_l0", model.V), ("weight_hh_l0", model.W), ("bias_ih_l0", model.b)):
        getattr(elman, name).data = value.data
    nn.init.zeros_(elman.get_parameter("bias_hh_l0"))
    x = torch.randn(3, 5, 2)
    assert torch.allclose(model(x)[0], elman(x)[0], rtol=0, atol=1e-12)


def test_a_rho_beyond_the_horizon_is_refused():
    with pytest.raises(UserError, match="`rho` must be <= 10, .* got 50"):
        RoaRNN(2, 4, horizon=10, rho=50.0)


@pytest.mark.parametrize(("init", "deviation"), [("normal", 1.0), ("uniform", 3**-0.5)])
def test_all_parameters_and_the_readout_start_as_the_paper_says(init, deviation):
    model, readout = RoaRNN(100, 100, horizon=10, init=init), nn.Linear(100, 200)
    model.initialise_readout(readout)
    for tensor in (model.W, model.V, model.b, readout.weight, readout.bias):
        count = tensor.numel()
        assert tensor.mean().abs() < 4 * deviation / count**0.5  # four standard errors, under a fixed seed
        assert abs(tensor.std().item() / deviation - 1) < 4 / (2 * count) ** 0.5
        assert (tensor.abs().max() <= 1) == (init == "uniform")


@pytest.mark.parametrize("orthogonal", ["dense", "permutation", "identity"])
def test_o_is_orthogonal_frozen_and_saved(orthogonal):
    model = RoaRNN(2, 30, horizon=10, orthogonal=orthogonal)
    assert (model.O.T @ model.O - torch.eye(30)).abs().max() < 1e-13
    assert set(dict(model.named_parameters())) == {"W", "V", "b"}
    assert "O" in model.state_dict()
    if orthogonal == "permutation":
        assert set(model.O.flatten().tolist()) == {0.0, 1.0} and not torch.equal(model.O, torch.eye(30))


def test_a_step_is_an_euler_step_of_the_continuous_model():
    """Appendix D: dh/dt = A h + phi(W h + b + V x), A = ((1 - alpha) O - I) / alpha, integrated with step alpha."""
    model, h, x = RoaRNN(3, 5, horizon=10, rho=2.0), torch.randn(4, 5), torch.randn(4, 1, 3)
    (found,) = model.step(model.input_projection(x)[:, 0], (h,), model.recurrent_weights())
    force = torch.relu(h @ model.W.T + model.b + x[:, 0] @ model.V.T)
    eye = torch.eye(5)
    slope = force + h @ ((model.O - eye) / model.alpha - model.O).T
    torch.testing.assert_close(found, h + model.alpha * slope, rtol=1e-13, atol=1e-13)
