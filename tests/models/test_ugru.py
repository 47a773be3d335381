"""uGRU is torch's GRU with a candidate matrix that stays orthogonal."""

import pytest
import torch
from torch import Tensor, nn

from stablebench.models.base import count_parameters
from stablebench.models.recurrent.gru import GRU
from stablebench.models.recurrent.ugru import UGRU
from stablebench.schema.optim import OptimSpec
from stablebench.training.updates.exponential import updated
from stablebench.training.updates.optimiser import Updater


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def deviation(W: Tensor) -> float:
    W = W.detach()
    return (W.T @ W - torch.eye(len(W))).abs().max().item()


def test_with_the_same_parameters_it_is_torchs_gru() -> None:
    model, theirs = UGRU(3, 5), nn.GRU(3, 5, batch_first=True)
    zero = torch.zeros(10)
    values = {"ih": (model.V, model.b), "hh": (torch.cat([model.W, model.W_n]), torch.cat([zero, model.c_n]))}
    for name, (weight, bias) in values.items():
        getattr(theirs, f"weight_{name}_l0").data = weight.detach()
        getattr(theirs, f"bias_{name}_l0").data = bias.detach()
    x, h = torch.randn(4, 11, 3), torch.randn(4, 5)
    expected, last = theirs(x, h[None])
    outputs, (state,) = model(x, (h,))
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(state, last[0], rtol=0, atol=1e-13)


def test_it_is_gru_with_an_orthogonal_candidate() -> None:
    model, gru = UGRU(3, 6), GRU(3, 6)
    gru.load_state_dict({"W": torch.cat([model.W, model.W_n]), "V": model.V, "b": model.b, "c_n": model.c_n})
    x = torch.randn(2, 9, 3)
    torch.testing.assert_close(model(x)[0], gru(x)[0], rtol=0, atol=1e-14)
    assert count_parameters(model.parameters()) == count_parameters(gru.parameters())


def test_candidates_matrix_starts_and_stays_orthogonal() -> None:
    """The candidates matrix starts orthogonal and stays so while training."""
    model = UGRU(2, 12)
    spec = OptimSpec.model_validate({"lr": 0.01, "groups": {"orthogonal": {"lr": 0.5}}})
    updater = Updater(model.parameter_groups(), spec, None)
    start, gates = model.W_n.detach().clone(), model.W.detach().clone()
    assert deviation(start) < 1e-14
    losses = []
    for step in range(100):
        updater.zero_grad()
        loss = (model(torch.randn(4, 10, 2))[0] - 0.5).square().mean()
        loss.backward()
        before = model.W_n.detach().clone()
        assert model.W_n.grad is not None
        expected = updated(before, model.W_n.grad, 0.5)
        updater.update(step)
        assert torch.equal(model.W_n.detach(), expected), "the multiplicative update alone"
        losses.append(loss.item())
    assert deviation(model.W_n) < 1e-14
    assert (model.W_n - start).abs().max() > 0.01 and (model.W - gates).abs().max() > 0.01
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_open_gates_make_it_the_elman_network_with_tanh() -> None:
    """An open update gate and reset gate make it the elman network with tanh."""
    model = UGRU(2, 5)
    model.W.data.zero_()
    model.V.data[:10] = 0
    model.b.data[:5], model.b.data[5:10] = 1e3, -1e3  # r = 1, z = 0
    x = torch.randn(1, 8, 2)
    outputs, _ = model(x)
    h = torch.zeros(5)
    for t in range(8):
        h = torch.tanh(model.W_n @ h + model.c_n + model.V[10:] @ x[0, t] + model.b[10:])
        torch.testing.assert_close(outputs[0, t], h, rtol=0, atol=1e-13)


def test_states_stay_between_minus_one_and_one() -> None:
    model = UGRU(2, 8)
    for parameter in (model.W, model.V, model.b):
        parameter.data.mul_(30)
    assert model(torch.randn(3, 50, 2))[0].abs().max() <= 1
