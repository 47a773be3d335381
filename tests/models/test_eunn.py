"""EUNN: its rotations and layouts, that the matrix is unitary, and that full capacity has the group's dimension."""

import cmath
import math
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import count_parameters
from stablebench.models.blocks.unitary import as_real
from stablebench.models.recurrent.eunn import EUNN
from stablebench.models.recurrent.urnn_arjovsky import ArjovskyURNN

Layout = Literal["tunable", "fft"]


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def pairs_by_the_paper(n: int, capacity: int, layout: Layout) -> list[list[tuple[int, int]]]:
    """Return each layer's pairs, counted from 1 as in the paper."""
    if layout == "tunable":
        odd = [(i, i + 1) for i in range(1, n, 2)]
        even = [(i, i + 1) for i in range(2, n, 2)]
        return [even if layer % 2 == 0 else odd for layer in range(1, capacity + 1)]
    layers = []
    for i in range(1, int(math.log2(n)) + 1):
        p = n // 2**i
        layers.append([(2 * p * k + j, p * (2 * k + 1) + j) for k in range(2 ** (i - 1)) for j in range(1, p + 1)])
    return layers


def literal_matrix(model: EUNN, capacity: int, layout: Layout) -> Tensor:
    """Return D F_1 ... F_L, every rotation as a matrix of its own."""
    n = model.hidden
    W = torch.diag(torch.tensor([cmath.exp(1j * w) for w in model.omega.tolist()]))
    angles = iter(zip(model.theta.tolist(), model.phi.tolist(), strict=True))
    for layer in pairs_by_the_paper(n, capacity, layout):
        for i, j in layer:
            theta, phi = next(angles)
            c, s, turn = math.cos(theta), math.sin(theta), cmath.exp(1j * phi)
            R = torch.eye(n, dtype=torch.complex128)
            R[i - 1, [i - 1, j - 1]] = torch.tensor([c, -turn * s])
            R[j - 1, [i - 1, j - 1]] = torch.tensor([s, turn * c])
            W = W @ R
    assert next(angles, None) is None
    return W


CASES: list[tuple[int, int, Layout]] = [
    (6, 1, "tunable"),
    (6, 2, "tunable"),
    (6, 6, "tunable"),
    (5, 3, "tunable"),
    (2, 2, "tunable"),
    (8, 2, "fft"),
    (2, 2, "fft"),
]


@pytest.mark.parametrize(("hidden", "capacity", "layout"), CASES)
def test_the_matrix_is_the_product_of_the_papers_rotations(hidden: int, capacity: int, layout: Layout) -> None:
    model = EUNN(2, hidden, capacity=capacity, layout=layout)
    torch.testing.assert_close(model.unitary(), literal_matrix(model, capacity, layout), rtol=0, atol=1e-14)


def test_the_chain_is_the_equation_in_complex_numbers() -> None:
    model = EUNN(2, 6)
    model.b.data.normal_(std=0.3)
    W, V = literal_matrix(model, 2, "tunable"), torch.complex(model.V[:6], model.V[6:])
    x = torch.randn(1, 9, 2)
    outputs, _ = model(x)
    h = torch.zeros(6, dtype=torch.complex128)
    for t in range(9):
        z = W @ h + V @ x[0, t].to(V.dtype)
        h = torch.stack([s / abs(s) * max(abs(s) + b, 0) for s, b in zip(z, model.b, strict=True)])
        torch.testing.assert_close(outputs[0, t], torch.cat([h.real, h.imag]), rtol=0, atol=1e-8)  # 1e-10 in |z|^2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("hidden", "capacity", "layout"), [(16, 2, "tunable"), (15, 15, "tunable"), (16, 2, "fft")])
def test_the_matrix_stays_unitary_under_training(
    hidden: int, capacity: int, layout: Layout, dtype: torch.dtype
) -> None:
    torch.set_default_dtype(dtype)
    model = EUNN(2, hidden, capacity=capacity, layout=layout)
    optimiser = torch.optim.RMSprop(model.parameters(), lr=0.01)
    x, target = torch.randn(8, 6, 2), torch.randn(8, 2 * hidden)
    start = model.unitary().detach()
    for _ in range(100):
        optimiser.zero_grad()
        (model(x)[0][:, -1] - target).square().mean().backward()
        optimiser.step()
    W = model.unitary().detach()
    assert (W - start).abs().max() > 0.1, "training moved it"
    assert (W.mH @ W - torch.eye(hidden)).abs().max() < (1e-14 if dtype == torch.float64 else 5e-6)  # some roundings


def directions(W: Tensor, parameters: list[nn.Parameter]) -> int:
    """Return the rank of W's derivative in the parameters."""
    rows = [torch.autograd.grad(entry, parameters, retain_graph=True) for entry in as_real(W).flatten()]
    return int(torch.linalg.matrix_rank(torch.stack([torch.cat(row) for row in rows]), rtol=1e-10).item())


