import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.base import count_parameters
from stablebench.models.deep.mlp import Mlp
from stablebench.models.deep.roafnn import RoaFNN
from stablebench.models.deep_network import DeepNetwork

FILTERS = ["dense", "permutation", "identity"]


@pytest.fixture(autouse=True)
def _float64() -> None:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)


def layers_of(model: RoaFNN) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return W, b and O of every layer."""
    found = []
    for i, (Ws, bs) in enumerate(zip(model.W, model.b, strict=True)):
        O = dict(model.named_buffers()).get(f"O_{i}")  # noqa: E741
        for k, (W, b) in enumerate(zip(Ws, bs, strict=True)):
            filter = torch.eye(*W.shape) if O is None else O if model.shared else O[k]
            found.append((W.detach(), b.detach(), filter))
    return found


@pytest.mark.parametrize("widths", [None, [7, 7, 4, 4, 2], [3, 5, 5, 8, 8]], ids=str)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("orthogonal", FILTERS)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_chain_and_the_output_are_the_equation(activation, orthogonal, shared: bool, widths) -> None:
    hidden = widths[-1] if widths else 7
    model = RoaFNN(
        3, hidden, layers=7, rho=2.0, widths=widths, activation=activation, orthogonal=orthogonal, shared=shared
    )
    network = DeepNetwork(model, 2)
    head = network.head.state_dict()
    maps = [*layers_of(model), (head["weight"], head["bias"], head["O"])]
    assert len(maps) == 6, "7 layers of neurons have 6 maps between them"
    phi, a = {"relu": lambda z: max(z, 0.0), "tanh": math.tanh}[activation], 2.0 / 6
    x = torch.randn(4, 3)
    for sample, found in zip(x.tolist(), network(x)[0].tolist(), strict=True):
        h = sample
        for W, b, O in ([t.tolist() for t in layer] for layer in maps):  # noqa: E741
            n, m = len(b), len(h)
            z = [b[i] + sum(W[i][j] * h[j] for j in range(m)) for i in range(n)]
            h = [a * phi(z[i]) + (1 - a) * sum(O[i][j] * h[j] for j in range(m)) for i in range(n)]
        assert found == pytest.approx(h, abs=1e-12)


@pytest.mark.parametrize("widths", [None, [7, 7, 4, 4, 2], [3, 5, 5, 8, 8]], ids=str)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("orthogonal", FILTERS)
def test_every_filter_is_semi_orthogonal_frozen_and_saved(orthogonal, shared: bool, widths) -> None:
    model = RoaFNN(3, widths[-1] if widths else 7, layers=7, widths=widths, orthogonal=orthogonal, shared=shared)
    for W, _, O in layers_of(model):  # noqa: E741
        rows, columns = O.shape
        assert O.shape == W.shape
        gram = O.T @ O if columns < rows else O @ O.T
        assert (gram - torch.eye(min(rows, columns))).abs().max() < 1e-13
        if orthogonal != "dense":
            assert set(O.flatten().tolist()) <= {0.0, 1.0}
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"W", "b"}
    assert all(name in model.state_dict() for name, _ in model.named_buffers())


def test_layers_have_own_filters_unless_one_shape_shares_one() -> None:
    """Layers have filters of their own unless one shape shares one."""
    own = [layer[2] for layer in layers_of(RoaFNN(4, 4, layers=9))]
    assert all(not torch.equal(a, b) for a, b in pairwise(own))
    model = RoaFNN(4, 4, layers=9, widths=[4, 4, 3, 3, 3, 4, 4], shared=True)
    by_shape = {}
    for *_, O in layers_of(model):  # noqa: E741
        assert torch.equal(by_shape.setdefault(O.shape, O), O)
    assert len(by_shape) == 4  # 4 x 4, 3 x 4, 3 x 3, 4 x 3
    assert torch.equal(model.readout(4).O, by_shape[torch.Size([4, 4])])  # pyright: ignore


def test_filters_take_nothing_from_the_weights() -> None:
    weights = []
    for orthogonal in FILTERS:
        torch.manual_seed(5)
        network = DeepNetwork(RoaFNN(2, 4, layers=6, orthogonal=orthogonal), 3)  # pyright: ignore
        weights.append(torch.cat([p.flatten() for p in network.parameters()]))
    assert torch.equal(weights[0], weights[1]) and torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("layers", [50, 50_000])
@pytest.mark.parametrize("output", ["layer", "linear"])
def test_parameters_are_those_of_figure_1(layers: int, output) -> None:
    network = DeepNetwork(RoaFNN(2, 2, layers=layers, rho=5.0, output=output), 1)
    assert count_parameters(network.parameters()) == {50: 291, 50_000: 299_991}[layers]
    assert len(network.state_dict()) <= 6


def test_all_start_from_the_standard_normal_distribution() -> None:
    network = DeepNetwork(RoaFNN(100, 100, layers=5), 200)
    for tensor in network.parameters():
        count = tensor.numel()
        assert tensor.mean().abs() < 4 / count**0.5  # four standard errors, under a fixed seed
        assert abs(tensor.std().item() - 1) < 4 / (2 * count) ** 0.5


@pytest.mark.parametrize("output", ["layer", "linear"])
def test_at_the_largest_rho_the_model_is_the_plain_network(output) -> None:
    torch.manual_seed(3)
    ours = DeepNetwork(RoaFNN(2, 4, layers=8, rho=7.0, output=output), 2)
    torch.manual_seed(3)
    plain = DeepNetwork(Mlp(2, 4, layers=8, init="normal", output=output), 2)
    plain.load_state_dict({k: v for k, v in ours.state_dict().items() if "O" not in k})
    x = torch.randn(5, 2)
    torch.testing.assert_close(ours(x)[0], plain(x)[0], rtol=1e-13, atol=1e-13)


def test_a_rho_beyond_the_depth_is_refused() -> None:
    with pytest.raises(UserError, match=r"`rho` must be <= 9 .* got 9.5"):
        RoaFNN(2, 4, layers=10, rho=9.5)


def jacobian_behind_the_first(model: RoaFNN, x: Tensor) -> Tensor:
    """dh_T/dh_1, T = layers - 2, as the product of one-layer Jacobians; alpha and phi' written out."""
    h, product = x, None
    for W, b, O in layers_of(model):  # noqa: E741
        z = W @ h + b
        slope = 1 - torch.tanh(z) ** 2 if model.activation == "tanh" else (z > 0).to(z.dtype)
        one = model.alpha * slope[:, None] * W + (1 - model.alpha) * O
        product = one @ product if product is not None else torch.eye(len(b))
        value = torch.tanh(z) if model.activation == "tanh" else z.relu()
        h = model.alpha * value + (1 - model.alpha) * O @ h
    assert product is not None
    return product


