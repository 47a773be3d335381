"""ReLU GRU: the equation, the sign of the state, the published number of parameters."""

import pytest
import torch

from stablebench.models.base import count_parameters
from stablebench.models.recurrent.relu_gru import ReluGRU


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def test_it_is_the_equation() -> None:
    model = ReluGRU(2, 3)
    model.b.data.normal_()
    W_r, W_z, W_n = model.W.detach().chunk(3)
    V_r, V_z, V_n = model.V.detach().chunk(3)
    b_r, b_z, b_n = model.b.detach().chunk(3)
    x = torch.randn(1, 6, 2)
    outputs, _ = model(x)
    h = torch.zeros(3)
    for t in range(6):
        r = 1 / (1 + torch.exp(-(W_r @ h + V_r @ x[0, t] + b_r)))
        z = 1 / (1 + torch.exp(-(W_z @ h + V_z @ x[0, t] + b_z)))
        candidate = (W_n @ (r * h) + V_n @ x[0, t] + b_n).clamp(min=0)
        h = (1 - z) * h + z * candidate
        torch.testing.assert_close(outputs[0, t], h, rtol=1e-13, atol=1e-13)


def test_the_state_stays_above_zero_and_can_exceed_one() -> None:
    model = ReluGRU(2, 8)
    outputs, _ = model(5 * torch.randn(4, 50, 2))
    assert outputs.min() >= 0 and outputs.max() > 1


def test_closed_update_gate_keeps_state_and_open_one_forgets_it() -> None:
    """A closed update gate keeps the state and an open one forgets it."""
    model, before = ReluGRU(2, 4), torch.rand(1, 4)
    x = torch.randn(1, 3, 2)
    model.b.data[4:8] = -800.0  # sigmoid is then exactly 0 in float64
    assert torch.equal(model(x, (before,))[1][0], before)
    model.b.data[4:8] = 800.0
    model.b.data[8:] = -800.0  # and the candidate 0
    assert torch.equal(model(x, (before,))[1][0], torch.zeros(1, 4))


def test_recurrent_blocks_start_orthogonal() -> None:
    for block in ReluGRU(2, 16).W.chunk(3):
        torch.testing.assert_close(block @ block.T, torch.eye(16), rtol=0, atol=1e-13)


def test_published_parameters_have_inputs_as_wide_as_state() -> None:
    """The published number of parameters has inputs as wide as the state."""
    recurrent = count_parameters(ReluGRU(128, 128).parameters())
    assert recurrent == 98_688 and round(recurrent, -3) == 99_000  # coRNN, table 4: 99k, without a readout
