"""dtriv: the equation, the base's changes, and its two limits, expRNN and Riemannian gradient descent."""

import copy
from itertools import pairwise

import pytest
import scipy.linalg
import torch
from torch import Tensor

from stablebench.models.recurrent.dtriv import DTriv
from stablebench.models.recurrent.exprnn import ExpRNN
from stablebench.models.recurrent.urnn import URNN
from stablebench.schema.optim import OptimSpec
from stablebench.training.updates.optimiser import Updater


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def deviation(W: Tensor) -> float:
    W = W.detach()
    return (W.T @ W - torch.eye(len(W))).abs().max().item()


def optimiser(model: DTriv | ExpRNN | URNN, **spec: object) -> Updater:
    return Updater(model.parameter_groups(), OptimSpec.model_validate(spec), None)


def train(model: DTriv | ExpRNN | URNN, updater: Updater, updates: range) -> None:
    """Make updates whose data depend on their numbers alone."""
    for step in updates:
        rng = torch.Generator().manual_seed(step)
        x, target = torch.randn(8, 6, 2, generator=rng), torch.randn(8, model.hidden, generator=rng)
        updater.zero_grad()
        dtype = next(model.parameters()).dtype
        (model(x.to(dtype))[0][:, -1] - target.to(dtype)).square().mean().backward()
        updater.update(step)
        model.after_update()


def test_the_chain_is_the_equation() -> None:
    model = DTriv(3, 5)
    model.exponential.upper.data.normal_()
    model.b.data.normal_()
    A = torch.zeros(5, 5)
    A[torch.triu(torch.ones(5, 5), 1).bool()] = model.exponential.upper.detach()
    W = model.B @ torch.from_numpy(scipy.linalg.expm((A - A.T).numpy()))
    x = torch.randn(1, 9, 3)
    outputs, _ = model(x)
    h = torch.zeros(5)
    for t in range(9):
        z = W @ h + model.V @ x[0, t]
        h = torch.sign(z) * torch.clamp(z.abs() + model.b, min=0)
        torch.testing.assert_close(outputs[0, t], h, rtol=0, atol=1e-12)


def test_without_changes_of_base_it_is_exprnn_also_in_training() -> None:
    torch.manual_seed(3)
    model = DTriv(2, 7, change_base_every=0)
    torch.manual_seed(3)
    exprnn = ExpRNN(2, 7)
    assert torch.equal(model.exponential.upper, exprnn.W.upper)
    spec = {"lr": 0.01, "groups": {"orthogonal": {"lr": 0.03}}}
    train(model, optimiser(model, **spec), range(50))
    train(exprnn, optimiser(exprnn, **spec), range(50))
    torch.testing.assert_close(model.orthogonal(), exprnn.W(), rtol=0, atol=1e-13)
    torch.testing.assert_close(model.V, exprnn.V, rtol=0, atol=1e-13)


def test_it_starts_where_exprnn_starts() -> None:
    for every in (0, 1, 100):
        torch.manual_seed(3)
        model = DTriv(2, 7, change_base_every=every)
        torch.manual_seed(3)
        torch.testing.assert_close(model.orthogonal(), ExpRNN(2, 7).orthogonal(), rtol=0, atol=1e-14)
        assert (model.exponential.upper == 0).all() == (every > 0)


def test_new_base_at_every_update_is_riemannian_descent() -> None:
    """A new base at every update makes gradient descent riemannian."""
    model, riemannian = DTriv(2, 6, change_base_every=1, activation="tanh"), URNN(2, 6, activation="tanh")
    riemannian.W.data = model.orthogonal().detach()
    riemannian.V.data, riemannian.b.data = model.V.data.clone(), model.b.data.clone()
    start = model.orthogonal().detach()
    for each in (model, riemannian):
        train(each, optimiser(each, name="sgd", lr=0.1), range(40))
    assert (model.orthogonal() - start).abs().max() > 0.1
    torch.testing.assert_close(model.orthogonal(), riemannian.W, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("every", [0, 1, 7, 100])
def test_the_matrix_and_its_base_stay_orthogonal(every: int, dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)
    model = DTriv(2, 15, change_base_every=every)
    start = model.orthogonal().detach()
    train(model, optimiser(model, lr=0.02), range(200))
    bound = 1e-13 if dtype == torch.float64 else 5e-6  # some roundings, not accumulated
    assert deviation(model.orthogonal()) < bound and deviation(model.B) < bound
    assert (model.orthogonal() - start).abs().max() > 0.1, "training moved it"


def test_the_base_changes_when_it_is_due_and_no_output_moves() -> None:
    model = DTriv(2, 6, change_base_every=3)
    updater, x, bases = optimiser(model, lr=0.05), torch.randn(4, 9, 2), [model.B.clone()]
    for step in range(7):
        train(model, updater, range(step, step + 1))
        bases.append(model.B.clone())
        assert (model.exponential.upper == 0).all() == (step in (2, 5))
    assert [not torch.equal(a, b) for a, b in pairwise(bases)] == [i in (2, 5) for i in range(7)]
    before = model(x)[0]
    model.change_base()
    torch.testing.assert_close(model(x)[0], before, rtol=0, atol=1e-13)


def test_an_interrupted_training_goes_on_as_if_nothing_had_been() -> None:
    whole = DTriv(2, 6, change_base_every=4)
    part, other = copy.deepcopy(whole), DTriv(2, 6, change_base_every=4)
    train(whole, optimiser(whole, lr=0.05), range(11))
    first = optimiser(part, lr=0.05)
    train(part, first, range(6))
    second = optimiser(other, lr=0.05)
    other.load_state_dict(part.state_dict())
    second.load(first.tensors())
    train(other, second, range(6, 11))
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in whole.state_dict().items())
    assert whole.updates.item() == 11


def test_rounding_does_not_add_up_over_thousand_changes_of_base() -> None:
    """Rounding does not add up over a thousand changes of base."""
    torch.set_default_dtype(torch.float32)
    model = DTriv(2, 20, change_base_every=1)
    for _ in range(1000):
        model.exponential.upper.data.normal_(std=0.3)
        model.after_update()
    assert deviation(model.B) < 2e-6  # without the Newton-Schulz step it is 1e-5 and grows
