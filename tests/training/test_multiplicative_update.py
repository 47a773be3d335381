"""What the updates of orthogonal and unitary matrices share as optimisers."""

import pytest
import torch
from torch import Tensor, nn

from stablebench.training.updates.cayley import CayleyUpdate
from stablebench.training.updates.exponential import ExponentialUpdate
from stablebench.training.updates.group import MultiplicativeUpdate


def matrix(rule: type[MultiplicativeUpdate], seed: int = 0) -> nn.Parameter:
    """Return an element (3, 3) of the rule's group as the rule stores it."""
    rng = torch.Generator().manual_seed(seed)
    dtype = torch.complex128 if rule is CayleyUpdate else torch.float64
    Q = torch.linalg.qr(torch.randn(3, 3, dtype=dtype, generator=rng)).Q
    return nn.Parameter(torch.stack([Q.real, Q.imag]) if Q.is_complex() else Q)


def gradient(like: Tensor) -> Tensor:
    return torch.randn(like.shape, dtype=like.dtype, generator=torch.Generator().manual_seed(1))


both = pytest.mark.parametrize("rule", [ExponentialUpdate, CayleyUpdate])


@both
def test_groups_have_their_own_rate(
    rule: type[MultiplicativeUpdate],
) -> None:
    """Groups have their own rate and a matrix without gradient is left alone."""
    slow, fast, idle = matrix(rule), matrix(rule), matrix(rule)
    optimiser = rule([{"params": [slow], "lr": 0.0}, {"params": [fast, idle]}], lr=0.1)
    slow.grad = fast.grad = gradient(slow)
    optimiser.step()
    torch.testing.assert_close(slow, matrix(rule), rtol=0, atol=1e-15)
    assert (fast - slow).abs().max() > 0.01
    assert torch.equal(idle, matrix(rule))
    assert not optimiser.state_dict()["state"]


@both
def test_a_closure_is_called_with_gradients(rule: type[MultiplicativeUpdate]) -> None:
    W, target = matrix(rule), matrix(rule, seed=1).detach()
    optimiser = rule([W], lr=0.01)

    def closure() -> float:
        optimiser.zero_grad()
        loss = (W - target).square().sum()
        loss.backward()
        return loss.item()

    first, second = optimiser.step(closure), optimiser.step(closure)
    assert first is not None and second is not None and second < first
