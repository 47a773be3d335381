"""FastGRNN: the equation, the gate's limits, the bound on the state, torch's GRU with tied weights, the counts."""

import pytest
import torch

from stablebench.models.base import count_parameters
from stablebench.models.network import Network
from stablebench.models.recurrent.fastgrnn import FastGRNN


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


@pytest.mark.parametrize(("rank_w", "rank_u"), [(None, None), (1, 2)])
def test_it_is_the_equation(rank_w: int | None, rank_u: int | None) -> None:
    model = FastGRNN(3, 5, rank_w=rank_w, rank_u=rank_u)
    for parameter in model.parameters():
        parameter.data += 0.5 * torch.randn(parameter.shape)
    W, U, b_z, b_h = (p.detach() for p in (model.W(), model.U(), model.b_z, model.b_h))
    zeta, nu = (1 / (1 + torch.exp(-v)) for v in model.mixing.detach())
    x = torch.randn(1, 7, 3)
    outputs, _ = model(x)
    h = torch.zeros(5)
    for t in range(7):
        z = 1 / (1 + torch.exp(-(W @ x[0, t] + U @ h + b_z)))
        candidate = torch.tanh(W @ x[0, t] + U @ h + b_h)
        h = (zeta * (1 - z) + nu) * candidate + z * h
        torch.testing.assert_close(outputs[0, t], h, rtol=1e-12, atol=1e-13)


def test_without_nu_it_is_torchs_gru_without_reset() -> None:
    """Without nu it is torchs gru with shared matrices and no reset."""
    model = FastGRNN(3, 5, zeta_start=40.0, nu_start=-800.0)  # sigmoid: 1 - 4e-18, and 0
    gru = torch.nn.GRU(3, 5, batch_first=True)
    W, U = model.W().detach(), model.U().detach()
    gru.load_state_dict(
        {
            "weight_ih_l0": torch.cat([0 * W, W, W]),  # blocks r, z, n
            "weight_hh_l0": torch.cat([0 * U, U, U]),
            "bias_ih_l0": torch.cat([torch.full((5,), 40.0), model.b_z.detach(), model.b_h.detach()]),
            "bias_hh_l0": torch.zeros(15),
        }
    )
    x = torch.randn(2, 30, 3)
    torch.testing.assert_close(model(x)[0], gru(x)[0], rtol=1e-12, atol=1e-13)


def test_an_open_gate_keeps_the_state_and_adds_nu_candidates() -> None:
    model = FastGRNN(3, 5, nu_start=-2.0)
    model.b_z.data.fill_(60.0)
    nu = torch.sigmoid(torch.tensor(-2.0))
    h, x = torch.randn(2, 5), torch.randn(2, 1, 3)
    candidate = torch.tanh(x[:, 0] @ model.W().T + h @ model.U().T + model.b_h)
    torch.testing.assert_close(model(x, (h,))[0][:, 0], h + nu * candidate, rtol=1e-13, atol=1e-13)


def test_a_closed_gate_forgets_the_state() -> None:
    model = FastGRNN(3, 5)
    model.U.factors[0].data.zero_()
    model.b_z.data.fill_(-60.0)
    x = torch.randn(2, 1, 3)
    one, two = (model(x, (torch.randn(2, 5),))[0] for _ in range(2))
    torch.testing.assert_close(one, two, rtol=1e-13, atol=1e-13)


def test_step_takes_no_unit_beyond_its_bound() -> None:
    """A step takes no unit beyond the larger of zeta and its size by more than nu."""
    model = FastGRNN(3, 16, nu_start=-1.0)
    for parameter in (model.W.factors[0], model.U.factors[0]):
        parameter.data.mul_(30)
    zeta, nu = torch.sigmoid(model.mixing.detach())
    h = 2 * torch.randn(50, 16)
    after = model(torch.randn(50, 1, 3), (h,))[0][:, 0]
    assert (after.abs() <= torch.maximum(zeta, h.abs()) + nu).all()
    assert (after.abs() > torch.maximum(zeta, h.abs()) + 0.9 * nu).any(), "and the bound is nearly attained"


@pytest.mark.parametrize(
    ("inputs", "hidden", "outputs", "count"), [(1, 128, 10, 18_060), (9, 80, 1, 7_363)], ids=["psmnist", "har-2"]
)
def test_parameter_counts_are_the_published_ones(inputs: int, hidden: int, outputs: int, count: int) -> None:
    network = Network([FastGRNN(inputs, hidden)], outputs, readout="last", input="values")
    assert count_parameters(network.parameters()) == count  # "18k" and "7k" in the coRNN paper
