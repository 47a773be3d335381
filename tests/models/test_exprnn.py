import math

import pytest
import scipy.linalg
import torch

from stablebench.models.recurrent.exprnn import ExpRNN


@pytest.fixture(autouse=True)
def _float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # small matrices: on a busy machine threads wait for each other a hundred times longer
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("activation", ["modrelu", "tanh"])
@pytest.mark.parametrize("hidden", [4, 5])
def test_the_chain_is_the_equation(activation, hidden):
    model = ExpRNN(3, hidden, activation=activation)
    model.W.upper.data.normal_()
    model.b.data.normal_()
    x = torch.randn(2, 9, 3)
    outputs, _ = model(x)
    A = torch.zeros(hidden, hidden)
    A[torch.triu(torch.ones(hidden, hidden), 1).bool()] = model.W.upper.detach()
    W = torch.from_numpy(scipy.linalg.expm((A - A.T).numpy())).tolist()
    V, bias = model.V.tolist(), model.b.tolist()
    for n, sequence in enumerate(x.tolist()):
        h = [0.0] * hidden
        for t, u in enumerate(sequence):
            z = [
                sum(W[i][j] * h[j] for j in range(hidden)) + sum(V[i][j] * u[j] for j in range(3))
                for i in range(hidden)
            ]
            if activation == "modrelu":
                h = [math.copysign(1, s) * max(abs(s) + b, 0) for s, b in zip(z, bias, strict=True)]
            else:
                h = [math.tanh(s + b) for s, b in zip(z, bias, strict=True)]
            assert outputs[n, t].tolist() == pytest.approx(h, abs=1e-12)


@pytest.mark.parametrize("init", ["henaff", "cayley"])
@pytest.mark.parametrize("hidden", [2, 15, 16])
def test_the_matrix_stays_orthogonal_under_training(init, hidden):
    model = ExpRNN(2, hidden, init=init)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    x, target = torch.randn(8, 6, 2), torch.randn(8, hidden)
    start = model.W().detach()
    for _ in range(100):
        optimiser.zero_grad()
        (model(x)[0][:, -1] - target).square().mean().backward()
        optimiser.step()
    W = model.W().detach()
    assert (W - start).abs().max() > 0.1, "training moved it"
    assert (W.T @ W - torch.eye(hidden)).abs().max() < 1e-10


def test_parameters_are_in_their_groups_and_start_in_their_range():
    model = ExpRNN(200, 100)
    groups = {g.name: sum(p.numel() for p in g.parameters) for g in model.parameter_groups()}
    assert groups == {"main": 100 * 200 + 100, "orthogonal": 100 * 99 // 2}
    assert model.b.abs().max() <= 0.01 and model.b.abs().max() > 0.005
    assert model.V.std().item() == pytest.approx((2 / 200) ** 0.5, rel=0.02)
    assert torch.count_nonzero(model.W.upper) == 50, "2 x 2 blocks alone"
