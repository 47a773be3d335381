"""coRNN: the equation, the energy bound and the Jacobian's, the published parameter counts."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.base import count_parameters
from stablebench.models.network import Network
from stablebench.models.recurrent.cornn import CoRNN

Damping = Literal["explicit", "implicit"]
PHI = {"tanh": torch.tanh, "identity": lambda x: x, "cubic": lambda x: x - x**3 / 3}


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


@pytest.mark.parametrize("activation", ["tanh", "identity", "cubic"])
@pytest.mark.parametrize("damping", ["explicit", "implicit"])
def test_it_is_the_equation_unit_by_unit(damping: Damping, activation: Literal["tanh", "identity", "cubic"]) -> None:
    dt, gamma, epsilon = 0.07, 1.9, 3.1
    model = CoRNN(2, 3, dt=dt, gamma=gamma, epsilon=epsilon, damping=damping, activation=activation)
    x = torch.randn(1, 6, 2)
    outputs, (y_end, z_end) = model(x)
    y, z = torch.zeros(3), torch.zeros(3)
    for t in range(6):
        force = PHI[activation](model.W @ y + model.W2 @ z + model.V @ x[0, t] + model.b)
        if damping == "explicit":
            z = z + dt * (force - gamma * y - epsilon * z)
        else:  # z solves z = z_before + dt (force - gamma y - epsilon z)
            z = torch.linalg.solve((1 + dt * epsilon) * torch.eye(3), z + dt * (force - gamma * y))
        y = y + dt * z
        torch.testing.assert_close(outputs[0, t], y, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(y_end[0], y, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(z_end[0], z, rtol=1e-13, atol=1e-13)


def energies(model: CoRNN, steps: int) -> list[float]:
    """Return the largest gamma y'y + z'z of 8 sequences after each step, from zero states."""
    state, recurrent_weights = model.initial_state(8), model.recurrent_weights()
    found = []
    for projected in model.input_projection(torch.randn(8, steps, model.in_features)).unbind(1):
        y, z = state = model.step(projected, state, recurrent_weights)
        found.append((model.constants[1] * y.square() + z.square()).sum(-1).max().item())
    return found


def saturated(*, dt: float, gamma: float, epsilon: float, damping: Damping, **others) -> CoRNN:
    """A model with large weights, which saturate phi and push every unit along its velocity: the worst case."""
    model = CoRNN(2, 16, dt=dt, gamma=gamma, epsilon=epsilon, damping=damping, **others)
    for parameter in model.parameters():
        parameter.data.mul_(20)
    model.W2.data += 50 * torch.eye(16)
    return model


@pytest.mark.parametrize("damping", ["explicit", "implicit"])
@pytest.mark.parametrize(
    ("dt", "gamma", "epsilon"),
    [
        (0.01, 1.0, 1.0),
        (0.49, 1.0, 1.0),
        (1.0, 1.0, 1.0),  # the largest step of proposition 3.1
        (0.016, 94.5, 9.5),  # adding
        (0.083, 0.13, 4.1),  # psMNIST, 128 units
        (0.05, 8.0, 0.5),
    ],
)
def test_the_energy_is_bounded_at_every_step(dt: float, gamma: float, epsilon: float, damping: Damping) -> None:
    extra = epsilon**2 if damping == "explicit" else 0.0
    D = 2 * epsilon - (gamma + extra) * dt
    if D <= 0:
        pytest.skip("the hypothesis fails")
    model = saturated(dt=dt, gamma=gamma, epsilon=epsilon, damping=damping)
    for t, energy in enumerate(energies(model, 300), 1):
        assert energy <= 16 * t * dt / D
        if dt <= (2 * epsilon - 1) / (gamma + extra):  # conditions 49 and 52
            assert energy <= 16 * t * dt  # as printed


def test_the_bound_is_not_far_from_what_happens() -> None:
    found = energies(saturated(dt=0.05, gamma=8.0, epsilon=0.5, damping="implicit"), 20)
    assert max(e / (16 * t * 0.05 / (2 * 0.5 - 8.0 * 0.05)) for t, e in enumerate(found, 1)) > 0.2


def test_the_bound_needs_its_condition_on_the_step() -> None:
    found: dict[str, float] = {}
    for damping in ("explicit", "implicit"):  # D = -0.81 and 2.8
        model = CoRNN(2, 16, dt=1.0, gamma=1.0, epsilon=1.9, damping=damping)
        model.W.data.zero_()
        model.W2.data.zero_()
        found[damping] = energies(model, 100)[-1]
    assert found["implicit"] <= 16 * 100 / 2.8 < found["explicit"]


def test_the_bound_needs_a_bounded_activation() -> None:
    model = saturated(dt=0.01, gamma=1.0, epsilon=1.0, damping="implicit", activation="identity")
    assert energies(model, 100)[-1] > 16 * 100 * 0.01


def infinity_norm(matrix: Tensor) -> float:
    return matrix.abs().sum(dim=1).max().item()


@pytest.mark.parametrize(("dt", "r"), [(0.01, 0.5), (0.001, 0.5), (0.01, 0.75)])
def test_the_jacobian_of_one_step_is_near_one(dt: float, r: float) -> None:
    model = CoRNN(2, 8, dt=dt, gamma=1.0, epsilon=1.0, damping="implicit")
    eta = dt**r
    model.W.data *= ((1 + dt) * eta / dt - 1) / infinity_norm(model.W.data)  # condition 8 with equality
    model.W2.data *= (1 + dt) * eta / dt / infinity_norm(model.W2.data)

    def step(joined: Tensor) -> Tensor:
        state = (joined[None, :8], joined[None, 8:])
        return torch.cat(model.step(torch.zeros(1, 8), state, model.recurrent_weights()), dim=1)[0]

    for scale in (0.0, 0.1, 3.0):
        jacobian = torch.autograd.functional.jacobian(step, scale * torch.randn(16))
        assert isinstance(jacobian, Tensor)
        assert infinity_norm(jacobian) <= 1 + 3 * eta
        if scale == 0:  # phi' = 1
            assert infinity_norm(jacobian) >= 1 + eta


@pytest.mark.parametrize(("hidden", "published"), [(128, 34_314), (256, 134_154)])
def test_parameter_counts_are_the_papers_for_psmnist(hidden: int, published: int) -> None:
    network = Network([CoRNN(1, hidden)], 10, readout="last", input="values")
    assert count_parameters(network.parameters()) == published


@pytest.mark.parametrize(
    ("init", "recurrent", "outer"), [("fused", 4 + 2 * 50, 4 + 2 * 50), ("separate", 50, 4)], ids=["fused", "separate"]
)
def test_weights_start_uniform_with_the_fan_of_their_map(
    init: Literal["fused", "separate"], recurrent: int, outer: int
) -> None:
    model = CoRNN(4, 50, init=init)
    for matrix, fan in ((model.W, recurrent), (model.W2, recurrent), (model.V, outer), (model.b, outer)):
        assert 0.8 * fan**-0.5 < matrix.abs().max() <= fan**-0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("dt", "gamma", "epsilon"), [(0.1, 2.0, 4.0), (0.016, 94.5, 9.5)])
def test_learned_constants_start_where_they_were_set(
    dt: float, gamma: float, epsilon: float, dtype: torch.dtype
) -> None:
    """Learned constants start where they were set and get gradients."""
    torch.set_default_dtype(dtype)
    learned = CoRNN(2, 3, dt=dt, gamma=gamma, epsilon=epsilon, learned=True)
    fixed = CoRNN(2, 3, dt=dt, gamma=gamma, epsilon=epsilon)
    fixed.load_state_dict({k: v for k, v in learned.state_dict().items() if k != "constants"})
    x = torch.randn(2, 5, 2)
    torch.testing.assert_close(learned(x)[0], fixed(x)[0])
    learned(x)[0].sum().backward()
    gradient = learned.get_parameter("constants").grad
    assert gradient is not None and gradient.isfinite().all() and (gradient != 0).all()


def test_learned_constants_keep_their_range() -> None:
    model = CoRNN(2, 3, learned=True)
    for value in (-30.0, 30.0):
        model.constants.data.fill_(value)
        dt, gamma, epsilon = model.dt_gamma_epsilon().tolist()
        assert 0 < dt < 1 and gamma > 0 and epsilon > 0
    with pytest.raises(UserError, match="`dt` must be < 1 where it is learned"):
        CoRNN(2, 3, dt=1.0, learned=True)
