import math

import pytest
import torch

from stablebench.errors import UserError
from stablebench.models.deep.resnet_mlp import ResnetMlp


@pytest.fixture(autouse=True)
def _float64() -> None:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_chain_is_the_equation(activation) -> None:
    model = ResnetMlp(3, 4, layers=7, step_size=0.3, activation=activation, init="normal")
    phi = {"relu": lambda z: max(z, 0.0), "tanh": math.tanh}[activation]
    W_1, b_1, W, b = (p.tolist() for p in (model.W_1[0], model.b_1[0], model.W, model.b))
    x = torch.randn(5, 3)
    for sample, found in zip(x.tolist(), model(x).tolist(), strict=True):
        h = [phi(b_1[i] + sum(W_1[i][j] * sample[j] for j in range(3))) for i in range(4)]
        for l in range(4):  # noqa: E741
            z = [b[l][i] + sum(W[l][i][j] * h[j] for j in range(4)) for i in range(4)]
            h = [h[i] + 0.3 * phi(z[i]) for i in range(4)]
        assert found == pytest.approx(h, abs=1e-12)


def residual_jacobian(model: ResnetMlp, x: torch.Tensor) -> torch.Tensor:
    """The derivative of the last h in h_1."""
    (h_1,) = model.embed_input(x[None])

    def rest(h: torch.Tensor) -> torch.Tensor:
        (group,) = model.layer_groups()
        for layer in zip(*(p.unbind(0) for p in group.layers), strict=True):
            (h,) = model.step(layer, (h,), None)
        return h[0]

    found = torch.autograd.functional.jacobian(rest, h_1.detach())
    assert isinstance(found, torch.Tensor)
    return found[:, 0]


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("step_size", [0.02, 0.1])
def test_singular_values_stay_around_the_identity_path(step_size: float, activation) -> None:
    model = ResnetMlp(3, 8, layers=23, step_size=step_size, activation=activation, init="normal")
    reach = step_size * torch.linalg.matrix_norm(model.W, 2).max().item()
    assert reach < 1, "the hypothesis"
    values = torch.linalg.svdvals(residual_jacobian(model, torch.randn(3)))
    assert (1 - reach) ** 20 <= values.min() and values.max() <= (1 + reach) ** 20


def test_without_residuals_the_layers_are_the_identity() -> None:
    model, x = ResnetMlp(3, 4, layers=30), torch.randn(2, 3)
    model.W.data.zero_()
    assert torch.equal(model(x), model.embed_input(x)[0])
    assert torch.equal(residual_jacobian(model, x[0]), torch.eye(4))


def test_fewer_than_one_residual_layer_is_refused() -> None:
    with pytest.raises(UserError, match="`layers` must be >= 4 .* got 3"):
        ResnetMlp(3, 4, layers=3)