@pytest.mark.parametrize("hidden", [3, 4, 5, 6])
def test_every_parameter_moves_the_matrix_in_its_own_direction(
    hidden: int,
) -> None:
    """Every parameter moves the matrix in a direction of its own and all there are at full capacity."""
    for capacity in range(1, hidden + 1):
        model = EUNN(2, hidden, capacity=capacity)
        parameters = [model.theta, model.phi, model.omega]
        assert directions(model.unitary(), parameters) == count_parameters(parameters)
        assert (count_parameters(parameters) == hidden**2) == (capacity == hidden)


def test_with_the_phase_in_a_row_it_would_miss_directions() -> None:
    """With the phase in a row it would miss three directions of four units."""
    model = EUNN(2, 4, capacity=4)
    W, turn = torch.diag(torch.exp(1j * model.omega)), torch.exp(1j * model.phi)
    pairs = [pair for layer in pairs_by_the_paper(4, 4, "tunable") for pair in layer]
    for (i, j), theta, phase in zip(pairs, model.theta, turn, strict=True):
        places = torch.tensor([i - 1, i - 1, j - 1, j - 1]), torch.tensor([i - 1, j - 1, i - 1, j - 1])
        entries = torch.stack([phase * theta.cos(), -phase * theta.sin(), theta.sin() + 0j, theta.cos() + 0j])
        W = W @ torch.eye(4, dtype=torch.complex128).index_put(places, entries)
    torch.testing.assert_close(W.mH @ W, torch.eye(4, dtype=torch.complex128))
    assert directions(W, [model.theta, model.phi, model.omega]) == 13


def jacobian(model: EUNN, steps: int) -> Tensor:
    x = torch.randn(1, steps, 2)
    found = torch.autograd.functional.jacobian(lambda h: model(x, (h[None],))[1][0][0], torch.randn(2 * model.hidden))
    assert isinstance(found, Tensor)
    return found


def test_it_starts_as_a_linear_network_that_keeps_every_norm() -> None:
    values = torch.linalg.svdvals(jacobian(EUNN(2, 8), 30))
    torch.testing.assert_close(values, torch.ones(16), rtol=0, atol=1e-13)


def test_jacobian_does_not_grow_while_biases_are_not_positive() -> None:
    """The jacobian does not grow while the biases are not positive."""
    model = EUNN(2, 8)
    model.b.data.uniform_(-0.5, 0)
    values = torch.linalg.svdvals(jacobian(model, 10))
    assert values.max() <= 1 + 1e-13 and values.min() < 0.5
    model.b.data.fill_(0.5)
    assert torch.linalg.svdvals(jacobian(model, 10)).max() > 2, "and it does when they are"


def test_with_the_same_matrix_and_start_it_is_urnn() -> None:
    """With R_1 = R_2 = I - 2 e_1 e_1^H and F, D_1, D_2 of two units, both can be the same real rotation."""
    model, urnn = EUNN(3, 2, capacity=1), ArjovskyURNN(3, 2)
    urnn.V.data, urnn.b.data = model.V.data, model.b.data
    urnn.w.data.zero_()
    urnn.v.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]).expand(2, 2, 2))
    urnn.Pi.copy_(torch.arange(2))
    model.theta.data.fill_(-math.pi / 2)  # W = [[0, 1], [-1, 0]]
    model.phi.data.zero_()
    model.omega.data.zero_()
    torch.testing.assert_close(model.unitary(), urnn.unitary(), rtol=0, atol=1e-14)
    x = torch.randn(2, 9, 3)
    h = urnn.initial_state(2)
    torch.testing.assert_close(model(x, h)[0], urnn(x, h)[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize(("capacity", "layout", "count"), [(2, "tunable", 2 * 63 + 64), (64, "tunable", 64**2)])
def test_the_matrix_has_as_many_parameters_as_the_paper_says(capacity: int, layout: Layout, count: int) -> None:
    groups = {g.name: count_parameters(g.parameters) for g in EUNN(1, 64, capacity=capacity).parameter_groups()}
    assert groups["orthogonal"] == count
    fft = {g.name: count_parameters(g.parameters) for g in EUNN(1, 64, layout="fft").parameter_groups()}
    assert fft["orthogonal"] == 64 * 6 + 64


def test_misfits_are_refused() -> None:
    with pytest.raises(UserError, match="`capacity` must be <= 4, the hidden width"):
        EUNN(2, 4, capacity=5)
    with pytest.raises(UserError, match="must be a power of two for `layout` fft .* got 6"):
        EUNN(2, 6, layout="fft")
    with pytest.raises(UserError, match="`hidden` must be >= 2"):
        EUNN(2, 1)