def test_the_jacobian_of_the_tests_below_is_autograds() -> None:
    model, x = RoaFNN(3, 4, layers=7, widths=[5, 5, 4, 4, 4], rho=1.5), torch.randn(3)
    whole = torch.autograd.functional.jacobian(lambda x: model(x[None])[0], x)
    W, b, O = layers_of(model)[0]  # noqa: E741
    first = model.alpha * (1 - torch.tanh(W @ x + b) ** 2)[:, None] * W + (1 - model.alpha) * O
    torch.testing.assert_close(jacobian_behind_the_first(model, x) @ first, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("widths", [None, [9] * 20 + [5] * 20 + [2] * 18], ids=["equal", "shrinking"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("orthogonal", FILTERS)
@pytest.mark.parametrize("rho", [0.1, 0.5, 3.0])
def test_norm_of_jacobian_lies_in_finite_form_of_theorem_2_1(activation, orthogonal, rho: float, widths) -> None:
    """The norm of the jacobian lies in the finite form of theorem 2 1."""
    hidden = widths[-1] if widths else 6
    model = RoaFNN(3, hidden, layers=60, rho=rho, widths=widths, activation=activation, orthogonal=orthogonal)
    s = max(torch.linalg.matrix_norm(W, 2).item() for W, *_ in layers_of(model)[1:])  # and r = 1
    a, N = rho / 59, 57
    assert a * (1 + s) < 1, "the theorem's hypothesis"
    norm = torch.linalg.matrix_norm(jacobian_behind_the_first(model, torch.randn(3)), 2).item()
    assert (1 - a * (1 + s)) ** N <= norm <= (1 + a * (s - 1)) ** N
    assert (1 + a * (s - 1)) ** N <= math.exp(a * N * (s - 1)), "the printed upper end is the wider one"


def test_the_upper_bound_holds_for_growing_widths_too() -> None:
    model = RoaFNN(2, 9, layers=60, rho=1.0, widths=[2] * 20 + [5] * 20 + [9] * 18)
    s = max(torch.linalg.matrix_norm(W, 2).item() for W, *_ in layers_of(model)[1:])
    norm = torch.linalg.matrix_norm(jacobian_behind_the_first(model, torch.randn(2)), 2)
    assert norm <= (1 + (s - 1) / 59) ** 57


def test_the_bounds_are_attained_and_the_printed_lower_one_fails() -> None:
    """W = O with active ReLU attains the upper end, W = -O the lower one, which lies below exp(-rho (1 + r s))."""
    for sign in (1, -1):
        model = RoaFNN(5, 5, layers=12, rho=2.0, activation="relu")
        with torch.no_grad():
            model.W[0].copy_(sign * model.get_buffer("O_0"))
            model.b[0].fill_(1e3)
        values = torch.linalg.svdvals(jacobian_behind_the_first(model, torch.zeros(5)))
        end = 1.0 if sign > 0 else (1 - 2 * 2 / 11) ** 9
        torch.testing.assert_close(values, torch.full((5,), end), rtol=1e-12, atol=0)
        if sign < 0:
            assert end < math.exp(-(2 / 11 * 9) * 2), "the printed lower end"
