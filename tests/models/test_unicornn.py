"""UnICORNN: the equation, the symplectic step, its inverse, the energy."""

import math

import pytest
import torch
from torch import Tensor

from stablebench.models.network import Network
from stablebench.models.recurrent.unicornn import UnICORNN


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def test_it_is_the_equation_unit_by_unit() -> None:
    model = UnICORNN(3, 4, dt=0.4, alpha=1.7)
    model.b.data.normal_()
    model.c.data.normal_()
    x = torch.randn(1, 8, 3)
    outputs, (_, z_end) = model(x)
    for i in range(4):
        w, c, b = (p[i].item() for p in (model.w, model.c, model.b))
        k, y, z = 0.4 * (0.5 + 0.5 * math.tanh(c / 2)), 0.0, 0.0
        for t in range(8):
            z -= k * (math.tanh(w * y + float(model.V.detach()[i] @ x[0, t]) + b) + 1.7 * y)
            y += k * z
            assert outputs[0, t, i].item() == pytest.approx(y, abs=1e-13)
        assert z_end[0, i].item() == pytest.approx(z, abs=1e-13)


def jacobian_of_chain(model: UnICORNN, x: Tensor) -> Tensor:
    n = model.hidden

    def chain(joined: Tensor) -> Tensor:
        return torch.cat(model(x, (joined[None, :n], joined[None, n:]))[1], dim=1)[0]

    jacobian = torch.autograd.functional.jacobian(chain, torch.randn(2 * n))
    assert isinstance(jacobian, Tensor)
    return jacobian


@pytest.mark.parametrize("steps", [1, 200])
def test_the_jacobian_is_symplectic_after_training_steps(steps: int) -> None:
    n = 6
    model = UnICORNN(2, n, dt=0.3, alpha=2.0)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        model(torch.randn(4, 20, 2))[0].square().sum().backward()
        optimiser.step()
    J = jacobian_of_chain(model, torch.randn(1, steps, 2))
    eye, zero = torch.eye(n), torch.zeros(n, n)
    omega = torch.cat([torch.cat([zero, eye], 1), torch.cat([-eye, zero], 1)])
    scale = J.abs().max().square()  # rounding of J^T omega J
    torch.testing.assert_close(J.T @ omega @ J / scale, omega / scale, rtol=0, atol=1e-12 * steps)
    values = torch.linalg.svdvals(J)
    torch.testing.assert_close(values * values.flip(0), torch.ones(2 * n), rtol=1e-9, atol=0)


def test_states_are_recovered_from_the_last_ones() -> None:
    model = UnICORNN(2, 5, dt=0.3, alpha=2.0)
    x = torch.randn(1, 500, 2)
    first = (torch.randn(1, 5), torch.randn(1, 5))
    _, (y, z) = model(x, first)
    w, k, projected = model.w.detach(), model.steps().detach(), model.input_projection(x).detach()
    for t in reversed(range(500)):
        y = y - k * z
        z = z + k * (torch.tanh(w * y + projected[:, t]) + 2.0 * y)
    torch.testing.assert_close(y, first[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(z, first[1], rtol=1e-10, atol=1e-10)


def energy(model: UnICORNN, y: Tensor, z: Tensor) -> Tensor:
    """Return alpha y^2 + z^2 - k alpha y z."""
    k = model.steps().detach()
    return model.alpha * y.square() + z.square() - k * model.alpha * y * z


def test_without_a_force_the_energy_is_kept() -> None:
    model = UnICORNN(2, 5, dt=0.5, alpha=3.0)
    model.w.data.zero_()
    model.V.data.zero_()
    state = (torch.randn(3, 5), torch.randn(3, 5))
    before = energy(model, *state)
    for _ in range(5):
        _, state = model(torch.randn(3, 200, 2), state)
        torch.testing.assert_close(energy(model, *state), before, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("dt", "alpha"), [(0.03, 50.0), (0.1, 10.0), (0.19, 30.65), (2.0, 0.9)])
def test_the_energy_grows_at_most_with_the_square_of_time(dt: float, alpha: float) -> None:
    model = UnICORNN(2, 16, dt=dt, alpha=alpha)
    for parameter in (model.V, model.b, model.w):
        parameter.data = 10 * torch.randn(parameter.shape)  # saturates tanh
    k = model.steps().detach()
    assert (k.square() * alpha).max() < 4
    state, worst = model.initial_state(8), 0.0
    for t in range(1, 400):
        resonant = 10 * torch.sign(state[1][:, :2])  # pushes along the velocity of two units
        _, state = model(resonant[:, None], state)
        share = (energy(model, *state).detach() / (t * k).square()).max().item()
        assert share <= 1 + 1e-10
        worst = max(worst, share)
    assert worst > 0.3, "and the bound is not far from what happens"


def test_the_energy_needs_its_condition_on_the_step() -> None:
    model = UnICORNN(2, 4, dt=2.0, alpha=6.0)
    model.c.data.fill_(0.5)
    outputs, _ = model(torch.randn(1, 60, 2))
    assert outputs.abs().max() > 1e6


def test_units_do_not_act_on_each_other() -> None:
    J = jacobian_of_chain(UnICORNN(2, 4), torch.randn(1, 50, 2))
    for block in (J[:4, :4], J[:4, 4:], J[4:, :4], J[4:, 4:]):
        assert torch.equal(block, torch.diag(torch.diag(block)))


def test_residual_layers_add_their_input_from_the_second_on() -> None:
    layers = [UnICORNN(2, 5, stack="residual"), UnICORNN(5, 5, stack="residual")]
    network = Network([*layers], 3, readout="every", input="values")
    x = torch.randn(2, 9, 2)
    outputs, _ = network(x)
    first = layers[0](x)[0]  # its widths differ: nothing is added
    plain = UnICORNN(5, 5)
    plain.load_state_dict(layers[1].state_dict())
    torch.testing.assert_close(outputs, network.head(plain(first)[0] + first), rtol=1e-12, atol=1e-12)
