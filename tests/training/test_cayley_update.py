"""The Cayley update keeps a matrix unitary and goes downhill at the rate that its definition implies."""

import pytest
import torch
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import ParameterGroup
from stablebench.schema.optim import OptimSpec
from stablebench.training.updates import exponential as exponential_update
from stablebench.training.updates.cayley import CayleyUpdate, as_complex, updated
from stablebench.training.updates.optimiser import Updater


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.complex128) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def parts(M: Tensor) -> Tensor:
    return torch.stack([M.real, M.imag])


def unitary(n: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Parameter:
    return nn.Parameter(parts(torch.linalg.qr(normal(n, n, seed=seed)).Q).to(dtype))


def drift(W: Tensor) -> float:
    M = as_complex(W.detach().double())
    return (M.mH @ M - torch.eye(len(M), dtype=M.dtype)).abs().max().item()


def test_one_update_is_the_papers_formula() -> None:
    W, G, eta = unitary(7), normal(7, 7, seed=1), 0.3
    M = as_complex(W.detach())
    A = G @ M.conj().T - M @ G.conj().T
    eye = torch.eye(7, dtype=M.dtype)
    expected = torch.linalg.inv(eye + eta / 2 * A) @ (eye - eta / 2 * A) @ M
    W.grad = parts(G)
    CayleyUpdate([W], lr=eta).step()
    torch.testing.assert_close(as_complex(W.detach()), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("dtype", "bound"),  # some roundings of the type, not accumulated; a bfloat16 entry is rounded when stored
    [(torch.float64, 1e-14), (torch.float32, 2e-6), (torch.bfloat16, 0.02)],
    ids=["float64", "float32", "bfloat16"],
)
@pytest.mark.parametrize("size_of_update", [0.01, 1.0, 100.0])
def test_a_matrix_stays_unitary(dtype: torch.dtype, bound: float, size_of_update: float) -> None:
    W, rng = unitary(32, dtype), torch.Generator().manual_seed(1)
    optimiser = CayleyUpdate([W], lr=size_of_update / 64)  # ||A|| is about 64 for random gradients
    start = W.detach().clone()
    for _ in range(300):
        W.grad = torch.randn(2, 32, 32, generator=rng).to(dtype)
        optimiser.step()
    assert drift(W) < bound
    assert (W - start).abs().max() > 1e-3


def test_the_loss_falls_by_half_the_squared_norm_of_A() -> None:
    W, M = unitary(6), normal(6, 6, seed=1)

    def loss(W: Tensor) -> Tensor:
        product = W @ M
        return (product.real**3 + product.imag).sum() + (W.real * W.imag).exp().sum()

    (gradient,) = torch.autograd.grad(loss(as_complex(W)), W)
    G, start = as_complex(gradient), as_complex(W.detach())
    A = G @ start.mH - start @ G.mH
    eta = 1e-5 / A.norm().item()
    central = (loss(updated(start, G, eta)) - loss(updated(start, G, -eta))) / (2 * eta)
    assert central.item() == pytest.approx(-A.abs().square().sum().item() / 2, rel=1e-6)


def test_of_real_matrices_it_is_exponential_to_second_order() -> None:
    """Of real matrices it is the exponential update to second order."""
    W, G = torch.linalg.qr(normal(5, 5, seed=1, dtype=torch.float64)).Q, normal(5, 5, seed=2, dtype=torch.float64)
    distances = []
    for eta in (1e-2, 1e-3):
        ours = updated(W + 0j, G + 0j, eta)
        assert ours.imag.abs().max() == 0
        distances.append((ours.real - exponential_update.updated(W, G, eta)).norm().item())
    assert distances[0] / distances[1] == pytest.approx(1000, rel=0.1)  # exp(-x) and (1 - x/2) / (1 + x/2) part at x^3


def test_it_solves_the_procrustes_problem() -> None:
    W, X, Y = unitary(5, seed=2), normal(5, 20, seed=3) / 4, normal(5, 20, seed=4) / 4
    U, S, Vh = torch.linalg.svd(Y @ X.mH)
    optimiser = CayleyUpdate([W], lr=0.1)
    for _ in range(1500):
        optimiser.zero_grad()
        (as_complex(W) @ X - Y).abs().square().sum().backward()
        optimiser.step()
    assert (as_complex(W.detach()) - U @ Vh).abs().max() < 1e-6
    assert S.min() > 1e-3  # the minimum is unique


def test_updater_makes_it_beside_others_with_rate_and_no_state() -> None:
    """An updater makes it beside the others with its own rate and no state."""
    W, O = unitary(3), nn.Parameter(torch.linalg.qr(normal(3, 3, seed=5, dtype=torch.float64)).Q)  # noqa: E741
    plain = nn.Parameter(torch.ones(2, dtype=torch.float64))
    groups = [
        ParameterGroup("main", [plain]),
        ParameterGroup("unitary", [W], rule="cayley"),
        ParameterGroup("orthogonal", [O], rule="exponential"),
    ]
    spec = OptimSpec.model_validate({"lr": 0.1, "groups": {"unitary": {"lr": 0.2}}})
    updater = Updater(groups, spec, None)
    before, G = W.detach().clone(), normal(3, 3, seed=6)
    W.grad, O.grad, plain.grad = parts(G), G.real.clone(), torch.ones(2, dtype=torch.float64)
    updater.update(0)
    torch.testing.assert_close(as_complex(W.detach()), updated(as_complex(before), G, 0.2))
    assert {name.split(".")[0] for name in updater.tensors()} == {"0"}, "the plain parameters' moments alone"
    other = Updater(groups, spec, None)
    other.load(updater.tensors())
    assert other.tensors().keys() == updater.tensors().keys()
    decayed = OptimSpec.model_validate({"groups": {"unitary": {"weight_decay": 0.1}}})
    with pytest.raises(UserError, match=r"optim\.groups\.unitary: the cayley update takes only `lr`"):
        Updater(groups, decayed, None)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (torch.zeros(2, 2, 3), r"\(2, n, n\), got \(2, 2, 3\)"),
        (torch.eye(3), r"\(2, n, n\), got \(3, 3\)"),
        (torch.full((2, 3, 3), 0.5), "needs a unitary matrix to start from"),
        (torch.full((2, 3, 3), float("nan")), "needs a unitary matrix to start from"),
    ],
)
def test_only_unitary_matrices_are_taken(matrix: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        CayleyUpdate([nn.Parameter(matrix)], lr=0.1)
