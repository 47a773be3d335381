"""coRNN: the equation, the energy bound, the published parameter counts."""

import pytest
import torch

from stablebench.models.base import count_parameters
from stablebench.models.network import Network
from stablebench.models.recurrent.cornn import CoRNN


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


@pytest.mark.parametrize("damping", ["explicit", "implicit"])
def test_it_is_the_equation_unit_by_unit(damping: str) -> None:
    dt, gamma, epsilon = 0.07, 1.9, 3.1
    model = CoRNN(2, 3, dt=dt, gamma=gamma, epsilon=epsilon, damping=damping)  # pyright: ignore[reportArgumentType]
    x = torch.randn(1, 6, 2)
    outputs, (y_end, z_end) = model(x)
    y, z = torch.zeros(3), torch.zeros(3)
    for t in range(6):
        force = torch.tanh(model.W @ y + model.W2 @ z + model.V @ x[0, t] + model.b)
        if damping == "explicit":
            z = z + dt * (force - gamma * y - epsilon * z)
        else:  # z solves z = z_before + dt (force - gamma y - epsilon z)
            z = torch.linalg.solve((1 + dt * epsilon) * torch.eye(3), z + dt * (force - gamma * y))
        y = y + dt * z
        torch.testing.assert_close(outputs[0, t], y, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(y_end[0], y, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(z_end[0], z, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("dt", "gamma", "epsilon"), [(0.01, 1.0, 1.0), (1.0, 1.0, 1.0), (0.05, 8.0, 0.5)])
def test_the_energy_is_bounded_at_every_step(dt: float, gamma: float, epsilon: float) -> None:
    hidden = 16
    model = CoRNN(2, hidden, dt=dt, gamma=gamma, epsilon=epsilon, damping="implicit")
    for parameter in model.parameters():
        parameter.data.mul_(20)  # saturate phi: the worst case
    state, transition = model.initial_state(8), model.transition()
    for t, drive in enumerate(model.drive(torch.randn(8, 300, 2)).unbind(1), 1):
        y, z = state = model.step(drive, state, transition)
        energy = (gamma * y.square() + z.square()).sum(-1).max().item()
        assert energy <= hidden * t * dt / (2 * epsilon - gamma * dt)
        if gamma == epsilon == 1:
            assert energy <= hidden * t * dt  # as printed


def test_the_bound_needs_the_implicit_form() -> None:
    model = CoRNN(1, 4, dt=1.0, gamma=1.0, epsilon=1.9)
    state, transition = (torch.ones(1, 4), -torch.ones(1, 4)), model.transition()
    for drive in model.drive(torch.zeros(1, 200, 1)).unbind(1):
        state = model.step(drive, state, transition)
    implicit = CoRNN(1, 4, dt=1.0, gamma=1.0, epsilon=1.9, damping="implicit")
    calm = (torch.ones(1, 4), -torch.ones(1, 4))
    for drive in model.drive(torch.zeros(1, 200, 1)).unbind(1):
        calm = implicit.step(drive, calm, transition)
    assert state[0].abs().max() > 10 * calm[0].abs().max()


@pytest.mark.parametrize(("hidden", "published"), [(128, 34_314), (256, 134_154)])
def test_parameter_counts_are_the_papers_for_psmnist(hidden: int, published: int) -> None:
    network = Network([CoRNN(1, hidden)], 10, readout="last", input="values")
    assert count_parameters(network.parameters()) == published


def test_learned_constants_start_where_they_were_set_and_get_gradients() -> None:
    model = CoRNN(2, 3, dt=0.1, gamma=2.0, epsilon=4.0, learned=True)
    fixed = CoRNN(2, 3, dt=0.1, gamma=2.0, epsilon=4.0)
    fixed.load_state_dict({k: v for k, v in model.state_dict().items() if k != "constants"})
    x = torch.randn(2, 5, 2)
    torch.testing.assert_close(model(x)[0], fixed(x)[0], rtol=1e-12, atol=1e-12)
    model(x)[0].sum().backward()
    assert model.get_parameter("constants").grad is not None
    assert (model.get_parameter("constants").grad != 0).all()
