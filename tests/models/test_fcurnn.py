"""Full-capacity uRNN: the equation, the update that keeps it unitary, and what uRNN's parameters cannot reach."""

import pytest
import torch
from torch import Tensor

from stablebench.models.base import count_parameters
from stablebench.models.blocks.unitary import as_real, random_unitary
from stablebench.models.recurrent.fcurnn import FullCapacityURNN
from stablebench.models.recurrent.urnn_arjovsky import ArjovskyURNN
from stablebench.schema.optim import OptimSpec
from stablebench.training.updates.cayley import as_complex, updated
from stablebench.training.updates.optimiser import Updater


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def deviation(W: Tensor) -> float:
    M = torch.complex(*W.detach())
    return (M.mH @ M - torch.eye(len(M))).abs().max().item()


def test_the_chain_is_the_equation_in_complex_numbers() -> None:
    model = FullCapacityURNN(2, 5)
    model.b.data.normal_(std=0.3)
    W, V = torch.complex(*model.W), torch.complex(*model.V.chunk(2))
    x = torch.randn(1, 9, 2)
    outputs, _ = model(x)
    h = torch.complex(*model.h_0.chunk(2))
    for t in range(9):
        z = W @ h + V @ x[0, t].to(V.dtype)
        h = torch.stack([s / abs(s) * max(abs(s) + b, 0) for s, b in zip(z, model.b, strict=True)])
        torch.testing.assert_close(outputs[0, t], torch.cat([h.real, h.imag]), rtol=0, atol=1e-8)  # 1e-10 in |z|^2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_matrix_starts_unitary_and_stays_so_while_training(dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)
    model = FullCapacityURNN(2, 12)
    spec = OptimSpec.model_validate({"name": "rmsprop", "lr": 0.003, "groups": {"orthogonal": {"lr": 0.3}}})
    updater = Updater(model.parameter_groups(), spec, None)
    start = model.W.detach().clone()
    bound = 1e-14 if dtype == torch.float64 else 1e-6  # some roundings, not accumulated
    assert deviation(start) < bound
    losses = []
    for step in range(150):
        updater.zero_grad()
        loss = (model(torch.randn(4, 10, 2))[0] - 0.5).square().mean()
        loss.backward()
        before = model.W.detach().clone()
        assert model.W.grad is not None
        expected = updated(as_complex(before), as_complex(model.W.grad), 0.3)
        updater.update(step)
        assert torch.equal(as_complex(model.W.detach()), expected), "the multiplicative update alone"
        losses.append(loss.item())
    assert deviation(model.W) < bound
    assert (model.W - start).abs().max() > 0.1
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_with_the_same_matrix_it_is_urnn() -> None:
    model, restricted = FullCapacityURNN(3, 6), ArjovskyURNN(3, 6)
    W = restricted.unitary().detach()
    model.W.data = torch.stack([W.real, W.imag])
    for name in ("V", "b", "h_0"):
        getattr(model, name).data = getattr(restricted, name).data
    x = torch.randn(2, 10, 3)
    torch.testing.assert_close(model(x)[0], restricted(x)[0], rtol=0, atol=1e-13)


def test_restricted_matrix_has_fewer_directions_than_group() -> None:
    """The group has n^2 directions, 7 n parameters cannot span them for n > 7."""
    for n in (3, 9):
        model = ArjovskyURNN(2, n)
        rows = [
            torch.cat([g.flatten() for g in torch.autograd.grad(entry, [model.w, model.v], retain_graph=True)])
            for entry in as_real(model.unitary()).flatten()
        ]
        rank = int(torch.linalg.matrix_rank(torch.stack(rows), rtol=1e-10).item())
        assert rank < n**2 if n > 7 else rank == n**2
        assert rank <= 7 * n


def jacobian(model: FullCapacityURNN, steps: int) -> Tensor:
    x = torch.randn(1, steps, 2)
    found = torch.autograd.functional.jacobian(lambda h: model(x, (h[None],))[1][0][0], torch.randn(2 * model.hidden))
    assert isinstance(found, Tensor)
    return found


def test_it_starts_as_a_linear_network_that_keeps_every_norm() -> None:
    values = torch.linalg.svdvals(jacobian(FullCapacityURNN(2, 8), 30))
    torch.testing.assert_close(values, torch.ones(16), rtol=0, atol=1e-13)


def test_jacobian_does_not_grow_while_biases_are_not_positive() -> None:
    """The jacobian does not grow while the biases are not positive."""
    model = FullCapacityURNN(2, 8)
    model.b.data.uniform_(-0.5, 0)
    values = torch.linalg.svdvals(jacobian(model, 10))
    assert values.max() <= 1 + 1e-13 and values.min() < 0.5
    model.b.data.fill_(0.5)
    assert torch.linalg.svdvals(jacobian(model, 10)).max() > 2, "and it does when they are"


def test_random_unitary_matrices_prefer_no_phase() -> None:
    traces = torch.stack([random_unitary(4).trace() for _ in range(4000)])
    assert traces.mean().abs() < 4 / 4000**0.5  # E tr = 0 and E |tr|^2 = 1 under Haar's measure
    assert traces.abs().square().mean().item() == pytest.approx(1, abs=4 / 4000**0.5)
    torch.set_default_dtype(torch.float32)
    assert random_unitary(3).dtype == torch.complex64


def test_the_matrix_is_alone_in_its_group() -> None:
    groups = FullCapacityURNN(10, 30).parameter_groups()
    assert [(g.name, g.rule, count_parameters(g.parameters)) for g in groups] == [
        ("main", "optimiser", 2 * 30 * 10 + 30 + 60),
        ("orthogonal", "cayley", 2 * 30 * 30),
    ]
