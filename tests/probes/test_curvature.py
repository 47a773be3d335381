"""Sharpness and gradient noise against closed forms and the whole Hessian."""

import json

import pytest
import torch
from probe_networks import linear_network, stack
from torch.nn.functional import cross_entropy

from stablebench.data.batch import Batch
from stablebench.models.deep.mlp import Mlp
from stablebench.models.deep_network import DeepNetwork
from stablebench.probes.chain import frozen
from stablebench.probes.curvature import Curvature, curvature


def test_a_network_at_rest_has_the_closed_form() -> None:
    # h = 0 and y = b s + c, s = 1 + a + ... + a^(T-1), so that J = (s, 1) in (b, c) and G = 2 J^T J
    a, T, targets = 0.5, 6, torch.tensor([[1.0], [2.0], [3.0]])
    network = frozen(linear_network(torch.tensor([[a]])))
    found = curvature(network, Batch(torch.zeros(3, T, 1), targets), loss="mse", lr=0.2)
    assert found is not None
    s = sum(a**k for k in range(T))
    assert found.gauss_newton == pytest.approx(2 * (1 + s * s))
    # g_i = -2 y_i J: the mean of y_i y_j over i != j is 22 / 6, that of y_i^2 is 14 / 3
    assert found.gradient_square == pytest.approx(4 * 22 / 6 * (1 + s * s))
    assert found.noise_scale == pytest.approx((14 / 3 - 22 / 6) / (22 / 6))
    q, r = sum(k * a ** (k - 1) for k in range(T)), -4.0  # of (a, b), and dL/dy
    H = torch.tensor([[0, r * q, 0, 0], [r * q, 2 * s * s, 2 * s, r * s], [0, 2 * s, 2, 0], [0, r * s, 0, 0]])
    assert found.hessian == pytest.approx(torch.linalg.eigvalsh(H)[-1].item())
    assert found.stability == (
        "beyond the edge" if found.hessian > 11 else "stable" if found.hessian < 9 else "at the edge"
    )
    json.dumps(found.document(), allow_nan=False)


@pytest.mark.parametrize(("name", "layers"), [("rnn", 1), ("lstm", 2), ("cornn", 1)])
def test_lanczos_finds_the_top_of_the_whole_matrices(name: str, layers: int) -> None:
    network = frozen(stack(name, layers, 4))
    batch = Batch(torch.randint(5, (3, 4)), torch.randint(3, (3, 4)))
    found = curvature(network, batch, loss="cross_entropy")
    named = dict(network.named_parameters())
    sizes = [p.numel() for p in named.values()]

    def outputs(flat: torch.Tensor) -> torch.Tensor:
        values = {k: part.view_as(p) for (k, p), part in zip(named.items(), flat.split(sizes), strict=True)}
        return torch.func.functional_call(network, values, (batch.inputs,))[0].flatten(0, 1)

    def loss(scores: torch.Tensor) -> torch.Tensor:
        return cross_entropy(scores, batch.targets.flatten())

    flat = torch.cat([p.flatten() for p in named.values()])
    whole = torch.autograd.functional.hessian(lambda v: loss(outputs(v)), flat)
    J = torch.autograd.functional.jacobian(outputs, flat).flatten(0, 1)
    outer = torch.autograd.functional.hessian(lambda y: loss(y.view(-1, 3)), outputs(flat).flatten())
    assert found is not None and isinstance(whole, torch.Tensor) and isinstance(outer, torch.Tensor)
    assert found.hessian == pytest.approx(torch.linalg.eigvalsh(whole)[-1].item(), rel=1e-3)
    assert found.gauss_newton == pytest.approx(torch.linalg.eigvalsh(J.T @ outer @ J)[-1].item(), rel=1e-3)
    assert found.stability == "unknown" and found.document()["two_over_lr"] is None


def test_a_deep_network_has_a_curvature_too() -> None:
    network = frozen(DeepNetwork(Mlp(2, 3, layers=5), 2).double())
    found = curvature(network, Batch(torch.randn(4, 2), torch.randint(2, (4,))), loss="cross_entropy")
    assert found is not None and found.gauss_newton > 0 and found.noise > 0


@pytest.mark.parametrize(("sharpness", "word"), [(17.0, "stable"), (20.0, "at the edge"), (23.0, "beyond the edge")])
def test_the_word_is_that_of_two_over_lr(sharpness: float, word: str) -> None:
    assert Curvature(sharpness, 1.0, 1.0, 1.0, 4, lr=0.1).stability == word


def test_a_hidden_mean_gradient_has_no_noise_scale() -> None:
    assert Curvature(1.0, 1.0, -0.1, 2.0, 4).noise_scale is None
    one = curvature(
        frozen(stack("rnn", 1, 3)), Batch(torch.zeros(1, 3).long(), torch.zeros(1, 3).long()), loss="cross_entropy"
    )
    assert one is not None and one.document()["gradient_noise"] is None
